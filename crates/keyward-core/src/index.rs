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
//! Bound: about 180 bytes a key and 400 an account, for every key that was ever made.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use ipnet::IpNet;

use crate::account::{
    Account, AccountKind, AccountState, Environment, Limits, OwnLimits, RateClass,
};
use crate::digest::KeyDigest;
use crate::id::{AccountId, KeyId};
use crate::permission::PermissionSet;
use crate::record::{KeyRecord, Term};
use crate::slab::{Positions, Slab};
use crate::time::UnixMillis;
use crate::usage::KeyUsage;
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

pub(crate) struct KeyEntry {
    pub(crate) digest: KeyDigest,
    pub(crate) id: KeyId,
    pub(crate) account: AccountSlot,
    pub(crate) environment: Environment,
    facts: AtomicU32,
    /// The permissions, and [`NETWORKS`] above them.
    permissions: AtomicU32,
    term: AtomicU64,
    /// `i64::MAX` for never.
    expires_at: AtomicI64,
    pub(crate) usage: OnceLock<Box<KeyUsage>>,
}

/// Set where a key may be used from certain networks only, so that for most keys the networks need
/// not be looked at: they stand elsewhere, a cache miss away.
const NETWORKS: u32 = 1 << 31;

fn permission_word(key: &KeyRecord) -> u32 {
    key.permissions.bits() | if key.networks.is_empty() { 0 } else { NETWORKS }
}

impl KeyEntry {
    pub(crate) fn has_networks(&self) -> bool {
        self.permissions.load(Ordering::Acquire) & NETWORKS != 0
    }

    pub(crate) fn term(&self) -> Term {
        Term::from_word(self.term.load(Ordering::Acquire))
    }

    pub(crate) fn permissions(&self) -> PermissionSet {
        PermissionSet::from_bits(self.permissions.load(Ordering::Acquire))
    }

    pub(crate) fn expires_at(&self) -> Option<UnixMillis> {
        let at = self.expires_at.load(Ordering::Acquire);
        (at != i64::MAX).then_some(UnixMillis(at))
    }
}

/// What is rarely asked of a key, or rarely changed. A change appends a new one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct KeyFacts {
    pub(crate) name: Box<str>,
    pub(crate) networks: Box<[IpNet]>,
    pub(crate) created_at: UnixMillis,
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
    keys: Slab<KeyEntry>,
    key_facts: Slab<KeyFacts>,
    by_digest: Positions,
    accounts: Slab<AccountEntry>,
    account_facts: Slab<AccountFacts>,
    by_account: Positions,
    writer: Mutex<()>,
}

impl KeyIndex {
    /// An index with room for this many keys before it has to grow.
    #[must_use]
    pub fn with_capacity(keys: usize) -> Self {
        Self {
            keys: Slab::new(),
            key_facts: Slab::new(),
            by_digest: Positions::with_capacity(keys),
            accounts: Slab::new(),
            account_facts: Slab::new(),
            by_account: Positions::with_capacity(64),
            writer: Mutex::new(()),
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
            let entry = self.accounts.get(slot.0).ok_or(IndexError::Full)?;
            if self.account_facts(slot) != Some(&facts) {
                let facts = self.account_facts.push(facts).ok_or(IndexError::Full)?;
                entry.facts.store(facts, Ordering::Release);
            }
            for (own, limit) in entry.limits.iter().zip(limits) {
                own.store(limit, Ordering::Release);
            }
            entry.state.store(account.state as u32, Ordering::Release);
            return Ok(());
        }
        let facts = self.account_facts.push(facts).ok_or(IndexError::Full)?;
        let entry = AccountEntry {
            id: account.id,
            facts: AtomicU32::new(facts),
            state: AtomicU32::new(account.state as u32),
            limits: limits.map(AtomicU32::new),
            windows: Default::default(),
            has_profiles: AtomicBool::new(false),
        };
        if let Some(parent) = account.organization.and_then(|id| self.find_account(id)) {
            let parent = self.accounts.get(parent.0).ok_or(IndexError::Full)?;
            parent.has_profiles.store(true, Ordering::Release);
        }
        let slot = self.accounts.push(entry).ok_or(IndexError::Full)?;
        self.by_account.insert(account_hash(account.id), slot, |position| {
            self.accounts.get(position).map(|entry| account_hash(entry.id))
        });
        Ok(())
    }

