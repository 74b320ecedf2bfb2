//! The table of settings: a row each, with its name, its default and what it does to [`Settings`].

use std::path::PathBuf;

use super::values::{
    acme_directory, acme_email, address_or_off, collector, domains, limit, networks, number,
    public_url, whole, yes_or_no,
};
use super::{HttpRule, LogFormat, Settings, SmtpUrl, smtp};

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
        name: "acme_domains",
        default: "",
        help: "Names, separated by commas, for which a certificate is ordered by ACME",
        apply: |settings, text| domains(text).map(|names| settings.acme_domains = names),
    },
    Setting {
        name: "acme_agree_tos",
        default: "false",
        help: "The terms of service of the certificate authority are agreed to",
        apply: |settings, text| yes_or_no(text).map(|is| settings.acme_agree_tos = is),
    },
    Setting {
        name: "acme_email",
        default: "",
        help: "Address at which the certificate authority may write about the certificates",
        apply: |settings, text| acme_email(text).map(|address| settings.acme_email = address),
    },
    Setting {
        name: "acme_directory",
        default: "https://acme-v02.api.letsencrypt.org/directory",
        help: "Address of the ACME server",
        apply: |settings, text| acme_directory(text).map(|url| settings.acme_directory = url),
    },
    Setting {
        name: "acme_ca_file",
        default: "",
        help: "File of certificates (PEM) by which the ACME server is trusted, beside the system's",
        apply: |settings, text| {
            settings.acme_ca_file = Some(PathBuf::from(text)).filter(|_| !text.is_empty());
            Ok(())
        },
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
