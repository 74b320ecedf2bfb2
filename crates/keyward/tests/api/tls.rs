//! HTTPS: both versions of TLS and of HTTP, another certificate, and what is refused.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::generate_simple_self_signed;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{
    ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion, crypto, version,
};

use crate::support::{BareServer, Reply, TestServer};

/// A certificate for localhost and its key, in files.
fn make_certificate(folder: &Path) -> CertificateDer<'static> {
    let made = generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(folder.join("chain.pem"), made.cert.pem()).expect("the folder is ours");
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).expect("it is ours");
    made.cert.der().clone()
}

async fn connect(
    server: &BareServer,
    trusted: &CertificateDer<'static>,
    alpn: &[u8],
    version: &'static SupportedProtocolVersion,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("it is a certificate");
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("the provider knows it")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(server.address()).await.expect("it listens");
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

type Answer = (u16, http::HeaderMap, String);

async fn read(answer: http::Response<hyper::body::Incoming>) -> Answer {
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.expect("it comes whole").to_bytes();
    let body = String::from_utf8(body.to_vec()).expect("it is text");
    (parts.status.as_u16(), parts.headers, body)
}

fn request(uri: &str, key: Option<&str>) -> http::Request<Empty<Bytes>> {
    let mut request = http::Request::get(uri);
    if let Some(key) = key {
        request = request.header("x-api-key", key);
    }
    request.body(Empty::new()).expect("a request")
}

async fn get_http1(stream: TlsStream<TcpStream>, path: &str, key: Option<&str>) -> Answer {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.expect("it speaks HTTP");
    let driving = tokio::spawn(connection);
    let mut request = request(path, key);
    request.headers_mut().insert("host", http::HeaderValue::from_static("localhost"));
    let answer = read(sender.send_request(request).await.expect("it answers")).await;
    driving.abort();
    answer
}

async fn get_http2(stream: TlsStream<TcpStream>, path: &str, key: Option<&str>) -> Answer {
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .expect("it speaks HTTP/2");
    let driving = tokio::spawn(connection);
    let request = request(&format!("https://localhost{path}"), key);
    let answer = read(sender.send_request(request).await.expect("it answers")).await;
    driving.abort();
    answer
}

async fn start(folder: &Path) -> TestServer {
    TestServer::start_with(|settings| {
        settings.tls_cert = Some(folder.join("chain.pem"));
        settings.tls_key = Some(folder.join("key.pem"));
    })
    .await
}

#[tokio::test]
async fn the_contract_is_spoken_over_tls_in_both_versions_of_http() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = make_certificate(folder.path());
    let server = start(folder.path()).await;
    let key = server.key().await;
    for (version, name) in
        [(&version::TLS12, ProtocolVersion::TLSv1_2), (&version::TLS13, ProtocolVersion::TLSv1_3)]
    {
        for alpn in ["http/1.1", "h2"] {
            let open = async || {
                let stream = connect(&server, &certificate, alpn.as_bytes(), version).await;
                let stream = stream.expect("it is trusted");
                let (_, session) = stream.get_ref();
                assert_eq!(session.protocol_version(), Some(name));
                assert_eq!(session.alpn_protocol(), Some(alpn.as_bytes()));
                stream
            };
            let get = async |path: &str, key: Option<&str>| match alpn {
                "h2" => get_http2(open().await, path, key).await,
                _ => get_http1(open().await, path, key).await,
            };
            let (status, headers, body) = get("/v3/me", Some(&key.clear)).await;
            assert_eq!(status, 200, "{body}");
            assert_eq!(headers["strict-transport-security"], "max-age=31536000");
            assert_eq!(headers["x-api-version"], "v3");
            assert_eq!(headers["x-ratelimit-limit"], "200");
            let id = headers["x-request-id"].to_str().expect("text");
            assert!(body.contains(id), "{id} {body}");
            let (status, headers, body) = get("/v3/me", None).await;
            assert_eq!(status, 401);
            assert!(body.contains("\"AUTH_001\"") && headers.contains_key("www-authenticate"));
            // The documents name this server as its reader does.
            let (status, _, page) = get("/docs", None).await;
            assert_eq!(status, 200);
            assert!(page.contains("https://localhost/v3/"), "{page}");
        }
    }
}

