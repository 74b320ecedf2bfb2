//! Who does something.

use std::net::IpAddr;

use keyward_core::account::Environment;
use keyward_core::id::{AccountId, UserId};
use keyward_core::permission::Permission;
use keyward_core::role::{Role, UserStatus};
use keyward_core::time::UnixMillis;
use keyward_core::verdict::Caller;
use keyward_store::{Tx, keys, users};
use keyward_tower::RequestId;

use super::AppError;

/// Who asks for a change: it stands in the trail that the change leaves.
#[derive(Clone, Copy, Debug)]
pub enum Actor {
    /// Whoever holds a key.
    Key(Holder),
    /// A member who is signed in.
    Person(Person),
    /// Whoever can run the command line on the server's machine.
    Operator,
    /// The server by itself.
    System,
}

/// Whoever holds a key, in one request.
#[derive(Clone, Copy, Debug)]
pub struct Holder {
    pub caller: Caller,
    pub request_id: RequestId,
    pub address: IpAddr,
}

/// A member who is signed in. Only a session makes one.
#[derive(Clone, Copy, Debug)]
pub struct Person {
    pub user: UserId,
    pub account: AccountId,
    pub role: Role,
    pub address: IpAddr,
}

impl Actor {
    /// `operator`, or `key 0190…`.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Key(holder) => format!("key {}", holder.caller.key()),
            Self::Person(person) => format!("user {}", person.user),
            Self::Operator => String::from("operator"),
            Self::System => String::from("system"),
        }
    }

    /// True if this one may issue and change keys of an account and environment.
    #[must_use]
    pub(crate) fn manages_keys_of(&self, account: AccountId, environment: Environment) -> bool {
        match self {
            Self::Person(person) => {
                person.account == account && person.role.manages_keys_of(environment)
            }
            Self::Key(Holder { caller, .. }) => {
                caller.account() == account
                    && caller.environment() == environment
                    && caller.may(Permission::ApiKeysWrite)
            }
            Self::Operator | Self::System => true,
        }
    }

    /// Whose data this one sees: people see what is real, and a key what is its own. Contract 4.
    #[must_use]
    pub(crate) const fn environment(&self) -> Environment {
        match self {
            Self::Key(holder) => holder.caller.environment(),
            _ => Environment::Production,
        }
    }

    /// The request that asks, if it is one to the API.
    #[must_use]
    pub(crate) const fn request_id(&self) -> Option<RequestId> {
        match self {
            Self::Key(holder) => Some(holder.request_id),
            _ => None,
        }
    }

    /// As it is by now, in the transaction of a change: a role or a key that was taken away in the
    /// meantime changes nothing any more.
    pub(crate) fn refreshed(self, tx: &mut Tx<'_>, now: UnixMillis) -> Result<Self, AppError> {
        match self {
            Self::Person(person) => {
                let user = users::find(tx, person.user)?;
                let user = user.filter(|user| user.status == UserStatus::Active);
                let role = user.ok_or(AppError::NotAllowed)?.role;
                Ok(Self::Person(Person { role, ..person }))
            }
            Self::Key(Holder { caller, .. }) => {
                let key = keys::find(tx, caller.key())?;
                let still = key.is_some_and(|key| {
                    key.status(now).is_usable() && caller.permissions().is_within(key.permissions)
                });
                if still { Ok(self) } else { Err(AppError::NotAllowed) }
            }
            Self::Operator | Self::System => Ok(self),
        }
    }

    /// Lets those pass who may work with the webhooks of an account.
    pub(crate) fn check_works_on(&self, account: AccountId) -> Result<(), AppError> {
        let may = match self {
            Self::Person(person) => person.account == account && person.role != Role::Billing,
            Self::Key(holder) => holder.caller.account() == account,
            Self::Operator | Self::System => true,
        };
        if may { Ok(()) } else { Err(AppError::NotAllowed) }
    }

    /// Lets those pass who run an account, and keys that may change its members.
    pub(crate) fn check_in_charge_of(&self, account: AccountId) -> Result<(), AppError> {
        let is_in_charge = match self {
            Self::Person(person) => person.account == account && person.role.is_in_charge(),
            Self::Key(Holder { caller, .. }) => {
                caller.account() == account && caller.may(Permission::UsersWrite)
            }
            Self::Operator | Self::System => true,
        };
        if is_in_charge { Ok(()) } else { Err(AppError::NotAllowed) }
    }
}
