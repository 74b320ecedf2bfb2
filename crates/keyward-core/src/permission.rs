//! What a key may do.

use std::fmt;
use std::str::FromStr;

/// One permission of a key. Contract 10.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    ContactsRead,
    ContactsWrite,
    UsersRead,
    UsersWrite,
    WebhooksRead,
    WebhooksWrite,
    WebhooksRotateSecret,
    ApiKeysRead,
    ApiKeysWrite,
}

impl Permission {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 9] = [
        Self::ContactsRead,
        Self::ContactsWrite,
        Self::UsersRead,
        Self::UsersWrite,
        Self::WebhooksRead,
        Self::WebhooksWrite,
        Self::WebhooksRotateSecret,
        Self::ApiKeysRead,
        Self::ApiKeysWrite,
    ];

    /// The name in JSON, on the command line and in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ContactsRead => "contacts:read",
            Self::ContactsWrite => "contacts:write",
            Self::UsersRead => "users:read",
            Self::UsersWrite => "users:write",
            Self::WebhooksRead => "webhooks:read",
            Self::WebhooksWrite => "webhooks:write",
            Self::WebhooksRotateSecret => "webhooks:rotate_secret",
            Self::ApiKeysRead => "api_keys:read",
            Self::ApiKeysWrite => "api_keys:write",
        }
    }

    /// In plain words, for the page where permissions are chosen.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::ContactsRead => "Read contacts and their message summaries",
            Self::ContactsWrite => "Create, change and delete contacts",
            Self::UsersRead => "Read the members of the account",
            Self::UsersWrite => "Invite members, change their roles, remove them",
            Self::WebhooksRead => "Read webhooks and their deliveries",
            Self::WebhooksWrite => "Create, change, test and delete webhooks",
            Self::WebhooksRotateSecret => "Rotate the signing secrets of webhooks",
            Self::ApiKeysRead => "Read keys, never in clear",
            Self::ApiKeysWrite => {
                "Issue, change, rotate and revoke keys that may do no more than this one"
            }
        }
    }

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of no permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPermission(pub String);

impl fmt::Display for UnknownPermission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown permission '{}': expected one of", self.0)?;
        Permission::ALL.iter().try_for_each(|permission| write!(f, " {permission}"))
    }
}

impl std::error::Error for UnknownPermission {}

impl FromStr for Permission {
    type Err = UnknownPermission;

    fn from_str(text: &str) -> Result<Self, UnknownPermission> {
        Self::ALL
            .into_iter()
            .find(|permission| permission.as_str() == text)
            .ok_or_else(|| UnknownPermission(text.chars().take(64).collect()))
    }
}

/// A set of permissions in one word.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PermissionSet(u32);

impl PermissionSet {
    /// Everything a key can be given.
    pub const ALL: Self = Self((1 << Permission::ALL.len()) - 1);
    /// The preset "full": everything but managing keys, which no preset holds.
    pub const FULL: Self =
        Self::ALL.without(Permission::ApiKeysRead).without(Permission::ApiKeysWrite);
    /// The preset "read-only".
    pub const READ_ONLY: Self = Self(
        Permission::ContactsRead.bit()
            | Permission::UsersRead.bit()
            | Permission::WebhooksRead.bit(),
    );

    /// The word in which the set is stored.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Reads a stored word; bits that mean nothing to this version are dropped, so they grant
    /// nothing.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & Self::ALL.0)
    }

    #[must_use]
    pub const fn contains(self, permission: Permission) -> bool {
        self.0 & permission.bit() != 0
    }

    #[must_use]
    pub const fn without(self, permission: Permission) -> Self {
        Self(self.0 & !permission.bit())
    }

    /// True if `other` holds all of these.
    #[must_use]
    pub const fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// The members, in the order in which they are shown.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.into_iter().filter(move |permission| self.contains(*permission))
    }
}

impl FromIterator<Permission> for PermissionSet {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        Self(permissions.into_iter().fold(0, |bits, permission| bits | permission.bit()))
    }
}

impl fmt::Debug for PermissionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Permission::as_str)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_permission_is_read_back_from_its_name_and_from_its_bit() {
        for permission in Permission::ALL {
            assert_eq!(permission.as_str().parse(), Ok(permission));
            let alone: PermissionSet = [permission].into_iter().collect();
            assert_eq!(
                PermissionSet::from_bits(alone.bits()).iter().collect::<Vec<_>>(),
                [permission]
            );
        }
        assert!("contacts:*".parse::<Permission>().is_err());
    }

    #[test]
    fn the_presets_hold_what_their_names_say() {
        let lacking: Vec<_> = Permission::ALL
            .into_iter()
            .filter(|permission| !PermissionSet::FULL.contains(*permission))
            .collect();
        assert_eq!(lacking, [Permission::ApiKeysRead, Permission::ApiKeysWrite]);
        assert!(
            PermissionSet::READ_ONLY
                .iter()
                .all(|permission| permission.as_str().ends_with(":read"))
        );
        assert_eq!(PermissionSet::READ_ONLY.iter().count(), 3);
    }

    #[test]
    fn bits_of_a_newer_version_grant_nothing() {
        assert_eq!(PermissionSet::from_bits(u32::MAX), PermissionSet::ALL);
    }
}
