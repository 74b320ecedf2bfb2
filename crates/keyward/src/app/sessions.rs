//! Sessions of members: signing in, the second factor, confirming, signing out.
//!
//! A session ends 8 hours after it was last seen, 7 days after it began, when its member signs out,
//! is suspended or removed, or changes the password; and when the clock is set back to before it began. Its token is new at sign-in and again after the
//! second factor. What is dangerous asks for a password or code given in the last ten minutes.

use std::net::IpAddr;

use keyward_core::account::Account;
use keyward_core::id::{SessionId, UserId};
use keyward_core::role::UserStatus;
use keyward_core::secret::hide_keys;
use keyward_core::time::{HOUR_MILLIS, UnixMillis};
use keyward_store::sessions::{self, Session};
use keyward_store::users::{self, User};
use keyward_store::{Tx, accounts, audit as audit_rows};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::actor::Person;
use super::audit::{Trail, user_target};
use super::passwords::are_uneven;
use super::tokens::{Token, digest_of};
use super::{Actor, App, AppError, Resource, factors};

/// A session that is not used for so long is over.
pub const IDLE_MILLIS: i64 = 8 * HOUR_MILLIS;
/// A session is over so long after it began, used or not.
pub const ABSOLUTE_MILLIS: i64 = 7 * 24 * HOUR_MILLIS;
/// The second factor must come within this time.
const HALF_MILLIS: i64 = 10 * MINUTE_MILLIS;
/// A password or code counts as given for this long.
pub const CONFIRMED_MILLIS: i64 = 10 * MINUTE_MILLIS;
/// When a session was last seen is written at most this often.
const SEEN_EVERY_MILLIS: i64 = MINUTE_MILLIS;
const MINUTE_MILLIS: i64 = 60_000;
const AGENT_CHARACTERS: usize = 200;

/// What the trail says when somebody signed in.
const STARTED: &str = "session.started";

/// Somebody gave the right password, and perhaps still has to give a second factor.
pub struct SignedIn {
    pub token: Token,
    pub needs_code: bool,
}

/// A session that is good now, with whose it is.
#[derive(Clone)]
pub struct Entered {
    pub session: Session,
    pub user: User,
    pub account: Account,
    pub person: Person,
}

/// True for a session that is good now: neither over, nor begun by a clock that was set back since, by
/// which nobody knows how old it is.
fn is_good(session: &Session, now: UnixMillis) -> bool {
    !session.is_half
        && now < session.seen_at + IDLE_MILLIS
        && now < session.created_at + ABSOLUTE_MILLIS
        && now + MINUTE_MILLIS >= session.created_at
}

impl Entered {
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor::Person(self.person)
    }

    /// True if a password or code was given so recently that dangerous things may be done.
    #[must_use]
    pub fn is_confirmed(&self, now: UnixMillis) -> bool {
        now < self.session.confirmed_at + CONFIRMED_MILLIS
            && now.0 >= self.session.confirmed_at.0 - MINUTE_MILLIS
    }
}

/// Where somebody comes from.
#[derive(Clone, Debug)]
pub struct Visitor {
    pub address: IpAddr,
    /// What the browser calls itself.
    pub agent: String,
}

