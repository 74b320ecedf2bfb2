//! Requests that go out: a POST to an address that somebody else chose, and what is asked of a server that
//! the operator chose.
//!
//! A connection for each request, and none is kept: the address that was checked is the one that is
//! connected to. Redirects are not followed, proxies of the environment are not asked.
//!
//! Bound: 64 KiB of an answer are read, of the body of an answer to a POST [`MOST_KEPT`] bytes are kept; the
//! whole takes as long as the caller allows and no longer.

pub mod guard;

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use keyward_core::account::Environment;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use url::{Host, Url};

use crate::config::{HttpRule, Settings};

pub use guard::Guard;

/// As much of an answer as is read.
const MOST_READ: usize = 64 * 1024;
/// As much of an answer's body as is kept.
pub const MOST_KEPT: usize = 4096;
/// The body tells nothing that the status has not: it is not waited for longer.
const BODY_WITHIN: Duration = Duration::from_secs(5);
/// Addresses of a name that are tried.
const MOST_ADDRESSES: usize = 4;

/// A connection at work; dropped, it is closed at once, whatever the other side still says.
struct Driving(JoinHandle<hyper::Result<()>>);

impl Drop for Driving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

const AGENT: &str = concat!("Keyward/", env!("CARGO_PKG_VERSION"));

type Exchanged = (http::Response<Incoming>, Driving);

/// Sends requests out.
pub struct Outbound {
    pub guard: Guard,
    /// Certificates to trust beside the system's.
    more_roots: Option<PathBuf>,
    tls: OnceLock<Arc<ClientConfig>>,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    pub status: u16,
    /// The beginning, as text.
    pub body: String,
}

impl Outbound {
    /// # Errors
    /// If the file of certificates holds none.
    pub fn from_settings(settings: &Settings) -> anyhow::Result<Self> {
        let networks = settings.webhook_networks.clone();
        let guard = Guard { http: settings.webhook_http, networks };
        Self::new(guard, settings.webhook_ca_file.as_deref())
    }

    /// For an address that the operator chose: it may be anywhere.
    #[must_use]
    pub fn anywhere() -> Self {
        Self { guard: no_guard(HttpRule::Always), more_roots: None, tls: OnceLock::new() }
    }

    /// The same over HTTPS alone, trusting what is in a file as well.
    ///
    /// # Errors
    /// If the file of certificates holds none.
    pub fn anywhere_by_https(more_roots: Option<&Path>) -> anyhow::Result<Self> {
        Self::new(no_guard(HttpRule::Never), more_roots)
    }

    fn new(guard: Guard, more_roots: Option<&Path>) -> anyhow::Result<Self> {
        let outbound =
            Self { guard, more_roots: more_roots.map(Path::to_owned), tls: OnceLock::new() };
        if more_roots.is_some() {
            outbound.tls().map_err(anyhow::Error::msg)?;
        }
        Ok(outbound)
    }

    /// Made when it is first needed: reading the system's certificates takes a moment.
    fn tls(&self) -> Result<Arc<ClientConfig>, String> {
        if let Some(config) = self.tls.get() {
            return Ok(Arc::clone(config));
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = &self.more_roots {
            let fault = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
            let found = CertificateDer::pem_file_iter(path).map_err(|error| fault(&error))?;
            let mut n_added = 0;
            for certificate in found {
                let certificate = certificate.map_err(|error| fault(&error))?;
                roots.add(certificate).map_err(|error| fault(&error))?;
                n_added += 1;
            }
            if n_added == 0 {
                return Err(fault(&"holds no certificate"));
            }
        }
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // What would be kept of a session is as large as the other side likes.
        config.resumption = Resumption::disabled();
        Ok(Arc::clone(self.tls.get_or_init(|| Arc::new(config))))
    }

    /// Posts JSON. `Err` says in a few words why there is no answer.
    ///
    /// # Errors
    /// If the address may not be gone to, cannot be reached, or says nothing in time.
    pub async fn post(
        &self,
        url: &Url,
        environment: Environment,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
        within: Duration,
    ) -> Result<Posted, String> {
        let mut request = Request::post("/").header(CONTENT_TYPE, "application/json");
        request =
            headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let sending = self.send(url, environment, request);
        let (answer, _driving) = match tokio::time::timeout(within, sending).await {
            Ok(answer) => answer?,
            Err(_) => return Err(no_answer_within(within)),
        };
        let (head, body) = answer.into_parts();
        let mut kept = Vec::new();
        let reading = read(body, &mut kept);
        // What was not read by then is not needed.
        let _ = tokio::time::timeout(within.min(BODY_WITHIN), reading).await;
        kept.truncate(MOST_KEPT);
        let body = String::from_utf8_lossy(&kept).into_owned();
        Ok(Posted { status: head.status.as_u16(), body })
    }

    /// Asks for something and takes the answer whole. `Err` says in a few words why there is none.
    ///
    /// # Errors
    /// If the address may not be gone to, cannot be reached, says nothing in time or too much.
    pub async fn ask(
        &self,
        request: Request<Full<Bytes>>,
        within: Duration,
    ) -> Result<http::Response<Full<Bytes>>, String> {
        let url = Url::parse(&request.uri().to_string()).map_err(|error| error.to_string())?;
        let asking = async {
            let (answer, _driving) = self.send(&url, Environment::Production, request).await?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, MOST_READ).collect().await;
            let body = body.map_err(|error| format!("the answer cannot be read: {error}"))?;
            Ok(http::Response::from_parts(head, Full::new(body.to_bytes())))
        };
        let asked = tokio::time::timeout(within, asking).await;
        asked.unwrap_or_else(|_| Err(no_answer_within(within)))
    }

