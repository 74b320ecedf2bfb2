//! The pages that explain: how to begin, keys, limits, errors. Every example in them has the
//! address of the server that the reader asked.

use askama::Template;
use keyward_tower::Code;
use serde_json::json;

use crate::samples::{self, Call, Sample};

/// What leads from one document to the others.
pub const DOCUMENTS: &[(&str, &str)] = &[
    ("/docs", "Start"),
    ("/docs/authentication", "Authentication"),
    ("/docs/rate-limits", "Rate limits"),
    ("/docs/errors", "Errors"),
    ("/errors", "Error codes"),
    ("/docs/reference", "Reference"),
];

/// Which page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    Start,
    Authentication,
    RateLimits,
    Errors,
}

#[derive(Template)]
#[template(path = "docs/start.html")]
struct Start<'a> {
    here: &'a str,
    base: &'a str,
    first_call: Vec<Sample>,
    first_contact: Vec<Sample>,
}

#[derive(Template)]
#[template(path = "docs/authentication.html")]
struct Authentication<'a> {
    here: &'a str,
    base: &'a str,
}

#[derive(Template)]
#[template(path = "docs/rate-limits.html")]
struct RateLimits<'a> {
    here: &'a str,
    base: &'a str,
    docs_url: &'a str,
    limited: Code,
    waiting: Vec<Sample>,
}

#[derive(Template)]
#[template(path = "docs/errors-guide.html")]
struct Errors<'a> {
    here: &'a str,
    base: &'a str,
    docs_url: &'a str,
    fault: Code,
    missing: Code,
    invalid: Code,
}

/// A page. `base` is this server's address as the reader sees it; `docs_url` is what error answers
/// point at.
///
/// # Errors
/// If the page cannot be written.
pub fn page(page: Page, base: &str, docs_url: &str) -> Result<String, askama::Error> {
    match page {
        Page::Start => {
            let body = json!({"phone_number": "+14155550123"});
            let show = Call { name: "me.retrieve", ..Call::get("/v3/me") };
            let create = Call {
                name: "contacts.create",
                method: "POST",
                body: Some(&body),
                ..Call::get("/v3/contacts")
            };
            let first_call = samples::of(&show, base);
            let first_contact = samples::of(&create, base);
            Start { here: "/docs", base, first_call, first_contact }.render()
        }
        Page::Authentication => Authentication { here: "/docs/authentication", base }.render(),
        Page::RateLimits => RateLimits {
            here: "/docs/rate-limits",
            base,
            docs_url,
            limited: Code::RateLimited,
            waiting: samples::waiting(base),
        }
        .render(),
        Page::Errors => Errors {
            here: "/docs/errors",
            base,
            docs_url,
            fault: Code::RequestInvalid,
            missing: Code::NotAuthenticated,
            invalid: Code::KeyInvalid,
        }
        .render(),
    }
}
