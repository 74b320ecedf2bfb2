//! Who does something.

use std::net::IpAddr;

use keyward_core::account::Environment;
use keyward_core::id::{AccountId, UserId};
use keyward_core::role::Role;
use keyward_core::verdict::Caller;

use super::AppError;

/// Who asks for a change: it stands in the trail that the change leaves.
#[derive(Clone, Copy, Debug)]
pub enum Actor {
    /// Whoever holds a key.
    Key(Caller),
    /// A member who is signed in.
    Person(Person),
    /// Whoever can run the command line on the server's machine.
    Operator,
    /// The server by itself.
    System,
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
            Self::Key(caller) => format!("key {}", caller.key()),
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
            Self::Key(_) => false,
            Self::Operator | Self::System => true,
        }
    }

    /// Lets those pass who run an account.
    pub(crate) fn check_in_charge_of(&self, account: AccountId) -> Result<(), AppError> {
        let is_in_charge = match self {
            Self::Person(person) => person.account == account && person.role.is_in_charge(),
            Self::Key(_) => false,
            Self::Operator | Self::System => true,
        };
        if is_in_charge { Ok(()) } else { Err(AppError::NotAllowed) }
    }
}
