//! Certificates by ACME (RFC 8555): ordered at the first start, kept, and renewed while it runs.
//!
//! Nobody waits for it. Until the first certificate comes there is one of our own making, and when an order
//! fails the one in force stays. What is decided when is in [`plan`], what is kept in [`files`], the proof
//! that a name leads here in [`challenge`], what is said to the ACME server in [`order`].

pub mod challenge;
pub mod files;
mod order;
pub mod plan;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use keyward_core::time::{DAY_MILLIS, UnixMillis};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, date_time_ymd};
use tokio::sync::Mutex;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::certificate::Validity;
use crate::app::{Chance, Clock};
use crate::config::Settings;
use crate::observe::log::{Level, Log};
use crate::outbound::Outbound;
use challenge::Challenges;
use files::{Folder, Stored, compose};
use order::{Check, Failed, Http, Ordering, in_folder, words};
use plan::Attempts;

/// An order takes no longer.
const ORDER_WITHIN: Duration = Duration::from_secs(300);
/// The one of our own making is good for so long: whoever watches when it ends is told soon enough.
const PLACEHOLDER_MILLIS: i64 = 7 * DAY_MILLIS;

/// What is ordered.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub domains: Vec<String>,
    pub directory: String,
    pub email: Option<String>,
    /// In one line, to know whether what is kept is still what is wanted.
    pub of: String,
}

impl Wanted {
    /// What the settings ask for; nothing without names.
    ///
    /// # Errors
    /// If they contradict others, or nobody has agreed to the terms of service.
    pub fn from_settings(settings: &Settings) -> anyhow::Result<Option<Self>> {
        if settings.acme_domains.is_empty() {
            return Ok(None);
        }
        if settings.tls_cert.is_some() || settings.tls_key.is_some() || settings.tls_self_signed {
            bail!(
                "acme_domains has a certificate ordered, and tls_cert, tls_key or tls_self_signed name \
                 another one: leave one of the two"
            );
        }
        if !settings.acme_agree_tos {
            bail!(
                "acme_domains orders a certificate from {}, which asks you to agree to its terms of \
                 service: read them (Let's Encrypt: https://letsencrypt.org/repository/), then set \
                 acme_agree_tos (--acme-agree-tos) to say that you do",
                settings.acme_directory
            );
        }
        let mut sorted = settings.acme_domains.clone();
        sorted.sort();
        Ok(Some(Self {
            of: format!("For {} from {}", sorted.join(", "), settings.acme_directory),
            domains: settings.acme_domains.clone(),
            directory: settings.acme_directory.clone(),
            email: settings.acme_email.clone(),
        }))
    }

    /// Whether a certificate is what is wanted now.
    #[must_use]
    pub fn is_met_by(&self, stored: &Stored) -> bool {
        self.of == stored.of && self.covers(&stored.key)
    }

    fn covers(&self, key: &CertifiedKey) -> bool {
        let leaf = key.cert.first().and_then(|leaf| ParsedCertificate::try_from(leaf).ok());
        let is_for = |name: &String| {
            let name = ServerName::try_from(name.as_str()).ok();
            leaf.as_ref()
                .zip(name)
                .is_some_and(|(leaf, name)| verify_server_name(leaf, &name).is_ok())
        };
        self.domains.iter().all(is_for)
    }

    fn names(&self) -> String {
        self.domains.join(", ")
    }
}

/// Orders certificates and keeps them.
pub struct Acme {
    wanted: Wanted,
    folder: Folder,
    outbound: Arc<Outbound>,
    pub(super) challenges: Challenges,
    /// Held during an order: there is one at a time.
    state: Mutex<State>,
}

/// What is known of the past.
struct State {
    /// The life of the certificate that is kept, if it is what is wanted.
    stored: Option<Validity>,
    attempts: Option<Attempts>,
    /// Why one is ordered although one was kept.
    reason: &'static str,
}

impl Acme {
    /// What the settings ask for, with the certificate to begin with: the one that is kept, as long as it can
    /// be read, or one of our own making.
    ///
    /// # Errors
    /// If the settings contradict one another, or a file that they name cannot be read.
    pub(super) fn from_settings(
        settings: &Settings,
        now: UnixMillis,
    ) -> anyhow::Result<Option<(Self, Arc<CertifiedKey>)>> {
        let Some(wanted) = Wanted::from_settings(settings)? else { return Ok(None) };
        let outbound = Outbound::anywhere_by_https(settings.acme_ca_file.as_deref())
            .context("acme_ca_file cannot be used")?;
        let folder = Folder::within(&settings.data_dir);
        let (stored, reason) = match folder.certificate() {
            Ok(Some(stored)) => (Some(stored), "what was ordered before is not what is set now"),
            Ok(None) => (None, "there is none yet"),
            Err(_) => (None, "the one that was kept cannot be used"),
        };
        // Why also one for other names: those that had it go on, and a new one is on its way.
        let first = match &stored {
            Some(stored) => Arc::clone(&stored.key),
            None => Arc::new(placeholder(&wanted, now)?),
        };
        let state = State {
            stored: stored.filter(|stored| wanted.is_met_by(stored)).map(|stored| stored.validity),
            attempts: folder.attempts(),
            reason,
        };
        let (challenges, outbound) = (Challenges::default(), Arc::new(outbound));
        let state = Mutex::new(state);
        Ok(Some((Self { wanted, folder, outbound, challenges, state }, first)))
    }

