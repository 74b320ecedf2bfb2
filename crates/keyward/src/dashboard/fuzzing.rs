//! What the fuzz targets are let at: readers of what a browser sends.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, request};
use keyward_core::time::UnixMillis;

use super::form::Form;
use super::origin::Site;
use super::{cookie, keys, login, show, webhooks};
use crate::app::Faults;
use crate::app::bodies::{Bodies, Sender, Share};
use crate::app::webhooks::WebhookEdit;

fn site(is_secure: bool) -> Site {
    Site { base: String::from("https://keys.example.com"), is_secure, takes_passwords: true }
}

/// The token of a session.
pub fn session(headers: &HeaderMap, is_secure: bool) -> Option<&str> {
    cookie::session(headers, &site(is_secure))
}

/// The token of a sign-in by passkey.
#[cfg(feature = "passkeys")]
pub fn login(headers: &HeaderMap, is_secure: bool) -> Option<&str> {
    cookie::login(headers, &site(is_secure))
}

/// Where the browser thinks it is, and whether a form came from there.
pub fn origin(parts: &request::Parts, is_https: bool) -> (String, bool) {
    let site = Site::of(parts, None, is_https, [192, 0, 2, 1].into());
    let is_own = site.is_own(&parts.headers);
    (site.base, is_own)
}

/// A place to go to after the sign-in.
pub fn own_place(next: &str) -> Option<&str> {
    login::own_place(next)
}

/// What people are told of a browser.
pub fn device(agent: &str) -> String {
    show::device(agent)
}

/// What the forms of keys and webhooks ask for.
pub fn asked(bytes: &[u8], now: UnixMillis) -> (keys::fuzzing::Read, Faults, WebhookEdit) {
    let form = Form::parse(bytes, share());
    let mut faults = Faults::new();
    let key = keys::fuzzing::read(&form, now, &mut faults);
    (key, faults, webhooks::fuzzing::read(&form))
}

/// The fields of a form, in their order: names, and values as they came.
pub fn fields(bytes: &[u8], name: &str) -> (usize, String, String, Vec<String>, bool) {
    let form = Form::parse(bytes, share());
    let all = form.all(name).into_iter().map(ToOwned::to_owned).collect();
    let secret = form.secret(name).to_string();
    (form.len(), form.text(name).to_owned(), secret, all, form.has(name))
}

/// Nothing of what others send: a fuzz target measures no memory.
fn share() -> Share {
    Arc::new(Bodies::new(1 << 20)).share(Sender::at(IpAddr::from([127, 0, 0, 1])))
}
