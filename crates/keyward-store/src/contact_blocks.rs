//! Where in a list of contacts a page begins, and how many there are, without walking there.
//!
//! The contacts of an account and environment, in the order of the list, are cut into blocks whose sizes
//! are kept: to find the ten-thousandth one adds up a few sizes. Kept true by whoever adds or removes a
//! contact, in the same transaction.

use keyward_core::id::ContactId;
use keyward_core::time::UnixMillis;

use crate::contacts::Scope;
use crate::error::StoreError;
use crate::tx::{Tx, Value};

/// A block that grows beyond this is cut in two,
const LARGEST: i64 = 1024;
/// so that the older part has this many: contacts are added at the new end, mostly.
const CUT: i64 = 768;

/// Where a contact stands in the list.
pub(crate) type Place = (UnixMillis, ContactId);

/// After every contact.
const END: Place = (UnixMillis(i64::MAX), ContactId::from_bytes([0xff; 16]));

/// A condition on `contact_blocks` or `contacts`; `?1` and `?2` are the scope.
macro_rules! in_scope {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            " WHERE account = (SELECT number FROM accounts WHERE id = ?1) AND environment = ?2 ",
            $after
        )
    };
}

fn parameters<'a>(scope: &'a Scope, (at, id): &'a Place, rest: &[Value<'a>]) -> Vec<Value<'a>> {
    let mut all: Vec<Value<'a>> = vec![
        scope.account.as_bytes().into(),
        scope.environment.as_str().into(),
        (*at).into(),
        id.as_bytes().into(),
    ];
    all.extend_from_slice(rest);
    all
}

/// The block that a contact at this place belongs to: where it begins and how many it holds.
fn block_of(
    tx: &mut Tx<'_>,
    scope: &Scope,
    place: &Place,
) -> Result<Option<(Place, i64)>, StoreError> {
    tx.query_one(
        in_scope!(
            "SELECT created_at, id, contacts FROM contact_blocks",
            "AND (created_at, id) <= (?3, ?4) ORDER BY created_at DESC, id DESC LIMIT 1"
        ),
        &parameters(scope, place, &[]),
        |row| Ok(((row.at(0)?, ContactId::from_bytes(row.bytes(1)?)), row.int(2)?)),
    )
}

/// The place of the contact so many after this one, in the order of age.
fn place_after(
    tx: &mut Tx<'_>,
    scope: &Scope,
    place: &Place,
    n_contacts: i64,
) -> Result<Option<Place>, StoreError> {
    tx.query_one(
        in_scope!(
            "SELECT created_at, id FROM contacts",
            "AND (created_at, id) >= (?3, ?4) ORDER BY created_at, id LIMIT 1 OFFSET ?5"
        ),
        &parameters(scope, place, &[n_contacts.into()]),
        |row| Ok((row.at(0)?, ContactId::from_bytes(row.bytes(1)?))),
    )
}

fn begin(tx: &mut Tx<'_>, scope: &Scope, place: &Place, n: i64) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO contact_blocks (account, environment, created_at, id, contacts)
         VALUES ((SELECT number FROM accounts WHERE id = ?1), ?2, ?3, ?4, ?5)",
        &parameters(scope, place, &[n.into()]),
    )?;
    Ok(())
}

fn put(tx: &mut Tx<'_>, scope: &Scope, place: &Place, n: i64) -> Result<(), StoreError> {
    tx.execute(
        in_scope!("UPDATE contact_blocks SET contacts = ?5", "AND (created_at, id) = (?3, ?4)"),
        &parameters(scope, place, &[n.into()]),
    )?;
    Ok(())
}

/// Counts a contact that was added.
pub(crate) fn added(tx: &mut Tx<'_>, scope: &Scope, place: Place) -> Result<(), StoreError> {
    let Some((from, n)) = block_of(tx, scope, &place)? else {
        // Older than all: the first one, or made by a clock that was set back.
        return begin(tx, scope, &place, 1);
    };
    let n = n + 1;
    if n <= LARGEST {
        return put(tx, scope, &from, n);
    }
    let Some(cut) = place_after(tx, scope, &from, CUT)? else {
        return put(tx, scope, &from, n);
    };
    put(tx, scope, &from, CUT)?;
    begin(tx, scope, &cut, n - CUT)
}

/// Counts a contact that was removed.
pub(crate) fn removed(tx: &mut Tx<'_>, scope: &Scope, place: Place) -> Result<(), StoreError> {
    match block_of(tx, scope, &place)? {
        Some((from, n)) if n > 1 => put(tx, scope, &from, n - 1),
        Some((from, _)) => {
            tx.execute(
                in_scope!("DELETE FROM contact_blocks", "AND (created_at, id) = (?3, ?4)"),
                &parameters(scope, &from, &[]),
            )?;
            Ok(())
        }
        None => Ok(()),
    }
}

/// Where a page begins in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// The page is older than this,
    pub(crate) before: Place,
    /// by so many contacts.
    pub(crate) skip: u64,
    /// Contacts in all.
    pub(crate) total: u64,
}

/// Finds the contact that so many newer ones stand before.
pub(crate) fn start(tx: &mut Tx<'_>, scope: &Scope, offset: u64) -> Result<Start, StoreError> {
    let blocks = tx.query(
        in_scope!(
            "SELECT created_at, id, contacts FROM contact_blocks",
            "ORDER BY created_at DESC, id DESC"
        ),
        &[scope.account.as_bytes().into(), scope.environment.as_str().into()],
        |row| Ok(((row.at(0)?, ContactId::from_bytes(row.bytes(1)?)), row.int(2)?)),
    )?;
    let (mut before, mut newer, mut total) = (END, 0, 0);
    for (from, n) in blocks {
        total += u64::try_from(n).unwrap_or(0);
        if total <= offset {
            (before, newer) = (from, total);
        }
    }
    Ok(Start { before, skip: offset - newer, total })
}
