//! Passkeys: signing in with what a device, a phone or a security key holds, and no password.
//!
//! A passkey stands for both factors: the device is one, and what unlocks it (a PIN, a finger, a face)
//! is the other, which is always asked for. It works for the host name that it was made for and for
//! no other, so there is nothing that another site could ask for. What is stored is a public key.
//!
//! The library (`webauthn-rs`) draws the challenges and checks the signatures; here are the rules.

mod challenges;

use keyward_core::id::PasskeyId;
use keyward_core::role::UserStatus;
use keyward_store::passkeys::{self as rows, StoredPasskey};
use keyward_store::users;
use keyward_store::{Constraint, StoreError, Tx};
use serde_json::{Value, json};
use url::Url;
use webauthn_rs::prelude::{
    DiscoverableAuthentication, Passkey, PasskeyRegistration, PublicKeyCredential,
    RegisterPublicKeyCredential, Uuid, WebauthnError,
};
use webauthn_rs::{Webauthn, WebauthnBuilder};

use super::actor::Person;
use super::people::tell;
use super::sessions::{self, Entered, Visitor};
use super::tokens::{Token, digest_of};
use super::{Actor, App, AppError, Resource};

pub use challenges::CHALLENGE_MILLIS;

/// So many passkeys a member may have.
pub const MOST_PASSKEYS: usize = 20;
pub const LONGEST_NAME: usize = 60;

/// What an answer is checked against, and where it was asked for.
struct Ceremony {
    origin: String,
    step: Step,
}

enum Step {
    Adding(Box<PasskeyRegistration>),
    SigningIn(Box<DiscoverableAuthentication>),
}

/// What passkeys are asked at the moment.
#[derive(Default)]
pub struct Passkeys(challenges::Challenges<Ceremony>);

/// Where passkeys work: the address as the browser shows it.
pub struct Place {
    origin: String,
    host: String,
    webauthn: Webauthn,
}

impl Place {
    /// `base` is a scheme, a host and perhaps a port. `None` where browsers know no passkeys: at an IP
    /// address, and without HTTPS on anything but `localhost`.
    #[must_use]
    pub fn of(base: &str) -> Option<Self> {
        let url = Url::parse(base).ok()?;
        let host = url.domain()?.to_owned();
        let is_this_machine = host == "localhost" || host.ends_with(".localhost");
        if url.scheme() != "https" && !(url.scheme() == "http" && is_this_machine) {
            return None;
        }
        let builder = WebauthnBuilder::new(&host, &url).ok()?;
        let time = std::time::Duration::from_millis(CHALLENGE_MILLIS);
        let webauthn = builder.rp_name("Keyward").timeout(time).build().ok()?;
        Some(Self { origin: url.origin().ascii_serialization(), host, webauthn })
    }

    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }
}

/// What the browser is to ask a passkey.
pub struct Offer {
    /// The name of the challenge, for the form that brings the answer.
    pub challenge: Token,
    /// For `PublicKeyCredential.parse…OptionsFromJSON`.
    pub options: String,
}

impl Passkeys {
    fn offer(
        &self,
        app: &App,
        place: &Place,
        step: Step,
        mut options: Value,
        holder: [u8; 32],
        visitor: &Visitor,
    ) -> Offer {
        let options = options.get_mut("publicKey").map(Value::take).unwrap_or_default();
        let ceremony = Ceremony { origin: place.origin.clone(), step };
        let challenge = self.0.put(ceremony, holder, visitor.address, app.clock.now().ticks);
        Offer { challenge, options: options.to_string() }
    }

    fn take(
        &self,
        app: &App,
        place: &Place,
        challenge: &str,
        holder: [u8; 32],
    ) -> Result<Step, AppError> {
        let ceremony = self.0.take(challenge, holder, app.clock.now().ticks);
        let ceremony = ceremony.filter(|ceremony| ceremony.origin == place.origin);
        Ok(ceremony.ok_or(AppError::NotFound(Resource::Challenge))?.step)
    }
}

/// The own passkeys, the first one first.
///
/// # Errors
/// If the store does not answer.
pub async fn list(app: &App, entered: &Entered) -> Result<Vec<StoredPasskey>, AppError> {
    let user = entered.user.id;
    app.read_for(entered.user.account, move |tx| Ok(rows::of_user(tx, user)?)).await
}

