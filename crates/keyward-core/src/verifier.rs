//! The hot path: from the bytes of a header to a verdict.
//!
//! Parse, digest, look up, term, address, account, window; in the order of contract 2. No I/O, no
//! lock that a writer can hold, no allocation. The time is an argument.

use std::hint::black_box;
use std::net::IpAddr;

use crate::account::{AccountKind, AccountState, Limits, RateClass};
use crate::address;
use crate::digest::KeyDigest;
use crate::guesses::Guesses;
use crate::id::{AccountId, KeyId};
use crate::index::{AccountEntry, AccountFacts, KeyEntry, KeyIndex, KeySlot};
use crate::key::ApiKey;
use crate::record::{Closure, End, LastUse, Term};
use crate::time::{Moment, UnixMillis};
use crate::usage::{DrainedUsage, Ledger, Outcome};
use crate::verdict::{Caller, Granted, Known, Refusal, Refused, Verdict};
use crate::window::{Allowance, Exhausted};

/// What a request brought as its key.
#[derive(Clone, Copy)]
pub enum Presented<'a> {
    /// No `x-api-key` header.
    Nothing,
    /// One header with these bytes.
    One(&'a [u8]),
    /// More than one header.
    Several,
}

/// What the verifier has to know of a request besides its key.
#[derive(Clone, Copy, Debug)]
pub struct Visit {
    pub now: Moment,
    pub client: IpAddr,
    pub class: RateClass,
    /// `GET /v3/me` is answered for an account that may not be used, so that a key can always be
    /// looked at. Contract 2.
    pub is_account_exempt: bool,
}

/// What `GET /v3/me` tells about the key that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDetails {
    pub name: String,
    pub created_at: UnixMillis,
    pub expires_at: Option<UnixMillis>,
}

/// Says who may come in.
pub struct Verifier {
    index: KeyIndex,
    limits: Limits,
    /// Requests a minute from one address without a good key. Contract 5.
    guess_limit: u32,
    guesses: Guesses,
    ledger: Ledger,
}

impl Verifier {
    #[must_use]
    pub fn new(index: KeyIndex, limits: Limits, guess_limit: u32) -> Self {
        Self { index, limits, guess_limit, guesses: Guesses::default(), ledger: Ledger::default() }
    }

    #[must_use]
    pub const fn index(&self) -> &KeyIndex {
        &self.index
    }

    /// Decides on a request and spends from the window if it is let in. Contract 2 and 5.
    ///
    /// # Errors
    /// The refusal, with whose key it was and what is left, where that may be told.
    pub fn verify(&self, presented: Presented<'_>, visit: &Visit) -> Verdict {
        match self.recognise(presented, visit) {
            Ok((slot, entry)) => self.admit(slot, entry, visit),
            Err((refusal, known)) => Err(self.refuse_stranger(refusal, known, visit)),
        }
    }

    /// Finds the key and checks that it is good here and now.
    fn recognise(
        &self,
        presented: Presented<'_>,
        visit: &Visit,
    ) -> Result<(KeySlot, &KeyEntry), (Refusal, Option<KeySlot>)> {
        let text = match presented {
            Presented::Nothing => return Err((Refusal::Missing, None)),
            Presented::Several => return Err((Refusal::Several, None)),
            Presented::One(text) => text,
        };
        // Nothing is told apart before the digest is looked up, but for the form.
        let key = match ApiKey::parse(text) {
            Ok(key) => key,
            Err(_) if text.trim_ascii().is_empty() => return Err((Refusal::Missing, None)),
            Err(error) => return Err((Refusal::Malformed(error), None)),
        };
        let digest = key.digest();
        drop(key);
        let Some(slot) = self.index.find(&digest) else {
            self.work_as_if_known(&digest);
            return Err((Refusal::Unknown, None));
        };
        let entry = self.index.key(slot).ok_or((Refusal::Unknown, None))?;
        let refusal = match entry.term() {
            Term::Open => None,
            Term::Until(at, _) if visit.now.wall < at => None,
            Term::Until(since, End::Expired) => Some(Refusal::Expired { since }),
            Term::Until(since, End::Rotated) => Some(Refusal::Rotated { since }),
            Term::Closed(Closure::Disabled) => Some(Refusal::Disabled),
            Term::Closed(Closure::Revoked) => Some(Refusal::Revoked),
        };
        if let Some(refusal) = refusal {
            self.index.search_in_vain(&digest);
            return Err((refusal, Some(slot)));
        }
        if entry.has_networks() && !self.is_from_allowed_network(slot, visit.client) {
            return Err((Refusal::Address, Some(slot)));
        }
        Ok((slot, entry))
    }

    /// What is read of a key that was good once is read of another one, so that the time of a refusal does
    /// not tell whether a key ever was.
    fn work_as_if_known(&self, digest: &KeyDigest) {
        let slot = self.index.stand_in(digest);
        black_box(slot.and_then(|slot| self.index.key(slot)).map(KeyEntry::term));
        black_box(slot.and_then(|slot| self.known(slot)));
    }

    /// Out of the way, for most keys name no networks. One whose networks cannot be read is refused.
    #[cold]
    fn is_from_allowed_network(&self, slot: KeySlot, client: IpAddr) -> bool {
        let facts = self.index.key_facts(slot);
        facts.is_some_and(|facts| address::is_allowed(&facts.networks, client))
    }

