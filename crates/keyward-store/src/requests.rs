//! Recent requests: why each was let in or refused. Written in batches, bounded in number and age.

use std::net::IpAddr;

use ipnet::IpNet;
use keyward_core::id::{AccountId, KeyId};
use keyward_core::time::UnixMillis;

use crate::error::StoreError;
use crate::tx::{Row, Tx, Value};

/// The request came from a web page.
pub const FROM_BROWSER: i64 = 1;
/// The key travelled over plain HTTP from another machine.
pub const OVER_PLAIN_HTTP: i64 = 2;

/// A request to be remembered. It has the pattern of the route and never what was sent.
#[derive(Clone, Copy, Debug)]
pub struct NewRequest {
    pub at: UnixMillis,
    pub request_id: [u8; 24],
    pub account: Option<AccountId>,
    pub key: Option<KeyId>,
    pub environment: Option<&'static str>,
    pub method: &'static str,
    pub route: &'static str,
    pub status: u16,
    pub code: Option<&'static str>,
    pub reason: Option<&'static str>,
    /// The limit that was reached, and when its window ends.
    pub limited: Option<(u32, UnixMillis)>,
    pub address: IpAddr,
    pub micros: u32,
    pub flags: i64,
}

/// A request as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRow {
    pub number: i64,
    pub at: UnixMillis,
    pub request_id: String,
    pub account: Option<AccountId>,
    pub key: Option<KeyId>,
    pub key_name: Option<String>,
    pub environment: Option<String>,
    pub method: String,
    pub route: String,
    pub status: u16,
    pub code: Option<String>,
    pub reason: Option<String>,
    pub limited_to: Option<i64>,
    pub resets_at: Option<UnixMillis>,
    pub address: String,
    pub micros: i64,
    pub flags: i64,
}

/// Whose requests to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Account(AccountId),
    Key(KeyId),
    /// Requests without a known key.
    Strangers,
}

/// Which of them. `None` matches all.
#[derive(Clone, Debug, Default)]
pub struct RequestFilter {
    /// From and to, both included.
    pub status: Option<(u16, u16)>,
    pub route: Option<String>,
    pub address: Option<String>,
    pub reason: Option<String>,
    /// Only what a developer may see: the test environment and these production keys.
    pub only_test_or_shared: bool,
    /// Older than the request with this number.
    pub before: Option<i64>,
    pub most: u32,
}

/// Requests that were found.
#[derive(Clone, Debug)]
pub struct Found {
    pub rows: Vec<RequestRow>,
    /// Where to go on looking; `None` if everything was looked at.
    pub next: Option<i64>,
}

/// Looked at for one answer at most, so that a filter that matches little costs little.
const SCAN: i64 = 20_000;

const COLUMNS: &str = "r.number, r.at, r.request_id, a.id, k.id, k.name, r.environment, r.method, \
     r.route, r.status, r.code, r.reason, r.limited_to, r.resets_at, r.address, r.micros, r.flags";
const JOINS: &str =
    "LEFT JOIN accounts a ON a.number = r.account LEFT JOIN keys k ON k.number = r.key";

fn request(row: &Row<'_>) -> Result<RequestRow, StoreError> {
    Ok(RequestRow {
        number: row.int(0)?,
        at: row.at(1)?,
        request_id: row.text(2)?.to_owned(),
        account: row.maybe_bytes(3)?.map(AccountId::from_bytes),
        key: row.maybe_bytes(4)?.map(KeyId::from_bytes),
        key_name: row.maybe_text(5)?,
        environment: row.maybe_text(6)?,
        method: row.text(7)?.to_owned(),
        route: row.text(8)?.to_owned(),
        status: u16::try_from(row.int(9)?).unwrap_or(0),
        code: row.maybe_text(10)?,
        reason: row.maybe_text(11)?,
        limited_to: row.maybe_int(12)?,
        resets_at: row.maybe_at(13)?,
        address: row.text(14)?.to_owned(),
        micros: row.int(15)?,
        flags: row.int(16)?,
    })
}

