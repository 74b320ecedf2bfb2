//! All keys and accounts in memory: digest to key, for the request path.
//!
//! Written by whoever applies a change, one at a time under a mutex; read by every request without
//! any lock. What a change may alter is in atomics of its own entry; a key's term, which decides
//! whether it passes, is one word.
//!
//! Keys stay here when they are revoked or expired, so that the log can tell why one was refused
//! without asking the store. An unknown key is refused from memory too: guesses never reach the
//! store.
//!
//! Bound: for every key that was there at the start 87 bytes and what its name and networks take, 16
//! bytes for a short name and none; one whose name, networks or expiry is changed, however often, takes 8
//! KiB more at most, and once for all keys 8 KiB. Room for keys that come later is made for half as many as
//! there are. About 400 bytes an account, 3 KB with the longest texts.

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use ipnet::IpNet;

use crate::account::{
    Account, AccountKind, AccountState, Environment, Limits, OwnLimits, RateClass,
};
use crate::arena::{Arena, Spare};
use crate::digest::{KeyDigest, are_same};
use crate::id::{AccountId, KeyId};
use crate::permission::PermissionSet;
use crate::record::{KeyRecord, Term};
use crate::slab::{Positions, Slab};
use crate::table::Tables;
use crate::time::UnixMillis;
use crate::window::RateWindow;

/// Where a key stands in the index. Good for this process only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeySlot(pub(crate) u32);

/// Where an account stands in the index. Good for this process only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AccountSlot(pub(crate) u32);

/// The index cannot hold another entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexError {
    Full,
    /// A key names an account that was not put in before it.
    UnknownAccount(AccountId),
}

impl std::fmt::Display for IndexError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full => f.write_str("the index holds as many entries as it can"),
            Self::UnknownAccount(id) => write!(f, "a key names the unknown account {id}"),
        }
    }
}

impl std::error::Error for IndexError {}

/// What a request needs to know of a key: one cache line. All of it is in atomics, so that a slab of
/// such entries can be filled in without a lock or a flag for each; the digest, the identifier and the
/// account never change.
#[derive(Default)]
#[repr(align(64))]
pub(crate) struct KeyEntry {
    digest: [AtomicU64; 4],
    id: [AtomicU64; 2],
    term: AtomicU64,
    account: AtomicU32,
    /// The permissions, and [`NETWORKS`] and [`TEST`] above them.
    permissions: AtomicU32,
}

const _: () = assert!(size_of::<KeyEntry>() == 64);

/// Set where a key may be used from certain networks only, so that for most keys the networks need
/// not be looked at: they stand elsewhere, a cache miss away.
const NETWORKS: u32 = 1 << 31;
/// Set for a key of the test environment.
const TEST: u32 = 1 << 30;

fn permission_word(key: &KeyRecord) -> u32 {
    let networks = if key.networks.is_empty() { 0 } else { NETWORKS };
    let environment = if key.environment == Environment::Test { TEST } else { 0 };
    key.permissions.bits() | networks | environment
}

impl KeyEntry {
    fn fill_in(&self, key: &KeyRecord, account: AccountSlot) {
        for (place, word) in self.digest.iter().zip(key.digest.words()) {
            place.store(word, Ordering::Relaxed);
        }
        for (place, word) in self.id.iter().zip(key.id.as_bytes().as_chunks::<8>().0) {
            place.store(u64::from_le_bytes(*word), Ordering::Relaxed);
        }
        self.account.store(account.0, Ordering::Relaxed);
        self.permissions.store(permission_word(key), Ordering::Relaxed);
        self.term.store(key.term().to_word(), Ordering::Relaxed);
    }

    fn digest(&self) -> [u64; 4] {
        self.digest.each_ref().map(|word| word.load(Ordering::Relaxed))
    }

    pub(crate) fn id(&self) -> KeyId {
        let [high, low] = self.id.each_ref().map(|word| word.load(Ordering::Relaxed));
        KeyId::from_bytes((u128::from(low) << 64 | u128::from(high)).to_le_bytes())
    }

    pub(crate) fn account(&self) -> AccountSlot {
        AccountSlot(self.account.load(Ordering::Relaxed))
    }

