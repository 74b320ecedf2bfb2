//! Accounts: the first one with its owner, others, their state and limits.

use argon2::password_hash::PasswordHasher as _;
use keyward_core::account::{Account, AccountKind, AccountState, OwnLimits, RateClass};
use keyward_core::id::AccountId;
use keyward_core::window::HIGHEST_LIMIT;
use keyward_store::users::{Role, User, UserStatus};
use keyward_store::{Constraint, StoreError, accounts, users};
use zeroize::Zeroizing;

use super::{App, AppError, Resource, chance, check_name};

/// Passwords shorter than this are refused.
pub const SHORTEST_PASSWORD: usize = 12;
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

/// Makes the first account, an organization, and its owner.
///
/// # Errors
/// If there is an account already, or something of it makes no sense.
pub async fn set_up(app: &App, setup: Setup) -> Result<Account, AppError> {
    let name = check_name("account", &setup.account, LONGEST_NAME)?;
    let owner_name = check_name("owner_name", &setup.owner_name, LONGEST_NAME)?;
    let email = check_email("owner_email", &setup.owner_email)?;
    if setup.password.chars().count() < SHORTEST_PASSWORD {
        let sentence = format!("must have at least {SHORTEST_PASSWORD} characters");
        return Err(AppError::invalid("password", sentence));
    }
    let password_hash = hash_password(&setup.password)?;
    drop(setup.password);
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
        name: owner_name,
        email,
        role: Role::Owner,
        status: UserStatus::Active,
        password_hash: Some(password_hash),
        created_at: at,
    };
    let made = account.clone();
    app.store
        .write(move |tx| {
            if accounts::count(tx)? > 0 {
                let rule = "there is an account already; 'keyward accounts create' makes another";
                return Err(AppError::Forbidden(rule.to_owned()));
            }
            accounts::insert(tx, &account)?;
            users::insert(tx, &owner)?;
            Ok(())
        })
        .await?;
    app.put_in_force().await?;
    Ok(made)
}

/// Makes an account.
///
/// # Errors
/// If the name is taken, or something of it makes no sense.
pub async fn create(app: &App, new: NewAccount) -> Result<Account, AppError> {
    let at = app.clock.wall();
    if (new.kind == AccountKind::Profile) != new.organization.is_some() {
        let sentence = "a profile, and nothing else, belongs to an organization";
        return Err(AppError::invalid("organization", sentence));
    }
    let account = Account {
        id: app.new_account_id(at),
        kind: new.kind,
        organization: new.organization,
        name: check_name("name", &new.name, LONGEST_NAME)?,
        email: new.email.map(|email| check_email("email", &email)).transpose()?,
        icon: None,
        description: new
            .description
            .map(|text| check_name("description", &text, 500))
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
                other => Ok(other?),
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
pub async fn set_state(app: &App, id: AccountId, state: AccountState) -> Result<Account, AppError> {
    change(app, id, move |account| {
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
    id: AccountId,
    class: RateClass,
    limit: Option<u32>,
) -> Result<Account, AppError> {
    if limit.is_some_and(|limit| !(1..=HIGHEST_LIMIT).contains(&limit)) {
        let sentence = format!("must be between 1 and {HIGHEST_LIMIT} requests a minute");
        return Err(AppError::invalid("limit", sentence));
    }
    change(app, id, move |account| {
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
    id: AccountId,
    change: impl FnOnce(&mut Account) -> Result<(), AppError> + Send + 'static,
) -> Result<Account, AppError> {
    let account = app
        .store
        .write(move |tx| {
            let found = accounts::find(tx, id)?;
            let mut account = found.ok_or(AppError::NotFound(Resource::Account))?;
            change(&mut account)?;
            accounts::put(tx, &account)?;
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
fn check_email(field: &str, email: &str) -> Result<String, AppError> {
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

/// Argon2id with 19 MiB and two passes, as OWASP advises.
fn hash_password(password: &Zeroizing<String>) -> Result<String, AppError> {
    let params = argon2::Params::new(19 * 1024, 2, 1, None).map_err(|e| e.to_string());
    let params = params.map_err(AppError::internal)?;
    let argon = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let hash = argon
        .hash_password_with_salt(password.as_bytes(), &chance::salt())
        .map_err(|error| AppError::internal(error.to_string()))?;
    Ok(hash.to_string())
}
