//! Keys that are about to expire, and that have: told once each to the webhooks of their account.
//!
//! How far was looked is kept in the store, so that a restart neither repeats nor skips. Whoever gives a
//! key less than the time in which it is told hears of its end only.

use keyward_core::record::KeyStatus;
use keyward_core::time::{DAY_MILLIS, UnixMillis};
use keyward_store::key_list::SOON_DAYS;
use keyward_store::{Tx, keys};

use super::webhooks::events::{self, EventName, Happened};
use super::{App, AppError, Chance};

/// Told in one transaction.
const MOST: u32 = 1000;

/// Tells of all that are due.
///
/// # Errors
/// If the store does not answer or cannot write.
pub async fn check(app: &App) -> Result<(), AppError> {
    let now = app.clock.wall();
    for (name, cursor, until) in [
        (EventName::KeyExpiring, "expiring_told", now + SOON_DAYS * DAY_MILLIS),
        (EventName::KeyExpired, "expired_told", now),
    ] {
        loop {
            let reached =
                app.store.read(move |tx| Ok::<_, AppError>(keys::expiry_told(tx, cursor)?)).await?;
            if reached.is_some_and(|(at, _)| at >= until) {
                break;
            }
            let chance = app.chance.clone();
            let is_done =
                app.store.write(move |tx| tell(tx, &chance, name, cursor, now, until)).await?;
            if is_done {
                break;
            }
        }
    }
    Ok(())
}

/// Gives true when there is nothing left.
fn tell(
    tx: &mut Tx<'_>,
    chance: &Chance,
    name: EventName,
    cursor: &'static str,
    now: UnixMillis,
    until: UnixMillis,
) -> Result<bool, AppError> {
    // What was due before the first look is no news.
    let Some(from) = keys::expiry_told(tx, cursor)? else {
        keys::put_expiry_told(tx, cursor, until, i64::MAX)?;
        return Ok(true);
    };
    let found = keys::expiring_with_webhooks(tx, from, until, MOST)?;
    for (_, key) in &found {
        // One that was replaced and is over by now ended otherwise.
        let is_so = match name {
            EventName::KeyExpired => matches!(key.status(now), KeyStatus::Expired { .. }),
            _ => key.status(now).is_usable(),
        };
        if !is_so {
            continue;
        }
        let happened = Happened {
            account: key.account,
            environment: key.environment,
            name,
            at: now,
            request_id: None,
            payload: events::key_payload(key),
        };
        events::emit(tx, chance, &happened)?;
    }
    let is_done = found.len() < usize::try_from(MOST).unwrap_or(usize::MAX);
    let last = found.last().filter(|_| !is_done);
    let (at, number) =
        last.map_or((until, i64::MAX), |(number, key)| (key.expires_at.unwrap_or(until), *number));
    keys::put_expiry_told(tx, cursor, at, number)?;
    Ok(is_done)
}
