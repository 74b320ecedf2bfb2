//! Members of an account: invite, change role, suspend, remove.
//!
//! The owner's place is neither given nor taken; nobody changes or removes oneself; the last admin
//! stays while there is no owner. Contract 8 and 10.

mod links;

use keyward_core::account::Environment;
use keyward_core::id::{AccountId, UserId};
use keyward_core::role::{Role, UserStatus};
use keyward_core::time::{DAY_MILLIS, UnixMillis};
use keyward_core::verdict::Caller;
use keyward_store::sessions::{self, LinkKind};
use keyward_store::users::{self, Named, User};
use keyward_store::{Constraint, StoreError, Tx, key_list};
use serde_json::{Value, json};

use super::accounts::check_email;
use super::audit::{Trail, user_target};
use super::tokens::Token;
use super::webhooks::events;
use super::{Actor, App, AppError, Resource, plain};

pub use links::{
    RESET_MILLIS, change_password, check_may_ask, find_by_link, forgot, rename, reset_link,
    take_link,
};

/// How long an invitation is good. Contract 8.
pub const INVITATION_MILLIS: i64 = 7 * DAY_MILLIS;
pub const LONGEST_NAME: usize = 100;
const MOST_MEMBERS: usize = 1000;

/// A member as the team page shows it.
pub struct Member {
    pub user: User,
    /// When the invitation ends, if the member has one.
    pub invitation_ends: Option<UnixMillis>,
    /// The last session's last sight.
    pub seen_at: Option<UnixMillis>,
    /// Working keys that this member made.
    pub n_keys: u64,
}

/// A link for a member, in clear this once.
pub struct Linked {
    pub user: User,
    pub token: Token,
    pub ends_at: UnixMillis,
}

/// The members of an account.
///
/// # Errors
/// If the store does not answer.
pub async fn list(app: &App, account: AccountId) -> Result<Vec<Member>, AppError> {
    let now = app.clock.wall();
    app.read_for(account, move |tx| {
        let members = users::of_account(tx, account)?;
        let member = |tx: &mut Tx<'_>, user: User| {
            let seen = sessions::of_user(tx, user.id)?.first().map(|s| s.seen_at);
            Ok::<_, StoreError>(Member {
                invitation_ends: sessions::invitation_ends(tx, user.id)?,
                seen_at: seen,
                n_keys: key_list::made_by(tx, user.id, now)?,
                user,
            })
        };
        members.into_iter().map(|user| Ok(member(tx, user)?)).collect()
    })
    .await
}

/// The members that a key sees: all but the owner, and none who is suspended. Contract 8.
///
/// # Errors
/// If the store does not answer.
pub async fn seen_by_key(app: &App, caller: &Caller) -> Result<Vec<User>, AppError> {
    let (account, environment) = (caller.account(), caller.environment());
    let is_listed = |user: &User| {
        user.role != Role::Owner && matches!(user.status, UserStatus::Active | UserStatus::Invited)
    };
    app.read_for(account, move |tx| {
        let mut members = users::of_environment(tx, account, environment)?;
        members.retain(is_listed);
        // Newest first. Contract 7.
        members.reverse();
        Ok(members)
    })
    .await
}

/// One member, as a key sees it.
///
/// # Errors
/// If there is none, or it is the owner.
pub async fn find_for_key(app: &App, caller: &Caller, id: UserId) -> Result<User, AppError> {
    let (account, environment) = (caller.account(), caller.environment());
    app.read_for(account, move |tx| {
        let user = users::find_in(tx, account, environment, id)?;
        user.filter(|user| user.role != Role::Owner).ok_or(AppError::NotFound(Resource::User))
    })
    .await
}

/// The names of all members an account has and had.
///
/// # Errors
/// If the store does not answer.
pub async fn names_of(app: &App, account: AccountId) -> Result<Vec<Named>, AppError> {
    app.read_for(account, move |tx| Ok(users::names_of(tx, account)?)).await
}

