//! Writing down what was counted in memory.
//!
//! Bound: what could not be written is kept and merged, up to 1,000,000 rows; beyond that it is
//! dropped and the drops are counted.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use keyward_core::account::RateClass;
use keyward_core::id::KeyId;
use keyward_core::record::LastUse;
use keyward_core::usage::DrainedUsage;
use keyward_core::usage::Outcome;
use keyward_store::Store;
use keyward_store::StoreError;
use keyward_store::usage::{self, UsageRow};

const MOST_ROWS: usize = 1_000_000;

type Row = (Option<KeyId>, i64, RateClass, Outcome);

/// Counts on their way to the store.
#[derive(Default)]
pub struct Pending {
    rows: HashMap<Row, u64>,
    last_uses: HashMap<KeyId, LastUse>,
    /// Requests whose count was dropped because too much could not be written.
    pub dropped: u64,
}

impl Pending {
    /// Takes over what was drained from the verifier.
    pub fn add(&mut self, drained: Vec<DrainedUsage>) {
        for DrainedUsage { key, counts, last_use } in drained {
            for count in counts {
                let row = (key, count.hour, count.class, count.outcome);
                if self.rows.len() < MOST_ROWS || self.rows.contains_key(&row) {
                    *self.rows.entry(row).or_default() += u64::from(count.requests);
                } else {
                    self.dropped += u64::from(count.requests);
                }
            }
            let (Some(key), Some(last_use)) = (key, last_use) else { continue };
            let is_full = self.last_uses.len() >= MOST_ROWS;
            match self.last_uses.entry(key) {
                Entry::Occupied(mut known) if known.get().at <= last_use.at => {
                    known.insert(last_use);
                }
                Entry::Vacant(place) if !is_full => {
                    place.insert(last_use);
                }
                Entry::Occupied(_) | Entry::Vacant(_) => {}
            }
        }
    }

    /// Writes everything down. What could not be written stays for the next time.
    ///
    /// # Errors
    /// If the store cannot write.
    pub async fn flush(&mut self, store: &Store) -> Result<(), StoreError> {
        if self.rows.is_empty() && self.last_uses.is_empty() {
            return Ok(());
        }
        let row = |((key, hour, class, outcome), requests): (&Row, &u64)| UsageRow {
            key: *key,
            hour: *hour,
            class: *class,
            outcome: *outcome,
            requests: *requests,
        };
        let rows: Vec<UsageRow> = self.rows.iter().map(row).collect();
        let last_uses: Vec<_> = self.last_uses.iter().map(|(k, l)| (*k, l.clone())).collect();
        store.write(move |tx| usage::add(tx, &rows, &last_uses)).await?;
        self.rows.clear();
        self.last_uses.clear();
        Ok(())
    }
}
