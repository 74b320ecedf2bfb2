//! Settings: what they are, where each value came from, and what is wrong with one.
//!
//! A flag beats a variable beats the file beats the default. Each setting is one row of
//! [`SETTINGS`]; the flags, the variables, the file's names, `keyward config` and the table in the
//! README all follow it. One may hold a secret, the mail server's URL, and is shown without it.

pub mod smtp;
pub mod sources;
mod table;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use keyward_core::account::Limits;
use lettre::message::Mailbox;
use url::Url;

pub use smtp::{SmtpTls, SmtpUrl};
pub use sources::{ConfigError, Explained, Flags, Source, load};
pub use table::{SETTINGS, Setting};
pub use values::{is_host, network, networks};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Json,
    Readable,
    /// No line for each request; what the operator must know is still said.
    Off,
}

/// Whether webhooks may use plain HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpRule {
    /// HTTPS only, and never to this machine.
    Never,
    /// To this machine, from the test environment: for receivers in the making.
    TestLoopback,
    Always,
}

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct Settings {
    pub listen: SocketAddr,
    /// File of the certificate and those between it and its root, PEM.
    pub tls_cert: Option<PathBuf>,
    /// File of its private key, PEM.
    pub tls_key: Option<PathBuf>,
    /// HTTPS with a certificate that nobody vouches for: to try it out.
    pub tls_self_signed: bool,
    /// Names, in small letters and none twice, for which a certificate is ordered; none: no ACME.
    pub acme_domains: Vec<String>,
    /// The terms of service of the certificate authority are agreed to.
    pub acme_agree_tos: bool,
    pub acme_email: Option<String>,
    /// Where the ACME server says what it can do, an address with `https`.
    pub acme_directory: String,
    /// Certificates by which the ACME server is trusted, beside the system's.
    pub acme_ca_file: Option<PathBuf>,
    /// Plain HTTP to other machines is meant.
    pub insecure_http: bool,
    /// Where `/metrics` is; `None` for nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// Where traces are sent; without it none are.
    pub otlp_endpoint: Option<Url>,
    pub data_dir: PathBuf,
    /// 0: as many as the machine has.
    pub threads: usize,
    pub rate_limit_standard: u32,
    pub rate_limit_sensitive: u32,
    pub rate_limit_webhook_test: u32,
    pub rate_limit_unauthenticated: u32,
    /// Where people reach the dashboard, without a slash at the end; `None` takes what the browser
    /// asked for.
    pub public_url: Option<String>,
    /// Without a slash at the end.
    pub docs_url: String,
    /// Requests that are remembered at most; 0 remembers none.
    pub request_records: i64,
    /// For so many days.
    pub request_days: i64,
    pub trusted_proxies: Vec<IpNet>,
    /// Webhooks that an account may have.
    pub webhook_limit: i64,
    pub webhook_http: HttpRule,
    /// Networks that are not public and that webhooks may go to.
    pub webhook_networks: Vec<IpNet>,
    /// Certificates that webhooks trust beside the system's.
    pub webhook_ca_file: Option<PathBuf>,
    /// For how long a replaced signing secret signs as well.
    pub webhook_secret_grace_hours: i64,
    /// For how long events are kept.
    pub webhook_event_days: i64,
    /// Answers that are kept for each account at most.
    pub idempotency_limit: i64,
    pub max_body_bytes: usize,
    /// Connections that one client address may have, unless it is a trusted proxy.
    pub connections_per_address: usize,
    pub log_format: LogFormat,
    /// Without it no mail is sent.
    pub smtp_url: Option<SmtpUrl>,
    pub smtp_from: Option<Mailbox>,
    pub smtp_password_file: Option<PathBuf>,
}

