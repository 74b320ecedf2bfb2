//! Settings that contradict one another, and who is shown what in a handshake.

use tokio::io::AsyncReadExt as _;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::pki_types::{ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme, SupportedProtocolVersion,
};

use super::super::acme::challenge::ALPN;
use super::*;

#[test]
fn plain_http_is_for_this_machine_unless_somebody_said_otherwise() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |change: fn(&mut Settings), expected: Result<(), &str>| {
        let mut settings = Settings { data_dir: folder.path().join("data"), ..Settings::default() };
        settings.listen = ([192, 0, 2, 1], 8080).into();
        change(&mut settings);
        let tls = Tls::from_settings(&settings, UnixMillis(0)).map(|_| ());
        match (tls, expected) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(part)) if format!("{error:#}").contains(part) => {}
            (got, expected) => panic!("{got:?} in place of {expected:?}"),
        }
    };
    check(|_| {}, Err("keys would travel in clear"));
    check(|s| s.listen = ([0, 0, 0, 0], 8080).into(), Err("--insecure-http"));
    check(|s| s.listen = ([127, 0, 0, 1], 8080).into(), Ok(()));
    check(|s| s.listen = "[::1]:8080".parse().expect("an address"), Ok(()));
    check(|s| s.insecure_http = true, Ok(()));
    check(|s| s.trusted_proxies = vec!["10.0.0.1/32".parse().expect("one")], Ok(()));
    check(|s| s.tls_self_signed = true, Ok(()));
    check(|s| s.tls_cert = Some(PathBuf::from("chain.pem")), Err("go together"));
    check(|s| s.tls_key = Some(PathBuf::from("key.pem")), Err("go together"));
    check(
        |s| {
            s.tls_cert = Some(PathBuf::from("no/chain.pem"));
            s.tls_key = Some(PathBuf::from("no/key.pem"));
        },
        Err("no/chain.pem cannot be read"),
    );
    check(
        |s| {
            s.tls_self_signed = true;
            s.tls_cert = Some(PathBuf::from("chain.pem"));
        },
        Err("not both"),
    );
    fn with_acme(settings: &mut Settings) {
        settings.acme_domains = vec![String::from("keys.example.com")];
        settings.acme_agree_tos = true;
    }
    check(with_acme, Ok(()));
    check(|s| s.acme_agree_tos = true, Err("keys would travel in clear"));
    let disagree = |s: &mut Settings| {
        with_acme(s);
        s.acme_agree_tos = false;
    };
    check(disagree, Err("set acme_agree_tos (--acme-agree-tos) to say that you do"));
    let self_signed = |s: &mut Settings| {
        with_acme(s);
        s.tls_self_signed = true;
    };
    check(self_signed, Err("leave one of the two"));
    let of_files = |s: &mut Settings| {
        with_acme(s);
        s.tls_key = Some(PathBuf::from("key.pem"));
    };
    check(of_files, Err("leave one of the two"));
    let untrusted = |s: &mut Settings| {
        with_acme(s);
        s.acme_ca_file = Some(PathBuf::from("no/ca.pem"));
    };
    check(untrusted, Err("acme_ca_file cannot be used"));
}

const NAME: &str = "keys.example.com";
const DIGEST: [u8; 32] = *b"this would be a digest of a key.";

