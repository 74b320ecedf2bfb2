//! The cookie of a session.
//!
//! By HTTPS it is `__Host-keyward`: for this host alone, never sent in clear. On plain HTTP, which is
//! for this machine alone, a browser would not keep such a cookie; there it has another name, so
//! that one can never stand in for the other.

use http::HeaderMap;
use http::header::COOKIE;

use super::origin::Site;
use crate::app::Token;
use crate::app::sessions::ABSOLUTE_MILLIS;

const fn name(site: &Site) -> &'static str {
    if site.is_secure { "__Host-keyward" } else { "keyward-over-http" }
}

/// The token that a request carries; none if it carries two.
pub(super) fn session<'a>(headers: &'a HeaderMap, site: &Site) -> Option<&'a str> {
    read(headers, name(site))
}

fn read<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut found = lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value);
    let token = found.next()?;
    found.next().is_none().then_some(token)
}

/// Sets the cookie.
pub(super) fn set(token: &Token, site: &Site) -> String {
    let secure = if site.is_secure { "; Secure" } else { "" };
    let seconds = ABSOLUTE_MILLIS / 1000;
    format!(
        "{}={}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}",
        name(site),
        token.reveal()
    )
}

/// Takes the cookie back.
pub(super) fn clear(site: &Site) -> String {
    let secure = if site.is_secure { "; Secure" } else { "" };
    format!("{}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax{secure}", name(site))
}

/// The cookie to which what a passkey is asked at the sign-in is bound.
#[cfg(feature = "passkeys")]
const fn login_name(site: &Site) -> &'static str {
    if site.is_secure { "__Host-keyward-login" } else { "keyward-login-over-http" }
}

/// What the browser was given at the sign-in. It opens nothing by itself.
#[cfg(feature = "passkeys")]
pub(super) fn login<'a>(headers: &'a HeaderMap, site: &Site) -> Option<&'a str> {
    let is_token = |value: &&str| {
        value.len() == 43 && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    read(headers, login_name(site)).filter(is_token)
}

/// Sets it, for twice as long as a challenge is good.
#[cfg(feature = "passkeys")]
pub(super) fn set_login(value: &str, site: &Site) -> String {
    let secure = if site.is_secure { "; Secure" } else { "" };
    let name = login_name(site);
    format!("{name}={value}; Path=/; Max-Age=600; HttpOnly; SameSite=Lax{secure}")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_cookie_is_read_by_its_own_name_and_once() {
        let https = Site { base: String::new(), is_secure: true, takes_passwords: true };
        let http = Site { is_secure: false, ..https.clone() };
        let read = |line: &str, site: &Site| {
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, HeaderValue::from_str(line).expect("a header"));
            session(&headers, site).map(ToOwned::to_owned)
        };
        assert_eq!(read("a=b; __Host-keyward=tok", &https).as_deref(), Some("tok"));
        assert_eq!(read("keyward-over-http=tok", &https), None);
        assert_eq!(read("__Host-keyward=tok", &http), None);
        assert_eq!(read("keyward-over-http=tok;x=y", &http).as_deref(), Some("tok"));
        assert_eq!(read("keyward-over-http=a; keyward-over-http=b", &http), None);
        assert_eq!(read("", &http), None);
    }

    #[cfg(feature = "passkeys")]
    #[test]
    fn the_cookie_of_the_sign_in_holds_a_token_or_nothing() {
        let http = Site { base: String::new(), is_secure: false, takes_passwords: true };
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            let line = format!("keyward-login-over-http={value}");
            headers.insert(COOKIE, HeaderValue::from_str(&line).expect("a header"));
            login(&headers, &http).map(ToOwned::to_owned)
        };
        let token = "a-_9".repeat(10) + "abc";
        assert_eq!(read(&token), Some(token.clone()));
        assert_eq!(read("short"), None);
        assert_eq!(read(&token.replace('9', "!")), None);
        assert!(set_login(&token, &http).starts_with(&format!("keyward-login-over-http={token};")));
    }
}