    /// Orders a certificate if one is due, and puts it in force once it is kept: true if it did.
    pub(super) async fn renew(
        &self,
        clock: &Clock,
        chance: &Chance,
        log: &Log,
        put_in_force: impl FnOnce(Arc<CertifiedKey>),
    ) -> bool {
        let mut state = self.state.lock().await;
        let now = clock.wall();
        let Wanted { of, directory, .. } = &self.wanted;
        if !plan::is_due(state.stored, state.attempts.as_ref(), of, now) {
            return false;
        }
        let names = self.wanted.names();
        let reason = if state.stored.is_some() { "it is time to renew it" } else { state.reason };
        let message = format!("ordering a certificate for {names} from {directory}: {reason}");
        log.say(now, Level::Info, &message);
        let mut attempts = Attempts::begin(state.attempts.as_ref(), of, now, chance);
        // Before it is begun, so that a server that dies meanwhile does not begin anew at each start.
        state.attempts = Some(attempts.clone());
        let got = match self.folder.write_attempts(&attempts) {
            Ok(()) => self.order().await,
            Err(error) => Err(in_folder(&error)),
        };
        let now = clock.wall();
        let (stored, failed) = match got {
            Ok(stored) if plan::renew_at(stored.validity) > now => (Some(stored), None),
            // It is good for something, but to order another one at once would go on for ever.
            Ok(stored) => {
                let until = crate::when(stored.validity.ends_at);
                let why = format!(
                    "the certificate that came is good until {until}, and by the clock of this machine \
                     it is to be renewed already: check the clock"
                );
                (Some(stored), Some(words(why)))
            }
            Err(failed) => (None, Some(failed)),
        };
        if let Some(stored) = &stored {
            put_in_force(Arc::clone(&stored.key));
            state.stored = Some(stored.validity);
            let message = format!(
                "the certificate for {names} is in force, good until {}; it is renewed after {}",
                crate::when(stored.validity.ends_at),
                crate::when(plan::renew_at(stored.validity))
            );
            log.say(now, Level::Info, &message);
        }
        match failed {
            None => {
                state.attempts = None;
                self.folder.forget_attempts();
            }
            Some(Failed { why, check, patience }) => {
                attempts.fail(now, why, patience);
                log.say(now, Level::Error, &self.told(&attempts, check));
                // In memory it is known in any case; on disk stands at least that it was begun.
                let _ = self.folder.write_attempts(&attempts);
                state.attempts = Some(attempts);
            }
        }
        stored.is_some()
    }

    /// An order from beginning to end; what came of it is kept when this returns.
    async fn order(&self) -> Result<Stored, Failed> {
        let ordering = Ordering {
            wanted: &self.wanted,
            folder: &self.folder,
            challenges: &self.challenges,
            http: Http::new(Arc::clone(&self.outbound)),
        };
        let got = tokio::time::timeout(ORDER_WITHIN, ordering.run()).await;
        let text = got.unwrap_or_else(|_| {
            Err(words(format!("it took longer than {} s", ORDER_WITHIN.as_secs())))
        })?;
        let stored = files::parse(&text).map_err(|error| {
            words(format!("what came is no certificate for our key: {error:#}"))
        })?;
        if !self.wanted.covers(&stored.key) {
            return Err(words(String::from("the certificate that came is not for all names")));
        }
        self.folder.write_certificate(&text).map_err(|error| in_folder(&error))?;
        Ok(stored)
    }

    /// What an operator must know of a failure: what happened, what it means, what to look at.
    fn told(&self, attempts: &Attempts, check: Check) -> String {
        let (names, directory) = (self.wanted.names(), &self.wanted.directory);
        let check = match check {
            Check::WayHere => format!(
                "Check that {names} in DNS leads to this machine (A and AAAA), and that port 443 there \
                 reaches this server without another one speaking TLS in between"
            ),
            Check::WayThere => format!(
                "Check that this machine reaches {directory}, that it is an ACME server's, and that its \
                 certificate is trusted (acme_ca_file)"
            ),
            Check::Words => String::from("Read what it says, and check the settings acme_…"),
            Check::Folder => String::from("Check the disk and the rights of the data folder"),
        };
        format!(
            "no certificate for {names} came from {directory}: {}. {check}. The one in force stays. It is \
             tried again after {}; remove {} and restart to try at once",
            attempts.why,
            crate::when(UnixMillis(attempts.next_at)),
            self.folder.attempts_file().display()
        )
    }
}

/// A certificate that nobody vouches for, so that the server is there at once.
fn placeholder(wanted: &Wanted, now: UnixMillis) -> anyhow::Result<CertifiedKey> {
    let day = |at: UnixMillis| {
        let at = jiff::Timestamp::from_millisecond(at.0)?;
        let date = jiff::tz::TimeZone::UTC.to_datetime(at).date();
        let (month, day) = (u8::try_from(date.month())?, u8::try_from(date.day())?);
        anyhow::Ok(date_time_ymd(i32::from(date.year()), month, day))
    };
    let mut params = CertificateParams::new(wanted.domains.clone())?;
    params.distinguished_name = DistinguishedName::new();
    params.not_before = day(now)?;
    params.not_after = day(now + PLACEHOLDER_MILLIS)?;
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let key = Zeroizing::new(key.serialize_pem());
    let made = files::parse(&compose(&wanted.of, &key, &certificate.pem()))?;
    Ok(CertifiedKey::clone(&made.key))
}
