//! `Verifier::verify` in this process: unknown keys against those that are nearly right, and those that
//! were good once.

use std::hint::black_box;

use keyward_core::digest::KeyDigest;
use keyward_core::key::ApiKey;
use keyward_core::record::{KeyRecord, Mark};
use keyward_core::time::{Moment, Ticks, UnixMillis};
use keyward_core::verifier::{Presented, Verifier, Visit};

use crate::Meant;
use crate::welch::{Outcome, compare};
use crate::world::{Draw, VISIT, record_of, text_of, verifier_of};

/// Keys in the index: more than the nearest caches hold.
const KEYS: usize = 100_000;
/// Keys of a class.
const POOL: usize = 4096;
/// Longer than a window, so that nobody is slowed down for guessing.
const TURNS_A_WINDOW: u64 = 500_000;

type Text = [u8; 36];

struct Pools {
    verifier: Verifier,
    unknown: Vec<Text>,
    /// Like a key that is good, but for the last of its 16 bytes.
    nearly: Vec<Text>,
    /// With a digest that a stored one is like in its first bytes; how many, and such keys.
    alike: Vec<(usize, Vec<Text>)>,
    disabled: Vec<Text>,
    revoked: Vec<Text>,
    expired: Vec<Text>,
}

fn pools() -> Pools {
    let mut draw = Draw(11);
    let mut texts = |n: usize| (0..n).map(|_| text_of(draw.bytes())).collect::<Vec<Text>>();
    let good = texts(KEYS);
    let (unknown, disabled, revoked, expired) =
        (texts(POOL), texts(POOL), texts(POOL), texts(POOL));
    let alike: Vec<(usize, Vec<Text>)> = [8, 16, 31].map(|n| (n, texts(POOL))).into();
    let all = [&good[..], &disabled, &revoked, &expired].concat();
    let verifier = verifier_of(&all);
    let mark = || Some(Mark { at: UnixMillis(1_704_000_000_000), by: String::new() });
    let put = |record: &KeyRecord| verifier.index().put_key(record).expect("there is room");
    for (number, text) in all.iter().enumerate().skip(KEYS) {
        let record = record_of(number as u64, text);
        put(&match (number - KEYS) / POOL {
            0 => KeyRecord { disabled: mark(), ..record },
            1 => KeyRecord { revoked: mark(), ..record },
            _ => KeyRecord { expires_at: Some(UnixMillis(1_704_000_000_001)), ..record },
        });
    }
    // Nobody can make a key whose digest is like another's in so many bytes; a store can be made that
    // holds such digests.
    for (n_alike, texts) in &alike {
        for (number, text) in texts.iter().enumerate() {
            let key = ApiKey::parse(text).expect("it was made here");
            let mut digest = *key.digest().as_bytes();
            digest.iter_mut().skip(*n_alike).for_each(|byte| *byte ^= 0x55);
            let number = (KEYS + 8 * POOL + n_alike * POOL + number) as u64;
            let digest = KeyDigest::from_bytes(digest);
            put(&KeyRecord { digest, ..record_of(number, text) });
        }
    }
    let nearly = good.iter().take(POOL).map(|text| {
        let mut text = *text;
        text[35] = if text[35] == b'0' { b'1' } else { b'0' };
        text
    });
    Pools { nearly: nearly.collect(), verifier, unknown, alike, disabled, revoked, expired }
}

pub(crate) fn run(n: usize, tell: &mut impl FnMut(&str, Meant, &Outcome)) {
    let pools = pools();
    let mut turn = 0_u64;
    let mut check = |name: &str, meant: Meant, a: &[Text], b: &[Text]| {
        let outcome = compare(
            n,
            n as u64 + turn,
            |class, draw| {
                turn += 1;
                let pool = if class { b } else { a };
                let text = pool[usize::try_from(draw.next() % pool.len() as u64).expect("small")];
                let ticks = Ticks(1 + turn / TURNS_A_WINDOW * 60_000);
                (text, Visit { now: Moment { ticks, ..VISIT.now }, ..VISIT })
            },
            |(text, visit)| {
                let _ = black_box(pools.verifier.verify(Presented::One(black_box(text)), visit));
            },
        );
        tell(name, meant, &outcome);
    };
    let unknown = &pools.unknown;
    check("control: unknown, unknown", Meant::Same, unknown, unknown);
    check("unknown, all but the last byte right", Meant::Same, unknown, &pools.nearly);
    for (n_alike, texts) in &pools.alike {
        let name = format!("unknown, digest alike in {n_alike} bytes");
        check(&name, Meant::Told, unknown, texts);
    }
    let [(_, few), .., (_, most)] = &pools.alike[..] else { return };
    check("digest alike in 8 bytes, in 31", Meant::Same, few, most);
    check("disabled, revoked", Meant::Same, &pools.disabled, &pools.revoked);
    check("disabled, expired", Meant::Same, &pools.disabled, &pools.expired);
    check("unknown, disabled", Meant::Told, unknown, &pools.disabled);
    check("unknown, revoked", Meant::Told, unknown, &pools.revoked);
    leak(n, &pools, tell);
}

/// What a careless comparison would give away.
fn leak(n: usize, pools: &Pools, tell: &mut impl FnMut(&str, Meant, &Outcome)) {
    let right = *pools.unknown.first().expect("there are some");
    let mut near = right;
    near[35] = b'-';
    let far = [b'-'; 36];
    let outcome = compare(
        n,
        5,
        |class, _| if class { near } else { far },
        |text| {
            let is_same = |(a, b): (&u8, &u8)| black_box(a) == black_box(b);
            black_box(text.iter().zip(&right).all(is_same));
        },
    );
    tell("control: a comparison that stops early", Meant::Leak, &outcome);
}