/// Signs a member in.
///
/// # Errors
/// `WrongCredentials`, the same and after the same time for an unknown member, a wrong password and a
/// member who may not sign in; `TooManyAttempts`.
pub async fn sign_in(
    app: &App,
    email: &str,
    password: Zeroizing<String>,
    visitor: &Visitor,
) -> Result<SignedIn, AppError> {
    let (wanted, address) = (email.trim().to_owned(), visitor.address.to_string());
    let members = app
        .store
        .read(move |tx| {
            let mut members = users::with_email(tx, &wanted)?.into_iter();
            let mut found = vec![];
            // As many looks for an address that is nobody's, at a trail that nobody has.
            for _ in 0..users::MOST_WITH_EMAIL {
                let member = members.next();
                let id = member.as_ref().map_or(UserId::from_bytes([0; 16]), |member| member.id);
                let is_known = audit_rows::has_done(tx, &user_target(id), STARTED, &address)?;
                found.extend(member.map(|member| (member, is_known)));
            }
            Ok::<_, AppError>(found)
        })
        .await?;
    let now = app.clock.now();
    let is_known = members.iter().any(|(_, is_known)| *is_known);
    let attempt = app
        .throttle
        .begin(email, visitor.address, is_known, now.ticks)
        .map_err(AppError::TooManyAttempts)?;
    let (mut users, mut hashes) = (vec![], vec![]);
    for (mut user, is_known) in members {
        let may_try = is_known || !attempt.is_for_known;
        if let Some(hash) = user.password_hash.take()
            && user.status == UserStatus::Active
            && may_try
        {
            hashes.push(hash);
            users.push(user);
        }
    }
    let found = app.passwords.which_is_right(Zeroizing::clone(&password), hashes.clone()).await?;
    let Some(place) = found else { return Err(AppError::WrongCredentials) };
    if are_uneven(&hashes) {
        hashes = even_out(app, &users, hashes, password).await?;
    }
    let (user, hash) = (users.swap_remove(place), hashes.swap_remove(place));
    app.throttle.succeeded(&attempt);
    let needs_code = user.totp.is_some();
    let token = Token::new();
    let new = new_session(app, &token, user.id, visitor, needs_code);
    let address = visitor.address;
    app.store
        .write(move |tx| {
            // The password was read some time ago, and is slow to check: a session must not outlive one that
            // was changed meanwhile, or do without a code that is asked for by now.
            let user = users::find(tx, new.user)?.filter(|user| {
                user.status == UserStatus::Active
                    && user.password_hash.as_ref() == Some(&hash)
                    && user.totp.is_some() == needs_code
            });
            user.ok_or(AppError::WrongCredentials)?;
            let details = json!({ "agent": new.agent });
            put(tx, &new, address, details)
        })
        .await?;
    Ok(SignedIn { token, needs_code })
}

/// Hashes a password that was just given as it is hashed for the first member with the same address, wherever it
/// is that member's: time must not tell of how many accounts somebody is a member. Nothing is told in the audit
/// log, for the password is the same. Gives the hashes as they are now.
async fn even_out(
    app: &App,
    users: &[User],
    mut hashes: Vec<String>,
    password: Zeroizing<String>,
) -> Result<Vec<String>, AppError> {
    let changed = app.passwords.even_out(password, hashes.clone()).await?;
    let changed: Vec<_> = changed
        .into_iter()
        .map(|(place, new)| {
            let old = std::mem::replace(&mut hashes[place], new.clone());
            (users[place].id, old, new)
        })
        .collect();
    if changed.is_empty() {
        return Ok(hashes);
    }
    app.store
        .write(move |tx| {
            for (id, old, new) in changed {
                let user = users::find(tx, id)?;
                if let Some(mut user) = user.filter(|u| u.password_hash.as_ref() == Some(&old)) {
                    user.password_hash = Some(new);
                    users::put(tx, &user)?;
                }
            }
            Ok::<_, AppError>(())
        })
        .await?;
    Ok(hashes)
}

/// Begins a session for somebody who has just proved who it is.
pub(crate) async fn begin(
    app: &App,
    user: UserId,
    visitor: &Visitor,
    is_half: bool,
) -> Result<Token, AppError> {
    let token = Token::new();
    let new = new_session(app, &token, user, visitor, is_half);
    let address = visitor.address;
    let details = json!({ "agent": new.agent });
    app.store.write(move |tx| put(tx, &new, address, details)).await?;
    Ok(token)
}

