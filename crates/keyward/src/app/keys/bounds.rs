//! What a key may give to another: never more than it has itself, in permissions, time or addresses.

use ipnet::IpNet;
use keyward_core::permission::PermissionSet;
use keyward_core::record::KeyRecord;
use keyward_core::time::{DAY_MILLIS, UnixMillis};
use keyward_store::{Tx, keys};

use super::DEFAULT_LIFE_DAYS;
use crate::app::{Actor, App, AppError, Faults};

/// The bounds of a key that manages keys; of anybody else there are none.
pub(super) struct Bounds(Option<KeyRecord>);

impl Bounds {
    pub(super) fn of(tx: &mut Tx<'_>, actor: &Actor) -> Result<Self, AppError> {
        let Actor::Key(holder) = actor else { return Ok(Self(None)) };
        let key = keys::find(tx, holder.caller.key())?.ok_or(AppError::NotAllowed)?;
        Ok(Self(Some(key)))
    }

    /// What a key expires at that is not told when: as late as it may.
    pub(super) fn cap(&self, expires_at: Option<UnixMillis>) -> Option<UnixMillis> {
        let own = self.0.as_ref().and_then(end_of);
        match (expires_at, own) {
            (Some(at), Some(own)) => Some(at.min(own)),
            (at, own) => at.or(own),
        }
    }

    /// The addresses of a key that is not told which: its maker's.
    pub(super) fn networks(&self) -> Vec<IpNet> {
        self.0.as_ref().map(|own| own.networks.clone()).unwrap_or_default()
    }

    /// # Errors
    /// Sentences about what exceeds the bounds.
    pub(super) fn check(&self, key: &KeyRecord) -> Result<(), AppError> {
        let Some(own) = &self.0 else { return Ok(()) };
        let mut faults = Faults::new();
        let mut add = |field: &str, sentence: String| {
            faults.entry(field.to_owned()).or_default().push(sentence);
        };
        if let Some(lacking) = lacking(key.permissions, own.permissions) {
            add("permissions", format!("must not hold {lacking}: the calling key does not either"));
        }
        if let Some(end) = end_of(own)
            && end_of(key).is_none_or(|at| at > end)
        {
            let end = crate::when(end);
            add("expires_at", format!("must not be after {end}, when the calling key expires"));
        }
        let is_within = |network: &IpNet| own.networks.iter().any(|own| own.contains(network));
        let out_ranges = !own.networks.is_empty()
            && (key.networks.is_empty() || !key.networks.iter().all(is_within));
        if out_ranges {
            let sentence = "must lie within the addresses that the calling key may be used from";
            add("allowed_addresses", sentence.to_owned());
        }
        if faults.is_empty() { Ok(()) } else { Err(AppError::Invalid(faults)) }
    }
}

/// When a key ends by itself: when it expires, or with its grace where it was replaced.
fn end_of(key: &KeyRecord) -> Option<UnixMillis> {
    let until = key.rotated.as_ref().map(|rotation| rotation.until);
    key.expires_at.into_iter().chain(until).min()
}

fn lacking(wanted: PermissionSet, held: PermissionSet) -> Option<&'static str> {
    wanted.iter().find(|permission| !held.contains(*permission)).map(|p| p.as_str())
}

/// What a key is issued with if it is not told: nothing beyond what its maker has.
pub struct Usual {
    pub networks: Vec<IpNet>,
    pub expires_at: Option<UnixMillis>,
}

/// The usual settings of a key that this actor makes.
///
/// # Errors
/// If the key that asks is gone.
pub async fn usual(app: &App, actor: &Actor) -> Result<Usual, AppError> {
    let (actor, at) = (*actor, app.clock.wall());
    app.store
        .read(move |tx| {
            let bounds = Bounds::of(tx, &actor)?;
            let expires_at = bounds.cap(Some(at + DEFAULT_LIFE_DAYS * DAY_MILLIS));
            Ok(Usual { networks: bounds.networks(), expires_at })
        })
        .await
}
