//! What the hot path costs: parse, digest, look up, admit, verify; at several numbers of keys.
//!
//! `yardstick` is what cannot be avoided, in the same run: parse, SHA-256 and one random look-up in
//! a standard hash map with the digest for a hash.

#![cfg(not(loom))]

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::hint::black_box;
use std::net::IpAddr;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use keyward_core::account::Environment;
use keyward_core::account::{Account, AccountKind, AccountState, Limits, OwnLimits, RateClass};
use keyward_core::id::{AccountId, KeyId};
use keyward_core::index::KeyIndex;
use keyward_core::key::{ApiKey, KeyHint};
use keyward_core::permission::PermissionSet;
use keyward_core::record::{KeyRecord, Mark};
use keyward_core::time::{Moment, Ticks, UnixMillis};
use keyward_core::verifier::{Presented, Verifier, Visit};
use keyward_core::window::RateWindow;

const ACCOUNTS: u64 = 1000;
const VISIT: Visit = Visit {
    now: Moment { wall: UnixMillis(1_704_067_200_000), ticks: Ticks(1) },
    client: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
    class: RateClass::Standard,
    is_account_exempt: false,
};

/// A small generator, so that every run draws the same keys in the same order.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn bytes(&mut self) -> [u8; 16] {
        let (high, low) = (self.next(), self.next());
        (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
    }
}

/// Takes the first eight bytes of a digest for its hash.
#[derive(Default)]
struct First(u64);

impl Hasher for First {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*first);
        }
    }
}

fn text_of(bytes: [u8; 16]) -> [u8; 36] {
    let key = ApiKey::from_random(&bytes.into());
    key.reveal().as_bytes().try_into().expect("a key has 36 characters")
}

fn verifier_of(texts: &[[u8; 36]]) -> Verifier {
    let index = KeyIndex::with_capacity(texts.len());
    let id = |number: u64| (u128::from(number) + 1).to_be_bytes();
    let at = UnixMillis(1_704_000_000_000);
    for number in 0..ACCOUNTS {
        let account = Account {
            id: AccountId::from_bytes(id(number)),
            kind: AccountKind::User,
            organization: None,
            name: format!("account {number}"),
            email: None,
            icon: None,
            description: None,
            state: AccountState::Active,
            limits: OwnLimits::default(),
            created_at: at,
        };
        index.put_account(&account).expect("there is room");
    }
    for (number, text) in texts.iter().enumerate() {
        let key = ApiKey::parse(text).expect("it was made here");
        let record = KeyRecord {
            id: KeyId::from_bytes(id(number as u64)),
            account: AccountId::from_bytes(id(number as u64 % ACCOUNTS)),
            digest: key.digest(),
            hint: KeyHint::UNKNOWN,
            name: String::from("key"),
            environment: Environment::Production,
            permissions: PermissionSet::FULL,
            networks: vec![],
            created: Mark { at, by: String::new() },
            expires_at: None,
            disabled: None,
            revoked: None,
            rotated: None,
            last_used: None,
        };
        index.put_key(&record).expect("there is room");
    }
    let limit = 1_000_000;
    let limits = Limits { standard: limit, sensitive: limit, webhook_test: limit };
    Verifier::new(index, limits, limit)
}

fn parts(criterion: &mut Criterion) {
    let text = text_of(Draw(1).bytes());
    criterion.bench_function("parse", |b| b.iter(|| ApiKey::parse(black_box(&text))));
    let key = ApiKey::parse(&text).expect("it was made here");
    criterion.bench_function("digest", |b| b.iter(|| black_box(&key).digest()));
    let window = RateWindow::new();
    let mut now = 1;
    criterion.bench_function("window/admit", |b| {
        b.iter(|| {
            now += 1;
            window.admit(Ticks(black_box(now)), 1_000_000)
        });
    });
}

fn whole(criterion: &mut Criterion) {
    for n_keys in [10_000usize, 1_000_000] {
        let mut draw = Draw(7);
        let texts: Vec<[u8; 36]> = (0..n_keys).map(|_| text_of(draw.bytes())).collect();
        let order: Vec<usize> = (0..1 << 20).map(|_| draw.next() as usize % n_keys).collect();
        let strangers: Vec<[u8; 36]> = (0..1 << 16).map(|_| text_of(draw.bytes())).collect();
        let mut group = criterion.benchmark_group(format!("{n_keys} keys"));
        let mut turn = 0;
        let mut next = move |of: &[usize]| {
            turn = (turn + 1) % of.len();
            of[turn]
        };

        let mut map: HashMap<[u8; 32], u64, BuildHasherDefault<First>> = HashMap::default();
        for (number, text) in texts.iter().enumerate() {
            let key = ApiKey::parse(text).expect("it was made here");
            map.insert(*key.digest().as_bytes(), number as u64);
        }
        group.bench_function("yardstick", |b| {
            b.iter(|| {
                let key = ApiKey::parse(&texts[next(&order)]).expect("it was made here");
                map.get(key.digest().as_bytes()).copied()
            });
        });
        drop(map);

        let verifier = verifier_of(&texts);
        group.bench_function("verify", |b| {
            b.iter(|| verifier.verify(Presented::One(&texts[next(&order)]), &VISIT).is_ok());
        });
        group.bench_function("verify, the same key each time", |b| {
            b.iter(|| verifier.verify(Presented::One(black_box(&texts[0])), &VISIT).is_ok());
        });
        let numbers: Vec<usize> = (0..strangers.len()).collect();
        group.bench_function("refuse an unknown key", |b| {
            b.iter(|| verifier.verify(Presented::One(&strangers[next(&numbers)]), &VISIT).is_err());
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .sample_size(30);
    targets = parts, whole
}
criterion_main!(benches);
