//! A key as it is stored, and its life: what it is at a time, and which changes are allowed.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::account::Environment;
use crate::digest::KeyDigest;
use crate::id::{AccountId, KeyId};
use crate::key::KeyHint;
use crate::permission::PermissionSet;
use crate::time::UnixMillis;

/// When something was done to a key, and by whom, in words for the audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub at: UnixMillis,
    pub by: String,
}

/// A key was replaced by a successor and works until the grace period ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    pub mark: Mark,
    pub successor: KeyId,
    pub until: UnixMillis,
}

/// The last request that carried a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastUse {
    pub at: UnixMillis,
    pub address: IpAddr,
    /// The client's name for itself, shortened: `Sent/Python 0.46.0`.
    pub client: String,
}

/// A key as it is stored. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    pub id: KeyId,
    pub account: AccountId,
    pub digest: KeyDigest,
    pub hint: KeyHint,
    pub name: String,
    pub environment: Environment,
    pub permissions: PermissionSet,
    /// Networks it may be used from; empty means any.
    pub networks: Vec<IpNet>,
    pub created: Mark,
    pub expires_at: Option<UnixMillis>,
    pub disabled: Option<Mark>,
    pub revoked: Option<Mark>,
    pub rotated: Option<Rotation>,
    pub last_used: Option<LastUse>,
}

/// What a key is at a point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStatus {
    Active,
    /// Replaced, and working until the grace period ends.
    Rotating {
        until: UnixMillis,
    },
    /// Replaced, and the grace period is over.
    Rotated {
        since: UnixMillis,
    },
    Expired {
        since: UnixMillis,
    },
    Disabled {
        since: UnixMillis,
    },
    Revoked {
        since: UnixMillis,
    },
}

impl KeyStatus {
    #[must_use]
    pub const fn is_usable(self) -> bool {
        matches!(self, Self::Active | Self::Rotating { .. })
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Rotating { .. } => "rotating",
            Self::Rotated { .. } => "rotated",
            Self::Expired { .. } => "expired",
            Self::Disabled { .. } => "disabled",
            Self::Revoked { .. } => "revoked",
        }
    }
}

/// Why a change to a key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forbidden {
    /// It is revoked, and that cannot be undone.
    Revoked { since: UnixMillis },
    /// It is disabled already, or enabled already.
    NothingToDo,
    /// It was replaced already.
    AlreadyRotated { since: UnixMillis, successor: KeyId },
    /// It no longer works, so there is nothing that a grace period could keep alive.
    NotUsable(KeyStatus),
}

impl KeyRecord {
    /// What the key is at `now`. Expiry and the end of a grace period need no sweep: they are read
    /// off the clock here and on each request.
    #[must_use]
    pub fn status(&self, now: UnixMillis) -> KeyStatus {
        if let Some(mark) = &self.revoked {
            return KeyStatus::Revoked { since: mark.at };
        }
        if let Some(mark) = &self.disabled {
            return KeyStatus::Disabled { since: mark.at };
        }
        let expired = self.expires_at.filter(|at| now >= *at);
        let replaced = self.rotated.as_ref().map(|rotation| rotation.until);
        match (expired, replaced) {
            (Some(expired), Some(until)) if until < expired => KeyStatus::Rotated { since: until },
            (Some(expired), _) => KeyStatus::Expired { since: expired },
            (None, Some(until)) if now >= until => KeyStatus::Rotated { since: until },
            (None, Some(until)) => KeyStatus::Rotating { until },
            (None, None) => KeyStatus::Active,
        }
    }

    /// From when on the key is refused, and why.
    ///
    /// A disabled or revoked key is refused whatever the clock says, so that a clock set back lets
    /// none of them in again.
    #[must_use]
    pub fn term(&self) -> Term {
        if self.revoked.is_some() {
            return Term::Closed(Closure::Revoked);
        }
        if self.disabled.is_some() {
            return Term::Closed(Closure::Disabled);
        }
        let rotated = self.rotated.as_ref().map(|rotation| rotation.until);
        match (self.expires_at, rotated) {
            (Some(expires), Some(until)) if until < expires => Term::Until(until, End::Rotated),
            (Some(expires), _) => Term::Until(expires, End::Expired),
            (None, Some(until)) => Term::Until(until, End::Rotated),
            (None, None) => Term::Open,
        }
    }

