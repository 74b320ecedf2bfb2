//! Passwords: hashed with Argon2id, checked two at a time.
//!
//! Bound: two checks at once, 19 MiB each; whoever comes meanwhile waits. So a flood of sign-ins takes
//! neither all memory nor all processors from the requests that carry keys. Who goes away keeps the place until
//! the check is over, for it cannot be cut short.

use std::sync::Arc;

use argon2::password_hash::phc::{PasswordHash, Salt};
use argon2::password_hash::{CustomizedPasswordHasher as _, PasswordHasher as _};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::{AppError, chance};

/// Passwords shorter than this are refused.
pub const SHORTEST: usize = 12;
/// Longer ones too: nobody has to hash a megabyte.
pub const LONGEST_BYTES: usize = 1024;

/// Hashes and checks passwords.
pub struct Passwords {
    places: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(2)) }
    }
}

/// Checked where there is no member, so that an unknown name takes as long as a wrong password. It
/// is the hash of nothing that anybody knows.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$a2V5d2FyZC1ub2JvZHkwMQ$\
                      mIo3Q1m0YpJ0p0mZyV6yqkq1lq3m3l8dM1q6u5Yx0gY";

impl Passwords {
    /// The hash of a new password, for a member with this one beside: it has the same salt, so that checking
    /// a password for both is the work of one.
    ///
    /// # Errors
    /// If the password is too short or too long.
    pub async fn hash(
        &self,
        field: &str,
        password: Zeroizing<String>,
        beside: Option<String>,
    ) -> Result<String, AppError> {
        check(field, &password)?;
        self.elsewhere(move || hash(&password, beside.as_deref())).await?
    }

    /// A password that was just given, hashed anew wherever it is the one of a hash that is more work beside
    /// the first: by their places.
    pub(crate) async fn even_out(
        &self,
        password: Zeroizing<String>,
        stored: Vec<String>,
    ) -> Result<Vec<(usize, String)>, AppError> {
        self.elsewhere(move || even_out(&password, &stored)).await?
    }

    /// True if the password is the one of the hash; false, after the same time, if there is none.
    pub(crate) async fn is_right(
        &self,
        password: Zeroizing<String>,
        hash: Option<String>,
    ) -> Result<bool, AppError> {
        let stored = hash.into_iter().collect();
        Ok(self.which_is_right(password, stored).await?.is_some())
    }

    /// The first of the hashes whose password it is. For those that share a salt it takes the time of one,
    /// and so it does where there is none.
    pub(crate) async fn which_is_right(
        &self,
        password: Zeroizing<String>,
        stored: Vec<String>,
    ) -> Result<Option<usize>, AppError> {
        self.elsewhere(move || Ok(find(&password, &stored)?.0)).await?
    }

    async fn elsewhere<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AppError> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(AppError::internal)?;
        let work = move || {
            let done = work();
            drop(place);
            done
        };
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

fn parsed(hash: &str) -> Result<PasswordHash, AppError> {
    PasswordHash::new(hash).map_err(|_| AppError::internal("a stored password hash cannot be read"))
}

/// True if hashing a password for one is hashing it for the other.
fn is_one_work(a: &PasswordHash, b: &PasswordHash) -> bool {
    let how = |hash: &PasswordHash| (hash.algorithm, hash.version, hash.params.clone(), hash.salt);
    how(a) == how(b)
}

/// True if some of them are more work than the first alone.
pub(crate) fn are_uneven(stored: &[String]) -> bool {
    let mut hashes = stored.iter().filter_map(|hash| parsed(hash).ok());
    let first = hashes.next();
    first.is_some_and(|first| !hashes.all(|hash| is_one_work(&first, &hash)))
}

fn even_out(password: &str, stored: &[String]) -> Result<Vec<(usize, String)>, AppError> {
    let hashes: Vec<_> = stored.iter().map(|hash| parsed(hash).ok()).collect();
    let Some(first) = hashes.iter().flatten().next() else { return Ok(vec![]) };
    let anew = again(password, first)?.to_string();
    let mut found = vec![];
    for (place, hash) in hashes.iter().enumerate() {
        let Some(hash) = hash.as_ref().filter(|hash| !is_one_work(first, hash)) else { continue };
        if again(password, hash)?.hash == hash.hash {
            found.push((place, anew.clone()));
        }
    }
    Ok(found)
}

/// The place of the first hash whose password it is, and how often it was hashed to find it. One that cannot
/// be read is nobody's, unless there is no other.
fn find(password: &str, stored: &[String]) -> Result<(Option<usize>, usize), AppError> {
    let mut hashes = vec![];
    let mut unreadable = None;
    for (place, hash) in stored.iter().enumerate() {
        match parsed(hash) {
            Ok(hash) => hashes.push((Some(place), hash)),
            Err(error) => unreadable = Some(error),
        }
    }
    if hashes.is_empty() {
        if let Some(error) = unreadable {
            return Err(error);
        }
        hashes.push((None, parsed(NOBODY)?));
    }
    let mut made: Vec<PasswordHash> = vec![];
    for (place, hash) in &hashes {
        if !made.iter().any(|made| is_one_work(made, hash)) {
            made.push(again(password, hash)?);
        }
        let is_right = made.iter().any(|made| is_one_work(made, hash) && made.hash == hash.hash);
        if is_right && place.is_some() && password.len() <= LONGEST_BYTES {
            return Ok((*place, made.len()));
        }
    }
    Ok((None, made.len()))
}

/// Hashes a password the way that a hash was made.
fn again(password: &str, like: &PasswordHash) -> Result<PasswordHash, AppError> {
    let salt = like.salt.as_ref().map_or(&[][..], AsRef::as_ref);
    let (algorithm, version) = (Some(like.algorithm.as_str()), like.version);
    Params::try_from(like)
        .map_err(|error| error.to_string())
        .and_then(|params| {
            Argon2::default()
                .hash_password_customized(password.as_bytes(), salt, algorithm, version, params)
                .map_err(|error| error.to_string())
        })
        .map_err(AppError::internal)
}

/// Argon2id with 19 MiB and two passes, as OWASP advises.
fn hash(password: &Zeroizing<String>, beside: Option<&str>) -> Result<String, AppError> {
    let params = Params::new(19 * 1024, 2, 1, None).map_err(|e| e.to_string());
    let argon =
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params.map_err(AppError::internal)?);
    let salt = beside.and_then(|hash| parsed(hash).ok()?.salt);
    let new = chance::salt();
    argon
        .hash_password_with_salt(password.as_bytes(), salt.as_ref().map_or(&new[..], Salt::as_ref))
        .map(|hash| hash.to_string())
        .map_err(|error| AppError::internal(error.to_string()))
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
        let hash = passwords.hash("password", text("correct horse battery"), None);
        let hash = hash.await.expect("long");
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

