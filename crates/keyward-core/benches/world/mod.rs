//! A verifier full of keys, the same in every run.

use std::net::IpAddr;

use keyward_core::account::Environment;
use keyward_core::account::{Account, AccountKind, AccountState, Limits, OwnLimits, RateClass};
use keyward_core::id::{AccountId, KeyId};
use keyward_core::index::KeyIndex;
use keyward_core::key::{ApiKey, KeyHint};
use keyward_core::permission::PermissionSet;
use keyward_core::record::{KeyRecord, Mark};
use keyward_core::time::{Moment, Ticks, UnixMillis};
use keyward_core::verifier::{Verifier, Visit};

const ACCOUNTS: u64 = 1000;
pub(crate) const VISIT: Visit = Visit {
    now: Moment { wall: UnixMillis(1_704_067_200_000), ticks: Ticks(1) },
    client: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
    class: RateClass::Standard,
    is_account_exempt: false,
};

/// A small generator, so that every run draws the same keys in the same order.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn bytes(&mut self) -> [u8; 16] {
        let (high, low) = (self.next(), self.next());
        (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
    }
}

pub(crate) fn text_of(bytes: [u8; 16]) -> [u8; 36] {
    let key = ApiKey::from_random(&bytes.into());
    key.reveal().as_bytes().try_into().expect("a key has 36 characters")
}

const AT: UnixMillis = UnixMillis(1_704_000_000_000);

fn id_of(number: u64) -> [u8; 16] {
    (u128::from(number) + 1).to_be_bytes()
}

/// A key that is good.
pub(crate) fn record_of(number: u64, text: &[u8; 36]) -> KeyRecord {
    let key = ApiKey::parse(text).expect("it was made here");
    KeyRecord {
        id: KeyId::from_bytes(id_of(number)),
        account: AccountId::from_bytes(id_of(number % ACCOUNTS)),
        digest: key.digest(),
        hint: KeyHint::UNKNOWN,
        name: String::from("key"),
        environment: Environment::Production,
        permissions: PermissionSet::FULL,
        networks: vec![],
        created: Mark { at: AT, by: String::new() },
        expires_at: None,
        disabled: None,
        revoked: None,
        rotated: None,
        last_used: None,
    }
}

/// With these keys, and room for as many as are said before the index has to grow.
pub(crate) fn verifier_of(texts: &[[u8; 36]], n_keys: usize) -> Verifier {
    let index = KeyIndex::with_capacity(n_keys);
    for number in 0..ACCOUNTS {
        let account = Account {
            id: AccountId::from_bytes(id_of(number)),
            kind: AccountKind::User,
            organization: None,
            name: format!("account {number}"),
            email: None,
            icon: None,
            description: None,
            state: AccountState::Active,
            limits: OwnLimits::default(),
            created_at: AT,
        };
        index.put_account(&account).expect("there is room");
    }
    for (number, text) in texts.iter().enumerate() {
        index.put_key(&record_of(number as u64, text)).expect("there is room");
    }
    let limit = 1_000_000;
    let limits = Limits { standard: limit, sensitive: limit, webhook_test: limit };
    Verifier::new(index, limits, limit)
}
