//! HTTPS: the certificate that connections are answered with, and a new one when its files change or one comes
//! by ACME.
//!
//! TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1. A certificate that is renewed is taken over for new
//! connections within seconds; one that cannot be used leaves the last good one in place, and the log
//! says why.

use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use keyward_core::time::UnixMillis;
use keyward_store::Trouble;
use rcgen::generate_simple_self_signed;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{Acceptor, ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{ServerConfig, version};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

use super::acme::Acme;
use super::acme::challenge::Challenges;
use super::certificate::{self, Validity};
use crate::app::{Chance, Clock};
use crate::config::Settings;
use crate::observe::log::{Level, Log};

/// A client that has not agreed on keys by then is not waited for.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The files are looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// In the data folder, with `tls_self_signed`.
const SELF_SIGNED: [&str; 2] = ["self-signed.crt", "self-signed.key"];

/// What HTTPS is spoken with.
pub struct Tls {
    source: Source,
    current: Arc<Current>,
    acceptor: TlsAcceptor,
    /// Nobody but its maker vouches for the certificate.
    self_signed: Option<SelfSigned>,
}

/// Where a certificate of our own making is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelfSigned {
    Kept(PathBuf),
    /// The disk took nothing: in memory, until the next start.
    InMemory,
}

/// Where certificates come from.
enum Source {
    Files {
        files: [PathBuf; 2],
        /// What they looked like when they were last read, and whether that was good.
        seen: Mutex<(Stamp, bool)>,
    },
    Acme(Box<Acme>),
}

/// Device, number, size and time of change of certificate and key: tells when one is another.
type Stamp = [Option<(u64, u64, u64, i64, i64)>; 2];

