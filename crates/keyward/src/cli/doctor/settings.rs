//! Settings that do not exist, contradict one another, or let strangers in.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::Findings;
use crate::config::{Explained, SETTINGS, Settings, Source};
use crate::mail::Mailer;
use crate::outbound::Outbound;

const NAME: &str = "settings";

pub(super) fn check(
    findings: &mut Findings,
    settings: &Settings,
    explained: &[Explained],
    variables: &[OsString],
) {
    for name in variables {
        let name = name.to_string_lossy();
        let is_known = name == "KEYWARD_CONFIG" || SETTINGS.iter().any(|s| s.variable() == name);
        if name.starts_with("KEYWARD_") && !is_known {
            let next = "correct its name, or take it away: 'keyward config' shows what is in force";
            findings.warn(NAME, format!("the variable {name} is no setting"), next);
        }
    }
    if let Err(error) = Mailer::from_settings(settings) {
        findings.fail(NAME, format!("mail: {error:#}"), "mend it: 'keyward serve' does not start");
    }
    if settings.smtp_url.is_some() && settings.public_url.is_none() {
        let next =
            "set public_url to where people reach the dashboard, such as https://keys.example.com";
        let why =
            "mails have no links without public_url: nobody gets one for a forgotten password";
        findings.warn(NAME, why, next);
    }
    if let Err(error) = Outbound::from_settings(settings) {
        let next = "mend webhook_ca_file: 'keyward serve' does not start";
        findings.fail(NAME, format!("webhooks: {error:#}"), next);
    }
    if settings.acme_domains.is_empty()
        && (settings.acme_agree_tos || settings.acme_email.is_some())
    {
        let next = "name the hosts in acme_domains, or take the other settings acme_… away";
        findings.warn(NAME, "acme_… is set, but no acme_domains: no certificate is ordered", next);
    }
    for network in &settings.trusted_proxies {
        if network.prefix_len() == 0 {
            findings.fail(
                NAME,
                format!("trusted_proxies holds {network}: whoever asks may claim any address"),
                "name the addresses of your proxies alone",
            );
        }
    }
    if let Some(address) = settings.metrics_listen.filter(|address| !address.ip().is_loopback()) {
        findings.warn(
            NAME,
            format!("metrics_listen is {address}: who reaches it reads how much is asked for and refused"),
            "let a firewall keep strangers away, or listen on 127.0.0.1",
        );
    }
    check_public_url(findings, settings);
    for (name, file) in
        [("tls_key", &settings.tls_key), ("smtp_password_file", &settings.smtp_password_file)]
    {
        if let Some(file) = file.as_deref().filter(|file| is_open_to_others(file)) {
            findings.fail(
                NAME,
                format!("{name}: others can read {}", file.display()),
                format!("chmod 600 {}", file.display()),
            );
        }
    }
    let url = explained.iter().find(|setting| setting.name == "smtp_url");
    if settings.smtp_url.as_ref().is_some_and(|url| url.password.is_some())
        && let Some(Source::File { path, .. }) = url.map(|url| &url.source)
        && is_open_to_others(path)
    {
        findings.fail(
            NAME,
            format!("smtp_url holds a password, and others can read {}", path.display()),
            format!("chmod 600 {}, or use smtp_password_file", path.display()),
        );
    }
    let n_set = explained.iter().filter(|setting| setting.source != Source::Default).count();
    findings.ok_unless_told(NAME, format!("{n_set} are set, and they go together"));
}

fn check_public_url(findings: &mut Findings, settings: &Settings) {
    let Some(url) = &settings.public_url else { return };
    let has_tls = settings.has_tls();
    if url.starts_with("https://") && !has_tls && settings.trusted_proxies.is_empty() {
        findings.warn(
            NAME,
            format!("public_url is {url}, but no HTTPS is spoken here and no proxy is trusted"),
            "name the proxy's address in trusted_proxies, or every caller seems to be the proxy",
        );
    }
    if url.starts_with("http://") && has_tls {
        findings.warn(
            NAME,
            format!("public_url is {url}, but HTTPS is spoken here"),
            "begin public_url with https://",
        );
    }
}

fn is_open_to_others(file: &Path) -> bool {
    file.metadata().is_ok_and(|file| file.permissions().mode() & 0o077 != 0)
}