/// One of the own passkeys.
///
/// # Errors
/// If there is no such passkey.
pub async fn find(app: &App, entered: &Entered, id: PasskeyId) -> Result<StoredPasskey, AppError> {
    let user = entered.user.id;
    app.read_for(entered.user.account, move |tx| {
        rows::find(tx, user, id)?.ok_or(AppError::NotFound(Resource::Passkey))
    })
    .await
}

fn check_room(n_passkeys: usize) -> Result<(), AppError> {
    if n_passkeys < MOST_PASSKEYS {
        return Ok(());
    }
    let rule = format!("you have {MOST_PASSKEYS} passkeys, which is the most: remove one first");
    Err(AppError::Forbidden(rule))
}

/// Begins to add a passkey.
///
/// # Errors
/// `Forbidden` if there are enough of them.
pub async fn begin_adding(
    app: &App,
    place: &Place,
    entered: &Entered,
    visitor: &Visitor,
) -> Result<Offer, AppError> {
    let known = list(app, entered).await?;
    check_room(known.len())?;
    let user = &entered.user;
    let known = known.into_iter().filter(|passkey| passkey.host == place.host);
    let known = known.map(|passkey| passkey.credential).collect();
    let handle = Uuid::from_bytes(*user.id.as_bytes());
    let begun =
        place.webauthn.start_passkey_registration(handle, &user.email, &user.name, Some(known));
    let (options, state) = begun.map_err(AppError::internal)?;
    let mut options = serde_json::to_value(options).map_err(AppError::internal)?;
    // Why: only a passkey that the device finds by itself can be used without saying who one is.
    let selection = &mut options["publicKey"]["authenticatorSelection"];
    selection["residentKey"] = json!("required");
    selection["requireResidentKey"] = json!(true);
    let step = Step::Adding(Box::new(state));
    Ok(app.passkeys.offer(app, place, step, options, entered.session.digest, visitor))
}

/// Adds the passkey that a browser made.
///
/// # Errors
/// `Invalid` for a name that makes no sense, `NotFound` if the challenge was used or is over,
/// `WrongCredentials` for what is no answer to it, `Taken` if the passkey is known already.
pub async fn add(
    app: &App,
    place: &Place,
    entered: &Entered,
    challenge: &str,
    answer: &str,
    name: &str,
) -> Result<(), AppError> {
    let name = app.check_name("name", name, LONGEST_NAME)?;
    let Step::Adding(state) = app.passkeys.take(app, place, challenge, entered.session.digest)?
    else {
        return Err(AppError::NotFound(Resource::Challenge));
    };
    let answer: RegisterPublicKeyCredential =
        serde_json::from_str(answer).map_err(|_| AppError::WrongCredentials)?;
    let passkey = place
        .webauthn
        .finish_passkey_registration(&answer, &state)
        .map_err(|_| AppError::WrongCredentials)?;
    let at = app.clock.wall();
    let row = StoredPasskey {
        id: app.new_passkey_id(at),
        user: entered.user.id,
        credential: passkey.cred_id().to_vec(),
        host: place.host.clone(),
        name,
        public_key: serde_json::to_string(&passkey).map_err(AppError::internal)?,
        added_at: at,
        used_at: None,
    };
    let actor = entered.actor();
    app.store
        .write(move |tx| {
            let user = users::find(tx, row.user)?.ok_or(AppError::NotFound(Resource::User))?;
            check_room(rows::of_user(tx, user.id)?.len())?;
            match rows::insert(tx, &row) {
                Err(StoreError::Conflict(Constraint::PasskeyCredential)) => {
                    let sentence = "this passkey was added before";
                    return Err(AppError::Taken(sentence.to_owned()));
                }
                other => other?,
            }
            let details = json!({ "passkey": row.name, "host": row.host });
            Ok(tell(tx, at, &actor, "user.passkey_added", &user, details)?)
        })
        .await
}

