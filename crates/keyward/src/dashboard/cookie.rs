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
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut found = lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(key, _)| *key == name(site))
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
}
