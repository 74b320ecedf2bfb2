//! The proof that this server is the one a name leads to: TLS-ALPN-01 (RFC 8737).
//!
//! The certificate authority comes to port 443, says `acme-tls/1` and nothing else, and a name; it is shown a
//! certificate made for that moment. Nobody else ever sees that one, and no HTTP is spoken over such a
//! connection. While nothing is to be proved, `acme-tls/1` is spoken to nobody.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::{ClientHello, NoServerSessionStorage};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{ServerConfig, version};

/// What is spoken to prove it.
pub(in crate::server) const ALPN: &[u8] = b"acme-tls/1";

/// What is to be proved at the moment, by name.
///
/// Locks: held by an order to add and take away, by a handshake to copy a pointer.
/// Bound: one for each name of the settings.
#[derive(Debug, Default)]
pub struct Challenges(RwLock<HashMap<String, Arc<ServerConfig>>>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(in crate::server) struct Pending<'a> {
    challenges: &'a Challenges,
    name: String,
}

impl Challenges {
    /// Whether something is to be proved: until then no handshake need be looked at.
    pub(in crate::server) fn is_pending(&self) -> bool {
        !self.0.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Proves that `name` leads here, to whoever asks for it as a certificate authority does.
    pub(in crate::server) fn begin(
        &self,
        name: &str,
        digest: &[u8],
    ) -> Result<Pending<'_>, String> {
        let config = config(name, digest).map_err(|error| error.to_string())?;
        let mut pending = self.0.write().unwrap_or_else(PoisonError::into_inner);
        pending.insert(name.to_owned(), Arc::new(config));
        Ok(Pending { challenges: self, name: name.to_owned() })
    }

    /// What to speak with who begins so; nothing for everybody but a certificate authority.
    pub(in crate::server) fn answer(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        let mut offered = hello.alpn()?;
        if offered.next()? != ALPN || offered.next().is_some() {
            return None;
        }
        let name = hello.server_name()?.to_ascii_lowercase();
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&name).map(Arc::clone)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let mut pending = self.challenges.0.write().unwrap_or_else(PoisonError::into_inner);
        pending.remove(&self.name);
    }
}

fn config(name: &str, digest: &[u8]) -> anyhow::Result<ServerConfig> {
    anyhow::ensure!(digest.len() == 32, "the digest is none of SHA-256");
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?.der().clone();
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    let provider = aws_lc_rs::default_provider();
    let key = provider.key_provider.load_private_key(key)?;
    // Why not by the usual way: it reads the certificate, and refuses one with an extension that is critical
    // and that it does not know.
    let shown = SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key));
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(shown));
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Nobody comes back to such a connection.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}