/// The certificate in force.
///
/// Locks: held to copy a pointer, and to put another in its place.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl Current {
    fn put(&self, key: Arc<CertifiedKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = key;
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Tls {
    /// What the settings ask for; nothing for plain HTTP.
    ///
    /// # Errors
    /// If certificate and key cannot be read or do not belong together, one is named without the other,
    /// settings contradict one another, or HTTP would be spoken to other machines without anybody having
    /// said that this is meant.
    pub fn from_settings(settings: &Settings, now: UnixMillis) -> anyhow::Result<Option<Self>> {
        if let Some((acme, first)) = Acme::from_settings(settings, now)? {
            return Self::new(Source::Acme(Box::new(acme)), first, None).map(Some);
        }
        let provider = aws_lc_rs::default_provider();
        let (files, first, self_signed) =
            match (&settings.tls_cert, &settings.tls_key, settings.tls_self_signed) {
                (Some(certificate), Some(key), false) => {
                    let files = [certificate.clone(), key.clone()];
                    let first = read(&files, &provider)?;
                    (files, first, None)
                }
                (None, None, true) => make_self_signed(settings, &provider)?,
                (None, None, false) => {
                    check_plain_http(settings)?;
                    return Ok(None);
                }
                (_, _, true) => bail!("either tls_self_signed or files of a certificate, not both"),
                _ => bail!("tls_cert and tls_key go together: name the file of each"),
            };
        let seen = Mutex::new((stamp(&files), true));
        Self::new(Source::Files { files, seen }, Arc::new(first), self_signed).map(Some)
    }

    fn new(
        source: Source,
        first: Arc<CertifiedKey>,
        self_signed: Option<SelfSigned>,
    ) -> anyhow::Result<Self> {
        let current = Arc::new(Current(RwLock::new(first)));
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
                .with_no_client_auth()
                .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { source, current, acceptor, self_signed })
    }

    /// Whether and where it is a certificate of our own making.
    #[must_use]
    pub const fn self_signed(&self) -> Option<&SelfSigned> {
        self.self_signed.as_ref()
    }

    /// Agrees on keys with a client. `None` if it does not, or takes too long.
    pub(super) async fn accept(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let accepting = async {
            match &self.source {
                // In a box, for it is rare and would make every connection larger.
                Source::Acme(acme) if acme.challenges.is_pending() => {
                    Box::pin(self.prove_or_accept(&acme.challenges, stream)).await
                }
                _ => self.acceptor.accept(stream).await.ok(),
            }
        };
        tokio::time::timeout(HANDSHAKE_TIMEOUT, accepting).await.ok()?
    }

    /// Proves to a certificate authority that a name leads here, and is done with it; agrees on keys with
    /// anybody else, which `acme-tls/1` is no part of.
    async fn prove_or_accept(
        &self,
        challenges: &Challenges,
        stream: TcpStream,
    ) -> Option<TlsStream<TcpStream>> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await.ok()?;
        let Some(proof) = challenges.answer(&start.client_hello()) else {
            return start.into_stream(Arc::clone(self.acceptor.config())).await.ok();
        };
        let mut proved = start.into_stream(proof).await.ok()?;
        // Whether the other side waits for the end is its own affair.
        let _ = proved.shutdown().await;
        None
    }

    /// From when on and until when the certificate in force is good, as far as it can be read.
    #[must_use]
    pub fn validity(&self) -> Option<Validity> {
        let key = Arc::clone(&self.current.0.read().unwrap_or_else(PoisonError::into_inner));
        certificate::validity(key.cert.first()?)
    }

    /// Orders a certificate by ACME if one is due, and takes it over: true if it did.
    pub async fn renew(&self, clock: &Clock, chance: &Chance, log: &Log) -> bool {
        let Source::Acme(acme) = &self.source else { return false };
        acme.renew(clock, chance, log, |key| self.current.put(key)).await
    }

    /// Takes over another certificate if the files changed: true if it did.
    ///
    /// # Errors
    /// If they changed and cannot be used; the last good one stays. Said once a change, and tried again
    /// each time, for certificate and key do not change at once.
    pub fn look(&self) -> anyhow::Result<bool> {
        let Source::Files { files, seen } = &self.source else { return Ok(false) };
        let stamp = stamp(files);
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, was_good) = *seen;
        if before == stamp && was_good {
            return Ok(false);
        }
        let read = read(files, &aws_lc_rs::default_provider());
        *seen = (stamp, read.is_ok());
        match read {
            Ok(key) => {
                self.current.put(Arc::new(key));
                Ok(true)
            }
            Err(_) if before == stamp => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Looks at the files, or whether a certificate is to be ordered, until told to stop.
pub async fn follow(
    tls: Arc<Tls>,
    clock: Clock,
    chance: Chance,
    log: Log,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        // An order is not waited for when all is to stop: it is noted that it was begun.
        tokio::select! {
            _ = tls.renew(&clock, &chance, &log) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        match tls.look() {
            Ok(false) => {}
            Ok(true) => log.say(clock.wall(), Level::Info, "the new TLS certificate is in force"),
            Err(error) => {
                let message = format!(
                    "the new TLS certificate cannot be used, the last one stays in force: {error:#}"
                );
                log.say(clock.wall(), Level::Error, &message);
            }
        }
    }
}

pub(crate) fn check_plain_http(settings: &Settings) -> anyhow::Result<()> {
    if settings.is_open_http() && !settings.insecure_http {
        bail!(
            "{} can be reached from other machines, where keys would travel in clear. Speak HTTPS with \
             --tls-cert FILE and --tls-key FILE, have a certificate ordered with --acme-domains NAME (or try \
             it out with --tls-self-signed), name the proxy that speaks it with --trusted-proxies CIDR, \
             listen on 127.0.0.1, or say with --insecure-http that this is meant",
            settings.listen
        );
    }
    Ok(())
}

fn stamp(files: &[PathBuf; 2]) -> Stamp {
    let of = |file: &PathBuf| {
        let file = std::fs::metadata(file).ok()?;
        Some((file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
    };
    [of(&files[0]), of(&files[1])]
}

pub(crate) fn read(
    [certificate, key]: &[PathBuf; 2],
    provider: &CryptoProvider,
) -> anyhow::Result<CertifiedKey> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .with_context(|| format!("the certificate {} cannot be read", certificate.display()))?;
    if chain.is_empty() {
        bail!("{} holds no certificate in PEM", certificate.display());
    }
    let secret = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("the key {} cannot be read", key.display()))?;
    CertifiedKey::from_der(chain, secret, provider).with_context(|| {
        format!("{} and {} do not go together", certificate.display(), key.display())
    })
}

/// A certificate that nobody but its maker vouches for, kept so that whoever trusts it need not do so
/// again. It is made anew when it is for other names. On a disk that takes nothing it is not kept.
fn make_self_signed(
    settings: &Settings,
    provider: &CryptoProvider,
) -> anyhow::Result<([PathBuf; 2], CertifiedKey, Option<SelfSigned>)> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let ip = settings.listen.ip();
    if !ip.is_unspecified() && !names.contains(&ip.to_string()) {
        names.push(ip.to_string());
    }
    let host = settings.public_url.as_deref().and_then(|url| url::Url::parse(url).ok());
    if let Some(host) = host.as_ref().and_then(url::Url::host_str) {
        let host = host.trim_matches(['[', ']']).to_owned();
        if !names.contains(&host) {
            names.push(host);
        }
    }
    keyward_store::create_folder(&settings.data_dir)
        .with_context(|| format!("{} cannot be used", settings.data_dir.display()))?;
    let files = SELF_SIGNED.map(|name| settings.data_dir.join(name));
    let heading = format!("Self-signed by Keyward for {}\n", names.join(", "));
    let is_there = std::fs::read_to_string(&files[0]).is_ok_and(|text| text.starts_with(&heading));
    let kept = Some(SelfSigned::Kept(files[0].clone()));
    // Why read: of two that were being written when the machine stopped, one may be of before.
    if is_there && let Ok(key) = read(&files, provider) {
        return Ok((files, key, kept));
    }
    let made = generate_simple_self_signed(names)?;
    let secret = PrivateKeyDer::try_from(made.signing_key.serialize_der());
    let secret = secret.map_err(|error| anyhow!("the key cannot be read: {error}"))?;
    let key = CertifiedKey::from_der(vec![made.cert.der().clone()], secret, provider)?;
    let written = write_private(&files[1], &made.signing_key.serialize_pem())
        .and_then(|()| write_private(&files[0], &(heading + &made.cert.pem())));
    match written {
        Ok(()) => Ok((files, key, kept)),
        Err(error) if Trouble::of_io(&error).is_some() => {
            Ok((files, key, Some(SelfSigned::InMemory)))
        }
        Err(error) => Err(error).with_context(|| {
            format!("a certificate cannot be kept in {}", settings.data_dir.display())
        }),
    }
}

/// Writes a file whole or not at all.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let partial = path.with_added_extension("partial");
    let write = || {
        let mut file = keyward_store::open_private(&partial)?;
        file.set_len(0)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&partial, path)
    };
    write().inspect_err(|_| drop(std::fs::remove_file(&partial)))
}

/// Where a browser or client goes that is on this machine.
#[must_use]
pub fn url(settings: &Settings, address: std::net::SocketAddr) -> String {
    if let Some(name) = settings.acme_domains.first() {
        return match address.port() {
            443 => format!("https://{name}"),
            port => format!("https://{name}:{port}"),
        };
    }
    let has_tls = settings.has_tls();
    let scheme = if has_tls { "https" } else { "http" };
    match address.ip() {
        // Its certificate is for the name.
        IpAddr::V4(ip) if has_tls && ip.is_loopback() => {
            format!("https://localhost:{}", address.port())
        }
        _ => format!("{scheme}://{address}"),
    }
}

#[cfg(test)]
mod tests;
