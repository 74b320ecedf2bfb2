//! The accounts and keys that a test finds in its world.

use keyward_core::account::{Account, AccountKind, AccountState, Environment, OwnLimits};
use keyward_core::id::{AccountId, KeyId};
use keyward_core::index::KeyIndex;
use keyward_core::key::ApiKey;
use keyward_core::permission::PermissionSet;
use keyward_core::record::{KeyRecord, Mark, Rotation};
use keyward_core::time::UnixMillis;

use crate::world::START;

/// A standalone account's production key, good for everything.
pub(crate) const GOOD: &str = "a0000000-0000-4000-8000-000000000001";
/// Another production key of the same account.
pub(crate) const SECOND: &str = "a0000000-0000-4000-8000-000000000002";
/// A test key of the same account.
pub(crate) const TEST: &str = "a0000000-0000-4000-8000-000000000003";
pub(crate) const EXPIRED: &str = "a0000000-0000-4000-8000-000000000004";
pub(crate) const ROTATED: &str = "a0000000-0000-4000-8000-000000000005";
pub(crate) const DISABLED: &str = "a0000000-0000-4000-8000-000000000006";
pub(crate) const REVOKED: &str = "a0000000-0000-4000-8000-000000000007";
/// To be used from 203.0.113.0/24 only.
pub(crate) const FENCED: &str = "a0000000-0000-4000-8000-000000000008";
pub(crate) const OF_SUSPENDED: &str = "a0000000-0000-4000-8000-000000000009";
pub(crate) const OF_UNVERIFIED: &str = "a0000000-0000-4000-8000-00000000000a";
pub(crate) const OF_CHANNELLESS: &str = "a0000000-0000-4000-8000-00000000000b";
pub(crate) const OF_ORGANIZATION: &str = "a0000000-0000-4000-8000-00000000000c";
pub(crate) const OF_PROFILE: &str = "a0000000-0000-4000-8000-00000000000d";
/// Has the form of a key and is nobody's.
pub(crate) const UNKNOWN: &str = "a0000000-0000-4000-8000-0000000000ff";

/// The profile of the organization.
pub(crate) const PROFILE: &str = "b6b6b6b6-b6b6-b6b6-b6b6-b6b6b6b6b6b6";
/// The profile of another organization.
pub(crate) const OTHERS_PROFILE: &str = "b8b8b8b8-b8b8-b8b8-b8b8-b8b8b8b8b8b8";

pub(crate) fn filled_index() -> KeyIndex {
    let index = KeyIndex::with_capacity(16);
    let lone = account(1, AccountKind::User, AccountState::Active);
    let suspended = account(2, AccountKind::User, AccountState::Suspended);
    let unverified = account(3, AccountKind::User, AccountState::VerificationPending);
    let channelless = account(4, AccountKind::User, AccountState::ChannelPending);
    let organization = account(5, AccountKind::Organization, AccountState::Active);
    let profile = profile_of(&organization, 6);
    let other = account(7, AccountKind::Organization, AccountState::Active);
    let others_profile = profile_of(&other, 8);
    for account in [
        &lone,
        &suspended,
        &unverified,
        &channelless,
        &organization,
        &profile,
        &other,
        &others_profile,
    ] {
        index.put_account(account).expect("there is room");
    }
    let mark = || Mark { at: UnixMillis(START - 2000), by: String::from("operator") };
    let ago = UnixMillis(START - 1000);
    let keys = [
        key(&lone, GOOD),
        key(&lone, SECOND),
        KeyRecord { environment: Environment::Test, ..key(&lone, TEST) },
        KeyRecord { expires_at: Some(ago), ..key(&lone, EXPIRED) },
        KeyRecord {
            rotated: Some(Rotation { mark: mark(), successor: key(&lone, GOOD).id, until: ago }),
            ..key(&lone, ROTATED)
        },
        KeyRecord { disabled: Some(mark()), ..key(&lone, DISABLED) },
        KeyRecord { revoked: Some(mark()), ..key(&lone, REVOKED) },
        KeyRecord {
            networks: vec!["203.0.113.0/24".parse().expect("a network")],
            ..key(&lone, FENCED)
        },
        key(&suspended, OF_SUSPENDED),
        key(&unverified, OF_UNVERIFIED),
        key(&channelless, OF_CHANNELLESS),
        key(&organization, OF_ORGANIZATION),
        key(&profile, OF_PROFILE),
    ];
    for key in &keys {
        index.put_key(key).expect("its account is there");
    }
    index
}

fn account(number: u8, kind: AccountKind, state: AccountState) -> Account {
    Account {
        id: AccountId::from_bytes([0xb0 + number; 16]),
        kind,
        organization: None,
        name: format!("account {number}"),
        email: None,
        icon: None,
        description: None,
        state,
        limits: OwnLimits::default(),
        created_at: UnixMillis(START - 3000),
    }
}

fn profile_of(organization: &Account, number: u8) -> Account {
    Account {
        organization: Some(organization.id),
        ..account(number, AccountKind::Profile, AccountState::Active)
    }
}

/// Its identifier ends like the key itself, and begins with `c0`.
fn key(account: &Account, text: &str) -> KeyRecord {
    let secret = ApiKey::parse(text.as_bytes()).expect("a key of the test");
    let id: KeyId = format!("c{}", &text[1..]).parse().expect("a UUID");
    KeyRecord {
        id,
        account: account.id,
        digest: secret.digest(),
        hint: secret.hint(),
        name: String::from("a key of the test"),
        environment: Environment::Production,
        permissions: PermissionSet::FULL,
        networks: vec![],
        created: Mark { at: UnixMillis(START - 3000), by: String::from("operator") },
        expires_at: None,
        disabled: None,
        revoked: None,
        rotated: None,
        last_used: None,
    }
}