    pub(crate) fn environment(&self) -> Environment {
        match self.permissions.load(Ordering::Acquire) & TEST {
            0 => Environment::Production,
            _ => Environment::Test,
        }
    }

    pub(crate) fn has_networks(&self) -> bool {
        self.permissions.load(Ordering::Acquire) & NETWORKS != 0
    }

    pub(crate) fn term(&self) -> Term {
        Term::from_word(self.term.load(Ordering::Acquire))
    }

    pub(crate) fn permissions(&self) -> PermissionSet {
        PermissionSet::from_bits(self.permissions.load(Ordering::Acquire))
    }
}

/// What is rarely asked of a key, or rarely changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct KeyFacts {
    pub(crate) name: String,
    pub(crate) networks: Vec<IpNet>,
    pub(crate) created_at: UnixMillis,
    pub(crate) expires_at: Option<UnixMillis>,
}

impl KeyFacts {
    fn of(key: &KeyRecord) -> Self {
        Self {
            name: key.name.clone(),
            networks: key.networks.clone(),
            created_at: key.created.at,
            expires_at: key.expires_at,
        }
    }

    /// Creation in six bytes, then how many networks there are and whether it expires, then those, and
    /// the name to the end.
    fn to_bytes(&self) -> Vec<u8> {
        let created_at = self.created_at.0.clamp(0, (1 << 48) - 1).to_le_bytes();
        let mut bytes = created_at[..6].to_vec();
        let n_networks = u8::try_from(self.networks.len()).unwrap_or(u8::MAX).min(MOST_NETWORKS);
        bytes.push(n_networks << 1 | u8::from(self.expires_at.is_some()));
        if let Some(at) = self.expires_at {
            bytes.extend(at.0.to_le_bytes());
        }
        for network in self.networks.iter().take(usize::from(n_networks)) {
            match network {
                IpNet::V4(network) => {
                    bytes.extend([4, network.prefix_len()]);
                    bytes.extend(network.addr().octets());
                }
                IpNet::V6(network) => {
                    bytes.extend([6, network.prefix_len()]);
                    bytes.extend(network.addr().octets());
                }
            }
        }
        bytes.extend(self.name.as_bytes());
        bytes
    }

    fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let [a, b, c, d, e, f] = take(&mut bytes)?;
        let created_at = UnixMillis(i64::from_le_bytes([a, b, c, d, e, f, 0, 0]));
        let [head] = take(&mut bytes)?;
        let expires_at = match head & 1 {
            0 => None,
            _ => Some(UnixMillis(i64::from_le_bytes(take(&mut bytes)?))),
        };
        let networks = (0..head >> 1).map(|_| {
            let [family, prefix] = take(&mut bytes)?;
            let address = match family {
                4 => IpAddr::from(take::<4>(&mut bytes)?),
                _ => IpAddr::from(take::<16>(&mut bytes)?),
            };
            IpNet::new(address, prefix).ok()
        });
        let networks = networks.collect::<Option<_>>()?;
        let name = str::from_utf8(bytes).ok()?.to_owned();
        Some(Self { name, networks, created_at, expires_at })
    }
}

/// Networks that are kept for a key.
const MOST_NETWORKS: u8 = 127;

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

pub(crate) struct AccountEntry {
    pub(crate) id: AccountId,
    facts: AtomicU32,
    state: AtomicU32,
    /// 0 where the server's setting counts.
    limits: [AtomicU32; 3],
    windows: [[RateWindow; 3]; 2],
    has_profiles: AtomicBool,
}

impl AccountEntry {
    pub(crate) fn has_profiles(&self) -> bool {
        self.has_profiles.load(Ordering::Acquire)
    }

    pub(crate) fn state(&self) -> AccountState {
        let state = self.state.load(Ordering::Acquire) as usize;
        AccountState::ALL.get(state).copied().unwrap_or(AccountState::Suspended)
    }

    pub(crate) fn limit(&self, class: RateClass, defaults: &Limits) -> u32 {
        match self.limits[class as usize].load(Ordering::Acquire) {
            0 => match class {
                RateClass::Standard => defaults.standard,
                RateClass::Sensitive => defaults.sensitive,
                RateClass::WebhookTest => defaults.webhook_test,
            },
            own => own,
        }
    }

    pub(crate) fn window(&self, environment: Environment, class: RateClass) -> &RateWindow {
        &self.windows[environment as usize][class as usize]
    }
}

