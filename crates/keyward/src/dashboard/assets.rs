//! The style sheet, the script and the icon, in the program itself.

use std::sync::LazyLock;

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use sha2::{Digest as _, Sha256};

use super::{Page, Request, Stop};

const STYLE: &str = include_str!("assets/style.css");
const SCRIPT: &str = include_str!("assets/app.js");
/// Nothing without the feature.
const PASSKEYS: &str =
    if cfg!(feature = "passkeys") { include_str!("assets/passkeys.js") } else { "" };
const ICON: &str = include_str!("assets/icon.svg");

/// Eight characters that change whenever a file does: it may be kept for ever under its address.
pub(super) fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let mut sha = Sha256::new();
        [STYLE, SCRIPT, PASSKEYS, ICON].iter().for_each(|text| sha.update(text.as_bytes()));
        sha.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    });
    &VERSION
}

/// `GET /assets/{name}`
///
/// # Errors
/// 404 for a name that is none.
pub async fn file(request: Request) -> Page {
    let (content_type, text) = match request.parameter.as_deref() {
        Some("style.css") => ("text/css; charset=utf-8", STYLE),
        Some("app.js") => ("text/javascript; charset=utf-8", SCRIPT),
        Some("passkeys.js") if !PASSKEYS.is_empty() => ("text/javascript; charset=utf-8", PASSKEYS),
        Some("icon.svg") => ("image/svg+xml", ICON),
        _ => return Err(Stop::Bad(StatusCode::NOT_FOUND, "There is no such file.")),
    };
    let mut response = Response::new(Full::new(text.into()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // Only an address that names the version may be kept for ever.
    let is_current = request.query("v").as_deref() == Some(version());
    let keep = if is_current { "public, max-age=31536000, immutable" } else { "no-cache" };
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(keep));
    Ok(response)
}

/// `GET /favicon.ico`: where browsers look that were told of no icon.
///
/// # Errors
/// Always: elsewhere goes on.
pub async fn icon(_: Request) -> Page {
    Err(Stop::To(String::from("/assets/icon.svg")))
}
