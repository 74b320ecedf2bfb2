//! The certificate: whether it is read, goes with its key, is good today, and for the right name.

use keyward_core::time::{DAY_MILLIS, UnixMillis};
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::server::ParsedCertificate;

use super::Findings;
use crate::config::Settings;
use crate::outbound::Outbound;
use crate::server::acme::Wanted;
use crate::server::acme::files::Folder;
use crate::server::certificate::{self, Validity};
use crate::server::tls;

const NAME: &str = "certificate";
/// A certificate that ends sooner should have been renewed by now.
const SOON_MILLIS: i64 = 21 * DAY_MILLIS;

pub(super) fn check(findings: &mut Findings, settings: &Settings, now: UnixMillis) {
    if let Err(error) = tls::check_plain_http(settings) {
        let next = "choose one of these: 'keyward serve' does not start";
        findings.fail(NAME, format!("{error:#}"), next);
        return;
    }
    if !settings.acme_domains.is_empty() {
        check_acme(findings, settings, now);
        return;
    }
    let files = match (&settings.tls_cert, &settings.tls_key, settings.tls_self_signed) {
        (Some(certificate), Some(key), false) => [certificate.clone(), key.clone()],
        (None, None, true) => {
            let next = "get a certificate that clients trust, for tls_cert and tls_key";
            findings.warn(NAME, "self-signed: it is for trying out", next);
            return;
        }
        (None, None, false) if settings.is_open_http() => {
            findings.warn(
                NAME,
                format!("{} speaks plain HTTP: keys can be read on their way", settings.listen),
                "give it a certificate with tls_cert and tls_key, or put a proxy in front",
            );
            return;
        }
        (None, None, false) => {
            findings.ok(NAME, "none: plain HTTP for this machine, or a proxy in front");
            return;
        }
        (_, _, true) => {
            let next = "leave one: 'keyward serve' does not start";
            findings.fail(NAME, "tls_self_signed and files of a certificate are both set", next);
            return;
        }
        _ => {
            let next = "name the other file as well: 'keyward serve' does not start";
            findings.fail(NAME, "tls_cert and tls_key go together, and one is missing", next);
            return;
        }
    };
    let next = "mend the files: a server that runs keeps its last good certificate, one that \
                starts does not start";
    let chain = match tls::read(&files, &aws_lc_rs::default_provider()) {
        Ok(certified) => certified.cert,
        Err(error) => {
            findings.fail(NAME, format!("{error:#}"), next);
            return;
        }
    };
    let Some(leaf) = chain.first() else {
        findings.fail(NAME, "the file holds no certificate", next);
        return;
    };
    let renew = format!("renew it and write the new one to {}", files[0].display());
    check_life(findings, leaf, now, SOON_MILLIS, &renew);
    if findings.is_silent_about(NAME) {
        check_name(findings, settings, leaf);
    }
}

/// One that is ordered by ACME: what is kept of it, and whether the last order was filled.
fn check_acme(findings: &mut Findings, settings: &Settings, now: UnixMillis) {
    let does_not_start = "mend it: 'keyward serve' does not start";
    let wanted = match Wanted::from_settings(settings) {
        Ok(Some(wanted)) => wanted,
        Ok(None) => return,
        Err(error) => {
            findings.fail(NAME, format!("{error:#}"), does_not_start);
            return;
        }
    };
    if let Err(error) = Outbound::anywhere_by_https(settings.acme_ca_file.as_deref()) {
        findings.fail(NAME, format!("acme_ca_file cannot be used: {error:#}"), does_not_start);
    }
    let folder = Folder::within(&settings.data_dir);
    let attempts = folder.attempts().filter(|attempts| attempts.of == wanted.of);
    let stored = match folder.certificate() {
        Ok(stored) => stored,
        Err(error) => {
            let next = "remove it: another one is ordered at the next start";
            findings.fail(NAME, format!("{error:#}"), next);
            return;
        }
    };
    let is_met = stored.as_ref().is_some_and(|stored| wanted.is_met_by(stored));
    if let Some(attempts) = attempts {
        let finding = format!(
            "{} orders in a row failed at {}, the last one {}: {}",
            attempts.n_failed,
            wanted.directory,
            crate::when(UnixMillis(attempts.last_at)),
            attempts.why
        );
        let next = format!(
            "mend it: the log says what to look at. The server tries again after {}; remove {} and \
             restart it to try at once",
            crate::when(UnixMillis(attempts.next_at)),
            folder.attempts_file().display()
        );
        let is_good = stored.as_ref().is_some_and(|stored| stored.validity.ends_at > now);
        if is_met && is_good {
            findings.warn(NAME, finding, next);
        } else {
            findings.fail(NAME, finding, next);
        }
    } else if !is_met {
        let names = wanted.domains.join(", ");
        let finding = format!("there is none yet for {names} from {}", wanted.directory);
        let next = "start the server: it orders one";
        findings.warn(NAME, finding, next);
    }
    let (Some(stored), true) = (stored, is_met) else { return };
    let Some(leaf) = stored.key.cert.first() else { return };
    let renew = "read in the server's log why it is not renewed; it renews only while it runs";
    check_life(findings, leaf, now, i64::MAX, renew);
    if findings.is_silent_about(NAME) {
        check_name(findings, settings, leaf);
    }
}

/// Whether it is good today, and for long enough: at the latest when a quarter of its life is left it should
/// have been renewed.
fn check_life(
    findings: &mut Findings,
    leaf: &CertificateDer<'_>,
    now: UnixMillis,
    soon: i64,
    renew: &str,
) {
    let Some(Validity { begins_at, ends_at }) = certificate::validity(leaf) else {
        findings.fail(NAME, "when it ends cannot be read", renew);
        return;
    };
    if begins_at > now {
        let next = "check the clock of this machine, or use the certificate of before until then";
        findings.fail(NAME, format!("it is good from {} on", crate::when(begins_at)), next);
    } else if ends_at <= now {
        findings.fail(NAME, format!("it ended {}", crate::when(ends_at)), renew);
    } else if ends_at - now < soon.min((ends_at - begins_at) / 4) {
        let days = (ends_at - now) / DAY_MILLIS;
        findings.warn(NAME, format!("it ends {}, in {days} days", crate::when(ends_at)), renew);
    }
}

fn check_name(findings: &mut Findings, settings: &Settings, leaf: &CertificateDer<'_>) {
    let url = settings.public_url.as_deref().and_then(|url| url::Url::parse(url).ok());
    let host = url.as_ref().and_then(url::Url::host_str).map(|host| host.trim_matches(['[', ']']));
    if let Some(host) = host {
        let is_for_host = ServerName::try_from(host).is_ok_and(|name| {
            ParsedCertificate::try_from(leaf)
                .is_ok_and(|leaf| verify_server_name(&leaf, &name).is_ok())
        });
        if !is_for_host {
            let next = "get one for that name, or correct public_url";
            findings.warn(NAME, format!("it is not for {host}, the host of public_url"), next);
            return;
        }
    }
    let end = certificate::validity(leaf).map(|life| crate::when(life.ends_at));
    let end = end.map_or_else(String::new, |end| format!(", good until {end}"));
    findings.ok(NAME, format!("goes with its key{end}"));
}