/// Gives one of the own passkeys another name.
///
/// # Errors
/// If the name makes no sense, or there is no such passkey.
pub async fn rename(
    app: &App,
    entered: &Entered,
    id: PasskeyId,
    name: &str,
) -> Result<(), AppError> {
    let name = app.check_name("name", name, LONGEST_NAME)?;
    change(app, entered, id, "user.passkey_renamed", move |tx, passkey| {
        let before = std::mem::replace(&mut passkey.name, name);
        rows::put(tx, passkey)?;
        Ok(json!({ "passkey": passkey.name, "from": before }))
    })
    .await
}

/// Removes one of the own passkeys. Sessions that were begun with it go on.
///
/// # Errors
/// If there is no such passkey.
pub async fn remove(app: &App, entered: &Entered, id: PasskeyId) -> Result<(), AppError> {
    change(app, entered, id, "user.passkey_removed", |tx, passkey| {
        rows::remove(tx, passkey.id)?;
        Ok(json!({ "passkey": passkey.name, "host": passkey.host }))
    })
    .await
}

async fn change(
    app: &App,
    entered: &Entered,
    id: PasskeyId,
    action: &'static str,
    change: impl FnOnce(&mut Tx<'_>, &mut StoredPasskey) -> Result<Value, StoreError> + Send + 'static,
) -> Result<(), AppError> {
    let (actor, user, at) = (entered.actor(), entered.user.id, app.clock.wall());
    app.store
        .write(move |tx| {
            let user = users::find(tx, user)?.ok_or(AppError::NotFound(Resource::User))?;
            let found = rows::find(tx, user.id, id)?;
            let mut passkey = found.ok_or(AppError::NotFound(Resource::Passkey))?;
            let details = change(tx, &mut passkey)?;
            Ok(tell(tx, at, &actor, action, &user, details)?)
        })
        .await
}

/// Begins to sign somebody in, whoever it will turn out to be. `holder` is what the browser's cookie
/// holds.
///
/// # Errors
/// If the library cannot make a challenge.
pub fn begin_sign_in(
    app: &App,
    place: &Place,
    holder: &str,
    visitor: &Visitor,
) -> Result<Offer, AppError> {
    let begun = place.webauthn.start_discoverable_authentication();
    let (options, state) = begun.map_err(AppError::internal)?;
    let options = serde_json::to_value(options).map_err(AppError::internal)?;
    let step = Step::SigningIn(Box::new(state));
    Ok(app.passkeys.offer(app, place, step, options, digest_of(holder), visitor))
}

/// Signs a member in by the answer of a passkey. The session is whole: no code is asked for.
///
/// # Errors
/// `NotFound` if the challenge was used or is over; `WrongCredentials`, the same for an unknown
/// passkey, a wrong signature, a copied authenticator and a member who may not sign in;
/// `TooManyAttempts`.
pub async fn sign_in(
    app: &App,
    place: &Place,
    holder: &str,
    challenge: &str,
    answer: &str,
    visitor: &Visitor,
) -> Result<Token, AppError> {
    let Step::SigningIn(state) = app.passkeys.take(app, place, challenge, digest_of(holder))?
    else {
        return Err(AppError::NotFound(Resource::Challenge));
    };
    // Nobody guesses a signature; this is for those who want to keep us busy.
    let attempt = app
        .throttle
        .begin("passkey", visitor.address, true, app.clock.now().ticks)
        .map_err(AppError::TooManyAttempts)?;
    let answer: PublicKeyCredential =
        serde_json::from_str(answer).map_err(|_| AppError::WrongCredentials)?;
    let (handle, credential) = place
        .webauthn
        .identify_discoverable_authentication(&answer)
        .map(|(handle, credential)| (handle.into_bytes(), credential.to_vec()))
        .map_err(|_| AppError::WrongCredentials)?;
    let found = app
        .store
        .read(move |tx| Ok::<_, AppError>(rows::find_by_credential(tx, &credential)?))
        .await?;
    let is_this = |row: &StoredPasskey| *row.user.as_bytes() == handle && row.host == place.host;
    let before = found.filter(is_this).ok_or(AppError::WrongCredentials)?;
    let mut passkey: Passkey =
        serde_json::from_str(&before.public_key).map_err(AppError::internal)?;
    let checked = place.webauthn.finish_discoverable_authentication_v2(&answer, *state, &passkey);
    let result = match checked {
        Ok(result) => result,
        Err(WebauthnError::CredentialPossibleCompromise) => {
            return tell_copied(app, before, visitor).await;
        }
        Err(_) => return Err(AppError::WrongCredentials),
    };
    passkey.update_credential(&result);
    let public_key = serde_json::to_string(&passkey).map_err(AppError::internal)?;
    let token = Token::new();
    let new = sessions::new_session(app, &token, before.user, visitor, false);
    let address = visitor.address;
    app.store
        .write(move |tx| {
            let user = users::find(tx, before.user)?;
            let may_sign_in = user.is_some_and(|user| user.status == UserStatus::Active);
            // Read again here: of two answers with one count the second must find it used.
            let now = rows::find(tx, before.user, before.id)?;
            let now = now.filter(|now| now.public_key == before.public_key);
            let Some(now) = now.filter(|_| may_sign_in) else {
                return Err(AppError::WrongCredentials);
            };
            let details = json!({ "agent": new.agent, "how": "passkey", "passkey": now.name });
            rows::put(tx, &StoredPasskey { public_key, used_at: Some(new.created_at), ..now })?;
            sessions::put(tx, &new, address, details)
        })
        .await?;
    app.throttle.succeeded(&attempt);
    Ok(token)
}

/// The signature was right and its count was not: somebody has a copy, or had the authenticator reset.
async fn tell_copied(
    app: &App,
    passkey: StoredPasskey,
    visitor: &Visitor,
) -> Result<Token, AppError> {
    let (at, address) = (app.clock.wall(), visitor.address);
    app.store
        .write(move |tx| {
            let Some(user) = users::find(tx, passkey.user)? else { return Ok(()) };
            let person = Person { user: user.id, account: user.account, role: user.role, address };
            let why = "its count of signatures did not grow: there may be a copy of it";
            let details = json!({ "passkey": passkey.name, "why": why });
            let actor = Actor::Person(person);
            Ok::<_, AppError>(tell(tx, at, &actor, "user.passkey_refused", &user, details)?)
        })
        .await?;
    Err(AppError::WrongCredentials)
}

/// For the fuzz targets alone.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    use super::{Place, PublicKeyCredential, RegisterPublicKeyCredential, Uuid};

    /// Whether an answer is taken for a new passkey, or leads to a member: the state of the first is that
    /// of a challenge that nobody was told.
    ///
    /// # Panics
    /// If the library gives no challenge.
    #[must_use]
    pub fn take(place: &Place, answer: &str) -> (bool, bool) {
        let registered =
            serde_json::from_str::<RegisterPublicKeyCredential>(answer).map(|answer| {
                let id = Uuid::from_bytes([1; 16]);
                let begun = place.webauthn.start_passkey_registration(id, "a@b.co", "Ada", None);
                let (_, state) = begun.expect("the library draws a challenge");
                place.webauthn.finish_passkey_registration(&answer, &state).is_ok()
            });
        let identified = serde_json::from_str::<PublicKeyCredential>(answer)
            .map(|answer| place.webauthn.identify_discoverable_authentication(&answer).is_ok());
        (registered.unwrap_or(false), identified.unwrap_or(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passkeys_need_a_host_name_and_https_or_this_machine() {
        for (base, expected) in [
            ("https://keys.example.com", Some("https://keys.example.com")),
            ("https://keys.example.com:8443", Some("https://keys.example.com:8443")),
            ("https://KEYS.example.com/", Some("https://keys.example.com")),
            ("https://keyward", Some("https://keyward")),
            ("http://localhost:8080", Some("http://localhost:8080")),
            ("http://keys.localhost:8080", Some("http://keys.localhost:8080")),
            ("http://keys.example.com", None),
            ("http://127.0.0.1:8080", None),
            ("https://127.0.0.1", None),
            ("https://[::1]:8443", None),
            ("https://2130706433", None),
            ("ftp://localhost", None),
            ("keys.example.com", None),
            ("", None),
        ] {
            let place = Place::of(base);
            assert_eq!(place.map(|place| place.origin).as_deref(), expected, "{base}");
        }
    }
}