/// The member with an address, for the command line.
///
/// # Errors
/// If there is none, or one in several accounts and none is named.
pub async fn find_by_email(
    app: &App,
    email: &str,
    account: Option<AccountId>,
) -> Result<User, AppError> {
    let email = email.trim().to_owned();
    let found = app.store.read(move |tx| Ok::<_, AppError>(users::with_email(tx, &email)?)).await?;
    let mut found = found.into_iter().filter(|u| account.is_none_or(|id| id == u.account));
    match (found.next(), found.next()) {
        (Some(user), None) => Ok(user),
        (Some(_), Some(_)) => {
            let sentence = "is a member of several accounts: name one with --account";
            Err(AppError::invalid("email", sentence))
        }
        (None, _) => Err(AppError::NotFound(Resource::User)),
    }
}

/// Invites somebody. Who was invited before gets a new link; who is a member already is refused.
///
/// # Errors
/// If the role does not allow it, or something of it makes no sense.
pub async fn invite(
    app: &App,
    actor: &Actor,
    account: AccountId,
    name: &str,
    email: &str,
    role: Role,
) -> Result<Linked, AppError> {
    invite_and(app, actor, account, name, email, role, plain).await
}

/// [`invite`], with what follows in the same transaction.
///
/// A member of test data gets no link: there is nobody to sign in.
///
/// # Errors
/// As [`invite`], and what `finish` fails with.
pub async fn invite_and<R: Send + 'static>(
    app: &App,
    actor: &Actor,
    account: AccountId,
    name: &str,
    email: &str,
    role: Role,
    finish: impl FnOnce(&mut Tx<'_>, Linked) -> Result<R, AppError> + Send + 'static,
) -> Result<R, AppError> {
    actor.check_in_charge_of(account)?;
    let name = app.check_name("name", name, LONGEST_NAME)?;
    let email = check_email("email", email)?;
    app.check_no_key("email", &email)?;
    let at = app.clock.wall();
    let token = Token::new();
    let (digest, actor, ends_at) = (token.digest(), *actor, at + INVITATION_MILLIS);
    let (new_id, chance, environment) =
        (app.new_user_id(at), app.chance.clone(), actor.environment());
    app.store
        .write(move |tx| {
            let actor = actor.refreshed(tx, at)?;
            actor.check_in_charge_of(account)?;
            let members = users::of_environment(tx, account, environment)?;
            check_gives(tx, &actor, account, role)?;
            let known = members.iter().find(|user| user.email.eq_ignore_ascii_case(&email));
            let user = match known {
                // The operator alone makes somebody else of an owner.
                Some(user)
                    if user.status == UserStatus::Invited
                        && (user.role != Role::Owner || matches!(actor, Actor::Operator)) =>
                {
                    let again = Some(at);
                    let user =
                        User { name, role, invited_at: again, updated_at: again, ..user.clone() };
                    users::put(tx, &user)?;
                    user
                }
                Some(user) => {
                    return Err(AppError::Taken(format!("{} is a member already", user.email)));
                }
                None if members.len() >= MOST_MEMBERS => {
                    let rule = format!("an account has at most {MOST_MEMBERS} members");
                    return Err(AppError::Quota(rule));
                }
                None => {
                    let user = User {
                        id: new_id,
                        account,
                        environment,
                        name,
                        email,
                        role,
                        status: UserStatus::Invited,
                        password_hash: None,
                        created_at: at,
                        invited_at: Some(at),
                        last_login_at: None,
                        updated_at: Some(at),
                        totp: None,
                        totp_step: 0,
                    };
                    match users::insert(tx, &user) {
                        Err(StoreError::Conflict(Constraint::UserEmail)) => {
                            let sentence = format!("{} is a member already", user.email);
                            return Err(AppError::Taken(sentence));
                        }
                        other => other?,
                    }
                    user
                }
            };
            if environment == Environment::Production {
                let kind = LinkKind::Invitation;
                sessions::insert_link(tx, &digest, kind, Some(user.id), at, ends_at)?;
            }
            let details = json!({ "email": user.email, "role": role.as_str() });
            tell(tx, at, &actor, "user.invited", &user, details)?;
            events::user(tx, &chance, at, &actor, "user.invited", &user, None)?;
            finish(tx, Linked { user, token, ends_at })
        })
        .await
}

