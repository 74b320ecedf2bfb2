//! Writing down what was counted in memory, in portions: a writer of something else never waits for more
//! than one.
//!
//! Bound: what could not be written is kept and merged, up to 1,000,000 rows; beyond that it is
//! dropped and the drops are counted. As many rows more are on their way, and as many last uses of keys: about
//! 500 MB if a million keys are used while the disk takes nothing.

use std::cmp::Reverse;
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
/// Written in one transaction, so that other writers get their turn. Why not fewer: rows that lie together are
/// written together, and a portion of 64 costs twice as much a row.
const PORTION: usize = 4096;

type Row = (Option<KeyId>, i64, RateClass, Outcome);

/// Counts on their way to the store.
#[derive(Default)]
pub struct Pending {
    rows: HashMap<Row, u64>,
    last_uses: HashMap<KeyId, LastUse>,
    /// On their way, by key, the last first.
    going_rows: Vec<UsageRow>,
    going_last_uses: Vec<(KeyId, LastUse)>,
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

    /// Puts all that was counted on its way, unless something is; gives the portions that are to be
    /// written.
    pub fn begin(&mut self) -> usize {
        if self.going_rows.is_empty() && self.going_last_uses.is_empty() {
            let row = |((key, hour, class, outcome), requests)| UsageRow {
                key,
                hour,
                class,
                outcome,
                requests,
            };
            self.going_rows.extend(self.rows.drain().map(row));
            self.going_rows.sort_unstable_by_key(|row| Reverse(row.key));
            self.going_last_uses.extend(self.last_uses.drain());
            self.going_last_uses.sort_unstable_by_key(|(key, _)| Reverse(*key));
        }
        self.going_rows.len().max(self.going_last_uses.len()).div_ceil(PORTION)
    }

    /// Writes one portion of what is on its way. What could not be written stays for the next time.
    ///
    /// # Errors
    /// If the store cannot write.
    pub async fn write_portion(&mut self, store: &Store) -> Result<(), StoreError> {
        let (rows, rows_left) = last_of(&self.going_rows);
        let (last_uses, last_uses_left) = last_of(&self.going_last_uses);
        if rows.is_empty() && last_uses.is_empty() {
            return Ok(());
        }
        store.write(move |tx| usage::add(tx, &rows, &last_uses)).await?;
        self.going_rows.truncate(rows_left);
        self.going_last_uses.truncate(last_uses_left);
        Ok(())
    }

    /// Writes everything down, one portion after the other.
    ///
    /// # Errors
    /// If the store cannot write.
    pub async fn flush(&mut self, store: &Store) -> Result<(), StoreError> {
        // Why a loop: what was on its way before leaves the rest.
        loop {
            let n_portions = self.begin();
            if n_portions == 0 {
                return Ok(());
            }
            for _ in 0..n_portions {
                self.write_portion(store).await?;
            }
        }
    }
}

/// The last portion, and how many there are before it.
fn last_of<T: Clone>(all: &[T]) -> (Vec<T>, usize) {
    let n_left = all.len().saturating_sub(PORTION);
    (all[n_left..].to_vec(), n_left)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use keyward_core::time::UnixMillis;
    use keyward_core::usage::UsageCount;

    use super::*;

    /// Two requests of each of so many keys.
    fn drained(n_keys: usize) -> Vec<DrainedUsage> {
        let count =
            UsageCount { hour: 1, class: RateClass::Standard, outcome: Outcome::Ok, requests: 2 };
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let last_use = LastUse { at: UnixMillis(1), address, client: String::from("curl") };
        (0..n_keys)
            .map(|number| DrainedUsage {
                key: Some(KeyId::from_bytes((number as u128).to_be_bytes())),
                counts: vec![count],
                last_use: Some(last_use.clone()),
            })
            .collect()
    }

    #[tokio::test]
    async fn portions_add_up_to_all_that_was_counted_also_what_came_meanwhile() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(folder.path()).expect("it is new");
        let stored = async || {
            let sql = "SELECT coalesce(sum(requests), 0) FROM usage_hours";
            let sum = store.read(|tx| tx.query_one(sql, &[], |row| row.int(0))).await;
            sum.unwrap_or_else(|error: StoreError| panic!("{error}")).unwrap_or(0)
        };
        let mut pending = Pending::default();
        assert_eq!(pending.begin(), 0);
        pending.add(drained(2 * PORTION + 10));
        assert_eq!(pending.begin(), 3);
        pending.write_portion(&store).await.expect("there is room");
        assert_eq!(stored().await, 2 * 4096);
        pending.add(drained(5));
        assert_eq!(pending.begin(), 2, "what is on its way comes first");
        pending.flush(&store).await.expect("there is room");
        assert_eq!(stored().await, 2 * (2 * 4096 + 15));
        pending.write_portion(&store).await.expect("there is nothing to write");
        assert_eq!((pending.begin(), stored().await), (0, 16_414));
    }
}
