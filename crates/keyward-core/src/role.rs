//! Roles of members, and what each may hand on. Contract 10.

use crate::account::{Environment, words};
use crate::permission::{Permission, PermissionSet};

words! {
    /// What a member may do. Contract 10.
    Role {
        Owner = "owner",
        Admin = "admin",
        Developer = "developer",
        Billing = "billing",
    }
}

words! {
    /// Whether a member can sign in. Sources 8.3.
    UserStatus {
        Active = "active",
        Invited = "invited",
        Suspended = "suspended",
        Rejected = "rejected",
    }
}

impl Role {
    /// Owner and admin run the account.
    #[must_use]
    pub const fn is_in_charge(self) -> bool {
        matches!(self, Self::Owner | Self::Admin)
    }

    /// The permissions that somebody in this role may give to a key: nobody gives more than the own
    /// role holds.
    #[must_use]
    pub fn grants(self) -> PermissionSet {
        match self {
            Self::Owner | Self::Admin => PermissionSet::ALL,
            Self::Developer => PermissionSet::ALL.without(Permission::UsersWrite),
            Self::Billing => PermissionSet::default(),
        }
    }

    /// True if somebody in this role may issue and change keys of an environment: a developer makes
    /// test keys, production keys are for those in charge.
    #[must_use]
    pub const fn manages_keys_of(self, environment: Environment) -> bool {
        match self {
            Self::Owner | Self::Admin => true,
            Self::Developer => matches!(environment, Environment::Test),
            Self::Billing => false,
        }
    }

    /// True if somebody in this role sees keys of an environment.
    #[must_use]
    pub const fn sees_keys_of(self, environment: Environment, is_shared: bool) -> bool {
        match self {
            Self::Owner | Self::Admin | Self::Billing => true,
            Self::Developer => is_shared || matches!(environment, Environment::Test),
        }
    }

    /// True if somebody in this role may give `other` to a member, or take it away. The owner's
    /// place cannot be given.
    #[must_use]
    pub const fn may_give(self, other: Self) -> bool {
        self.is_in_charge() && !matches!(other, Self::Owner)
    }

    /// In plain words, for the page where roles are chosen.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Owner => "Everything, and the account itself",
            Self::Admin => "Everything but ownership: keys of both environments, team, audit log",
            Self::Developer => "Test keys, requests and logs; production keys only when shared",
            Self::Billing => "Reads usage, keys and team; changes nothing",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_what_the_contract_gives_it() {
        use Environment::{Production, Test};
        // role, production, test, sees unshared production, gives, runs the account
        let table = [
            (Role::Owner, true, true, true, true),
            (Role::Admin, true, true, true, true),
            (Role::Developer, false, true, false, false),
            (Role::Billing, false, false, true, false),
        ];
        for (role, production, test, sees, gives) in table {
            assert_eq!(role.manages_keys_of(Production), production, "{role}");
            assert_eq!(role.manages_keys_of(Test), test, "{role}");
            assert_eq!(role.sees_keys_of(Production, false), sees, "{role}");
            assert!(role.sees_keys_of(Production, true), "{role}");
            assert_eq!(role.may_give(Role::Developer), gives, "{role}");
            assert_eq!(role.is_in_charge(), gives, "{role}");
            assert!(!role.may_give(Role::Owner), "{role}");
        }
    }

    #[test]
    fn nobody_grants_more_than_the_own_role_holds() {
        assert_eq!(Role::Admin.grants(), PermissionSet::ALL);
        assert!(!Role::Developer.grants().contains(Permission::UsersWrite));
        assert!(Role::Developer.grants().contains(Permission::UsersRead));
        assert_eq!(Role::Billing.grants().iter().count(), 0);
    }
}
