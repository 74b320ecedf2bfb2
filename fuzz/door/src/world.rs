//! A verifier with a key of each kind, for the targets `verify` and `door`.

use keyward_core::account::{
    Account, AccountKind, AccountState, Environment, Limits, OwnLimits, RateClass,
};
use keyward_core::id::{AccountId, KeyId};
use keyward_core::index::KeyIndex;
use keyward_core::key::ApiKey;
use keyward_core::permission::PermissionSet;
use keyward_core::record::{KeyRecord, Mark, Rotation};
use keyward_core::time::{Moment, Ticks, UnixMillis};
use keyward_core::verifier::Verifier;

/// 2024-01-01T00:00:00Z.
pub const START: UnixMillis = UnixMillis(1_704_067_200_000);
/// When the keys end that do.
pub const END: UnixMillis = UnixMillis(START.0 + 86_400_000);

/// What is behind a key, and so what must be said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Good,
    /// Of an account that may not be used.
    Suspended,
    /// Good until [`END`].
    Expiring,
    /// Replaced, and good until [`END`].
    Rotating,
    Disabled,
    Revoked,
    /// Good from 10.0.0.0/8 and 2001:db8::/32 alone.
    AtHome,
}

impl Kind {
    pub const ALL: [Self; 7] = [
        Self::Good,
        Self::Suspended,
        Self::Expiring,
        Self::Rotating,
        Self::Disabled,
        Self::Revoked,
        Self::AtHome,
    ];

    /// The key of this kind; the first characters are its number.
    #[must_use]
    pub fn key(self) -> String {
        let number = Self::ALL.iter().position(|kind| *kind == self).expect("it is in the list");
        format!("0000000{number}-d9cb-469f-a165-70867728950e")
    }

    /// The kind whose key this is, read by other rules than the program's.
    #[must_use]
    pub fn of(text: &[u8]) -> Option<Self> {
        let text = str::from_utf8(text).ok()?.to_ascii_lowercase();
        Self::ALL.into_iter().find(|kind| kind.key() == text)
    }
}

pub const PROFILE: AccountId = AccountId::from_bytes([3; 16]);

fn account(id: u8, kind: AccountKind, organization: Option<u8>, state: AccountState) -> Account {
    Account {
        id: AccountId::from_bytes([id; 16]),
        kind,
        organization: organization.map(|id| AccountId::from_bytes([id; 16])),
        name: format!("account {id}"),
        email: None,
        icon: None,
        description: None,
        state,
        limits: OwnLimits::default(),
        created_at: START,
    }
}

fn record(kind: Kind) -> KeyRecord {
    let key = ApiKey::parse(kind.key().as_bytes()).expect("it has the form of a key");
    let mark = Mark { at: START, by: String::from("fuzz") };
    let is = |other| kind == other;
    KeyRecord {
        id: KeyId::from_bytes([kind as u8; 16]),
        account: AccountId::from_bytes([if is(Kind::Suspended) { 2 } else { 1 }; 16]),
        digest: key.digest(),
        hint: key.hint(),
        name: format!("{kind:?}"),
        environment: Environment::Production,
        permissions: PermissionSet::FULL,
        networks: if is(Kind::AtHome) {
            ["10.0.0.0/8", "2001:db8::/32"].iter().map(|n| n.parse().expect("a network")).collect()
        } else {
            vec![]
        },
        created: mark.clone(),
        expires_at: is(Kind::Expiring).then_some(END),
        disabled: is(Kind::Disabled).then(|| mark.clone()),
        revoked: is(Kind::Revoked).then(|| mark.clone()),
        rotated: is(Kind::Rotating).then(|| Rotation {
            mark,
            successor: KeyId::from_bytes([9; 16]),
            until: END,
        }),
        last_used: None,
    }
}

/// Account 1 is an organization with the profile 3; account 2 is suspended; 4 is somebody else's profile.
#[must_use]
pub fn verifier(limits: Limits, guess_limit: u32) -> Verifier {
    let index = KeyIndex::with_capacity(Kind::ALL.len());
    let accounts = [
        account(1, AccountKind::Organization, None, AccountState::Active),
        account(2, AccountKind::User, None, AccountState::Suspended),
        account(3, AccountKind::Profile, Some(1), AccountState::Active),
        account(4, AccountKind::Profile, Some(2), AccountState::Active),
    ];
    for account in accounts {
        index.put_account(&account).expect("there is room");
    }
    for kind in Kind::ALL {
        index.put_key(&record(kind)).expect("there is room");
    }
    Verifier::new(index, limits, guess_limit)
}

/// A time within some weeks of [`START`], read from a number.
#[must_use]
pub fn moment(number: u64) -> Moment {
    let millis = i64::try_from(number % (40 * 86_400_000)).expect("it is small");
    Moment { wall: UnixMillis(START.0 - 86_400_000 + millis), ticks: Ticks(1 + number % (1 << 40)) }
}

#[must_use]
pub fn class(number: u8) -> RateClass {
    RateClass::ALL[usize::from(number) % RateClass::ALL.len()]
}