    /// Adds a key or takes over what changed. In force when this returns.
    ///
    /// # Errors
    /// If the index is full or does not know the key's account.
    pub fn put_key(&self, key: &KeyRecord) -> Result<(), IndexError> {
        let _turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let facts = KeyFacts {
            name: key.name.as_str().into(),
            networks: key.networks.as_slice().into(),
            created_at: key.created.at,
        };
        let expires_at = key.expires_at.map_or(i64::MAX, |at| at.0);
        if let Some(slot) = self.find(&key.digest) {
            let entry = self.keys.get(slot.0).ok_or(IndexError::Full)?;
            // Why this order: a change that closes the key is in force first.
            entry.term.store(key.term().to_word(), Ordering::Release);
            if self.key_facts(entry) != Some(&facts) {
                let facts = self.key_facts.push(facts).ok_or(IndexError::Full)?;
                entry.facts.store(facts, Ordering::Release);
            }
            entry.permissions.store(permission_word(key), Ordering::Release);
            entry.expires_at.store(expires_at, Ordering::Release);
            return Ok(());
        }
        let account =
            self.find_account(key.account).ok_or(IndexError::UnknownAccount(key.account))?;
        let facts = self.key_facts.push(facts).ok_or(IndexError::Full)?;
        let entry = KeyEntry {
            digest: key.digest,
            id: key.id,
            account,
            environment: key.environment,
            facts: AtomicU32::new(facts),
            permissions: AtomicU32::new(permission_word(key)),
            term: AtomicU64::new(key.term().to_word()),
            expires_at: AtomicI64::new(expires_at),
            usage: OnceLock::new(),
        };
        let slot = self.keys.push(entry).ok_or(IndexError::Full)?;
        self.by_digest.insert(key.digest.hash(), slot, |position| {
            self.keys.get(position).map(|entry| entry.digest.hash())
        });
        Ok(())
    }

    /// The key with this digest.
    #[must_use]
    pub fn find(&self, digest: &KeyDigest) -> Option<KeySlot> {
        let is_it = |position| self.keys.get(position).is_some_and(|entry| entry.digest == *digest);
        self.by_digest.find(digest.hash(), is_it).map(KeySlot)
    }

    #[must_use]
    pub fn find_account(&self, id: AccountId) -> Option<AccountSlot> {
        let is_it = |position| self.accounts.get(position).is_some_and(|entry| entry.id == id);
        self.by_account.find(account_hash(id), is_it).map(AccountSlot)
    }

    #[must_use]
    pub fn account_facts(&self, slot: AccountSlot) -> Option<&AccountFacts> {
        let entry = self.accounts.get(slot.0)?;
        self.account_facts.get(entry.facts.load(Ordering::Acquire))
    }

    pub(crate) fn key(&self, slot: KeySlot) -> Option<&KeyEntry> {
        self.keys.get(slot.0)
    }

    pub(crate) fn key_facts(&self, entry: &KeyEntry) -> Option<&KeyFacts> {
        self.key_facts.get(entry.facts.load(Ordering::Acquire))
    }

    pub(crate) fn account(&self, slot: AccountSlot) -> Option<&AccountEntry> {
        self.accounts.get(slot.0)
    }
}

/// Account identifiers are ordered by time, so their bits are spread first.
fn account_hash(id: AccountId) -> u64 {
    let (high, low) = id.as_bytes().split_at(8);
    let word = |bytes: &[u8]| bytes.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
    let mixed = (word(high) ^ word(low).rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 32)
}
