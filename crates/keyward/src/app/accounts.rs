//! Accounts: the first one with its owner, others, their state and limits.

use keyward_core::account::{
    Account, AccountKind, AccountState, Environment, OwnLimits, RateClass,
};
use keyward_core::id::AccountId;
use keyward_core::role::{Role, UserStatus};
use keyward_core::time::{DAY_MILLIS, UnixMillis};
use keyward_core::window::HIGHEST_LIMIT;
use keyward_store::sessions::{self, LinkKind};
use keyward_store::users::User;
use keyward_store::{Constraint, StoreError, Tx, accounts, users};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::audit::{Trail, account_target};
use super::tokens::{Token, digest_of};
use super::{Actor, App, AppError, Resource, check_name};

/// How long the link that sets up the first account is good.
pub const SETUP_LINK_MILLIS: i64 = DAY_MILLIS;
const LONGEST_NAME: usize = 100;

/// The first account and who owns it.
pub struct Setup {
    pub account: String,
    pub owner_name: String,
    pub owner_email: String,
    pub password: Zeroizing<String>,
}

/// An account to be made.
pub struct NewAccount {
    pub name: String,
    pub kind: AccountKind,
    /// The parent of a profile.
    pub organization: Option<AccountId>,
    pub email: Option<String>,
    pub description: Option<String>,
}

/// A link with which somebody at a browser sets up the first account; earlier ones end. `None` if
/// there is an account already.
///
/// # Errors
/// If the store cannot write.
pub async fn setup_link(app: &App) -> Result<Option<(Token, UnixMillis)>, AppError> {
    let (token, at) = (Token::new(), app.clock.wall());
    let (digest, ends_at) = (token.digest(), at + SETUP_LINK_MILLIS);
    let is_made = app
        .store
        .write(move |tx| {
            if accounts::count(tx)? > 0 {
                return Ok(false);
            }
            sessions::insert_link(tx, &digest, LinkKind::Setup, None, at, ends_at)?;
            Ok::<_, AppError>(true)
        })
        .await?;
    Ok(is_made.then_some((token, ends_at)))
}

/// True if a setup link still works.
///
/// # Errors
/// If the store does not answer.
pub async fn is_setup_link(app: &App, token: &str) -> Result<bool, AppError> {
    let (digest, now) = (digest_of(token), app.clock.wall());
    app.store
        .read(move |tx| {
            Ok(accounts::count(tx)? == 0
                && sessions::find_link(tx, &digest, LinkKind::Setup, now)?.is_some())
        })
        .await
}

/// Makes the first account, an organization, and its owner; with the token of a setup link if
/// somebody at a browser asks.
///
/// # Errors
/// If there is an account already, or something of it makes no sense.
pub async fn set_up(
    app: &App,
    setup: Setup,
    token: Option<&str>,
) -> Result<(Account, User), AppError> {
    let name = check_name("account", &setup.account, LONGEST_NAME)?;
    let owner_name = check_name("owner_name", &setup.owner_name, LONGEST_NAME)?;
    let email = check_email("owner_email", &setup.owner_email)?;
    let password_hash = app.passwords.hash("password", setup.password, None).await?;
    let digest = token.map(digest_of);
    let at = app.clock.wall();
    let account = Account {
        id: app.new_account_id(at),
        kind: AccountKind::Organization,
        organization: None,
        name,
        email: Some(email.clone()),
        icon: None,
        description: None,
        state: AccountState::Active,
        limits: OwnLimits::default(),
        created_at: at,
    };
    let owner = User {
        id: app.new_user_id(at),
        account: account.id,
        environment: Environment::Production,
        name: owner_name,
        email,
        role: Role::Owner,
        status: UserStatus::Active,
        password_hash: Some(password_hash),
        created_at: at,
        invited_at: None,
        last_login_at: None,
        updated_at: None,
        totp: None,
        totp_step: 0,
    };
    let made = (account.clone(), owner.clone());
    app.store
        .write(move |tx| {
            if accounts::count(tx)? > 0 {
                let rule = "there is an account already; 'keyward accounts create' makes another";
                return Err(AppError::Forbidden(rule.to_owned()));
            }
            if let Some(digest) = digest {
                sessions::find_link(tx, &digest, LinkKind::Setup, at)?
                    .ok_or(AppError::NotFound(Resource::Link))?;
            }
            sessions::end_links(tx, LinkKind::Setup, None)?;
            accounts::insert(tx, &account)?;
            users::insert(tx, &owner)?;
            let details = json!({ "owner": owner.name, "email": owner.email });
            Ok(tell(tx, at, &Actor::Operator, "account.set_up", &account, details)?)
        })
        .await?;
    app.put_in_force().await?;
    Ok(made)
}

fn tell(
    tx: &mut Tx<'_>,
    at: UnixMillis,
    actor: &Actor,
    action: &'static str,
    account: &Account,
    details: Value,
) -> Result<(), StoreError> {
    let target = account_target(account.id);
    let (id, label) = (Some(account.id), &account.name);
    Trail { at, account: id, actor, action, target, label, details }.append(tx)
}