    /// # Errors
    /// If the key is revoked, or disabled already.
    pub fn disable(mut self, mark: Mark) -> Result<Self, Forbidden> {
        self.check_not_revoked()?;
        if self.disabled.is_some() {
            return Err(Forbidden::NothingToDo);
        }
        self.disabled = Some(mark);
        Ok(self)
    }

    /// # Errors
    /// If the key is revoked, or not disabled.
    pub fn enable(mut self) -> Result<Self, Forbidden> {
        self.check_not_revoked()?;
        if self.disabled.take().is_none() {
            return Err(Forbidden::NothingToDo);
        }
        Ok(self)
    }

    /// # Errors
    /// If the key is revoked already.
    pub fn revoke(mut self, mark: Mark) -> Result<Self, Forbidden> {
        self.check_not_revoked()?;
        self.revoked = Some(mark);
        Ok(self)
    }

    /// Records that `successor` replaces this key, which works for `grace_millis` more.
    ///
    /// # Errors
    /// If the key no longer works or was replaced before.
    pub fn rotate(
        mut self,
        mark: Mark,
        successor: KeyId,
        grace_millis: i64,
    ) -> Result<Self, Forbidden> {
        self.check_not_revoked()?;
        if let Some(rotation) = &self.rotated {
            return Err(Forbidden::AlreadyRotated {
                since: rotation.mark.at,
                successor: rotation.successor,
            });
        }
        let status = self.status(mark.at);
        if !status.is_usable() {
            return Err(Forbidden::NotUsable(status));
        }
        self.rotated = Some(Rotation { until: mark.at + grace_millis, mark, successor });
        Ok(self)
    }

    fn check_not_revoked(&self) -> Result<(), Forbidden> {
        match &self.revoked {
            Some(mark) => Err(Forbidden::Revoked { since: mark.at }),
            None => Ok(()),
        }
    }
}

/// Why a key stops by itself at a point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Expired,
    Rotated,
}

/// Why somebody stopped a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closure {
    Disabled,
    Revoked,
}

/// How long a key is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    Open,
    /// Refused from this point on: at the very millisecond it is over.
    Until(UnixMillis, End),
    Closed(Closure),
}

impl Term {
    /// One word, so that a reader never sees half a change. The three lowest bits say which, the
    /// rest when.
    pub(crate) fn to_word(self) -> u64 {
        let at = |at: UnixMillis| at.0.clamp(0, Self::LATEST).cast_unsigned() << 3;
        match self {
            Self::Open => 0,
            Self::Until(time, End::Expired) => at(time) | 1,
            Self::Until(time, End::Rotated) => at(time) | 2,
            Self::Closed(Closure::Disabled) => 3,
            Self::Closed(Closure::Revoked) => 4,
        }
    }

    pub(crate) fn from_word(word: u64) -> Self {
        let at = UnixMillis((word >> 3).cast_signed());
        match word & 7 {
            0 => Self::Open,
            1 => Self::Until(at, End::Expired),
            2 => Self::Until(at, End::Rotated),
            3 => Self::Closed(Closure::Disabled),
            // Why: a word that means nothing must not let anybody in.
            _ => Self::Closed(Closure::Revoked),
        }
    }