pub(super) fn new_session(
    app: &App,
    token: &Token,
    user: UserId,
    visitor: &Visitor,
    is_half: bool,
) -> Session {
    let at = app.clock.wall();
    Session {
        digest: token.digest(),
        id: app.new_session_id(at),
        user,
        created_at: at,
        seen_at: at,
        confirmed_at: at,
        is_half,
        address: visitor.address.to_string(),
        // In this order: what is left out joins the pieces around it.
        agent: hide_keys(&visitor.agent.replace(char::is_control, ""))
            .chars()
            .take(AGENT_CHARACTERS)
            .collect(),
    }
}

/// Adds a session; `details` tell in the trail how it began.
pub(super) fn put(
    tx: &mut Tx<'_>,
    session: &Session,
    address: IpAddr,
    details: Value,
) -> Result<(), AppError> {
    sessions::insert(tx, session)?;
    if session.is_half {
        return Ok(());
    }
    let mut user = users::find(tx, session.user)?.ok_or(AppError::NotFound(Resource::User))?;
    user.last_login_at = Some(session.created_at);
    users::put(tx, &user)?;
    let person = Person { user: user.id, account: user.account, role: user.role, address };
    let trail = Trail {
        at: session.created_at,
        account: Some(user.account),
        actor: &Actor::Person(person),
        action: STARTED,
        target: user_target(user.id),
        label: &user.name,
        details,
    };
    Ok(trail.append(tx)?)
}

/// Takes the second factor of somebody who gave the password. The session gets a new token.
///
/// # Errors
/// `WrongCredentials` for a wrong code, `NotFound` if it took too long, `TooManyAttempts`.
pub async fn take_code(
    app: &App,
    token: &str,
    code: Zeroizing<String>,
    visitor: &Visitor,
) -> Result<Token, AppError> {
    let digest = digest_of(token);
    let now = app.clock.wall();
    let address = visitor.address.to_string();
    let found = app
        .store
        .read(move |tx| {
            let session = sessions::find(tx, &digest)?;
            let is_open = |s: &Session| {
                s.is_half && now < s.created_at + HALF_MILLIS && now + MINUTE_MILLIS >= s.created_at
            };
            let Some(session) = session.filter(is_open) else { return Ok(None) };
            let Some(user) = users::find(tx, session.user)? else { return Ok(None) };
            let is_known = audit_rows::has_done(tx, &user_target(user.id), STARTED, &address)?;
            Ok::<_, AppError>(Some((user, is_known)))
        })
        .await?;
    let (user, is_known) = found.ok_or(AppError::NotFound(Resource::Session))?;
    // Strangers have pauses for a member's code too, from wherever they come: who knows the password could
    // guess it from thousands of addresses.
    factors::check(app, &user, code, (visitor.address, is_known)).await?;
    let token = Token::new();
    let new = new_session(app, &token, user.id, visitor, false);
    let address = visitor.address;
    app.store
        .write(move |tx| {
            if !sessions::end(tx, &digest)? {
                return Err(AppError::NotFound(Resource::Session));
            }
            let details = json!({ "agent": new.agent });
            put(tx, &new, address, details)
        })
        .await?;
    Ok(token)
}

/// Whose session a token opens, if it is good now.
///
/// # Errors
/// If the store does not answer.
pub async fn enter(app: &App, token: &str, address: IpAddr) -> Result<Option<Entered>, AppError> {
    let digest = digest_of(token);
    let now = app.clock.wall();
    let found = app
        .store
        .read(move |tx| {
            let Some(session) = sessions::find(tx, &digest)? else { return Ok(None) };
            let Some(user) = users::find(tx, session.user)? else { return Ok(None) };
            if !is_good(&session, now) || user.status != UserStatus::Active {
                return Ok(None);
            }
            let account = accounts::find(tx, user.account)?;
            Ok::<_, AppError>(account.map(|account| (session, user, account)))
        })
        .await?;
    let Some((session, user, account)) = found else { return Ok(None) };
    let seen_at = session.seen_at;
    // After a clock that was set back the idle time counts from here on.
    if now >= seen_at + SEEN_EVERY_MILLIS || now < seen_at {
        // A page must not fail because a time could not be written down.
        let _ = app.store.write(move |tx| sessions::saw(tx, &digest, seen_at, now)).await;
    }
    let person = Person { user: user.id, account: account.id, role: user.role, address };
    Ok(Some(Entered { session, user, account, person }))
}

