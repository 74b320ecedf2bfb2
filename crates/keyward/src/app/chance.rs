//! The only random numbers.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use zeroize::Zeroizing;

/// Where identifiers get their random part. Keys are always drawn from the system.
#[derive(Clone)]
pub enum Chance {
    System,
    /// Counts up, so that a test knows every identifier beforehand.
    Counting(Arc<AtomicU64>),
}

/// Bytes drawn from the system at once by a thread.
const BATCH: usize = 2048;

impl Chance {
    #[must_use]
    pub fn counting() -> Self {
        Self::Counting(Arc::new(AtomicU64::new(1)))
    }

    /// Fills with unguessable bytes, without a system call for most requests.
    pub fn fill(&self, bytes: &mut [u8]) {
        thread_local! {
            static DRAWN: RefCell<(Box<[u8; BATCH]>, usize)> =
                RefCell::new((Box::new([0; BATCH]), BATCH));
        }
        match self {
            Self::System => DRAWN.with_borrow_mut(|(drawn, used)| {
                if *used + bytes.len() > BATCH {
                    draw(drawn.as_mut_slice());
                    *used = 0;
                }
                let rest = &mut drawn[*used..*used + bytes.len()];
                bytes.copy_from_slice(rest);
                rest.fill(0);
                *used += bytes.len();
            }),
            Self::Counting(next) => {
                let mut number = next.fetch_add(1, Ordering::SeqCst);
                // Decimal digits, each as the smallest byte that a request identifier shows as it:
                // what is made later sorts later and reads as a higher number.
                for byte in bytes.iter_mut().rev() {
                    *byte = u8::try_from((number % 10 * 256).div_ceil(62)).unwrap_or(u8::MAX);
                    number /= 10;
                }
            }
        }
    }
}

/// Sixteen bytes for a new key, straight from the system's random source. Contract 2.
#[must_use]
pub fn key_bytes() -> Zeroizing<[u8; 16]> {
    secret_bytes()
}

/// Bytes that nobody can guess, straight from the system's random source.
#[must_use]
pub fn secret_bytes<const N: usize>() -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    draw(bytes.as_mut_slice());
    bytes
}

/// Sixteen bytes for the salt of a password.
#[must_use]
pub fn salt() -> [u8; 16] {
    let mut bytes = [0; 16];
    draw(&mut bytes);
    bytes
}

#[expect(clippy::disallowed_methods, reason = "the one place that asks the system")]
fn draw(bytes: &mut [u8]) {
    // A system without random numbers cannot issue a key or an identifier; there is no way on.
    getrandom::fill(bytes).expect("the system has a random source");
}
