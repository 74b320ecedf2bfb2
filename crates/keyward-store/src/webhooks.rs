//! Webhooks, apart for each account and environment.

use std::collections::BTreeMap;
use std::fmt;

use keyward_core::account::Environment;
use keyward_core::id::{AccountId, WebhookId};
use keyward_core::time::UnixMillis;

use crate::contacts::Scope;
use crate::error::StoreError;
use crate::tx::{Row, Tx, Value};

/// Suffixes by family: `{"contact": ["opt_out"]}`.
pub type Filters = BTreeMap<String, Vec<String>>;

/// A webhook as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    pub id: WebhookId,
    pub account: AccountId,
    pub environment: Environment,
    pub display_name: String,
    pub endpoint_url: String,
    /// Names of families.
    pub event_types: Vec<String>,
    /// Families that it does not name pass whole.
    pub event_filters: Option<Filters>,
    pub is_active: bool,
    /// Sealed; never shown.
    pub secret: Vec<u8>,
    /// The one before, sealed, and until when it signs as well.
    pub previous: Option<(Vec<u8>, UnixMillis)>,
    pub retry_count: u32,
    pub timeout_seconds: u32,
    /// Events in a row that failed.
    pub consecutive_failures: u32,
    pub last_attempt_at: Option<UnixMillis>,
    pub last_success_at: Option<UnixMillis>,
    pub created_at: UnixMillis,
    pub updated_at: Option<UnixMillis>,
    /// When too many failures switched it off.
    pub turned_off_at: Option<UnixMillis>,
    /// Events that wait for it.
    pub waiting: u32,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Which webhooks to list.
#[derive(Clone, Debug, Default)]
pub struct WebhookFilter {
    /// Part of the name or of the address.
    pub search: Option<String>,
    pub is_active: Option<bool>,
}

macro_rules! columns {
    () => {
        concat!(
            "w.id, a.id, w.environment, w.display_name, w.endpoint_url, w.event_types,",
            " w.event_filters, w.is_active, w.secret, w.previous_secret, w.previous_until,",
            " w.retry_count, w.timeout_seconds, w.consecutive_failures, w.last_attempt_at,",
            " w.last_success_at, w.created_at, w.updated_at, w.turned_off_at, w.waiting"
        )
    };
}
pub(crate) use columns;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            " FROM webhooks w JOIN accounts a ON a.number = w.account ",
            $rest
        )
    };
}

fn small(row: &Row<'_>, column: usize) -> Result<u32, StoreError> {
    Ok(u32::try_from(row.int(column)?).unwrap_or(u32::MAX))
}

pub(crate) fn webhook(row: &Row<'_>) -> Result<Webhook, StoreError> {
    let filters = row.maybe_text(6)?;
    let filters = filters.map(|text| serde_json::from_str(&text)).transpose();
    let corrupt = |_| StoreError::Corrupt(String::from("filters of a webhook are no JSON"));
    let previous = row.maybe_blob(9)?;
    Ok(Webhook {
        id: WebhookId::from_bytes(row.bytes(0)?),
        account: AccountId::from_bytes(row.bytes(1)?),
        environment: row.word(2, Environment::from_text)?,
        display_name: row.text(3)?.to_owned(),
        endpoint_url: row.text(4)?.to_owned(),
        event_types: row.word(5, |text| serde_json::from_str(text).ok())?,
        event_filters: filters.map_err(corrupt)?,
        is_active: row.int(7)? != 0,
        secret: row.maybe_blob(8)?.unwrap_or_default(),
        previous: previous.zip(row.maybe_at(10)?),
        retry_count: small(row, 11)?,
        timeout_seconds: small(row, 12)?,
        consecutive_failures: small(row, 13)?,
        last_attempt_at: row.maybe_at(14)?,
        last_success_at: row.maybe_at(15)?,
        created_at: row.at(16)?,
        updated_at: row.maybe_at(17)?,
        turned_off_at: row.maybe_at(18)?,
        waiting: small(row, 19)?,
    })
}