#[tokio::test]
async fn an_answer_to_what_cannot_be_read_asks_for_https_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = make_certificate(folder.path());
    let server = start(folder.path()).await;
    let stream = connect(&server, &certificate, b"http/1.1", &version::TLS13).await;
    let mut stream = stream.expect("it is trusted");
    stream.write_all(b"GET /\0 HTTP/1.1\r\n\r\n").await.expect("it reads");
    let mut answer = vec![];
    stream.read_to_end(&mut answer).await.expect("it answers and ends");
    let answer = Reply::parse(&answer);
    assert_eq!((answer.status, answer.code().as_str()), (400, "REQUEST_007"), "{answer:?}");
    assert_eq!(answer.header("strict-transport-security"), Some("max-age=31536000"));
    // And over plain HTTP it does not.
    let server = TestServer::start().await;
    let answer = server.raw(b"GET /\0 HTTP/1.1\r\n\r\n").await;
    assert_eq!((answer.status, answer.header("strict-transport-security")), (400, None));
}

#[tokio::test]
async fn another_certificate_is_taken_over_and_a_bad_one_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = make_certificate(folder.path());
    let server = start(folder.path()).await;
    let running = server.running();
    let connect =
        async |trusted: &_| connect(&server, trusted, b"http/1.1", &version::TLS13).await.ok();
    assert!(!running.look_for_certificate().expect("nothing changed"));
    let old = connect(&first).await.expect("it is trusted");
    let second = make_certificate(folder.path());
    assert!(running.look_for_certificate().expect("they go together"));
    assert!(connect(&first).await.is_none());
    let (status, ..) = get_http1(connect(&second).await.expect("trusted"), "/docs", None).await;
    assert_eq!(status, 200);
    assert_eq!(get_http1(old, "/docs", None).await.0, 200, "what was connected goes on");
    // The key of another certificate, as between two writes of a renewal.
    let elsewhere = tempfile::tempdir().expect("a folder");
    make_certificate(elsewhere.path());
    std::fs::copy(elsewhere.path().join("key.pem"), folder.path().join("key.pem")).expect("ours");
    let error = running.look_for_certificate().expect_err("they do not go together");
    assert!(format!("{error:#}").contains("do not go together"), "{error:#}");
    assert!(!running.look_for_certificate().expect("said once"));
    assert!(connect(&second).await.is_some(), "the last good one stays");
    std::fs::copy(elsewhere.path().join("chain.pem"), folder.path().join("chain.pem"))
        .expect("ours");
    assert!(running.look_for_certificate().expect("now they do"));
    assert!(connect(&second).await.is_none());
    // The server looks by itself as well.
    let last = make_certificate(folder.path());
    server.wait_for_log("the new TLS certificate is in force").await;
    assert!(connect(&last).await.is_some());
}

#[tokio::test]
async fn who_speaks_no_tls_is_not_answered_and_holds_up_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = make_certificate(folder.path());
    let server = start(folder.path()).await;
    let mut silent = vec![];
    for n in 0..50 {
        let mut stream = TcpStream::connect(server.address()).await.expect("it listens");
        if n % 2 == 0 {
            stream.write_all(b"GET /v3/me HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("it reads");
        }
        silent.push(stream);
    }
    let stream = connect(&server, &certificate, b"h2", &version::TLS13).await.expect("trusted");
    assert_eq!(get_http2(stream, "/healthcheck", None).await.0, 200);
    // What is there instead is an alert of TLS, or nothing, and never HTTP.
    let mut first = [0; 4];
    let n = silent[0].peek(&mut first).await.unwrap_or(0);
    assert_ne!(&first[..n], b"HTTP");
}

#[tokio::test]
async fn a_certificate_of_its_own_making_is_kept_for_the_next_start() {
    let mut server = TestServer::start_with(|settings| settings.tls_self_signed = true).await;
    let file = server.data_dir().join("self-signed.crt");
    let trusted = CertificateDer::from_pem_file(&file).expect("it is made");
    let reach = async |server: &TestServer, trusted: &_| {
        let stream = connect(server, trusted, b"http/1.1", &version::TLS13).await.ok()?;
        Some(get_http1(stream, "/healthcheck", None).await.0)
    };
    assert_eq!(reach(&server, &trusted).await, Some(200));
    server.restart().await;
    assert_eq!(reach(&server, &trusted).await, Some(200));
    server
        .change_settings(|settings| settings.public_url = Some("https://keys.example".to_owned()));
    server.restart().await;
    assert_eq!(reach(&server, &trusted).await, None, "it is for other names now");
    let trusted = CertificateDer::from_pem_file(&file).expect("it is made");
    assert_eq!(reach(&server, &trusted).await, Some(200));
}
