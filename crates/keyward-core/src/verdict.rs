//! What the verifier says: who is let in, or why somebody is not.

use crate::account::{AccountState, Environment};
use crate::id::{AccountId, KeyId};
use crate::index::{AccountSlot, KeySlot};
use crate::key::ParseKeyError;
use crate::permission::{Permission, PermissionSet};
use crate::time::UnixMillis;
use crate::usage::Outcome;
use crate::window::Allowance;

/// Who a request proved to be. Only the verifier makes one, so code that asks for a `Caller` cannot
/// run for a stranger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub(crate) slot: KeySlot,
    pub(crate) account_slot: AccountSlot,
    pub(crate) key: KeyId,
    pub(crate) own_account: AccountId,
    pub(crate) account: AccountId,
    pub(crate) environment: Environment,
    pub(crate) permissions: PermissionSet,
}

impl Caller {
    #[must_use]
    pub const fn key(&self) -> KeyId {
        self.key
    }

    /// The account that the key belongs to, and whose limit it spends.
    #[must_use]
    pub const fn own_account(&self) -> AccountId {
        self.own_account
    }

    /// The account whose data the request sees: its own, or the profile named by `x-profile-id`.
    #[must_use]
    pub const fn account(&self) -> AccountId {
        self.account
    }

    #[must_use]
    pub const fn environment(&self) -> Environment {
        self.environment
    }

    #[must_use]
    pub const fn permissions(&self) -> PermissionSet {
        self.permissions
    }

    #[must_use]
    pub const fn may(&self, permission: Permission) -> bool {
        self.permissions.contains(permission)
    }
}

/// Why a request is refused. It keeps the reason for the log; the answer forgets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No key, or a blank one.
    Missing,
    /// More than one `x-api-key` header.
    Several,
    Malformed(ParseKeyError),
    Unknown,
    Expired {
        since: UnixMillis,
    },
    /// Replaced, and the grace period is over.
    Rotated {
        since: UnixMillis,
    },
    Disabled,
    Revoked,
    /// The key may not be used from this address.
    Address,
    /// The key is good; its account may not be used.
    Account(AccountState),
    /// The account used up its window.
    Limited,
    /// Too many requests without a good key from this address.
    Guessing,
    /// `x-profile-id` is no UUID.
    ProfileMalformed,
    /// `x-profile-id` from an account that is no organization.
    ProfileForbidden,
    /// `x-profile-id` names no profile of this organization.
    ProfileUnknown,
}

impl Refusal {
    /// One word for logs and metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "key_missing",
            Self::Several => "key_repeated",
            Self::Malformed(_) => "key_malformed",
            Self::Unknown => "key_unknown",
            Self::Expired { .. } => "key_expired",
            Self::Rotated { .. } => "key_rotated",
            Self::Disabled => "key_disabled",
            Self::Revoked => "key_revoked",
            Self::Address => "address_not_allowed",
            Self::Account(AccountState::VerificationPending) => "account_verification_pending",
            Self::Account(AccountState::ChannelPending) => "account_channel_pending",
            Self::Account(_) => "account_suspended",
            Self::Limited => "rate_limited",
            Self::Guessing => "guesses_limited",
            Self::ProfileMalformed => "profile_malformed",
            Self::ProfileForbidden => "profile_forbidden",
            Self::ProfileUnknown => "profile_unknown",
        }
    }

    pub(crate) const fn outcome(&self) -> Outcome {
        match self {
            Self::Missing => Outcome::Missing,
            Self::Several | Self::Malformed(_) => Outcome::Malformed,
            Self::Unknown => Outcome::Unknown,
            Self::Expired { .. } => Outcome::Expired,
            Self::Rotated { .. } => Outcome::Rotated,
            Self::Disabled => Outcome::Disabled,
            Self::Revoked => Outcome::Revoked,
            Self::Address => Outcome::Address,
            Self::Account(_) | Self::ProfileForbidden => Outcome::Forbidden,
            Self::Limited | Self::Guessing => Outcome::Limited,
            Self::ProfileMalformed | Self::ProfileUnknown => Outcome::Invalid,
        }
    }
}

/// A request that is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    pub caller: Caller,
    pub allowance: Allowance,
}

/// A key that was recognised, though it may not be good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    pub(crate) slot: KeySlot,
    pub key: KeyId,
    pub account: AccountId,
    pub environment: Environment,
}

/// A request that is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    pub refusal: Refusal,
    /// Whose key it was, when it was anybody's: for the log, not for the answer.
    pub known: Option<Known>,
    /// To be told when the key is good, or when guesses are limited.
    pub allowance: Option<Allowance>,
}

pub type Verdict = Result<Granted, Refused>;