/// Adds a webhook.
///
/// # Errors
/// What the engine reports.
pub fn insert(tx: &mut Tx<'_>, webhook: &Webhook) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO webhooks (id, account, environment, created_at, display_name, endpoint_url,
             event_types, is_active, secret, retry_count, timeout_seconds)
         VALUES (?1, (SELECT number FROM accounts WHERE id = ?2), ?3, ?4, '', '', '[]', 0, x'', 0, 0)",
        &[
            webhook.id.as_bytes().into(),
            webhook.account.as_bytes().into(),
            webhook.environment.as_str().into(),
            webhook.created_at.into(),
        ],
    )?;
    put(tx, webhook)
}

/// Writes what may change of a webhook, but for what its deliveries change.
///
/// # Errors
/// What the engine reports.
pub fn put(tx: &mut Tx<'_>, webhook: &Webhook) -> Result<(), StoreError> {
    let types = serde_json::json!(webhook.event_types).to_string();
    let filters = webhook.event_filters.as_ref().map(|f| serde_json::json!(f).to_string());
    tx.execute(
        "UPDATE webhooks SET display_name = ?2, endpoint_url = ?3, event_types = ?4,
             event_filters = ?5, is_active = ?6, secret = ?7, previous_secret = ?8,
             previous_until = ?9, retry_count = ?10, timeout_seconds = ?11,
             consecutive_failures = ?12, updated_at = ?13, turned_off_at = ?14
         WHERE id = ?1",
        &[
            webhook.id.as_bytes().into(),
            (&webhook.display_name).into(),
            (&webhook.endpoint_url).into(),
            (&types).into(),
            filters.as_ref().into(),
            webhook.is_active.into(),
            (&webhook.secret).into(),
            webhook.previous.as_ref().map(|(secret, _)| secret).into(),
            webhook.previous.as_ref().map(|(_, until)| *until).into(),
            webhook.retry_count.into(),
            webhook.timeout_seconds.into(),
            webhook.consecutive_failures.into(),
            webhook.updated_at.into(),
            webhook.turned_off_at.into(),
        ],
    )?;
    Ok(())
}

/// # Errors
/// What the engine reports.
pub fn find(tx: &mut Tx<'_>, id: WebhookId) -> Result<Option<Webhook>, StoreError> {
    tx.query_one(select!("WHERE w.id = ?1"), &[id.as_bytes().into()], webhook)
}

/// The webhook, if it is of an account, and of an environment where one is named.
///
/// # Errors
/// What the engine reports.
pub fn find_in(
    tx: &mut Tx<'_>,
    account: AccountId,
    environment: Option<Environment>,
    id: WebhookId,
) -> Result<Option<Webhook>, StoreError> {
    let sql = select!("WHERE w.id = ?1 AND a.id = ?2 AND (?3 IS NULL OR w.environment = ?3)");
    let environment = environment.map(Environment::as_str);
    let parameters = [id.as_bytes().into(), account.as_bytes().into(), environment.into()];
    tx.query_one(sql, &parameters, webhook)
}

/// Removes a webhook with its events; gives false if there is none.
///
/// # Errors
/// What the engine reports.
pub fn remove(tx: &mut Tx<'_>, id: WebhookId) -> Result<bool, StoreError> {
    Ok(tx.execute("DELETE FROM webhooks WHERE id = ?1", &[id.as_bytes().into()])? > 0)
}

