//! Secrets that must be used again, sealed with a key that is in a file of its own.
//!
//! The database alone opens nothing: a copy of it, or a backup, lacks `keyward.key`. AES-256-GCM
//! with a random nonce for each value; what a value is for is bound to it, so that one cannot stand
//! in another's place.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use keyward_store::{StoreError, Tx, users, webhooks};

use super::webhooks::sealed_for as sealed_for_webhook;
use super::{AppError, chance, factors};

/// The file of the key, in the data folder.
pub const KEY_FILE: &str = "keyward.key";
const KEY_BYTES: usize = 32;

/// Seals and opens. The file is read when it is first needed, and made when something is first sealed.
pub struct Vault {
    path: PathBuf,
    key: OnceLock<LessSafeKey>,
    /// Whether a key may be made where there is none.
    may_make: bool,
}

impl Vault {
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        Self { path: data_dir.join(KEY_FILE), key: OnceLock::new(), may_make: true }
    }

    /// The same where something is sealed already: a new key would be none of its own.
    #[must_use]
    pub fn of_sealed(data_dir: &Path) -> Self {
        Self { may_make: false, ..Self::new(data_dir) }
    }

    fn key(&self, may_make: bool) -> Result<&LessSafeKey, AppError> {
        if let Some(key) = self.key.get() {
            return Ok(key);
        }
        let bytes = self.read_or_make(may_make)?;
        let key = UnboundKey::new(&AES_256_GCM, bytes.as_slice())
            .map_err(|_| AppError::internal("the key file does not hold a key"))?;
        Ok(self.key.get_or_init(|| LessSafeKey::new(key)))
    }

    fn read_or_make(&self, may_make: bool) -> Result<Zeroizing<[u8; KEY_BYTES]>, AppError> {
        let fault =
            |error: std::io::Error| AppError::internal(format!("{}: {error}", self.path.display()));
        // Why not always made: a new key opens nothing, and would hide that the right one is missing.
        let missing = || {
            AppError::internal(format!(
                "{} is missing: put back the copy that is kept apart from the backups",
                self.path.display()
            ))
        };
        let file =
            if may_make { keyward_store::open_private(&self.path) } else { File::open(&self.path) };
        let mut file = match file {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(missing()),
            other => other.map_err(fault)?,
        };
        // Why: of two programs that come at once, the second must read what the first wrote.
        file.lock().map_err(fault)?;
        let mut text = Zeroizing::new(Vec::with_capacity(KEY_BYTES + 1));
        file.read_to_end(&mut text).map_err(fault)?;
        if text.is_empty() {
            if !may_make {
                return Err(missing());
            }
            let bytes = chance::secret_bytes::<KEY_BYTES>();
            file.write_all(bytes.as_slice()).and_then(|()| file.sync_all()).map_err(fault)?;
            return Ok(bytes);
        }
        let bytes: [u8; KEY_BYTES] = text.as_slice().try_into().map_err(|_| {
            AppError::internal(format!(
                "{} must hold {KEY_BYTES} bytes: restore it from a backup",
                self.path.display()
            ))
        })?;
        Ok(Zeroizing::new(bytes))
    }

    /// Seals a secret for a purpose, such as `totp` and whose it is.
    pub(crate) fn seal(&self, secret: &[u8], purpose: &[u8]) -> Result<Vec<u8>, AppError> {
        let key = self.key(self.may_make)?;
        let nonce = chance::secret_bytes::<NONCE_LEN>();
        let mut sealed = Zeroizing::new(secret.to_vec());
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(purpose),
            &mut *sealed,
        )
        .map_err(|_| AppError::internal("a secret could not be sealed"))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Opens what was sealed for the same purpose.
    pub(crate) fn open(
        &self,
        sealed: &[u8],
        purpose: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, AppError> {
        let fault = || {
            AppError::internal(format!(
                "a sealed secret cannot be opened: {} is not the file it was sealed with",
                self.path.display()
            ))
        };
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>().ok_or_else(fault)?;
        let mut rest = Zeroizing::new(rest.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let n_bytes = self
            .key(false)?
            .open_in_place(nonce, Aad::from(purpose), &mut rest)
            .map_err(|_| fault())?
            .len();
        rest.truncate(n_bytes);
        Ok(rest)
    }
}

/// How much is sealed in a database, and how much of it a key opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sealed {
    pub there: u64,
    pub opened: u64,
}

/// Tries to open all secrets of authenticator apps and webhooks in a database with this schema.
///
/// # Errors
/// If the store does not answer.
pub fn try_all(tx: &mut Tx<'_>, schema: i64, vault: &Vault) -> Result<Sealed, StoreError> {
    let mut sealed = Sealed::default();
    let mut try_one = |bytes: &[u8], purpose: &[u8]| {
        sealed.there += 1;
        sealed.opened += u64::from(vault.open(bytes, purpose).is_ok());
        Ok(())
    };
    if schema >= 2 {
        users::for_each_sealed(tx, |id, bytes| try_one(&bytes, &factors::sealed_for(id)))?;
    }
    if schema >= 4 {
        webhooks::for_each_sealed(tx, |id, bytes| try_one(&bytes, &sealed_for_webhook(id)))?;
    }
    Ok(sealed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_was_sealed_is_opened_for_its_purpose_with_its_file_and_not_otherwise() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let sealed = Vault::new(folder.path()).seal(b"secret", b"totp 1").expect("it can be made");
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        let again = Vault::new(folder.path());
        assert_eq!(again.open(&sealed, b"totp 1").expect("the same file").as_slice(), b"secret");
        assert!(again.open(&sealed, b"totp 2").is_err(), "another purpose");
        assert!(again.open(&sealed[..8], b"totp 1").is_err(), "cut off");
        let elsewhere = tempfile::tempdir().expect("a temporary folder");
        let error = Vault::new(elsewhere.path()).open(&sealed, b"totp 1").expect_err("no key");
        assert!(error.to_string().contains("keyward.key is missing"), "{error}");
        assert!(!elsewhere.path().join(KEY_FILE).exists(), "a new one would open nothing");
        let mut changed = sealed.clone();
        changed[NONCE_LEN] ^= 1;
        assert!(again.open(&changed, b"totp 1").is_err(), "changed");
        let file = folder.path().join(KEY_FILE);
        assert_eq!(file.metadata().expect("it is there").permissions().mode() & 0o777, 0o600);
        std::fs::write(&file, [7; KEY_BYTES]).expect("the folder is ours");
        assert!(Vault::new(folder.path()).open(&sealed, b"totp 1").is_err(), "another key");
        std::fs::write(&file, b"short").expect("the folder is ours");
        let error = Vault::new(folder.path()).seal(b"x", b"y").expect_err("no key");
        assert!(error.to_string().contains("backup"), "{error}");
    }
}
