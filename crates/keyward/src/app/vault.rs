//! Secrets that must be used again, sealed with a key that is in a file of its own.
//!
//! The database alone opens nothing: a copy of it, or a backup, lacks `keyward.key`. AES-256-GCM
//! with a random nonce for each value; what a value is for is bound to it, so that one cannot stand
//! in another's place.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::{AppError, chance};

/// The file of the key, in the data folder.
pub const KEY_FILE: &str = "keyward.key";
const KEY_BYTES: usize = 32;

/// Seals and opens. The file is read, or made, when it is first needed.
pub struct Vault {
    path: PathBuf,
    key: OnceLock<LessSafeKey>,
}

impl Vault {
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        Self { path: data_dir.join(KEY_FILE), key: OnceLock::new() }
    }

    fn key(&self) -> Result<&LessSafeKey, AppError> {
        if let Some(key) = self.key.get() {
            return Ok(key);
        }
        let bytes = self.read_or_make()?;
        let key = UnboundKey::new(&AES_256_GCM, bytes.as_slice())
            .map_err(|_| AppError::internal("the key file does not hold a key"))?;
        Ok(self.key.get_or_init(|| LessSafeKey::new(key)))
    }

    fn read_or_make(&self) -> Result<Zeroizing<[u8; KEY_BYTES]>, AppError> {
        let fault =
            |error: std::io::Error| AppError::internal(format!("{}: {error}", self.path.display()));
        let mut file = keyward_store::open_private(&self.path).map_err(fault)?;
        // Why: of two programs that come at once, the second must read what the first wrote.
        file.lock().map_err(fault)?;
        let mut text = Zeroizing::new(Vec::with_capacity(KEY_BYTES + 1));
        file.read_to_end(&mut text).map_err(fault)?;
        if text.is_empty() {
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
        let key = self.key()?;
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
            .key()?
            .open_in_place(nonce, Aad::from(purpose), &mut rest)
            .map_err(|_| fault())?
            .len();
        rest.truncate(n_bytes);
        Ok(rest)
    }
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
