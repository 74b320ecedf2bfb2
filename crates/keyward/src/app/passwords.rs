//! Passwords: hashed with Argon2id, checked two at a time.
//!
//! Bound: two checks at once, 19 MiB each; whoever comes meanwhile waits. So a flood of sign-ins takes
//! neither all memory nor all processors from the requests that carry keys.

use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::{AppError, chance};

/// Passwords shorter than this are refused.
pub const SHORTEST: usize = 12;
/// Longer ones too: nobody has to hash a megabyte.
pub const LONGEST_BYTES: usize = 1024;

/// Hashes and checks passwords.
pub struct Passwords {
    places: Semaphore,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { places: Semaphore::new(2) }
    }
}

/// Checked where there is no member, so that an unknown name takes as long as a wrong password. It
/// is the hash of nothing that anybody knows.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$a2V5d2FyZC1ub2JvZHkwMQ$\
                      mIo3Q1m0YpJ0p0mZyV6yqkq1lq3m3l8dM1q6u5Yx0gY";

impl Passwords {
    /// # Errors
    /// If the password is too short or too long.
    pub async fn hash(&self, field: &str, password: Zeroizing<String>) -> Result<String, AppError> {
        check(field, &password)?;
        self.elsewhere(move || hash(&password)).await?
    }

    /// True if the password is the one of the hash; false, after the same time, if there is none.
    pub(crate) async fn is_right(
        &self,
        password: Zeroizing<String>,
        hash: Option<String>,
    ) -> Result<bool, AppError> {
        self.elsewhere(move || {
            let is_somebody = hash.is_some();
            let hash = hash.as_deref().unwrap_or(NOBODY);
            let Ok(parsed) = PasswordHash::new(hash) else {
                return Err(AppError::internal("a stored password hash cannot be read"));
            };
            let is_right = password.len() <= LONGEST_BYTES
                && argon2::Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok();
            Ok(is_right && is_somebody)
        })
        .await?
    }

    async fn elsewhere<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AppError> {
        let _place = self.places.acquire().await.map_err(AppError::internal)?;
        tokio::task::spawn_blocking(work).await.map_err(AppError::internal)
    }
}

fn check(field: &str, password: &str) -> Result<(), AppError> {
    let n_characters = password.chars().count();
    if n_characters < SHORTEST {
        let sentence = format!("must have at least {SHORTEST} characters");
        return Err(AppError::invalid(field, sentence));
    }
    if password.len() > LONGEST_BYTES {
        let sentence = format!("must not be longer than {LONGEST_BYTES} bytes");
        return Err(AppError::invalid(field, sentence));
    }
    let first = password.chars().next();
    if password.chars().all(|c| Some(c) == first) {
        return Err(AppError::invalid(field, "must not be one character again and again"));
    }
    Ok(())
}

/// Argon2id with 19 MiB and two passes, as OWASP advises.
fn hash(password: &Zeroizing<String>) -> Result<String, AppError> {
    let params = argon2::Params::new(19 * 1024, 2, 1, None).map_err(|e| e.to_string());
    let params = params.map_err(AppError::internal)?;
    let argon = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let hash = argon
        .hash_password_with_salt(password.as_bytes(), &chance::salt())
        .map_err(|error| AppError::internal(error.to_string()))?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[tokio::test]
    async fn a_password_is_right_or_it_is_not() {
        let passwords = Passwords::default();
        let hash = passwords.hash("password", text("correct horse battery")).await.expect("long");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let check = async |password: &str, hash: Option<String>| {
            passwords.is_right(text(password), hash).await.expect("it can be checked")
        };
        assert!(check("correct horse battery", Some(hash.clone())).await);
        assert!(!check("correct horse batterY", Some(hash.clone())).await);
        assert!(!check("", Some(hash)).await);
        assert!(!check("correct horse battery", None).await, "nobody's");
        assert!(passwords.is_right(text("x"), Some(String::from("plain"))).await.is_err());
    }

    #[test]
    fn a_password_has_a_least_and_a_greatest_length() {
        for wrong in ["", "elevenchars", "aaaaaaaaaaaaaaaa", &"x1".repeat(600)] {
            assert!(check("password", wrong).is_err(), "{wrong}");
        }
        assert!(check("password", "twelve chars").is_ok());
        assert!(check("password", "zwölf Zeichen").is_ok());
    }
}
