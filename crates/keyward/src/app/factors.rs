//! The second factor: an authenticator app (RFC 6238), and recovery codes for when it is lost.

use std::net::IpAddr;

use keyward_core::id::UserId;
use keyward_store::users::{self, User};
use keyward_store::{Tx, sessions as rows};
use serde_json::json;
use totp_rs::{Algorithm, Builder, Secret, Totp};
use zeroize::Zeroizing;

use super::audit::{Trail, user_target};
use super::sessions::Entered;
use super::tokens::digest_of;
use super::{Actor, App, AppError, Resource, chance};

const SECRET_BYTES: usize = 20;
const STEP_SECONDS: u64 = 30;
const CODES: usize = 10;
/// Easy to tell apart and to type: no 0, 1, i, l, o.
const ALPHABET: &[u8; 31] = b"23456789abcdefghjkmnpqrstuvwxyz";

/// A second factor that is offered and not yet in force.
pub struct Offer {
    /// For typing it in.
    pub secret: Zeroizing<String>,
    /// For the authenticator app, as a QR code.
    pub url: Zeroizing<String>,
    /// The secret, sealed, for the form that confirms it.
    pub sealed: Vec<u8>,
}

fn purpose(kind: &str, user: &User) -> Vec<u8> {
    purpose_of(kind, user.id)
}

fn purpose_of(kind: &str, user: UserId) -> Vec<u8> {
    [kind.as_bytes(), user.as_bytes()].concat()
}

/// What the secret of a member's authenticator app is sealed for.
pub(crate) fn sealed_for(user: UserId) -> Vec<u8> {
    purpose_of("totp", user)
}

fn totp(secret: &[u8], user: &User) -> Result<Totp, AppError> {
    let secret: [u8; SECRET_BYTES] = secret.try_into().map_err(AppError::internal)?;
    // A colon would end the name in the app's address.
    let name: String = user.email.chars().filter(|c| *c != ':').collect();
    Builder::new()
        .with_algorithm(Algorithm::SHA1)
        .with_digits(6)
        .with_skew(1)
        .with_step_duration(STEP_SECONDS)
        .with_secret(Secret::new_stack(secret))
        .with_account_name(name)
        .with_issuer(Some("Keyward"))
        .build()
        .map_err(|error| AppError::internal(error.to_string()))
}

/// Offers a new secret for an authenticator app.
///
/// # Errors
/// If the key file cannot be used.
pub fn offer(app: &App, user: &User) -> Result<Offer, AppError> {
    let bytes = chance::secret_bytes::<SECRET_BYTES>();
    let totp = totp(bytes.as_slice(), user)?;
    Ok(Offer {
        secret: Zeroizing::new(totp.secret().to_base32()),
        url: Zeroizing::new(totp.to_url().map_err(|e| AppError::internal(e.to_string()))?),
        sealed: app.vault.seal(bytes.as_slice(), &purpose("totp offer", user))?,
    })
}

/// The offer of a form that came back.
///
/// # Errors
/// If it is none of this member's.
pub fn reopen(app: &App, user: &User, sealed: &[u8]) -> Result<Offer, AppError> {
    let bytes = app.vault.open(sealed, &purpose("totp offer", user))?;
    let totp = totp(&bytes, user)?;
    Ok(Offer {
        secret: Zeroizing::new(totp.secret().to_base32()),
        url: Zeroizing::new(totp.to_url().map_err(|e| AppError::internal(e.to_string()))?),
        sealed: sealed.to_vec(),
    })
}

fn step(totp: &Totp, code: &str, app: &App) -> Option<i64> {
    let seconds = u64::try_from(app.clock.wall().seconds()).unwrap_or(0);
    totp.check(code, seconds).and_then(|step| i64::try_from(step).ok())
}

/// Puts an offered secret in force, once a code of it was given. Gives new recovery codes, which are
/// shown this once.
///
/// # Errors
/// If the code is wrong.
pub async fn switch_on(
    app: &App,
    entered: &Entered,
    sealed: &[u8],
    code: &str,
) -> Result<Vec<Zeroizing<String>>, AppError> {
    let user = &entered.user;
    let bytes = app.vault.open(sealed, &purpose("totp offer", user))?;
    let Some(step) = step(&totp(&bytes, user)?, &code.replace(' ', ""), app) else {
        return Err(AppError::invalid(
            "code",
            "is not the code that the app shows now; check that the phone's clock is right",
        ));
    };
    let stored = app.vault.seal(&bytes, &purpose("totp", user))?;
    let (codes, digests) = new_codes();
    change(app, entered, "user.second_factor_on", move |tx, user| {
        (user.totp, user.totp_step) = (Some(stored), step);
        Ok(rows::put_recovery_codes(tx, user.id, &digests)?)
    })
    .await?;
    Ok(codes)
}

/// # Errors
/// If the store cannot write.
pub async fn switch_off(app: &App, entered: &Entered) -> Result<(), AppError> {
    change(app, entered, "user.second_factor_off", |tx, user| {
        (user.totp, user.totp_step) = (None, 0);
        Ok(rows::put_recovery_codes(tx, user.id, &[])?)
    })
    .await
}

