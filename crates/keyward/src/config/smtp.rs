//! The mail server's URL: where mail is handed in, how safely, and as whom.
//!
//! `smtps://` speaks TLS from the first byte, `smtp://` must be given STARTTLS. Only to this machine
//! itself mail may go in clear, for there nobody is in between.
//!
//! Why not lettre's own reading of URLs: there `smtp://` means no encryption, wherever the server is.
//! Invariant: the password is never printed; a URL that cannot be read is not shown at all, for
//! nobody knows which part of it was meant to be the password (tests below and `tests/mail.rs`).

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use keyward_core::secret::Secret;
use lettre::message::Mailbox;
use percent_encoding::percent_decode_str;
use url::Url;

const EXPECTED: &str = "expected a URL, such as smtps://user@mail.example.com or \
                        smtp://user@mail.example.com:587, with each of :/?#@% in user or password \
                        written as % and two hexadecimal digits";

/// How the way to the mail server is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpTls {
    FromTheStart,
    /// In clear until both have agreed on it; nothing is sent to a server that does not offer it.
    StartTls,
    /// To this machine only.
    Off,
}

/// Where mail is handed in.
#[derive(Clone)]
pub struct SmtpUrl {
    pub tls: SmtpTls,
    /// A name, or an address without brackets.
    pub host: String,
    pub port: u16,
    pub user: Option<String>,
    pub password: Option<Arc<Secret<String>>>,
    shown: String,
}

impl SmtpUrl {
    /// Reads `smtps://user:password@host:port` or `smtp://…?tls=required`.
    ///
    /// # Errors
    /// If it is neither. The text repeats nothing of the URL.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refused = |what: &str| Err(format!("{what}: {EXPECTED}"));
        let Ok(mut url) = Url::parse(text) else { return refused("this is no URL") };
        let host = match url.host_str().unwrap_or_default() {
            "" => return refused("the host is missing"),
            host if host.contains('%') => return refused("the host is no name"),
            host => host.trim_matches(['[', ']']).to_ascii_lowercase(),
        };
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return refused("something follows the host");
        }
        let is_local =
            host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        let (tls, usual_port) = match (url.scheme(), url.query()) {
            ("smtps", None) => (SmtpTls::FromTheStart, 465),
            ("smtp", None) if is_local => (SmtpTls::Off, 25),
            ("smtp", None | Some("tls=required")) => (SmtpTls::StartTls, 587),
            ("smtp" | "smtps", _) => return refused("what follows ? can only be tls=required"),
            _ => return refused("the scheme is neither smtps nor smtp"),
        };
        let (Some(user), Some(password)) =
            (decoded(url.username()), decoded(url.password().unwrap_or_default()))
        else {
            return refused("user or password is not readable");
        };
        if user.is_empty() && !password.is_empty() {
            return refused("there is a password, but no user");
        }
        if !password.is_empty() && url.set_password(Some("***")).is_err() {
            return refused("this is no URL");
        }
        Ok(Self {
            tls,
            host,
            port: url.port().unwrap_or(usual_port),
            user: Some(user).filter(|user| !user.is_empty()),
            password: Some(password)
                .filter(|password| !password.is_empty())
                .map(|password| Arc::new(Secret::new(password))),
            shown: url.to_string(),
        })
    }

    /// The URL as it may be seen, whether it can be read or not.
    #[must_use]
    pub(super) fn masked(text: &str) -> String {
        match Self::parse(text) {
            Ok(url) => url.shown,
            Err(_) if text.is_empty() => String::new(),
            Err(_) => String::from("***"),
        }
    }
}

impl fmt::Debug for SmtpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// `None` if it is no text of one line: what is sent in one line must not become two.
fn decoded(text: &str) -> Option<String> {
    let text = percent_decode_str(text).decode_utf8().ok()?;
    (!text.chars().any(char::is_control)).then(|| text.into_owned())
}

