//! What members do by links and passwords: accept an invitation, set a new password, change it.

use keyward_core::id::UserId;
use keyward_core::role::UserStatus;
use keyward_core::time::HOUR_MILLIS;
use keyward_store::accounts;
use keyward_store::sessions::{self, LinkKind};
use keyward_store::users::{self, User};
use serde_json::json;
use zeroize::Zeroizing;

use super::{LONGEST_NAME, Linked, tell};
use crate::app::actor::Person;
use crate::app::sessions::{Entered, Visitor, confirm};
use crate::app::tokens::{Token, digest_of};
use crate::app::{Actor, App, AppError, Resource};

/// How long a link to set a new password is good.
pub const RESET_MILLIS: i64 = HOUR_MILLIS;

/// Who is invited by a link, and to which account, if the link still works.
///
/// # Errors
/// If it does not.
pub async fn find_by_link(
    app: &App,
    kind: LinkKind,
    token: &str,
) -> Result<(User, String), AppError> {
    let (digest, now) = (digest_of(token), app.clock.wall());
    app.store
        .read(move |tx| {
            let found = sessions::find_link(tx, &digest, kind, now)?.flatten();
            let id = found.ok_or(AppError::NotFound(Resource::Link))?;
            let user = users::find(tx, id)?.ok_or(AppError::NotFound(Resource::Link))?;
            let account = accounts::find(tx, user.account)?;
            let account = account.ok_or(AppError::NotFound(Resource::Link))?;
            Ok((user, account.name))
        })
        .await
}

/// Hashes a new password of a member as those are hashed that have the same address in other accounts.
async fn hash_for(
    app: &App,
    user: &User,
    field: &str,
    password: Zeroizing<String>,
) -> Result<String, AppError> {
    let (id, email) = (user.id, user.email.clone());
    let others = app.read_for(user.account, move |tx| users::with_email(tx, &email)).await?;
    // As a sign-in takes them: the first that may.
    let beside = others
        .into_iter()
        .filter(|other| other.id != id && other.status == UserStatus::Active)
        .find_map(|other| other.password_hash);
    app.passwords.hash(field, password, beside).await
}

/// Takes an invitation or a reset: sets the password and uses the link up. All sessions end.
///
/// # Errors
/// If the link no longer works, or the password makes no sense.
pub async fn take_link(
    app: &App,
    kind: LinkKind,
    token: &str,
    password: Zeroizing<String>,
    visitor: &Visitor,
) -> Result<User, AppError> {
    let (user, _) = find_by_link(app, kind, token).await?;
    let hash = hash_for(app, &user, "password", password).await?;
    let (digest, now, address) = (digest_of(token), app.clock.wall(), visitor.address);
    app.store
        .write(move |tx| {
            let found = sessions::find_link(tx, &digest, kind, now)?.flatten();
            let id = found.ok_or(AppError::NotFound(Resource::Link))?;
            let mut user = users::find(tx, id)?.ok_or(AppError::NotFound(Resource::Link))?;
            user.password_hash = Some(hash);
            if kind == LinkKind::Invitation {
                user.status = UserStatus::Active;
            }
            users::put(tx, &user)?;
            sessions::end_all(tx, id, None)?;
            sessions::end_links(tx, kind, Some(id))?;
            sessions::end_links(tx, LinkKind::Reset, Some(id))?;
            let actor =
                Actor::Person(Person { user: id, account: user.account, role: user.role, address });
            let action =
                if kind == LinkKind::Invitation { "user.joined" } else { "user.password_reset" };
            tell(tx, now, &actor, action, &user, json!({}))?;
            Ok(user)
        })
        .await
}