/// Takes the second factor away from a member who lost it; all sessions end.
///
/// # Errors
/// If there is no such member.
pub async fn take_away(app: &App, actor: &Actor, id: UserId) -> Result<(), AppError> {
    let (actor, at) = (*actor, app.clock.wall());
    app.store
        .write(move |tx| {
            let mut user = users::find(tx, id)?.ok_or(AppError::NotFound(Resource::User))?;
            (user.totp, user.totp_step) = (None, 0);
            users::put(tx, &user)?;
            rows::put_recovery_codes(tx, id, &[])?;
            rows::end_all(tx, id, None)?;
            let trail = Trail {
                at,
                account: Some(user.account),
                actor: &actor,
                action: "user.second_factor_off",
                target: user_target(id),
                label: &user.name,
                details: json!({}),
            };
            Ok(trail.append(tx)?)
        })
        .await
}

/// Makes new recovery codes; the old ones work no more.
///
/// # Errors
/// If there is no second factor.
pub async fn renew_codes(app: &App, entered: &Entered) -> Result<Vec<Zeroizing<String>>, AppError> {
    let (codes, digests) = new_codes();
    change(app, entered, "user.recovery_codes_renewed", move |tx, user| {
        if user.totp.is_none() {
            let rule = "recovery codes belong to a second factor: switch it on first";
            return Err(AppError::Forbidden(rule.to_owned()));
        }
        Ok(rows::put_recovery_codes(tx, user.id, &digests)?)
    })
    .await?;
    Ok(codes)
}

async fn change(
    app: &App,
    entered: &Entered,
    action: &'static str,
    change: impl FnOnce(&mut Tx<'_>, &mut User) -> Result<(), AppError> + Send + 'static,
) -> Result<(), AppError> {
    let (actor, id, at) = (entered.actor(), entered.user.id, app.clock.wall());
    app.store
        .write(move |tx| {
            let mut user = users::find(tx, id)?.ok_or(AppError::NotFound(Resource::User))?;
            change(tx, &mut user)?;
            users::put(tx, &user)?;
            let trail = Trail {
                at,
                account: Some(user.account),
                actor: &actor,
                action,
                target: user_target(user.id),
                label: &user.name,
                details: json!({}),
            };
            Ok(trail.append(tx)?)
        })
        .await
}

fn new_codes() -> (Vec<Zeroizing<String>>, Vec<[u8; 32]>) {
    let code = || {
        let bytes = chance::secret_bytes::<10>();
        let letter = |byte: &u8| char::from(ALPHABET[(usize::from(*byte) * ALPHABET.len()) >> 8]);
        let mut text: String = bytes.iter().map(letter).collect();
        text.insert(5, '-');
        Zeroizing::new(text)
    };
    let codes: Vec<_> = (0..CODES).map(|_| code()).collect();
    let digests = codes.iter().map(|code| digest_of(code)).collect();
    (codes, digests)
}

/// Checks a code of the app, none of which is good twice, or uses up a recovery code. `is_known` if the member
/// signed in from that address before: then no guesses of others make a pause.
///
/// # Errors
/// `WrongCredentials`, `TooManyAttempts`.
pub(crate) async fn check(
    app: &App,
    user: &User,
    code: Zeroizing<String>,
    (address, is_known): (IpAddr, bool),
) -> Result<(), AppError> {
    let attempt = app
        .throttle
        .begin(&format!("code {}", user.id), address, is_known, app.clock.now().ticks)
        .map_err(AppError::TooManyAttempts)?;
    let code = Zeroizing::new(code.trim().to_lowercase().replace(' ', ""));
    let sealed = user.totp.as_ref().ok_or(AppError::WrongCredentials)?;
    let bytes = app.vault.open(sealed, &purpose("totp", user))?;
    let step = step(&totp(&bytes, user)?, &code, app);
    let (id, at, digest) = (user.id, app.clock.wall(), digest_of(&code));
    let is_right = app
        .store
        .write(move |tx| {
            let Some(step) = step else {
                return Ok(rows::use_recovery_code(tx, id, &digest, at)?);
            };
            // Read again here: of two requests with one code the second must find it used.
            let mut user = users::find(tx, id)?.ok_or(AppError::NotFound(Resource::User))?;
            let is_fresh = step > user.totp_step;
            if is_fresh {
                user.totp_step = step;
                users::put(tx, &user)?;
            }
            Ok::<_, AppError>(is_fresh)
        })
        .await?;
    if !is_right {
        return Err(AppError::WrongCredentials);
    }
    app.throttle.succeeded(&attempt);
    Ok(())
}

/// How many recovery codes are left.
///
/// # Errors
/// If the store does not answer.
pub async fn codes_left(app: &App, entered: &Entered) -> Result<u64, AppError> {
    let id = entered.user.id;
    app.store.read(move |tx| Ok(rows::recovery_codes_left(tx, id)?)).await
}
