//! Accounts: whom a key speaks for, and whether it may be used.

use crate::id::AccountId;
use crate::time::UnixMillis;

/// An enumeration whose variants are words: in JSON, in the database and on the command line.
#[macro_export]
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),* }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word in JSON, in the database and on the command line.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            #[must_use]
            pub fn from_text(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
pub use words;

words! {
    /// Which of an account's two worlds a key belongs to. Contract 4.
    Environment {
        Production = "production",
        Test = "test",
    }
}

words! {
    /// The kind of an account. Sources 8.1.
    AccountKind {
        /// Has members and may have profiles.
        Organization = "organization",
        /// Stands alone.
        User = "user",
        /// A child of an organization, with data and keys of its own.
        Profile = "profile",
    }
}

words! {
    /// Whether an account's keys may be used. Contract 2; sources 10.3.
    AccountState {
        Active = "active",
        /// AUTH_005: not yet activated, or suspended by the operator.
        Suspended = "suspended",
        /// AUTH_006: verification not complete.
        VerificationPending = "verification_pending",
        /// AUTH_007: no messaging channel configured.
        ChannelPending = "channel_pending",
    }
}

words! {
    /// The pool that a request spends from. Contract 5.
    RateClass {
        Standard = "standard",
        Sensitive = "sensitive",
        WebhookTest = "webhook_test",
    }
}

/// Requests a minute for each [`RateClass`]. The guide: 200 and 10; contract 5: 60 webhook tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub standard: u32,
    pub sensitive: u32,
    pub webhook_test: u32,
}

impl Limits {
    pub const GUIDE: Self = Self { standard: 200, sensitive: 10, webhook_test: 60 };
}

/// An account's own limits, where it has them; the server's settings elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct OwnLimits {
    pub standard: Option<u32>,
    pub sensitive: Option<u32>,
    pub webhook_test: Option<u32>,
}

/// An account as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub id: AccountId,
    pub kind: AccountKind,
    /// The parent, for a profile only.
    pub organization: Option<AccountId>,
    pub name: String,
    pub email: Option<String>,
    pub icon: Option<String>,
    pub description: Option<String>,
    pub state: AccountState,
    pub limits: OwnLimits,
    pub created_at: UnixMillis,
}
