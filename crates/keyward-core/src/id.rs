//! Identifiers: a type each, so that none is taken for another.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// The text is no UUID of 36 characters with hyphens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAUuid;

impl fmt::Display for NotAUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a UUID: expected 36 characters, xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")
    }
}

impl std::error::Error for NotAUuid {}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// As it is displayed, without the machinery of formatting.
            #[must_use]
            pub fn to_text(self) -> [u8; 36] {
                let mut text = [0; 36];
                self.0.hyphenated().encode_lower(&mut text);
                text
            }

            /// A time-ordered identifier (UUID version 7): new rows go to the end of an index.
            /// It is not secret, and nothing may depend on its being hard to guess.
            #[must_use]
            pub fn new(at: crate::time::UnixMillis, random: [u8; 10]) -> Self {
                let millis = u64::try_from(at.0).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self.0.as_hyphenated(), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0.as_hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = NotAUuid;

            /// Accepts the hyphenated form of 36 characters in any letter case, and no other.
            fn from_str(text: &str) -> Result<Self, NotAUuid> {
                if text.len() != 36 {
                    return Err(NotAUuid);
                }
                Uuid::try_parse(text).map(Self).map_err(|_| NotAUuid)
            }
        }
    )*};
}

ids! {
    /// An account: an organization, a standalone user or a profile of an organization.
    AccountId
    /// A key's public identifier. Safe to log and to show; it opens nothing.
    KeyId
    /// A member of an account.
    UserId
    /// A contact of an account.
    ContactId
    /// A session of a member. Safe to show; what opens it is a token of its own.
    SessionId
    /// An alert.
    AlertId
    /// A passkey of a member. Safe to show; what the browser knows it by is another.
    PasskeyId
    /// A webhook of an account.
    WebhookId
    /// An event on its way to a webhook, the same at each attempt.
    EventId
}