impl Settings {
    /// Threads that serve requests: as set, or one for each processor.
    #[must_use]
    pub fn serving_threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
            threads => threads,
        }
    }

    /// Whether HTTPS is spoken, with whatever certificate.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.tls_cert.is_some() || self.tls_self_signed || !self.acme_domains.is_empty()
    }

    /// Whether HTTP without TLS is spoken to other machines, with no proxy named that stands between.
    #[must_use]
    pub fn is_open_http(&self) -> bool {
        !self.has_tls() && !self.listen.ip().is_loopback() && self.trusted_proxies.is_empty()
    }

    #[must_use]
    pub const fn limits(&self) -> Limits {
        Limits {
            standard: self.rate_limit_standard,
            sensitive: self.rate_limit_sensitive,
            webhook_test: self.rate_limit_webhook_test,
        }
    }
}

impl Default for Settings {
    /// The defaults of [`SETTINGS`].
    fn default() -> Self {
        let mut settings = Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tls_cert: None,
            tls_key: None,
            tls_self_signed: false,
            acme_domains: vec![],
            acme_agree_tos: false,
            acme_email: None,
            acme_directory: String::new(),
            acme_ca_file: None,
            insecure_http: false,
            metrics_listen: None,
            otlp_endpoint: None,
            data_dir: PathBuf::new(),
            threads: 0,
            rate_limit_standard: 0,
            rate_limit_sensitive: 0,
            rate_limit_webhook_test: 0,
            rate_limit_unauthenticated: 0,
            public_url: None,
            docs_url: String::new(),
            request_records: 0,
            request_days: 0,
            trusted_proxies: vec![],
            webhook_limit: 0,
            webhook_http: HttpRule::Never,
            webhook_networks: vec![],
            webhook_ca_file: None,
            webhook_secret_grace_hours: 0,
            webhook_event_days: 0,
            idempotency_limit: 0,
            max_body_bytes: 0,
            connections_per_address: 0,
            log_format: LogFormat::Readable,
            smtp_url: None,
            smtp_from: None,
            smtp_password_file: None,
        };
        for setting in SETTINGS {
            (setting.apply)(&mut settings, setting.default)
                .expect("a test checks that every default is accepted");
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_accepted_and_names_are_told_apart() {
        let settings = Settings::default();
        assert_eq!(settings.limits(), Limits::GUIDE);
        assert_eq!(settings.docs_url, "https://docs.sent.dm/errors");
        let mut names: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
        names.dedup();
        assert_eq!(names.len(), SETTINGS.len());
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_would() {
        let check = |name: &str, text: &str| {
            let setting = SETTINGS.iter().find(|s| s.name == name).expect(name);
            let error = (setting.apply)(&mut Settings::default(), text).expect_err(text);
            assert!(error.contains("expected"), "{error}");
        };
        check("listen", "8080");
        check("listen", "localhost");
        for name in [
            "*.example.com",
            "192.0.2.1",
            "2001:db8::1",
            "1.2.3",
            "https://keys.example.com",
            "keys.example.com:443",
            "keys.example.com/x",
            "keys..example.com",
            "-keys.example.com",
            "keys_1.example.com",
            "schlüssel.example.com",
            "keys.example.com www.example.com",
        ] {
            check("acme_domains", name);
        }
        check("acme_agree_tos", "yes");
        check("acme_email", "ops");
        check("acme_email", "mailto:ops@example.com");
        check("acme_directory", "");
        check("acme_directory", "http://ca.internal/acme/directory");
        check("acme_directory", "https://user:secret@ca.internal/acme/directory");
        check("metrics_listen", "on");
        check("otlp_endpoint", "127.0.0.1:4318");
        check("otlp_endpoint", "http://user:secret@127.0.0.1:4318");
        check("threads", "-1");
        check("rate_limit_standard", "0");
        check("rate_limit_standard", "1000001");
        check("public_url", "keys.example.com");
        check("public_url", "https://keys.example.com/dashboard");
        check("docs_url", "docs.sent.dm");
        check("docs_url", "https://docs.sent.dm/\"errors");
        check("trusted_proxies", "10.0.0.0/33");
        check("log_format", "loud");
        check("smtp_url", "mail.example.com:587");
        check("smtp_from", "Keyward");
    }
}