/// What is told about an account by `GET /v3/me`. A change appends a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountFacts {
    pub kind: AccountKind,
    pub organization: Option<AccountId>,
    pub name: String,
    pub email: Option<String>,
    pub icon: Option<String>,
    pub description: Option<String>,
    pub created_at: UnixMillis,
}

/// Keys by digest and accounts by identifier.
pub struct KeyIndex {
    /// With each key the place of its facts.
    keys: Tables<KeyEntry>,
    key_facts: Arena,
    accounts: Slab<OnceLock<AccountEntry>>,
    account_facts: Slab<OnceLock<AccountFacts>>,
    by_account: Positions,
    /// Held by whoever applies a change.
    writer: Mutex<Spare>,
}

impl KeyIndex {
    /// An index with room for this many keys before it has to grow.
    #[must_use]
    pub fn with_capacity(keys: usize) -> Self {
        Self {
            keys: Tables::with_capacity(keys),
            key_facts: Arena::new(),
            accounts: Slab::new(),
            account_facts: Slab::new(),
            by_account: Positions::with_capacity(64),
            writer: Mutex::default(),
        }
    }

    /// Keys held, whatever their status.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Accounts held, whatever their state.
    #[must_use]
    pub fn n_accounts(&self) -> usize {
        self.accounts.len()
    }

    /// Adds an account or takes over what changed. In force when this returns.
    ///
    /// # Errors
    /// If the index is full.
    pub fn put_account(&self, account: &Account) -> Result<(), IndexError> {
        let _turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let facts = AccountFacts {
            kind: account.kind,
            organization: account.organization,
            name: account.name.clone(),
            email: account.email.clone(),
            icon: account.icon.clone(),
            description: account.description.clone(),
            created_at: account.created_at,
        };
        let OwnLimits { standard, sensitive, webhook_test } = account.limits;
        let limits = [standard, sensitive, webhook_test].map(|limit| limit.unwrap_or(0));
        if let Some(slot) = self.find_account(account.id) {
            let entry = self.account(slot).ok_or(IndexError::Full)?;
            if self.account_facts(slot) != Some(&facts) {
                let facts = push_cell(&self.account_facts, facts)?;
                entry.facts.store(facts, Ordering::Release);
            }
            for (own, limit) in entry.limits.iter().zip(limits) {
                own.store(limit, Ordering::Release);
            }
            entry.state.store(account.state as u32, Ordering::Release);
            return Ok(());
        }
        let facts = push_cell(&self.account_facts, facts)?;
        let entry = AccountEntry {
            id: account.id,
            facts: AtomicU32::new(facts),
            state: AtomicU32::new(account.state as u32),
            limits: limits.map(AtomicU32::new),
            windows: Default::default(),
            has_profiles: AtomicBool::new(false),
        };
        if let Some(parent) = account.organization.and_then(|id| self.find_account(id)) {
            let parent = self.account(parent).ok_or(IndexError::Full)?;
            parent.has_profiles.store(true, Ordering::Release);
        }
        let slot = push_cell(&self.accounts, entry)?;
        self.by_account.insert(account_hash(account.id), slot, |position| {
            self.account(AccountSlot(position)).map(|entry| account_hash(entry.id))
        });
        Ok(())
    }

    /// Adds a key or takes over what changed. In force when this returns.
    ///
    /// # Errors
    /// If the index is full or does not know the key's account.
    pub fn put_key(&self, key: &KeyRecord) -> Result<(), IndexError> {
        let mut spare = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let facts = KeyFacts::of(key);
        if let Some(slot) = self.find(&key.digest) {
            let entry = self.keys.get(slot.0).ok_or(IndexError::Full)?;
            // Why this order: a change that closes the key is in force first, also where the rest fails, and
            // nobody is let in by new permissions from networks that are not allowed any more.
            entry.term.store(key.term().to_word(), Ordering::Release);
            let permissions = permission_word(key);
            entry.permissions.fetch_and(permissions | NETWORKS | TEST, Ordering::AcqRel);
            if self.key_facts(slot).as_ref() != Some(&facts) {
                let place = self.keys.note(slot.0).ok_or(IndexError::Full)?;
                let new = self.key_facts.push_again(&facts.to_bytes(), &mut spare);
                let old = place.swap(new.ok_or(IndexError::Full)?, Ordering::AcqRel);
                self.key_facts.give_back(old, &mut spare);
            }
            entry.permissions.store(permissions, Ordering::Release);
            return Ok(());
        }
        let account =
            self.find_account(key.account).ok_or(IndexError::UnknownAccount(key.account))?;
        let facts = self.key_facts.push(&facts.to_bytes()).ok_or(IndexError::Full)?;
        let fill_in = |entry: &KeyEntry| entry.fill_in(key, account);
        let inserted = self.keys.insert(key.digest.hash(), facts, fill_in);
        if inserted.is_none() {
            self.key_facts.give_back(facts, &mut spare);
        }
        inserted.ok_or(IndexError::Full)
    }