/// Adds requests, in the order in which they were answered.
///
/// # Errors
/// What the engine reports.
pub fn add(tx: &mut Tx<'_>, requests: &[NewRequest]) -> Result<(), StoreError> {
    for request in requests {
        let address = request.address.to_string();
        tx.execute(
            "INSERT INTO requests (at, request_id, account, key, environment, method, route, status,
                 code, reason, limited_to, resets_at, address, micros, flags)
             VALUES (?1, ?2, coalesce((SELECT number FROM accounts WHERE id = ?3), 0),
                 coalesce((SELECT number FROM keys WHERE id = ?4), 0), ?5, ?6, ?7, ?8, ?9, ?10, ?11,
                 ?12, ?13, ?14, ?15)",
            &[
                request.at.into(),
                std::str::from_utf8(&request.request_id).unwrap_or_default().into(),
                request.account.as_ref().map(AccountId::as_bytes).into(),
                request.key.as_ref().map(KeyId::as_bytes).into(),
                request.environment.into(),
                request.method.into(),
                request.route.into(),
                u32::from(request.status).into(),
                request.code.into(),
                request.reason.into(),
                request.limited.map(|(limit, _)| limit).into(),
                request.limited.map(|(_, resets_at)| resets_at).into(),
                (&address).into(),
                request.micros.into(),
                request.flags.into(),
            ],
        )?;
    }
    Ok(())
}

/// Forgets what is too old or too much. Gives true if there may be more to forget.
///
/// # Errors
/// What the engine reports.
pub fn forget(tx: &mut Tx<'_>, before: UnixMillis, most: i64) -> Result<bool, StoreError> {
    const AT_ONCE: i64 = 20_000;
    let bounds = tx.query_one(
        "SELECT (SELECT min(number) FROM requests), (SELECT max(number) FROM requests)",
        &[],
        |row| Ok((row.maybe_int(0)?, row.maybe_int(1)?)),
    )?;
    let Some((Some(oldest), Some(newest))) = bounds else { return Ok(false) };
    let n_gone = tx.execute(
        "DELETE FROM requests WHERE number < ?1 AND (number <= ?2 OR at < ?3)",
        &[(oldest + AT_ONCE).into(), (newest - most).into(), before.into()],
    )?;
    Ok(i64::try_from(n_gone).unwrap_or(i64::MAX) >= AT_ONCE)
}

/// The request with an identifier, if its key is of an account, or nobody's.
///
/// # Errors
/// What the engine reports.
pub fn find(
    tx: &mut Tx<'_>,
    account: AccountId,
    request_id: &str,
) -> Result<Option<RequestRow>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM requests r {JOINS}
         WHERE r.request_id = ?1 AND (r.account = 0 OR a.id = ?2)"
    );
    tx.query_one(&sql, &[request_id.into(), account.as_bytes().into()], request)
}

/// Requests, newest first.
///
/// # Errors
/// What the engine reports.
pub fn list(tx: &mut Tx<'_>, whose: Whose, filter: &RequestFilter) -> Result<Found, StoreError> {
    let (scope, id): (&str, Value<'_>) = match &whose {
        Whose::Account(id) => {
            ("account = (SELECT number FROM accounts WHERE id = ?1)", id.as_bytes().into())
        }
        // Why the second condition: it is the one the index is made for.
        Whose::Key(id) => {
            ("key = (SELECT number FROM keys WHERE id = ?1) AND key <> 0", id.as_bytes().into())
        }
        Whose::Strangers => ("account = 0 AND ?1 IS NULL", Value::Null),
    };
    let (from, to) = filter.status.unwrap_or((0, u16::MAX));
    let before = filter.before.unwrap_or(i64::MAX);
    // The last of those looked at, should the filter match less than a page.
    let last_sql = format!(
        "SELECT number FROM requests WHERE {scope} AND number < ?2
         ORDER BY number DESC LIMIT 1 OFFSET {SCAN}"
    );
    let last = tx.query_one(&last_sql, &[id, before.into()], |row| row.int(0))?;
    let sql = format!(
        "SELECT {COLUMNS} FROM
             (SELECT * FROM requests WHERE {scope} AND number < ?2 AND number > ?9
              ORDER BY number DESC) r {JOINS}
         WHERE r.status BETWEEN ?3 AND ?4 AND (?5 IS NULL OR r.route = ?5)
             AND (?6 IS NULL OR r.address = ?6) AND (?7 IS NULL OR r.reason = ?7)
             AND (?8 = 0 OR r.environment = 'test' OR k.is_shared = 1)
         ORDER BY r.number DESC LIMIT ?10"
    );
    let parameters = [
        id,
        before.into(),
        u32::from(from).into(),
        u32::from(to).into(),
        filter.route.as_deref().into(),
        filter.address.as_deref().into(),
        filter.reason.as_deref().into(),
        filter.only_test_or_shared.into(),
        last.unwrap_or(0).into(),
        i64::from(filter.most + 1).into(),
    ];
    let mut rows = tx.query(&sql, &parameters, request)?;
    let most = usize::try_from(filter.most).unwrap_or(usize::MAX);
    let next = if rows.len() > most {
        rows.truncate(most);
        rows.last().map(|row| row.number)
    } else {
        last.map(|number| number + 1)
    };
    Ok(Found { rows, next })
}

