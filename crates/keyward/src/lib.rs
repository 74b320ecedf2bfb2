//! Keyward, the program: the API-key door that a company puts before its HTTP API.
//!
//! Layers, each importing only from those below: `server` and `cli` assemble; `v3`, `docs` and
//! `workers` are faces; `app` is what can be done; `mail`, `outbound`, `config`
//! and `observe` are mechanisms.

pub mod app;
pub mod cli;
pub mod config;
pub mod dashboard;
pub mod docs;
pub mod mail;
pub mod observe;
pub mod outbound;
pub mod samples;
pub mod server;
pub mod v3;
pub mod workers;

use keyward_core::time::UnixMillis;

/// A point in time as everybody is told it: `2024-01-01T00:00:00Z`.
#[must_use]
pub fn when(at: UnixMillis) -> String {
    keyward_tower::envelope::timestamp(at)
}