    /// The key with this digest.
    #[must_use]
    pub fn find(&self, digest: &KeyDigest) -> Option<KeySlot> {
        let words = digest.words();
        let is_it = |entry: &KeyEntry| are_same(entry.digest(), words);
        self.keys.find(digest.hash(), is_it).map(KeySlot)
    }

    /// Searches for a digest as far as for one that no key has.
    pub(crate) fn search_in_vain(&self, digest: &KeyDigest) {
        black_box(self.keys.find(digest.hash(), |_| black_box(false)));
    }

    /// A place to look at for a digest that no key has, compared as if it were the one: a key that is not
    /// there costs the same look far away as one that is.
    pub(crate) fn stand_in(&self, digest: &KeyDigest) -> Option<KeySlot> {
        let (number, entry) = self.keys.stand_in(digest.hash())?;
        black_box(are_same(entry.digest(), digest.words()));
        Some(KeySlot(number))
    }

    #[must_use]
    pub fn find_account(&self, id: AccountId) -> Option<AccountSlot> {
        let is_it =
            |position| self.account(AccountSlot(position)).is_some_and(|entry| entry.id == id);
        self.by_account.find(account_hash(id), is_it).map(AccountSlot)
    }

    #[must_use]
    pub fn account_facts(&self, slot: AccountSlot) -> Option<&AccountFacts> {
        let entry = self.account(slot)?;
        self.account_facts.get(entry.facts.load(Ordering::Acquire))?.get()
    }

    pub(crate) fn key(&self, slot: KeySlot) -> Option<&KeyEntry> {
        self.keys.get(slot.0)
    }

    pub(crate) fn key_facts(&self, slot: KeySlot) -> Option<KeyFacts> {
        let place = self.keys.note(slot.0)?;
        self.key_facts.get(|| place.load(Ordering::Acquire), KeyFacts::from_bytes)?
    }

    pub(crate) fn account(&self, slot: AccountSlot) -> Option<&AccountEntry> {
        self.accounts.get(slot.0)?.get()
    }
}

fn push_cell<T>(slab: &Slab<OnceLock<T>>, value: T) -> Result<u32, IndexError> {
    let fill = |cell: &OnceLock<T>| {
        // The cell after the last one was never set.
        let _ = cell.set(value);
    };
    slab.push(fill).ok_or(IndexError::Full)
}

/// Account identifiers are ordered by time, so their bits are spread first.
fn account_hash(id: AccountId) -> u64 {
    let (high, low) = id.as_bytes().split_at(8);
    let word = |bytes: &[u8]| bytes.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
    let mixed = (word(high) ^ word(low).rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_of_a_key_are_read_back_as_they_were_put_in() {
        let networks: Vec<IpNet> = ["192.0.2.0/24", "2001:db8::/32", "198.51.100.7/32"]
            .iter()
            .map(|text| text.parse().expect(text))
            .collect();
        for (name, networks, expires_at) in [
            ("", vec![], None),
            ("billing job", vec![], Some(UnixMillis(1_704_067_200_123))),
            ("schöne Grüße 🔑", networks.clone(), None),
            ("n", networks, Some(UnixMillis(-5))),
        ] {
            let name = name.to_owned();
            let created_at = UnixMillis(1_700_000_000_001);
            let facts = KeyFacts { name, networks, created_at, expires_at };
            assert_eq!(KeyFacts::from_bytes(&facts.to_bytes()), Some(facts));
        }
    }
}
