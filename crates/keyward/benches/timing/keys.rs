//! `Verifier::verify` in this process: unknown keys against those that are nearly right, and those that
//! were good once.

use std::hint::black_box;

use keyward_core::digest::KeyDigest;
use keyward_core::record::{KeyRecord, Mark};
use keyward_core::time::{Moment, Ticks, UnixMillis};
use keyward_core::verifier::{Presented, Verifier, Visit};

use crate::Meant;
use crate::welch::{Outcome, compare};
use crate::world::{Draw, VISIT, record_of, text_of, verifier_of};

/// Good keys in the index: more than the nearest caches hold.
const KEYS: usize = 100_000;
/// Keys of a class.
const POOL: usize = 4096;
/// Longer than a window, so that nobody is slowed down for guessing.
const TURNS_A_WINDOW: u64 = 500_000;

type Text = [u8; 36];

/// What a key is that is sent.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Unknown,
    /// Like a key that is good, but for the last of its 16 bytes.
    Nearly,
    /// Unknown, with a digest that a stored one is like in so many of its first bytes. Nobody can make a
    /// key for that; a store can be made that holds such digests.
    Alike(usize),
    Disabled,
    Revoked,
    Expired,
}

impl Kind {
    /// Puts in what makes this key one of its kind.
    fn put(self, verifier: &Verifier, number: u64, text: &Text) {
        let record = record_of(number, text);
        let mark = || Some(Mark { at: UnixMillis(1_704_000_000_000), by: String::new() });
        let record = match self {
            Self::Unknown => return,
            Self::Nearly => {
                let mut text = *text;
                text[35] = if text[35] == b'0' { b'1' } else { b'0' };
                record_of(number, &text)
            }
            Self::Alike(n_alike) => {
                let mut digest = *record.digest.as_bytes();
                digest.iter_mut().skip(n_alike).for_each(|byte| *byte ^= 0x55);
                KeyRecord { digest: KeyDigest::from_bytes(digest), ..record }
            }
            Self::Disabled => KeyRecord { disabled: mark(), ..record },
            Self::Revoked => KeyRecord { revoked: mark(), ..record },
            Self::Expired => {
                KeyRecord { expires_at: Some(UnixMillis(1_704_000_000_001)), ..record }
            }
        };
        verifier.index().put_key(&record).expect("there is room");
    }
}

/// Two verifiers and two pools of keys: in one verifier the first pool is of the first kind and the second
/// of the other, in the other verifier it is the other way about. So where a key happens to lie in memory
/// weighs on both classes alike.
struct World {
    verifiers: [Verifier; 2],
    pools: [Vec<Text>; 2],
}

fn world(kinds: [Kind; 2]) -> World {
    let mut draw = Draw(11);
    let mut texts = |n: usize| (0..n).map(|_| text_of(draw.bytes())).collect::<Vec<Text>>();
    let good = texts(KEYS);
    let pools = [texts(POOL), texts(POOL)];
    let verifiers = [false, true].map(|is_swapped| {
        let verifier = verifier_of(&good, KEYS + 2 * POOL);
        for number in 0..POOL {
            for (place, pool) in pools.iter().enumerate() {
                let kind = kinds[place ^ usize::from(is_swapped)];
                kind.put(&verifier, number as u64, &pool[number]);
            }
        }
        verifier
    });
    World { verifiers, pools }
}

pub(crate) fn run(n: usize, tell: &mut impl FnMut(&str, Meant, &Outcome)) {
    let mut turn = 0_u64;
    let mut check = |name: &str, meant: Meant, a: Kind, b: Kind| {
        let world = world([a, b]);
        let outcome = compare(
            n,
            n as u64 + turn,
            |class, draw| {
                turn += 1;
                let drawn = draw.next();
                let which = usize::from(drawn >> 63 == 1);
                let pool = &world.pools[usize::from(class) ^ which];
                let text = pool[usize::try_from(drawn % pool.len() as u64).expect("small")];
                let ticks = Ticks(1 + turn / TURNS_A_WINDOW * 60_000);
                let now = Moment { ticks, ..VISIT.now };
                (text, &world.verifiers[which], Visit { now, ..VISIT })
            },
            |(text, verifier, visit)| {
                let _ = black_box(verifier.verify(Presented::One(black_box(text)), visit));
            },
        );
        tell(name, meant, &outcome);
    };
    check("control: unknown, unknown", Meant::Same, Kind::Unknown, Kind::Unknown);
    check("control: revoked, revoked", Meant::Same, Kind::Revoked, Kind::Revoked);
    let unknown = Kind::Unknown;
    check("unknown, all but the last byte right", Meant::Same, unknown, Kind::Nearly);
    check("unknown, disabled", Meant::Same, unknown, Kind::Disabled);
    check("unknown, revoked", Meant::Same, unknown, Kind::Revoked);
    check("disabled, revoked", Meant::Same, Kind::Disabled, Kind::Revoked);
    check("disabled, expired", Meant::Told, Kind::Disabled, Kind::Expired);
    check("digest alike in 8 bytes, in 31", Meant::Same, Kind::Alike(8), Kind::Alike(31));
    check("unknown, digest alike in 31 bytes", Meant::Told, unknown, Kind::Alike(31));
    leak(n, tell);
}

/// What a careless comparison would give away.
fn leak(n: usize, tell: &mut impl FnMut(&str, Meant, &Outcome)) {
    let right = text_of(Draw(12).bytes());
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