/// The owner's place is given by setting up an account, and by the operator where there is none.
fn check_gives(
    tx: &mut Tx<'_>,
    actor: &Actor,
    account: AccountId,
    role: Role,
) -> Result<(), AppError> {
    match actor {
        Actor::Person(person) if person.role.may_give(role) => Ok(()),
        Actor::Key(_) | Actor::Operator if role != Role::Owner => Ok(()),
        Actor::Operator if users::owner_of(tx, account)?.is_none() => Ok(()),
        _ if role == Role::Owner => Err(AppError::Forbidden(String::from(
            "an account has one owner, who cannot be replaced",
        ))),
        _ => Err(AppError::NotAllowed),
    }
}

/// Writes down what was done to a member.
pub(super) fn tell(
    tx: &mut Tx<'_>,
    at: UnixMillis,
    actor: &Actor,
    action: &'static str,
    user: &User,
    details: Value,
) -> Result<(), StoreError> {
    let (account, target) = (Some(user.account), user_target(user.id));
    Trail { at, account, actor, action, target, label: &user.name, details }.append(tx)
}

/// Gives a member another role.
///
/// # Errors
/// If a rule forbids it.
pub async fn change_role(
    app: &App,
    actor: &Actor,
    account: AccountId,
    id: UserId,
    role: Role,
) -> Result<User, AppError> {
    change_role_and(app, actor, account, id, role, plain).await
}

/// [`change_role`], with what follows in the same transaction.
///
/// # Errors
/// As [`change_role`], and what `finish` fails with.
pub async fn change_role_and<R: Send + 'static>(
    app: &App,
    actor: &Actor,
    account: AccountId,
    id: UserId,
    role: Role,
    finish: impl FnOnce(&mut Tx<'_>, User) -> Result<R, AppError> + Send + 'static,
) -> Result<R, AppError> {
    let (chance, at) = (app.chance.clone(), app.clock.wall());
    let told = *actor;
    let finish = move |tx: &mut Tx<'_>, (user, before): (User, Role)| {
        events::user(tx, &chance, at, &told, "user.role_changed", &user, Some(before))?;
        finish(tx, user)
    };
    change(app, actor, account, id, "user.role_changed", finish, move |tx, actor, user| {
        check_gives(tx, actor, account, role)?;
        let before = user.role;
        if before == Role::Admin && role != Role::Admin {
            check_not_last_admin(tx, user)?;
        }
        user.role = role;
        Ok(json!({ "from": before.as_str(), "to": role.as_str() }))
    })
    .await
}

/// Keeps a member out until resumed. The sessions end at once.
///
/// # Errors
/// If a rule forbids it.
pub async fn suspend(
    app: &App,
    actor: &Actor,
    account: AccountId,
    id: UserId,
) -> Result<User, AppError> {
    change(app, actor, account, id, "user.suspended", user_alone, |tx, _, user| {
        if user.status != UserStatus::Active {
            return Err(AppError::Forbidden(String::from(
                "only an active member can be suspended",
            )));
        }
        check_not_last_admin(tx, user)?;
        user.status = UserStatus::Suspended;
        sessions::end_all(tx, user.id, None)?;
        Ok(json!({}))
    })
    .await
}

/// Lets a suspended member in again.
///
/// # Errors
/// If a rule forbids it.
pub async fn resume(
    app: &App,
    actor: &Actor,
    account: AccountId,
    id: UserId,
) -> Result<User, AppError> {
    change(app, actor, account, id, "user.resumed", user_alone, |_, _, user| {
        if user.status != UserStatus::Suspended {
            return Err(AppError::Forbidden(String::from("the member is not suspended")));
        }
        user.status = UserStatus::Active;
        Ok(json!({}))
    })
    .await
}