/// Makes a link with which a member sets a new password.
///
/// # Errors
/// If there is no such member, or one who may not sign in.
pub async fn reset_link(app: &App, actor: &Actor, id: UserId) -> Result<Linked, AppError> {
    let (actor, at, token) = (*actor, app.clock.wall(), Token::new());
    let (digest, ends_at) = (token.digest(), at + RESET_MILLIS);
    let user = app
        .store
        .write(move |tx| {
            let actor = actor.refreshed(tx, at)?;
            let user = users::find(tx, id)?.ok_or(AppError::NotFound(Resource::User))?;
            actor.check_in_charge_of(user.account)?;
            if user.status != UserStatus::Active {
                let rule = format!("the member is {}: nobody to set a password for", user.status);
                return Err(AppError::Forbidden(rule));
            }
            sessions::insert_link(tx, &digest, LinkKind::Reset, Some(id), at, ends_at)?;
            tell(tx, at, &actor, "user.reset_requested", &user, json!({}))?;
            Ok(user)
        })
        .await?;
    Ok(Linked { user, token, ends_at })
}

/// Counts somebody who asks for a link to set a new password.
///
/// # Errors
/// `TooManyAttempts`.
pub fn check_may_ask(app: &App, email: &str, visitor: &Visitor) -> Result<(), AppError> {
    let subject = format!("forgot {}", email.trim().to_lowercase());
    let asked = app.throttle.begin(&subject, visitor.address, false, app.clock.now().ticks);
    asked.map(|_| ()).map_err(AppError::TooManyAttempts)
}

/// Links for somebody who forgot the password, one for each membership, to be mailed. Empty for an
/// unknown address, which no answer may tell.
///
/// # Errors
/// If the store does not answer.
pub async fn forgot(app: &App, email: &str) -> Result<Vec<Linked>, AppError> {
    let wanted = email.trim().to_owned();
    let found =
        app.store.read(move |tx| Ok::<_, AppError>(users::with_email(tx, &wanted)?)).await?;
    let mut links = vec![];
    for user in found.into_iter().filter(|user| user.status == UserStatus::Active) {
        links.push(reset_link(app, &Actor::System, user.id).await?);
    }
    Ok(links)
}

/// Changes the own password. All other sessions end.
///
/// # Errors
/// `WrongCredentials` if the current one is wrong, `Invalid` if the new one makes no sense.
pub async fn change_password(
    app: &App,
    entered: &Entered,
    current: Zeroizing<String>,
    new: Zeroizing<String>,
) -> Result<(), AppError> {
    confirm(app, entered, current).await?;
    let hash = hash_for(app, &entered.user, "new_password", new).await?;
    let (actor, id, at) = (entered.actor(), entered.user.id, app.clock.wall());
    let (digest, before) = (entered.session.digest, entered.user.password_hash.clone());
    app.store
        .write(move |tx| {
            let mut user = users::find(tx, id)?.ok_or(AppError::NotFound(Resource::User))?;
            // Both are slow: somebody else may have changed it meanwhile, against whoever asks here.
            if user.password_hash != before {
                return Err(AppError::WrongCredentials);
            }
            user.password_hash = Some(hash);
            users::put(tx, &user)?;
            sessions::end_all(tx, id, Some(&digest))?;
            sessions::end_links(tx, LinkKind::Reset, Some(id))?;
            Ok(tell(tx, at, &actor, "user.password_changed", &user, json!({}))?)
        })
        .await
}

/// Changes the own name.
///
/// # Errors
/// If it makes no sense.
pub async fn rename(app: &App, entered: &Entered, name: &str) -> Result<(), AppError> {
    let name = app.check_name("name", name, LONGEST_NAME)?;
    let (actor, id, at) = (entered.actor(), entered.user.id, app.clock.wall());
    app.store
        .write(move |tx| {
            let mut user = users::find(tx, id)?.ok_or(AppError::NotFound(Resource::User))?;
            let before = std::mem::replace(&mut user.name, name);
            users::put(tx, &user)?;
            Ok(tell(tx, at, &actor, "user.renamed", &user, json!({ "from": before }))?)
        })
        .await
}
