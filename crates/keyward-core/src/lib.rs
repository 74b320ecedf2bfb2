//! The decisions of Keyward, the API-key door. Pure: no I/O, no clock, no chance; time and random
//! bytes are arguments.
//!
//! Words, used the same way in code, SQL, logs, settings and documents:
//! a **key** is what a caller sends; its **digest** is what is kept, its **hint** the last four
//! characters. An **account** owns keys in two **environments**, production and test. A **verdict**
//! lets a **caller** in or is a **refusal**. A **window** counts requests and leaves an
//! **allowance** (limit, remaining, reset). A key is issued, **rotated** (a successor replaces it,
//! and it works on for a **grace** period), **disabled** and **enabled**, **revoked** for good, and
//! **expires**.

pub mod account;
pub mod address;
// Open for `tests/loom.rs` alone.
#[doc(hidden)]
pub mod arena;
pub mod chain;
pub mod digest;
pub mod guesses;
pub mod id;
pub mod index;
pub mod key;
pub mod permission;
pub mod record;
pub mod role;
pub mod secret;
mod slab;
mod table;
pub mod time;
pub mod turns;
pub mod usage;
pub mod verdict;
pub mod verifier;
pub mod window;