/// Removes a member. Keys that the member made belong to the account and work on. Contract 8.
///
/// # Errors
/// If a rule forbids it.
pub async fn remove(
    app: &App,
    actor: &Actor,
    account: AccountId,
    id: UserId,
) -> Result<User, AppError> {
    remove_and(app, actor, account, id, plain).await
}

/// [`remove`], with what follows in the same transaction.
///
/// # Errors
/// As [`remove`], and what `finish` fails with.
pub async fn remove_and<R: Send + 'static>(
    app: &App,
    actor: &Actor,
    account: AccountId,
    id: UserId,
    finish: impl FnOnce(&mut Tx<'_>, User) -> Result<R, AppError> + Send + 'static,
) -> Result<R, AppError> {
    let (actor, at, chance) = (*actor, app.clock.wall(), app.chance.clone());
    actor.check_in_charge_of(account)?;
    app.store
        .write(move |tx| {
            let actor = actor.refreshed(tx, at)?;
            actor.check_in_charge_of(account)?;
            let user = changeable(tx, &actor, account, id)?;
            check_not_last_admin(tx, &user)?;
            let n_keys = key_list::made_by(tx, id, at)?;
            let details = json!({ "email": user.email, "keys_that_work_on": n_keys });
            tell(tx, at, &actor, "user.removed", &user, details)?;
            events::user(tx, &chance, at, &actor, "user.removed", &user, None)?;
            users::remove(tx, id, at)?;
            finish(tx, user)
        })
        .await
}

fn user_alone(_: &mut Tx<'_>, (user, _): (User, Role)) -> Result<User, AppError> {
    Ok(user)
}

/// `finish` gets the member as it is now, and the role from before.
async fn change<R: Send + 'static>(
    app: &App,
    actor: &Actor,
    account: AccountId,
    id: UserId,
    action: &'static str,
    finish: impl FnOnce(&mut Tx<'_>, (User, Role)) -> Result<R, AppError> + Send + 'static,
    change: impl FnOnce(&mut Tx<'_>, &Actor, &mut User) -> Result<Value, AppError> + Send + 'static,
) -> Result<R, AppError> {
    let (actor, at) = (*actor, app.clock.wall());
    actor.check_in_charge_of(account)?;
    app.store
        .write(move |tx| {
            let actor = actor.refreshed(tx, at)?;
            actor.check_in_charge_of(account)?;
            let mut user = changeable(tx, &actor, account, id)?;
            let before = user.role;
            let details = change(tx, &actor, &mut user)?;
            user.updated_at = Some(at);
            users::put(tx, &user)?;
            tell(tx, at, &actor, action, &user, details)?;
            finish(tx, (user, before))
        })
        .await
}

/// A member that this actor may change.
fn changeable(
    tx: &mut Tx<'_>,
    actor: &Actor,
    account: AccountId,
    id: UserId,
) -> Result<User, AppError> {
    let user = users::find_in(tx, account, actor.environment(), id)?;
    let user = user.ok_or(AppError::NotFound(Resource::User))?;
    if user.role == Role::Owner {
        // The API knows no owner. Contract 8.
        if matches!(actor, Actor::Key(_)) {
            return Err(AppError::NotFound(Resource::User));
        }
        return Err(AppError::Forbidden(String::from("the owner cannot be changed or removed")));
    }
    if matches!(actor, Actor::Person(person) if person.user == id) {
        return Err(AppError::Forbidden(String::from("nobody changes or removes oneself")));
    }
    Ok(user)
}

/// The last admin stays while there is no owner. Contract 8.
fn check_not_last_admin(tx: &mut Tx<'_>, user: &User) -> Result<(), AppError> {
    if user.role != Role::Admin || users::owner_of(tx, user.account)?.is_some() {
        return Ok(());
    }
    let is_other = |other: &User| {
        other.id != user.id
            && other.role == Role::Admin
            && (other.status == UserStatus::Active || other.environment == Environment::Test)
    };
    if users::of_environment(tx, user.account, user.environment)?.iter().any(is_other) {
        return Ok(());
    }
    let rule = "the last admin of an account without an owner stays";
    Err(AppError::Forbidden(rule.to_owned()))
}
