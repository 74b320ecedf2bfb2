//! Where the browser thinks it is, and whether a form came from there.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, request};

use crate::config::is_host;

/// This server as the browser sees it.
#[derive(Clone, Debug)]
pub(super) struct Site {
    /// `https://keys.example.com`: a scheme, a host and perhaps a port.
    pub(super) base: String,
    /// Whether cookies may and must be secure.
    pub(super) is_secure: bool,
    /// Whether passwords may be sent: by HTTPS, on this machine, or because the operator said so.
    pub(super) takes_passwords: bool,
}

impl Site {
    pub(super) fn of(
        parts: &request::Parts,
        public_url: Option<&str>,
        is_https: bool,
        client: IpAddr,
    ) -> Self {
        if let Some(base) = public_url {
            let is_secure = base.starts_with("https://");
            return Self { base: base.to_owned(), is_secure, takes_passwords: true };
        }
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = host.filter(|host| is_host(host)).unwrap_or("127.0.0.1:8080");
        let scheme = if is_https { "https" } else { "http" };
        Self {
            base: format!("{scheme}://{host}"),
            is_secure: is_https,
            takes_passwords: is_https || client.is_loopback(),
        }
    }

    /// True for a request that one of our own pages sent. Browsers say where a request comes from and
    /// let no page lie about it; a request that says nothing of it is no browser's.
    pub(super) fn is_own(&self, headers: &HeaderMap) -> bool {
        let one = |name: &str| {
            let mut values = headers.get_all(name).iter();
            match (values.next(), values.next()) {
                (None, _) => Ok(None),
                (Some(value), None) => Ok(Some(value.to_str().map_err(|_| ())?)),
                (Some(_), Some(_)) => Err(()),
            }
        };
        let Ok(site) = one("sec-fetch-site") else { return false };
        let Ok(origin) = one(ORIGIN.as_str()) else { return false };
        match (site, origin) {
            (Some(site), Some("null") | None) => site == "same-origin",
            (Some(site), Some(origin)) => site == "same-origin" && origin == self.base,
            (None, Some(origin)) => origin == self.base,
            (None, None) => false,
        }
    }

    /// Nothing is told to other sites. Why not the same everywhere: browsers hide the origin of a
    /// form too when the referrer is off, and on plain HTTP that is all that tells where it came from.
    pub(super) fn referrer_policy(&self) -> &'static str {
        if self.is_secure { "no-referrer" } else { "same-origin" }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn site() -> Site {
        let base = String::from("https://keys.example.com");
        Site { base, is_secure: true, takes_passwords: true }
    }

    #[test]
    fn only_a_form_of_our_own_page_is_taken() {
        let own = "https://keys.example.com";
        // Sec-Fetch-Site, Origin, taken
        let table = [
            (Some("same-origin"), Some(own), true),
            (Some("same-origin"), Some("null"), true),
            (Some("same-origin"), None, true),
            (None, Some(own), true),
            (Some("same-site"), Some(own), false),
            (Some("cross-site"), Some("https://evil.example"), false),
            (Some("none"), None, false),
            (Some("same-origin"), Some("https://evil.example"), false),
            (None, Some("null"), false),
            (None, Some("http://keys.example.com"), false),
            (None, Some("https://keys.example.com.evil.example"), false),
            (None, None, false),
        ];
        for (fetch_site, origin, expected) in table {
            let mut headers = HeaderMap::new();
            if let Some(value) = fetch_site {
                headers.insert("sec-fetch-site", HeaderValue::from_static(value));
            }
            if let Some(value) = origin {
                headers.insert(ORIGIN, HeaderValue::from_static(value));
            }
            assert_eq!(site().is_own(&headers), expected, "{fetch_site:?} {origin:?}");
        }
        let mut twice = HeaderMap::new();
        twice.append(ORIGIN, HeaderValue::from_static(own));
        twice.append(ORIGIN, HeaderValue::from_static(own));
        assert!(!site().is_own(&twice));
    }
}