/// Takes whatever certificate there is, as a certificate authority does that comes for a proof.
#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    // The library cannot read a certificate with an extension that is critical and that it does not know.
    // That signatures are right is shown to Pebble (tests/acme.rs).

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// What a client gets that offers `alpn` for a name: what is spoken, the certificate, and what is
/// answered to HTTP; or why there is nothing. And whether a connection was handed on to HTTP.
async fn shake(
    tls: &Tls,
    name: &'static str,
    alpn: &[&[u8]],
    version: &'static SupportedProtocolVersion,
) -> (Result<(Option<Vec<u8>>, Vec<u8>, Vec<u8>), String>, bool) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("the provider knows it")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|alpn| alpn.to_vec()).collect();
    let client = async {
        let stream = TcpStream::connect(address).await.expect("it listens");
        let name = ServerName::try_from(name).expect("a name");
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        let mut stream = stream.map_err(|error| error.to_string())?;
        let (_, session) = stream.get_ref();
        let spoken = session.alpn_protocol().map(<[u8]>::to_vec);
        let leaf = session.peer_certificates().expect("there is one")[0].to_vec();
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: keys.example.com\r\n\r\n").await;
        let mut answer = vec![];
        // Its connection may be reset with our request unread.
        let _ = stream.read_to_end(&mut answer).await;
        Ok((spoken, leaf, answer))
    };
    let server = async {
        let (stream, _) = listener.accept().await.expect("somebody comes");
        let Some(mut accepted) = tls.accept(stream).await else { return false };
        accepted.write_all(b"HTTP").await.expect("it reads");
        accepted.shutdown().await.expect("it reads");
        true
    };
    tokio::join!(client, server)
}

#[tokio::test]
async fn the_proof_is_shown_to_who_asks_for_it_alone_and_only_while_it_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings {
        data_dir: folder.path().join("data"),
        acme_domains: vec![NAME.to_owned()],
        acme_agree_tos: true,
        ..Settings::default()
    };
    let tls = Tls::from_settings(&settings, UnixMillis(1_704_067_200_000));
    let tls = tls.expect("the settings are right").expect("it is on");
    let Source::Acme(acme) = &tls.source else { panic!("another source") };
    // The extension of RFC 8737: its number, that it is critical, and the digest in a text of bytes.
    let mut extension = vec![6, 8, 0x2b, 6, 1, 5, 5, 7, 1, 31, 1, 1, 0xff, 4, 34, 4, 32];
    extension.extend_from_slice(&DIGEST);
    let is_proof = |leaf: &[u8]| leaf.windows(extension.len()).any(|part| part == extension);
    let ordinary: &[&[&[u8]]] = &[&[b"h2", b"http/1.1"], &[b"http/1.1"], &[]];
    let mixed: &[&[u8]] = &[ALPN, b"http/1.1"];
    for version in [&version::TLS12, &version::TLS13] {
        let (got, is_served) = shake(&tls, NAME, &[ALPN], version).await;
        let refused = got.expect_err("nothing is to be proved");
        assert!(refused.contains("NoApplicationProtocol") && !is_served, "{refused}");

        let pending = acme.challenges.begin(NAME, &DIGEST).expect("it is made");
        let (got, is_served) = shake(&tls, NAME, &[ALPN], version).await;
        let (spoken, leaf, answer) = got.expect("it is proved");
        assert_eq!(spoken.as_deref(), Some(ALPN));
        assert!(is_proof(&leaf), "{leaf:x?}");
        assert!(answer.is_empty() && !is_served, "HTTP is spoken: {answer:?}");
        let (got, is_served) = shake(&tls, "other.example.com", &[ALPN], version).await;
        assert!(got.expect_err("another name").contains("NoApplicationProtocol"));
        assert!(!is_served);
        for offered in ordinary {
            let (got, is_served) = shake(&tls, NAME, offered, version).await;
            let (spoken, leaf, answer) = got.expect("the usual one");
            assert_eq!(spoken.as_deref(), offered.first().copied());
            assert!(!is_proof(&leaf) && is_served && answer == b"HTTP", "{offered:?}");
        }
        let (got, is_served) = shake(&tls, NAME, mixed, version).await;
        let (spoken, leaf, _) = got.expect("who offers something else as well is no authority");
        assert_eq!(spoken.as_deref(), Some(&b"http/1.1"[..]));
        assert!(!is_proof(&leaf) && is_served);
        drop(pending);
        let (got, _) = shake(&tls, NAME, &[ALPN], version).await;
        assert!(got.is_err(), "it is over");
    }
}