/// How many webhooks an account has, in both environments.
///
/// # Errors
/// What the engine reports.
pub fn count(tx: &mut Tx<'_>, account: AccountId) -> Result<u64, StoreError> {
    let sql = "SELECT count(*) FROM webhooks
               WHERE account = (SELECT number FROM accounts WHERE id = ?1)";
    let count = tx.query_one(sql, &[account.as_bytes().into()], |row| row.int(0))?;
    Ok(count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
}

/// Events that wait for all webhooks of all accounts together.
///
/// # Errors
/// What the engine reports.
pub fn waiting_in_all(tx: &mut Tx<'_>) -> Result<u64, StoreError> {
    let sum = tx.query_one("SELECT sum(waiting) FROM webhooks", &[], |row| row.maybe_int(0))?;
    Ok(sum.flatten().and_then(|sum| u64::try_from(sum).ok()).unwrap_or(0))
}

/// The webhooks of an account and environment that are switched on, oldest first.
///
/// # Errors
/// What the engine reports.
pub fn active(tx: &mut Tx<'_>, scope: &Scope) -> Result<Vec<Webhook>, StoreError> {
    let sql =
        select!("WHERE a.id = ?1 AND w.environment = ?2 AND w.is_active = 1 ORDER BY w.number");
    tx.query(sql, &[scope.account.as_bytes().into(), scope.environment.as_str().into()], webhook)
}

/// Runs `each` for every sealed signing secret that is in force.
///
/// # Errors
/// What `each` fails with, or what the engine reports.
pub fn for_each_sealed(
    tx: &mut Tx<'_>,
    mut each: impl FnMut(WebhookId, Vec<u8>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    tx.for_each("SELECT id, secret FROM webhooks", &[], |row| {
        each(WebhookId::from_bytes(row.bytes(0)?), row.maybe_blob(1)?.unwrap_or_default())
    })
}

/// The webhooks of an account that failures switched off, oldest first.
///
/// # Errors
/// What the engine reports.
pub fn turned_off(
    tx: &mut Tx<'_>,
    account: AccountId,
    most: u32,
) -> Result<(Vec<Webhook>, u64), StoreError> {
    let sql = "SELECT count(*) FROM webhooks WHERE turned_off_at IS NOT NULL
                   AND account = (SELECT number FROM accounts WHERE id = ?1)";
    let total = tx.query_one(sql, &[account.as_bytes().into()], |row| row.int(0))?;
    let sql = select!("WHERE a.id = ?1 AND w.turned_off_at IS NOT NULL ORDER BY w.number LIMIT ?2");
    let found = tx.query(sql, &[account.as_bytes().into(), most.into()], webhook)?;
    Ok((found, total.and_then(|total| u64::try_from(total).ok()).unwrap_or(0)))
}

/// One page of webhooks, newest first, then by id; and how many there are in all.
///
/// # Errors
/// What the engine reports.
pub fn page(
    tx: &mut Tx<'_>,
    scope: &Scope,
    filter: &WebhookFilter,
    offset: u64,
    limit: u32,
) -> Result<(Vec<Webhook>, u64), StoreError> {
    let search = filter.search.as_ref().map(|text| text.trim().to_lowercase());
    let mut parameters: Vec<Value<'_>> = vec![
        scope.account.as_bytes().into(),
        scope.environment.as_str().into(),
        search.as_ref().into(),
        filter.is_active.map(i64::from).into(),
    ];
    macro_rules! matching {
        () => {
            "FROM webhooks w JOIN accounts a ON a.number = w.account
             WHERE a.id = ?1 AND w.environment = ?2
                 AND (?3 IS NULL OR instr(lower(w.display_name), ?3) > 0
                     OR instr(lower(w.endpoint_url), ?3) > 0)
                 AND (?4 IS NULL OR w.is_active = ?4)"
        };
    }
    let sql = concat!("SELECT count(*) ", matching!());
    let total = tx.query_one(sql, &parameters, |row| row.int(0))?;
    parameters.push(limit.into());
    parameters.push(i64::try_from(offset).unwrap_or(i64::MAX).into());
    let sql = concat!(
        "SELECT ",
        columns!(),
        " ",
        matching!(),
        " ORDER BY w.created_at DESC, w.id DESC LIMIT ?5 OFFSET ?6"
    );
    let found = tx.query(sql, &parameters, webhook)?;
    Ok((found, total.and_then(|total| u64::try_from(total).ok()).unwrap_or(0)))
}

/// Lets the events that wait for a webhook be tried from then on.
///
/// # Errors
/// What the engine reports.
pub fn try_from(tx: &mut Tx<'_>, id: WebhookId, at: UnixMillis) -> Result<(), StoreError> {
    let sql = "UPDATE webhooks SET next_at = ?2 WHERE id = ?1";
    tx.execute(sql, &[id.as_bytes().into(), at.into()])?;
    Ok(())
}
