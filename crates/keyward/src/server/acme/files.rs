//! What is kept of ACME in the data folder: the account, the certificate with its key, orders that failed.
//!
//! Each file is written under another name, synced and put in its place: a crash leaves the old one or the
//! new one. Certificate and key share a file, so they always go together. None of it is in a backup, for all
//! of it can be made anew.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::plan::Attempts;
use crate::server::certificate::{self, Validity};

const FOLDER: &str = "acme";
const ACCOUNT: &str = "account.json";
const CERTIFICATE: &str = "certificate.pem";
const ATTEMPTS: &str = "attempts.json";

/// The folder of ACME within the data folder.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

/// A certificate that can be used.
#[derive(Clone, Debug)]
pub struct Stored {
    /// What was ordered, and where.
    pub of: String,
    pub key: Arc<CertifiedKey>,
    pub validity: Validity,
}

impl Folder {
    #[must_use]
    pub fn within(data_dir: &Path) -> Self {
        Self(data_dir.join(FOLDER))
    }

    /// Where failed orders are noted: without it they are forgotten.
    #[must_use]
    pub fn attempts_file(&self) -> PathBuf {
        self.0.join(ATTEMPTS)
    }

    /// The certificate that is kept.
    ///
    /// # Errors
    /// If there is one and it cannot be used.
    pub fn certificate(&self) -> anyhow::Result<Option<Stored>> {
        let path = self.0.join(CERTIFICATE);
        let Some(text) = read(&path)? else { return Ok(None) };
        let stored = parse(&text).with_context(|| format!("{} cannot be used", path.display()))?;
        Ok(Some(stored))
    }

    pub(super) fn write_certificate(&self, text: &str) -> anyhow::Result<()> {
        self.write(CERTIFICATE, text)
    }

    pub(super) fn account(&self) -> anyhow::Result<Option<Zeroizing<String>>> {
        read(&self.0.join(ACCOUNT))
    }

    pub(super) fn write_account(&self, text: &str) -> anyhow::Result<()> {
        self.write(ACCOUNT, text)
    }

    /// Orders that failed since one was filled; what cannot be read is as good as none.
    #[must_use]
    pub fn attempts(&self) -> Option<Attempts> {
        let text = read(&self.attempts_file()).ok()??;
        serde_json::from_str(&text).ok()
    }

    pub(super) fn write_attempts(&self, attempts: &Attempts) -> anyhow::Result<()> {
        self.write(ATTEMPTS, &serde_json::to_string_pretty(attempts)?)
    }

    pub(super) fn forget_attempts(&self) {
        // Left behind it would only make the next order wait.
        let _ = std::fs::remove_file(self.attempts_file());
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.0.join(name);
        let write = || {
            keyward_store::create_folder(&self.0)?;
            let temporary = self.0.join(format!("{name}.new"));
            let mut file = keyward_store::open_private(&temporary)?;
            file.set_len(0)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&temporary, &path)?;
            keyward_store::sync_folder_of(&path)
        };
        write().with_context(|| format!("{} cannot be written", path.display()))
    }
}

fn read(path: &Path) -> anyhow::Result<Option<Zeroizing<String>>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
}

/// As it is kept: a line that says what it is for, the key, the certificate and those up to its root.
pub(super) fn compose(of: &str, key: &str, chain: &str) -> Zeroizing<String> {
    Zeroizing::new(format!("{of}\n{key}{chain}"))
}

/// Reads what [`compose`] wrote.
pub(super) fn parse(text: &str) -> anyhow::Result<Stored> {
    let of = text.lines().next().unwrap_or_default().to_owned();
    let chain = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let leaf = chain.first().context("there is no certificate in it")?;
    let validity = certificate::validity(leaf).context("when it ends cannot be read")?;
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes())?;
    let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
        .context("certificate and key do not go together")?;
    Ok(Stored { of, key: Arc::new(key), validity })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use rcgen::generate_simple_self_signed;

    use super::*;

    fn made() -> (String, String) {
        let made =
            generate_simple_self_signed(["keys.example.com".to_owned()]).expect("it is made");
        (made.signing_key.serialize_pem(), made.cert.pem())
    }

    #[test]
    fn a_certificate_is_kept_with_its_key_for_its_owner_alone_and_replaced_as_one() {
        let data = tempfile::tempdir().expect("a folder");
        let folder = Folder::within(data.path());
        assert!(folder.certificate().expect("there is none").is_none());
        let (key, chain) = made();
        folder.write_certificate(&compose("first", &key, &chain)).expect("the folder is ours");
        assert_eq!(folder.certificate().expect("good").expect("there").of, "first");
        let (other_key, other_chain) = made();
        folder.write_certificate(&compose("second", &other_key, &other_chain)).expect("ours");
        assert_eq!(folder.certificate().expect("good").expect("there").of, "second");
        let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&data.path().join("acme")), 0o700);
        assert_eq!(mode(&data.path().join("acme/certificate.pem")), 0o600);
        // A pair that never was: as if two files had been written and one was lost.
        folder.write_certificate(&compose("mixed", &key, &other_chain)).expect("ours");
        let error = format!("{:#}", folder.certificate().expect_err("mixed"));
        assert!(error.contains("certificate.pem cannot be used"), "{error}");
        assert!(error.contains("do not go together"), "{error}");
        folder.write_certificate("cut off\n-----BEGIN").expect("ours");
        assert!(folder.certificate().is_err());
    }

    #[test]
    fn what_is_half_written_is_not_looked_at_and_does_not_stand_in_the_way() {
        let data = tempfile::tempdir().expect("a folder");
        let folder = Folder::within(data.path());
        let (key, chain) = made();
        folder.write_certificate(&compose("first", &key, &chain)).expect("the folder is ours");
        let cut_off = data.path().join("acme/certificate.pem.new");
        std::fs::write(&cut_off, compose("second", &key, &chain).repeat(3)).expect("ours");
        assert_eq!(folder.certificate().expect("good").expect("there").of, "first");
        folder.write_certificate(&compose("third", &key, &chain)).expect("ours");
        assert_eq!(folder.certificate().expect("good").expect("there").of, "third");
        assert!(!cut_off.exists());
    }
}
