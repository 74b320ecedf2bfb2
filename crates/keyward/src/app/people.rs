//! Members of an account: invite, accept, change role, suspend, remove; passwords and their resets.
//!
//! The owner's place is neither given nor taken; nobody changes or removes oneself; the last admin
//! stays while there is no owner. Contract 8 and 10.

use keyward_core::id::{AccountId, UserId};
use keyward_core::role::{Role, UserStatus};
use keyward_core::time::{DAY_MILLIS, HOUR_MILLIS, UnixMillis};
use keyward_store::sessions::{self, LinkKind};
use keyward_store::users::{self, Named, User};
use keyward_store::{Constraint, StoreError, Tx, accounts, key_list};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::accounts::check_email;
use super::actor::Person;
use super::audit::{Trail, user_target};
use super::sessions::{Entered, Visitor};
use super::tokens::{Token, digest_of};
use super::{Actor, App, AppError, Resource, check_name};

/// How long an invitation is good. Contract 8.
pub const INVITATION_MILLIS: i64 = 7 * DAY_MILLIS;
/// How long a link to set a new password is good.
pub const RESET_MILLIS: i64 = HOUR_MILLIS;
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
    app.store
        .read(move |tx| {
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

/// The names of all members an account has and had.
///
/// # Errors
/// If the store does not answer.
pub async fn names_of(app: &App, account: AccountId) -> Result<Vec<Named>, AppError> {
    app.store.read(move |tx| Ok(users::names_of(tx, account)?)).await
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
    actor.check_in_charge_of(account)?;
    let name = check_name("name", name, LONGEST_NAME)?;
    let email = check_email("email", email)?;
    let at = app.clock.wall();
    let token = Token::new();
    let (digest, actor, ends_at) = (token.digest(), *actor, at + INVITATION_MILLIS);
    let new_id = app.new_user_id(at);
    let user = app
        .store
        .write(move |tx| {
            let members = users::of_account(tx, account)?;
            check_gives(tx, &actor, account, role)?;
            let known = members.iter().find(|user| user.email.eq_ignore_ascii_case(&email));
            let user = match known {
                Some(user) if user.status == UserStatus::Invited => {
                    let user = User { name, role, ..user.clone() };
                    users::put(tx, &user)?;
                    user
                }
                Some(user) => {
                    return Err(AppError::Taken(format!("{} is a member already", user.email)));
                }
                None if members.len() >= MOST_MEMBERS => {
                    let rule = format!("an account has at most {MOST_MEMBERS} members");
                    return Err(AppError::Forbidden(rule));
                }
                None => {
                    let user = User {
                        id: new_id,
                        account,
                        name,
                        email,
                        role,
                        status: UserStatus::Invited,
                        password_hash: None,
                        created_at: at,
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
            sessions::insert_link(tx, &digest, LinkKind::Invitation, Some(user.id), at, ends_at)?;
            let details = json!({ "email": user.email, "role": role.as_str() });
            tell(tx, at, &actor, "user.invited", &user, details)?;
            Ok(user)
        })
        .await?;
    Ok(Linked { user, token, ends_at })
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
        Actor::Operator if role != Role::Owner => Ok(()),
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
    find_by_link(app, kind, token).await?;
    let hash = app.passwords.hash("password", password).await?;
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
    change(app, actor, account, id, "user.role_changed", move |tx, actor, user| {
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
    change(app, actor, account, id, "user.suspended", |tx, _, user| {
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
    change(app, actor, account, id, "user.resumed", |_, _, user| {
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
    let (actor, at) = (*actor, app.clock.wall());
    actor.check_in_charge_of(account)?;
    app.store
        .write(move |tx| {
            let user = changeable(tx, &actor, account, id)?;
            check_not_last_admin(tx, &user)?;
            let n_keys = key_list::made_by(tx, id, at)?;
            let details = json!({ "email": user.email, "keys_that_work_on": n_keys });
            tell(tx, at, &actor, "user.removed", &user, details)?;
            users::remove(tx, id, at)?;
            Ok(user)
        })
        .await
}

async fn change(
    app: &App,
    actor: &Actor,
    account: AccountId,
    id: UserId,
    action: &'static str,
    change: impl FnOnce(&mut Tx<'_>, &Actor, &mut User) -> Result<Value, AppError> + Send + 'static,
) -> Result<User, AppError> {
    let (actor, at) = (*actor, app.clock.wall());
    actor.check_in_charge_of(account)?;
    app.store
        .write(move |tx| {
            let mut user = changeable(tx, &actor, account, id)?;
            let details = change(tx, &actor, &mut user)?;
            users::put(tx, &user)?;
            tell(tx, at, &actor, action, &user, details)?;
            Ok(user)
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
    let user = users::find(tx, id)?.filter(|user| user.account == account);
    let user = user.ok_or(AppError::NotFound(Resource::User))?;
    if user.role == Role::Owner {
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
        other.id != user.id && other.role == Role::Admin && other.status == UserStatus::Active
    };
    if users::of_account(tx, user.account)?.iter().any(is_other) {
        return Ok(());
    }
    let rule = "the last admin of an account without an owner stays";
    Err(AppError::Forbidden(rule.to_owned()))
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
            let user = users::find(tx, id)?.ok_or(AppError::NotFound(Resource::User))?;
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
    super::sessions::confirm(app, entered, current).await?;
    let hash = app.passwords.hash("new_password", new).await?;
    let (actor, id, at) = (entered.actor(), entered.user.id, app.clock.wall());
    let digest = entered.session.digest;
    app.store
        .write(move |tx| {
            let mut user = users::find(tx, id)?.ok_or(AppError::NotFound(Resource::User))?;
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
    let name = check_name("name", name, LONGEST_NAME)?;
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