/// Makes an account.
///
/// # Errors
/// If the name is taken, or something of it makes no sense.
pub async fn create(app: &App, actor: &Actor, new: NewAccount) -> Result<Account, AppError> {
    let actor = *actor;
    let at = app.clock.wall();
    if (new.kind == AccountKind::Profile) != new.organization.is_some() {
        let sentence = "a profile, and nothing else, belongs to an organization";
        return Err(AppError::invalid("organization", sentence));
    }
    let account = Account {
        id: app.new_account_id(at),
        kind: new.kind,
        organization: new.organization,
        name: app.check_name("name", &new.name, LONGEST_NAME)?,
        email: new
            .email
            .map(|email| {
                app.check_no_key("email", &email)?;
                check_email("email", &email)
            })
            .transpose()?,
        icon: None,
        description: new
            .description
            .map(|text| app.check_name("description", &text, 500))
            .transpose()?,
        state: AccountState::Active,
        limits: OwnLimits::default(),
        created_at: at,
    };
    let made = account.clone();
    app.store
        .write(move |tx| {
            if let Some(organization) = account.organization {
                let parent = accounts::find(tx, organization)?;
                let parent = parent.ok_or(AppError::NotFound(Resource::Account))?;
                if parent.kind != AccountKind::Organization {
                    let sentence = format!("{} is no organization", parent.name);
                    return Err(AppError::invalid("organization", sentence));
                }
            }
            match accounts::insert(tx, &account) {
                Err(StoreError::Conflict(Constraint::AccountName)) => Err(AppError::Taken(
                    format!("there is an account named '{}' already", account.name),
                )),
                other => {
                    other?;
                    let details = json!({ "kind": account.kind.as_str() });
                    Ok(tell(tx, at, &actor, "account.created", &account, details)?)
                }
            }
        })
        .await?;
    app.put_in_force().await?;
    Ok(made)
}

/// All accounts, in the order in which they were made.
///
/// # Errors
/// If the store does not answer.
pub async fn list(app: &App) -> Result<Vec<Account>, AppError> {
    app.store.read(|tx| Ok(accounts::list(tx)?)).await
}

/// The number of accounts there are.
///
/// # Errors
/// If the store does not answer.
pub async fn count(app: &App) -> Result<u64, AppError> {
    app.store.read(|tx| Ok(accounts::count(tx)?)).await
}

/// The name of an account.
///
/// # Errors
/// If there is none.
pub async fn name_of(app: &App, id: AccountId) -> Result<String, AppError> {
    let found = app.store.read(move |tx| Ok::<_, AppError>(accounts::find(tx, id)?)).await?;
    found.map(|account| account.name).ok_or(AppError::NotFound(Resource::Account))
}

/// The account with this identifier or name.
///
/// # Errors
/// If there is none.
pub async fn find(app: &App, id_or_name: &str) -> Result<Account, AppError> {
    let wanted = id_or_name.to_owned();
    app.store
        .read(move |tx| {
            let found = match wanted.parse::<AccountId>() {
                Ok(id) => accounts::find(tx, id)?,
                Err(_) => accounts::find_by_name(tx, &wanted)?,
            };
            found.ok_or(AppError::NotFound(Resource::Account))
        })
        .await
}

/// Sets whether an account's keys may be used. In force before this returns.
///
/// # Errors
/// If there is no such account or it is in that state already.
pub async fn set_state(
    app: &App,
    actor: &Actor,
    id: AccountId,
    state: AccountState,
) -> Result<Account, AppError> {
    let details = json!({ "state": state.as_str() });
    change(app, actor, id, "account.state_changed", details, move |account| {
        if account.state == state {
            return Err(AppError::Forbidden(format!("{} is {state} already", account.name)));
        }
        account.state = state;
        Ok(())
    })
    .await
}

/// Gives an account its own limit for a class, or with `None` the server's again.
///
/// # Errors
/// If there is no such account or the limit is 0 or beyond what a window can count.
pub async fn set_limit(
    app: &App,
    actor: &Actor,
    id: AccountId,
    class: RateClass,
    limit: Option<u32>,
) -> Result<Account, AppError> {
    if limit.is_some_and(|limit| !(1..=HIGHEST_LIMIT).contains(&limit)) {
        let sentence = format!("must be between 1 and {HIGHEST_LIMIT} requests a minute");
        return Err(AppError::invalid("limit", sentence));
    }
    let details = json!({ "class": class.as_str(), "limit": limit });
    change(app, actor, id, "account.limit_changed", details, move |account| {
        match class {
            RateClass::Standard => account.limits.standard = limit,
            RateClass::Sensitive => account.limits.sensitive = limit,
            RateClass::WebhookTest => account.limits.webhook_test = limit,
        }
        Ok(())
    })
    .await
}

async fn change(
    app: &App,
    actor: &Actor,
    id: AccountId,
    action: &'static str,
    details: Value,
    change: impl FnOnce(&mut Account) -> Result<(), AppError> + Send + 'static,
) -> Result<Account, AppError> {
    let (actor, at) = (*actor, app.clock.wall());
    let account = app
        .store
        .write(move |tx| {
            let found = accounts::find(tx, id)?;
            let mut account = found.ok_or(AppError::NotFound(Resource::Account))?;
            change(&mut account)?;
            accounts::put(tx, &account)?;
            tell(tx, at, &actor, action, &account, details)?;
            Ok::<_, AppError>(account)
        })
        .await?;
    app.put_in_force().await?;
    Ok(account)
}

/// Profiles of an organization.
///
/// # Errors
/// If the store does not answer.
pub async fn profiles_of(app: &App, organization: AccountId) -> Result<Vec<Account>, AppError> {
    app.store.read(move |tx| Ok(accounts::profiles_of(tx, organization)?)).await
}

/// The form only: whether mail arrives is found out by sending one.
pub(crate) fn check_email(field: &str, email: &str) -> Result<String, AppError> {
    let email = email.trim();
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '@';
    let is_right = email.len() <= 254
        && email.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty()
                && local.chars().all(is_plain)
                && domain.chars().all(is_plain)
                && domain.contains('.')
                && !domain.starts_with('.')
                && !domain.ends_with('.')
        });
    if is_right {
        Ok(email.to_owned())
    } else {
        Err(AppError::invalid(field, "must be an e-mail address, such as ada@example.com"))
    }
}