/// Reads `Keyward <keyward@example.com>` or an address alone.
pub(super) fn sender(text: &str) -> Result<Mailbox, String> {
    text.parse()
        .ok()
        .filter(|_| !text.chars().any(char::is_control))
        .ok_or_else(|| String::from("expected a sender, such as Keyward <keyward@example.com>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_to_this_machine_mail_goes_in_clear() {
        let check = |text: &str, expected: (SmtpTls, &str, u16)| {
            let url = SmtpUrl::parse(text).expect(text);
            assert_eq!((url.tls, url.host.as_str(), url.port), expected, "{text}");
        };
        check("smtps://mail.example.com", (SmtpTls::FromTheStart, "mail.example.com", 465));
        check("smtps://127.0.0.1:4650/", (SmtpTls::FromTheStart, "127.0.0.1", 4650));
        check("smtp://Mail.Example.com", (SmtpTls::StartTls, "mail.example.com", 587));
        check("smtp://mail.example.com:25", (SmtpTls::StartTls, "mail.example.com", 25));
        check("smtp://10.0.0.5:2525", (SmtpTls::StartTls, "10.0.0.5", 2525));
        check("smtp://localhost.example.com", (SmtpTls::StartTls, "localhost.example.com", 587));
        check("smtp://localhost", (SmtpTls::Off, "localhost", 25));
        check("smtp://127.8.9.10:2525", (SmtpTls::Off, "127.8.9.10", 2525));
        check("smtp://[::1]", (SmtpTls::Off, "::1", 25));
        check("smtp://localhost:2525?tls=required", (SmtpTls::StartTls, "localhost", 2525));
    }

    #[test]
    fn user_and_password_are_decoded_and_the_password_is_never_shown() {
        let check = |text: &str, user: Option<&str>, password: Option<&str>, shown: &str| {
            let url = SmtpUrl::parse(text).expect(text);
            assert_eq!(url.user.as_deref(), user, "{text}");
            let found = url.password.as_ref().map(|password| password.expose().as_str());
            assert_eq!(found, password, "{text}");
            assert_eq!(SmtpUrl::masked(text), shown);
            assert_eq!(format!("{url:?}"), shown);
        };
        check("smtps://a.example", None, None, "smtps://a.example");
        check("smtps://ada@a.example", Some("ada"), None, "smtps://ada@a.example");
        check(
            "smtps://ada%40b.example:open%20sesame%3f@a.example:465",
            Some("ada@b.example"),
            Some("open sesame?"),
            "smtps://ada%40b.example:***@a.example:465",
        );
        check("smtp://ada:s@same@[::1]", Some("ada"), Some("s@same"), "smtp://ada:***@[::1]");
    }

    #[test]
    fn a_url_that_cannot_be_read_is_refused_and_not_shown() {
        for text in [
            "sesame",
            "ada:sesame@mail.example.com",
            "smtp:ada:sesame@mail.example.com",
            "smtp://",
            "smtp://:sesame@mail.example.com",
            "smtp://ada:sesame",
            "smtp://ada:sesame/@mail.example.com",
            "smtp://ada:2#sesame@mail.example.com",
            "smtp://ada:2?sesame@mail.example.com",
            "smtp://ada:2/sesame@mail.example.com",
            "smtp://ada:sesame%0d%0aQUIT@mail.example.com",
            "smtp://ada:sesame%ff@mail.example.com",
            "smtp://ada:sesame@mail.example.com?tls=opportunistic",
            "smtps://ada:sesame@mail.example.com?tls=none",
            "https://ada:sesame@mail.example.com",
        ] {
            let problem = SmtpUrl::parse(text).expect_err(text);
            assert!(problem.contains("expected a URL"), "{text}: {problem}");
            assert!(!problem.contains("sesame"), "{text}: {problem}");
            assert_eq!(SmtpUrl::masked(text), "***", "{text}");
        }
    }

    #[test]
    fn a_sender_is_an_address_with_or_without_a_name() {
        for text in ["keyward@example.com", "Keyward <keyward@example.com>"] {
            assert_eq!(sender(text).expect(text).to_string(), text);
        }
        for text in ["", "keyward", "Keyward <keyward>", "a@b.example\r\nBcc: c@d.example"] {
            assert!(sender(text).expect_err(text).contains("expected"), "{text}");
        }
    }
}