/// Takes the password again, or a code of the second factor, before something dangerous.
///
/// # Errors
/// `WrongCredentials`, `TooManyAttempts`.
pub async fn confirm(
    app: &App,
    entered: &Entered,
    secret: Zeroizing<String>,
) -> Result<(), AppError> {
    let is_code = secret.len() == 6 && secret.bytes().all(|b| b.is_ascii_digit());
    if is_code && entered.user.totp.is_some() {
        factors::check(app, &entered.user, secret, (entered.person.address, true)).await?;
    } else {
        let now = app.clock.now();
        let attempt = app
            .throttle
            .begin(&entered.user.email, entered.person.address, true, now.ticks)
            .map_err(AppError::TooManyAttempts)?;
        let hash = entered.user.password_hash.clone();
        if !app.passwords.is_right(secret, hash).await? {
            return Err(AppError::WrongCredentials);
        }
        app.throttle.succeeded(&attempt);
    }
    let (digest, at) = (entered.session.digest, app.clock.wall());
    app.store.write(move |tx| Ok(sessions::confirm(tx, &digest, at)?)).await
}

/// # Errors
/// If the store cannot write.
pub async fn sign_out(app: &App, entered: &Entered) -> Result<(), AppError> {
    end(app, entered, entered.session.id).await
}

/// The own sessions, the last seen first; without those that are over.
///
/// # Errors
/// If the store does not answer.
pub async fn list(app: &App, person: Person) -> Result<Vec<Session>, AppError> {
    let now = app.clock.wall();
    let all = app
        .read_for(person.account, move |tx| Ok::<_, AppError>(sessions::of_user(tx, person.user)?));
    Ok(all.await?.into_iter().filter(|session| is_good(session, now)).collect())
}

/// Ends one of the own sessions.
///
/// # Errors
/// If there is no such session.
pub async fn end(app: &App, entered: &Entered, id: SessionId) -> Result<(), AppError> {
    let (actor, user, at) = (entered.actor(), entered.user.clone(), app.clock.wall());
    app.store
        .write(move |tx| {
            let own = sessions::of_user(tx, user.id)?.into_iter().find(|own| own.id == id);
            let session = own.ok_or(AppError::NotFound(Resource::Session))?;
            sessions::end(tx, &session.digest)?;
            let trail = Trail {
                at,
                account: Some(user.account),
                actor: &actor,
                action: "session.ended",
                target: user_target(user.id),
                label: &user.name,
                details: json!({ "began_at": crate::when(session.created_at) }),
            };
            Ok(trail.append(tx)?)
        })
        .await
}

/// Ends all of the own sessions but this one. Gives how many there were.
///
/// # Errors
/// If the store cannot write.
pub async fn end_others(app: &App, entered: &Entered) -> Result<usize, AppError> {
    let (actor, user, at) = (entered.actor(), entered.user.clone(), app.clock.wall());
    let digest = entered.session.digest;
    app.store
        .write(move |tx| {
            let n_ended = sessions::end_all(tx, user.id, Some(&digest))?;
            let trail = Trail {
                at,
                account: Some(user.account),
                actor: &actor,
                action: "session.others_ended",
                target: user_target(user.id),
                label: &user.name,
                details: json!({ "sessions": n_ended }),
            };
            trail.append(tx)?;
            Ok(n_ended)
        })
        .await
}

/// Forgets sessions and links that are over.
///
/// # Errors
/// If the store cannot write.
pub async fn sweep(app: &App) -> Result<(), AppError> {
    let now = app.clock.wall();
    let (seen, begun) = (UnixMillis(now.0 - IDLE_MILLIS), UnixMillis(now.0 - ABSOLUTE_MILLIS));
    app.store.write(move |tx| Ok(sessions::sweep(tx, seen, begun, now)?)).await
}