    const LATEST: i64 = i64::MAX >> 3;
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000_000);

    fn key() -> KeyRecord {
        KeyRecord {
            id: KeyId::from_bytes([1; 16]),
            account: AccountId::from_bytes([2; 16]),
            digest: KeyDigest::from_bytes([3; 32]),
            hint: KeyHint::UNKNOWN,
            name: String::from("billing"),
            environment: Environment::Production,
            permissions: PermissionSet::FULL,
            networks: vec![],
            created: mark(0),
            expires_at: None,
            disabled: None,
            revoked: None,
            rotated: None,
            last_used: None,
        }
    }

    fn mark(at: i64) -> Mark {
        Mark { at: UnixMillis(at), by: String::from("operator") }
    }

    #[test]
    fn status_and_term_agree_at_every_point_of_a_life() {
        let successor = KeyId::from_bytes([9; 16]);
        let rotated = key().rotate(mark(900_000), successor, 200_000).expect("usable");
        let lives = [
            key(),
            KeyRecord { expires_at: Some(NOW), ..key() },
            KeyRecord { expires_at: Some(UnixMillis(1_050_000)), ..rotated.clone() },
            KeyRecord { expires_at: Some(UnixMillis(1_150_000)), ..rotated.clone() },
            rotated.clone().disable(mark(950_000)).expect("not revoked"),
            rotated.clone().revoke(mark(950_000)).expect("not revoked"),
            rotated,
            key().disable(mark(1)).and_then(|k| k.revoke(mark(2))).expect("not revoked"),
        ];
        for life in lives {
            for at in (800_000..1_300_000).step_by(10_000).chain([999_999, 1_000_001]) {
                let now = UnixMillis(at);
                let passes = match life.term() {
                    Term::Open => true,
                    Term::Until(until, _) => now < until,
                    Term::Closed(_) => false,
                };
                assert_eq!(life.status(now).is_usable(), passes, "{at} {life:?}");
            }
        }
    }

    #[test]
    fn a_key_is_expired_at_the_very_millisecond() {
        let key = KeyRecord { expires_at: Some(NOW), ..key() };
        assert_eq!(key.status(UnixMillis(NOW.0 - 1)), KeyStatus::Active);
        assert_eq!(key.status(NOW), KeyStatus::Expired { since: NOW });
    }

    #[test]
    fn revocation_is_final() {
        let revoked = key().revoke(mark(5)).expect("not revoked");
        let since = UnixMillis(5);
        assert_eq!(revoked.clone().enable(), Err(Forbidden::Revoked { since }));
        assert_eq!(revoked.clone().disable(mark(6)), Err(Forbidden::Revoked { since }));
        assert_eq!(revoked.clone().revoke(mark(6)), Err(Forbidden::Revoked { since }));
        let successor = KeyId::from_bytes([9; 16]);
        assert_eq!(revoked.rotate(mark(6), successor, 0), Err(Forbidden::Revoked { since }));
    }

    #[test]
    fn a_key_is_replaced_once() {
        let successor = KeyId::from_bytes([9; 16]);
        let rotated = key().rotate(mark(5), successor, 1000).expect("usable");
        assert_eq!(rotated.status(UnixMillis(6)), KeyStatus::Rotating { until: UnixMillis(1005) });
        assert_eq!(
            rotated.rotate(mark(6), KeyId::from_bytes([8; 16]), 0),
            Err(Forbidden::AlreadyRotated { since: UnixMillis(5), successor })
        );
        let at_once = key().rotate(mark(5), successor, 0).expect("usable");
        assert_eq!(at_once.status(UnixMillis(5)), KeyStatus::Rotated { since: UnixMillis(5) });
    }

    #[test]
    fn enabling_undoes_disabling_and_nothing_else() {
        let disabled = key().disable(mark(5)).expect("not revoked");
        assert_eq!(disabled.clone().disable(mark(6)), Err(Forbidden::NothingToDo));
        assert_eq!(disabled.enable(), Ok(key()));
        assert_eq!(key().enable(), Err(Forbidden::NothingToDo));
    }

    #[test]
    fn a_term_survives_its_word() {
        for term in [
            Term::Open,
            Term::Until(NOW, End::Expired),
            Term::Until(NOW, End::Rotated),
            Term::Closed(Closure::Disabled),
            Term::Closed(Closure::Revoked),
        ] {
            assert_eq!(Term::from_word(term.to_word()), term);
        }
        assert_eq!(Term::from_word(7), Term::Closed(Closure::Revoked));
    }
}