    #[tokio::test]
    async fn who_goes_away_keeps_the_place_until_the_work_is_over() {
        let passwords = Passwords::default();
        let (finish, wait) = std::sync::mpsc::channel::<()>();
        {
            let mut work = std::pin::pin!(passwords.elsewhere(move || wait.recv()));
            let waker = std::task::Waker::noop();
            assert!(work.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending());
        }
        assert_eq!(passwords.places.available_permits(), 1);
        finish.send(()).expect("the work goes on");
        drop(passwords.places.acquire_many(2).await.expect("both places are free in the end"));
    }

    #[test]
    fn as_much_is_hashed_for_whoever_shares_a_salt_and_for_nobody_as_for_one() {
        let first = hash(&text("of the first"), None).expect("it can be hashed");
        let beside = hash(&text("of the second"), Some(&first)).expect("it can be hashed");
        let apart = hash(&text("of the third"), None).expect("it can be hashed");
        let all = [&first, &beside, &apart].map(Clone::clone);
        assert!(!are_uneven(&all[..2]) && are_uneven(&all) && !are_uneven(&[]));
        let check = |password: &str, stored: &[&String], expected: (Option<usize>, usize)| {
            let stored: Vec<String> = stored.iter().copied().cloned().collect();
            assert_eq!(find(password, &stored).expect("they can be read"), expected, "{password}");
        };
        check("of nobody at all", &[], (None, 1));
        check("of nobody at all", &[&first], (None, 1));
        check("of nobody at all", &[&first, &beside], (None, 1));
        check("of nobody at all", &[&first, &apart, &beside], (None, 2));
        check("of the first", &[&first, &beside], (Some(0), 1));
        check("of the second", &[&first, &beside], (Some(1), 1));
        check("of the second", &[&first, &apart, &beside], (Some(2), 2));
        check("of the third", &[&first, &beside], (None, 1));
        let unreadable = String::from("plain");
        check("of the first", &[&unreadable, &first], (Some(1), 1));
        assert!(find("of the first", &[unreadable]).is_err());
    }

    #[test]
    fn whoever_gives_a_password_has_it_hashed_beside_the_first() {
        let first = hash(&text("the same for both"), None).expect("it can be hashed");
        let second = hash(&text("the same for both"), None).expect("it can be hashed");
        let other = hash(&text("of somebody else"), None).expect("it can be hashed");
        let mut stored = vec![first, String::from("plain"), second, other];
        let changed = even_out("the same for both", &stored).expect("it can be hashed");
        let [(2, new)] = changed.as_slice() else { panic!("the one place: {changed:?}") };
        stored[2].clone_from(new);
        assert_eq!(find("the same for both", &stored[2..3]).expect("it is read"), (Some(0), 1));
        assert!(!are_uneven(&[stored[0].clone(), stored[2].clone()]));
        assert_eq!(even_out("a wrong one", &stored).expect("it can be hashed"), []);
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
