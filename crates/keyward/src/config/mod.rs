//! Settings: what they are, where each value came from, and what is wrong with one.
//!
//! A flag beats a variable beats the file beats the default. Each setting is one row of
//! [`SETTINGS`]; the flags, the variables, the file's names, `keyward config` and the table in the
//! README all follow it. One may hold a secret, the mail server's URL, and is shown without it.

pub mod smtp;
pub mod sources;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use keyward_core::account::Limits;
use lettre::message::Mailbox;
use url::Url;

pub use smtp::{SmtpTls, SmtpUrl};
pub use sources::{ConfigError, Explained, Flags, Source, load};
pub use values::{network, networks};

use values::{address_or_off, collector, limit, number, public_url, whole, yes_or_no};

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

    /// Whether HTTP without TLS is spoken to other machines, with no proxy named that stands between.
    #[must_use]
    pub fn is_open_http(&self) -> bool {
        self.tls_cert.is_none()
            && !self.tls_self_signed
            && !self.listen.ip().is_loopback()
            && self.trusted_proxies.is_empty()
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

/// One setting.
pub struct Setting {
    /// In the file; with `KEYWARD_` and capitals a variable; with `--` and hyphens a flag.
    pub name: &'static str,
    pub default: &'static str,
    pub help: &'static str,
    pub(crate) apply: fn(&mut Settings, &str) -> Result<(), String>,
}

impl Setting {
    #[must_use]
    pub fn variable(&self) -> String {
        format!("KEYWARD_{}", self.name.to_uppercase())
    }

    #[must_use]
    pub fn flag(&self) -> String {
        format!("--{}", self.name.replace('_', "-"))
    }

    /// The value as it may be printed: without a password.
    #[must_use]
    pub fn shown(&self, value: &str) -> String {
        if self.name == "smtp_url" { SmtpUrl::masked(value) } else { value.to_owned() }
    }
}

/// All settings, in the order in which they are listed.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "listen",
        default: "127.0.0.1:8080",
        help: "Address and port to listen on",
        apply: |settings, text| {
            settings.listen = text
                .parse()
                .map_err(|_| "expected an address and a port, such as 127.0.0.1:8080".to_owned())?;
            Ok(())
        },
    },
    Setting {
        name: "tls_cert",
        default: "",
        help: "File of the certificate for HTTPS (PEM), with those between it and its root",
        apply: |settings, text| {
            settings.tls_cert = Some(PathBuf::from(text)).filter(|_| !text.is_empty());
            Ok(())
        },
    },
    Setting {
        name: "tls_key",
        default: "",
        help: "File of the certificate's private key (PEM)",
        apply: |settings, text| {
            settings.tls_key = Some(PathBuf::from(text)).filter(|_| !text.is_empty());
            Ok(())
        },
    },
    Setting {
        name: "tls_self_signed",
        default: "false",
        help: "HTTPS with a certificate of its own making, to try it out",
        apply: |settings, text| yes_or_no(text).map(|is| settings.tls_self_signed = is),
    },
    Setting {
        name: "insecure_http",
        default: "false",
        help: "Plain HTTP on an address that other machines reach is meant",
        apply: |settings, text| yes_or_no(text).map(|is| settings.insecure_http = is),
    },
    Setting {
        name: "metrics_listen",
        default: "127.0.0.1:9464",
        help: "Address and port of /metrics, for Prometheus; off for none",
        apply: |settings, text| address_or_off(text).map(|to| settings.metrics_listen = to),
    },
    Setting {
        name: "otlp_endpoint",
        default: "",
        help: "Collector of traces (OpenTelemetry, OTLP over HTTP), such as http://127.0.0.1:4318",
        apply: |settings, text| collector(text).map(|url| settings.otlp_endpoint = url),
    },
    Setting {
        name: "data_dir",
        default: "keyward-data",
        help: "Folder of the database",
        apply: |settings, text| {
            if text.is_empty() {
                return Err(String::from("expected the path of a folder"));
            }
            settings.data_dir = PathBuf::from(text);
            Ok(())
        },
    },
    Setting {
        name: "threads",
        default: "0",
        help: "Threads that serve requests; 0: one for each processor",
        apply: |settings, text| number(text, 0, 1024).map(|n| settings.threads = n),
    },
    Setting {
        name: "rate_limit_standard",
        default: "200",
        help: "Standard requests a minute, for each account and environment",
        apply: |settings, text| limit(text).map(|n| settings.rate_limit_standard = n),
    },
    Setting {
        name: "rate_limit_sensitive",
        default: "10",
        help: "Sensitive requests a minute, for each account and environment",
        apply: |settings, text| limit(text).map(|n| settings.rate_limit_sensitive = n),
    },
    Setting {
        name: "rate_limit_webhook_test",
        default: "60",
        help: "Webhook tests a minute, for each account and environment",
        apply: |settings, text| limit(text).map(|n| settings.rate_limit_webhook_test = n),
    },
    Setting {
        name: "rate_limit_unauthenticated",
        default: "60",
        help: "Requests a minute without a good key, for each client address",
        apply: |settings, text| limit(text).map(|n| settings.rate_limit_unauthenticated = n),
    },
    Setting {
        name: "public_url",
        default: "",
        help: "Address at which people reach the dashboard, for links in mails and secure cookies",
        apply: |settings, text| public_url(text).map(|url| settings.public_url = url),
    },
    Setting {
        name: "docs_url",
        default: "https://docs.sent.dm/errors",
        help: "Where error pages are: doc_url is this, a slash and the code",
        apply: |settings, text| {
            let text = text.trim_end_matches('/');
            let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
            let is_plain = |c: char| c.is_ascii_graphic() && !"\"\\<>".contains(c);
            if !rest.is_some_and(|rest| !rest.is_empty() && rest.chars().all(is_plain)) {
                return Err(String::from("expected a URL, such as https://docs.sent.dm/errors"));
            }
            settings.docs_url = text.to_owned();
            Ok(())
        },
    },
    Setting {
        name: "request_records",
        default: "1000000",
        help: "Recent requests that are remembered at most; 0 remembers none",
        apply: |settings, text| whole(text, 100_000_000).map(|n| settings.request_records = n),
    },
    Setting {
        name: "request_days",
        default: "7",
        help: "Days for which recent requests are remembered",
        apply: |settings, text| whole(text, 3650).map(|n| settings.request_days = n),
    },
    Setting {
        name: "trusted_proxies",
        default: "",
        help: "Networks whose X-Forwarded-For is believed, separated by commas",
        apply: |settings, text| networks(text).map(|list| settings.trusted_proxies = list),
    },
    Setting {
        name: "webhook_limit",
        default: "50",
        help: "Webhooks that an account may have",
        apply: |settings, text| whole(text, 10_000).map(|n| settings.webhook_limit = n),
    },
    Setting {
        name: "webhook_http",
        default: "test-loopback",
        help: "Webhooks over plain HTTP: never, test-loopback (test keys, this machine), or always",
        apply: |settings, text| {
            settings.webhook_http = match text {
                "never" => HttpRule::Never,
                "test-loopback" => HttpRule::TestLoopback,
                "always" => HttpRule::Always,
                _ => return Err(String::from("expected never, test-loopback or always")),
            };
            Ok(())
        },
    },
    Setting {
        name: "webhook_networks",
        default: "",
        help: "Private networks that webhooks may go to, separated by commas",
        apply: |settings, text| networks(text).map(|list| settings.webhook_networks = list),
    },
    Setting {
        name: "webhook_ca_file",
        default: "",
        help: "File of certificates (PEM) that webhooks trust beside the system's",
        apply: |settings, text| {
            settings.webhook_ca_file = Some(PathBuf::from(text)).filter(|_| !text.is_empty());
            Ok(())
        },
    },
    Setting {
        name: "webhook_secret_grace_hours",
        default: "24",
        help: "Hours for which a replaced signing secret signs as well",
        apply: |settings, text| whole(text, 720).map(|n| settings.webhook_secret_grace_hours = n),
    },
    Setting {
        name: "webhook_event_days",
        default: "30",
        help: "Days for which events of webhooks are kept",
        apply: |settings, text| whole(text, 3650).map(|n| settings.webhook_event_days = n),
    },
    Setting {
        name: "idempotency_limit",
        default: "100000",
        help: "Answers kept for Idempotency-Key, for each account",
        apply: |settings, text| whole(text, 10_000_000).map(|n| settings.idempotency_limit = n),
    },
    Setting {
        name: "max_body_bytes",
        default: "1048576",
        help: "Largest request body in bytes",
        apply: |settings, text| number(text, 1024, 64 << 20).map(|n| settings.max_body_bytes = n),
    },
    Setting {
        name: "connections_per_address",
        default: "4096",
        help: "Connections that one client address may have, unless it is a trusted proxy",
        apply: |settings, text| {
            number(text, 1, 16_384).map(|n| settings.connections_per_address = n)
        },
    },
    Setting {
        name: "log_format",
        default: "readable",
        help: "Log lines: readable, json, or off for no line a request",
        apply: |settings, text| {
            settings.log_format = match text {
                "json" => LogFormat::Json,
                "readable" => LogFormat::Readable,
                "off" => LogFormat::Off,
                _ => return Err(String::from("expected readable, json or off")),
            };
            Ok(())
        },
    },
    Setting {
        name: "smtp_url",
        default: "",
        help: "Mail server: smtps://user@host or smtp://user@host:587; without it no mail is sent",
        apply: |settings, text| {
            settings.smtp_url = if text.is_empty() { None } else { Some(SmtpUrl::parse(text)?) };
            Ok(())
        },
    },
    Setting {
        name: "smtp_from",
        default: "",
        help: "Sender of mail, such as Keyward <keyward@example.com>",
        apply: |settings, text| {
            settings.smtp_from = if text.is_empty() { None } else { Some(smtp::sender(text)?) };
            Ok(())
        },
    },
    Setting {
        name: "smtp_password_file",
        default: "",
        help: "File with the password of the mail server's user",
        apply: |settings, text| {
            settings.smtp_password_file = Some(PathBuf::from(text)).filter(|_| !text.is_empty());
            Ok(())
        },
    },
];

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
