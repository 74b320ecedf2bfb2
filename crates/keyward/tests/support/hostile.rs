//! What hostile clients do on the wire: addresses of their own, half a handshake, frames of HTTP/2 as no
//! library would send them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto, version};

/// Each connection is a file: as many as may be. Gives how many.
pub(crate) fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("a limit may be raised to its maximum");
    limit.current.unwrap_or(u64::MAX)
}

/// A connection from one of the addresses of this machine, 127.0.0.0/8.
pub(crate) async fn connect_from(server: SocketAddr, source: Ipv4Addr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((source, 0)))?;
    socket.connect(server).await
}

/// Speaks TLS with a server whose self-signed certificate is in its data folder.
#[derive(Clone)]
pub(crate) struct Tls(TlsConnector);

impl Tls {
    pub(crate) fn of(data_dir: &Path, alpn: &[u8]) -> Self {
        let file = data_dir.join("self-signed.crt");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(file).expect("it is made")).expect("a certificate");
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .expect("the provider knows it")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        Self(TlsConnector::from(Arc::new(config)))
    }

    pub(crate) async fn connect(&self, server: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let stream = match server.ip() {
            IpAddr::V4(_) => connect_from(server, Ipv4Addr::LOCALHOST).await?,
            IpAddr::V6(_) => TcpStream::connect(server).await?,
        };
        let name = ServerName::try_from("localhost").expect("a name");
        self.0.connect(name, stream).await
    }

    /// A connection that has begun HTTP/2, with `settings` as pairs of number and value.
    pub(crate) async fn begin(
        &self,
        server: SocketAddr,
        settings: &[(u16, u32)],
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut stream = self.connect(server).await?;
        let mut payload = vec![];
        for (number, value) in settings {
            payload.extend_from_slice(&number.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(SETTINGS, 0, 0, &payload));
        stream.write_all(&bytes).await?;
        stream.flush().await?;
        Ok(stream)
    }
}

pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
/// The setting that says how much of an answer may be sent unasked.
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
/// Why a stream is reset that was one too many.
pub(crate) const REFUSED_STREAM: u32 = 7;

/// A frame of HTTP/2.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame is small").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The head of `GET path`, as HPACK writes it without compression.
pub(crate) fn get(path: &str) -> Vec<u8> {
    let text = |name: u8, value: &str| {
        let length = u8::try_from(value.len()).expect("a short value");
        [&[name, length], value.as_bytes()].concat()
    };
    // :method GET and :scheme https from the table, :authority and :path with values of their own.
    [vec![0x82, 0x87], text(0x01, "localhost"), text(0x04, path)].concat()
}

/// A request that is taken back at once.
pub(crate) fn reset(stream: u32, path: &str) -> Vec<u8> {
    let mut bytes = frame(HEADERS, END_STREAM | END_HEADERS, stream, &get(path));
    let cancel = 8_u32.to_be_bytes();
    bytes.extend(frame(RST_STREAM, 0, stream, &cancel));
    bytes
}

/// The next frame: kind, stream, payload.
pub(crate) async fn read_frame(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<(u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).expect("24 bits")];
    stream.read_exact(&mut payload).await?;
    let number = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
    Ok((head[3], number, payload))
}