/// What the requests of a batch told about a key: how it was exposed, and from which network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    Exposed { key: KeyId, kind: &'static str, at: UnixMillis, requests: i64 },
    Network { key: KeyId, network: IpNet, at: UnixMillis },
}

/// Networks that are remembered for a key at most; beyond it the key is used from everywhere.
const NETWORKS_OF_A_KEY: i64 = 256;

/// Remembers what was seen. Gives the keys that were used from a network for the first time, though
/// not those that were used for the first time at all.
///
/// # Errors
/// What the engine reports.
pub fn note(tx: &mut Tx<'_>, seen: &[Sighting]) -> Result<Vec<(KeyId, IpNet)>, StoreError> {
    let mut new = vec![];
    for sighting in seen {
        match sighting {
            Sighting::Exposed { key, kind, at, requests } => {
                tx.execute(
                    "INSERT INTO key_exposures (key, kind, first_at, last_at, requests)
                     SELECT number, ?2, ?3, ?3, ?4 FROM keys WHERE id = ?1
                     ON CONFLICT (key, kind) DO UPDATE SET last_at = max(last_at, excluded.last_at),
                         requests = requests + excluded.requests",
                    &[key.as_bytes().into(), (*kind).into(), (*at).into(), (*requests).into()],
                )?;
            }
            Sighting::Network { key, network, at } => {
                let text = network.to_string();
                let id = key.as_bytes();
                let updated = tx.execute(
                    "UPDATE key_networks SET last_at = max(last_at, ?3)
                     WHERE key = (SELECT number FROM keys WHERE id = ?1) AND network = ?2",
                    &[id.into(), (&text).into(), (*at).into()],
                )?;
                if updated > 0 {
                    continue;
                }
                let known = tx.query_one(
                    "SELECT count(*) FROM key_networks
                     WHERE key = (SELECT number FROM keys WHERE id = ?1)",
                    &[id.into()],
                    |row| row.int(0),
                )?;
                let known = known.unwrap_or(0);
                if known >= NETWORKS_OF_A_KEY {
                    continue;
                }
                let inserted = tx.execute(
                    "INSERT INTO key_networks (key, network, first_at, last_at)
                     SELECT number, ?2, ?3, ?3 FROM keys WHERE id = ?1",
                    &[id.into(), (&text).into(), (*at).into()],
                )?;
                if known > 0 && inserted > 0 {
                    new.push((*key, *network));
                }
            }
        }
    }
    Ok(new)
}

/// How a key was used that it should not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    pub key: KeyId,
    pub name: String,
    /// `browser` or `plain_http`.
    pub kind: String,
    pub last_at: UnixMillis,
    pub requests: i64,
}

/// Exposures of an account's keys that are not revoked, since a time.
///
/// # Errors
/// What the engine reports.
pub fn exposures_of(
    tx: &mut Tx<'_>,
    account: AccountId,
    since: UnixMillis,
) -> Result<Vec<Exposure>, StoreError> {
    tx.query(
        "SELECT k.id, k.name, e.kind, e.last_at, e.requests
         FROM key_exposures e JOIN keys k ON k.number = e.key JOIN accounts a ON a.number = k.account
         WHERE a.id = ?1 AND e.last_at >= ?2 AND k.revoked_at IS NULL
         ORDER BY e.last_at DESC LIMIT 200",
        &[account.as_bytes().into(), since.into()],
        |row| {
            Ok(Exposure {
                key: KeyId::from_bytes(row.bytes(0)?),
                name: row.text(1)?.to_owned(),
                kind: row.text(2)?.to_owned(),
                last_at: row.at(3)?,
                requests: row.int(4)?,
            })
        },
    )
}

/// The networks that a key was used from, the last one first.
///
/// # Errors
/// What the engine reports.
pub fn networks_of(
    tx: &mut Tx<'_>,
    key: KeyId,
) -> Result<Vec<(String, UnixMillis, UnixMillis)>, StoreError> {
    tx.query(
        "SELECT n.network, n.first_at, n.last_at FROM key_networks n
         JOIN keys k ON k.number = n.key WHERE k.id = ?1 ORDER BY n.last_at DESC LIMIT 20",
        &[key.as_bytes().into()],
        |row| Ok((row.text(0)?.to_owned(), row.at(1)?, row.at(2)?)),
    )
}