    /// Sends a request to an address; of its own it needs a method, a body, and headers but these two.
    async fn send(
        &self,
        url: &Url,
        environment: Environment,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Exchanged, String> {
        let host = url.host().ok_or("the address has no host")?;
        let port = url.port_or_known_default().ok_or("the address has no port")?;
        let is_plain = url.scheme() == "http";
        let found = resolve(&host, port).await?;
        let stream = self.connect(&found, is_plain, environment).await?;
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        *request.uri_mut() = target.parse().map_err(|_| String::from("the path cannot be sent"))?;
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        let authority = HeaderValue::try_from(authority).map_err(|error| error.to_string())?;
        request.headers_mut().insert(HOST, authority);
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if is_plain {
            return exchange(stream, request).await;
        }
        let name = match host {
            Host::Domain(name) => ServerName::try_from(name.to_owned())
                .map_err(|_| String::from("the host has no name that a certificate can have"))?,
            Host::Ipv4(address) => ServerName::from(IpAddr::from(address)),
            Host::Ipv6(address) => ServerName::from(IpAddr::from(address)),
        };
        let connector = TlsConnector::from(self.tls()?);
        let stream = connector.connect(name, stream).await;
        let stream = stream.map_err(|error| format!("TLS failed: {error}"))?;
        exchange(stream, request).await
    }

    /// Connects to the first address that may be gone to and that answers.
    async fn connect(
        &self,
        found: &[SocketAddr],
        is_plain: bool,
        environment: Environment,
    ) -> Result<TcpStream, String> {
        let mut fault = None;
        for address in found.iter().take(MOST_ADDRESSES) {
            // Here and not only when it was registered: a name may lead elsewhere by now.
            if let Err(reason) = self.guard.check(address.ip(), is_plain, environment) {
                fault = Some(reason.to_owned());
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // Without it the body would wait for the head to be acknowledged.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => fault = Some(format!("cannot connect: {}", error.kind())),
            }
        }
        Err(fault.unwrap_or_else(|| String::from("the host name has no address")))
    }
}

fn no_guard(http: HttpRule) -> Guard {
    let all = [IpAddr::from([0; 4]), IpAddr::from([0; 16])];
    Guard { http, networks: all.into_iter().filter_map(|all| IpNet::new(all, 0).ok()).collect() }
}

fn no_answer_within(within: Duration) -> String {
    format!("no answer within {} s", within.as_secs())
}

/// Lookups of names by the system, which cannot be cut short: one that is waited for no longer keeps its place
/// until the system gives up.
static LOOKUPS: Semaphore = Semaphore::const_new(128);

/// The addresses of a host.
///
/// # Errors
/// If its name leads nowhere.
pub async fn resolve(host: &Host<&str>, port: u16) -> Result<Vec<SocketAddr>, String> {
    match host {
        Host::Ipv4(address) => Ok(vec![SocketAddr::from((*address, port))]),
        Host::Ipv6(address) => Ok(vec![SocketAddr::from((*address, port))]),
        Host::Domain(name) => {
            let (name, place) = ((*name).to_owned(), LOOKUPS.acquire().await);
            let look = move || {
                let found = (name.as_str(), port).to_socket_addrs();
                drop(place);
                found
            };
            match tokio::task::spawn_blocking(look).await {
                Ok(Ok(found)) => Ok(found.collect()),
                _ => Err(String::from("the host name cannot be resolved")),
            }
        }
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Exchanged, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let no_answer = |error: hyper::Error| {
        if error.is_incomplete_message() {
            return String::from("the connection was closed without an answer");
        }
        format!("no HTTP answer: {error}")
    };
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(MOST_READ)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(no_answer)?;
    let driving = Driving(tokio::spawn(connection));
    let answer = sender.send_request(request).await.map_err(no_answer)?;
    Ok((answer, driving))
}

async fn read(mut body: Incoming, kept: &mut Vec<u8>) {
    let mut n_read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        let Some(data) = frame.data_ref() else { continue };
        n_read += data.len();
        let room = MOST_KEPT.saturating_sub(kept.len());
        kept.extend_from_slice(&data[..data.len().min(room)]);
        if n_read >= MOST_READ {
            return;
        }
    }
}

/// 2xx and nothing else: a redirect leads somewhere that nobody checked.
#[must_use]
pub fn is_success(status: u16) -> bool {
    StatusCode::from_u16(status).is_ok_and(|status| status.is_success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_acme_server_is_asked_over_https_alone() {
        let outbound = Outbound::anywhere_by_https(None).expect("it needs no file");
        for url in ["http://127.0.0.1:9/dir", "http://192.0.2.1/dir"] {
            let request = Request::get(url).body(Full::default()).expect("a request");
            let asked = outbound.ask(request, Duration::from_secs(5)).await;
            assert_eq!(asked.expect_err("nothing goes out"), "must begin with https://", "{url}");
        }
    }
}