    fn admit(&self, slot: KeySlot, entry: &KeyEntry, visit: &Visit) -> Verdict {
        let refused = |refusal, known, allowance| Refused { refusal, known, allowance };
        let Some(account) = self.index.account(entry.account()) else {
            return Err(refused(Refusal::Account(AccountState::Suspended), None, None));
        };
        let window = account.window(entry.environment(), visit.class);
        let limit = account.limit(visit.class, &self.limits);
        let state = account.state();
        if state != AccountState::Active && !visit.is_account_exempt {
            let allowance = window.peek(visit.now.ticks, limit);
            return Err(refused(Refusal::Account(state), self.known(slot), Some(allowance)));
        }
        match window.admit(visit.now.ticks, limit) {
            Ok(allowance) => {
                let caller = Caller {
                    slot,
                    account_slot: entry.account(),
                    key: entry.id(),
                    own_account: account.id,
                    account: account.id,
                    environment: entry.environment(),
                    permissions: entry.permissions(),
                };
                Ok(Granted { caller, allowance })
            }
            Err(Exhausted(allowance)) => {
                Err(refused(Refusal::Limited, self.known(slot), Some(allowance)))
            }
        }
    }

    fn refuse_stranger(&self, refusal: Refusal, slot: Option<KeySlot>, visit: &Visit) -> Refused {
        let known = slot.and_then(|slot| self.known(slot));
        match self.guesses.admit(visit.client, visit.now.ticks, self.guess_limit) {
            Ok(_) => Refused { refusal, known, allowance: None },
            Err(Exhausted(allowance)) => {
                Refused { refusal: Refusal::Guessing, known, allowance: Some(allowance) }
            }
        }
    }

    fn known(&self, slot: KeySlot) -> Option<Known> {
        let entry = self.index.key(slot)?;
        let account = self.index.account(entry.account())?.id;
        Some(Known { slot, key: entry.id(), account, environment: entry.environment() })
    }

    /// Makes an organization's key act for one of its profiles, as `x-profile-id` asks. Contract 2.
    ///
    /// # Errors
    /// If the text is no UUID, the account is no organization, or it has no such profile.
    pub fn act_for(&self, caller: &Caller, profile: &[u8]) -> Result<Caller, Refusal> {
        let profile: AccountId = str::from_utf8(profile)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or(Refusal::ProfileMalformed)?;
        let facts = self.index.account_facts(caller.account_slot);
        if facts.is_none_or(|facts| facts.kind != AccountKind::Organization) {
            return Err(Refusal::ProfileForbidden);
        }
        let slot = self.index.find_account(profile).ok_or(Refusal::ProfileUnknown)?;
        let facts = self.index.account_facts(slot).ok_or(Refusal::ProfileUnknown)?;
        if facts.organization != Some(caller.own_account) {
            return Err(Refusal::ProfileUnknown);
        }
        Ok(Caller { account: profile, account_slot: slot, ..*caller })
    }

    /// Counts an answered request.
    pub fn count(&self, caller: &Caller, visit: &Visit, outcome: Outcome, client_name: &[u8]) {
        self.note(Some(caller.key), visit, outcome, client_name);
    }

    /// Counts a request that was refused.
    pub fn count_refused(&self, refused: &Refused, visit: &Visit, client_name: &[u8]) {
        let key = refused.known.map(|known| known.key);
        self.note(key, visit, refused.refusal.outcome(), client_name);
    }

    fn note(&self, key: Option<KeyId>, visit: &Visit, outcome: Outcome, client_name: &[u8]) {
        let from = (visit.client, client_name);
        self.ledger.note(key, visit.now.wall, (visit.class, outcome), from);
    }

    /// Takes what was counted since the last time; a key may come several times. For the one worker
    /// that writes it down.
    #[must_use]
    pub fn drain_usage(&self) -> Vec<DrainedUsage> {
        self.ledger.drain()
    }

    /// The account that a caller acts for.
    #[must_use]
    pub fn account_of(&self, caller: &Caller) -> Option<&AccountFacts> {
        self.index.account_facts(caller.account_slot)
    }

    /// True if the account that a caller acts for has profiles.
    #[must_use]
    pub fn has_profiles(&self, caller: &Caller) -> bool {
        self.index.account(caller.account_slot).is_some_and(AccountEntry::has_profiles)
    }

    /// The state of the account that a caller acts for.
    #[must_use]
    pub fn state_of(&self, caller: &Caller) -> AccountState {
        let account = self.index.account(caller.account_slot);
        account.map_or(AccountState::Suspended, AccountEntry::state)
    }

    #[must_use]
    pub fn key_of(&self, caller: &Caller) -> Option<KeyDetails> {
        let facts = self.index.key_facts(caller.slot)?;
        Some(KeyDetails {
            name: facts.name,
            created_at: facts.created_at,
            expires_at: facts.expires_at,
        })
    }

    /// What is left of the pool that a key spends from, without spending.
    #[must_use]
    pub fn allowance_of_key(
        &self,
        slot: KeySlot,
        class: RateClass,
        now: Moment,
    ) -> Option<Allowance> {
        let key = self.index.key(slot)?;
        let account = self.index.account(key.account())?;
        let limit = account.limit(class, &self.limits);
        Some(account.window(key.environment(), class).peek(now.ticks, limit))
    }

    /// The last use of a key since usage was last drained.
    #[must_use]
    pub fn last_use(&self, slot: KeySlot) -> Option<LastUse> {
        self.ledger.last_use(self.index.key(slot)?.id())
    }
}
