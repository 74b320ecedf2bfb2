//! Contacts, apart for each account and environment.

use keyward_core::account::Environment;
use keyward_core::id::{AccountId, ContactId};
use keyward_core::time::UnixMillis;

use crate::contact_blocks;
use crate::error::StoreError;
use crate::tx::{Row, Tx, Value};

/// A contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    pub id: ContactId,
    pub account: AccountId,
    pub environment: Environment,
    /// As it was given.
    pub phone_number: String,
    pub format_e164: String,
    pub format_international: String,
    pub format_national: String,
    pub format_rfc: String,
    pub country_code: String,
    pub region_code: String,
    /// Separated by commas.
    pub available_channels: String,
    pub default_channel: String,
    pub opt_out: bool,
    pub created_at: UnixMillis,
    pub updated_at: Option<UnixMillis>,
}

/// Whose contacts.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    pub account: AccountId,
    pub environment: Environment,
}

/// Which contacts to list.
#[derive(Clone, Debug, Default)]
pub struct ContactFilter {
    /// Any part of the number, however it is written.
    pub search: Option<String>,
    /// One of its available channels.
    pub channel: Option<String>,
}

macro_rules! select {
    ($rest:literal) => {
        select!("contacts", $rest)
    };
    ($from:expr, $rest:literal) => {
        concat!(
            "SELECT id, phone_number, contacts.format_e164, format_international,",
            " format_national, format_rfc, country_code, region_code, available_channels,",
            " default_channel, opt_out, created_at, updated_at FROM ",
            $from,
            " WHERE account = (SELECT number FROM accounts WHERE id = ?1) AND environment = ?2 ",
            $rest
        )
    };
}

/// Contacts whose number holds the digits `?6`, found without looking at the others: in this order.
macro_rules! numbered {
    () => {
        "contact_numbers n CROSS JOIN contacts ON contacts.number = n.rowid"
    };
}

/// What a search or a channel asks for. `?3` is the text as it was written, `?4` its digits and `?5`
/// the channel; each may be null.
macro_rules! matching {
    () => {
        "AND (?3 IS NULL
              OR (?4 IS NOT NULL AND instr(contacts.format_e164, ?4) > 0)
              OR instr(lower(format_international), ?3) > 0
              OR instr(lower(format_national), ?3) > 0
              OR instr(lower(format_rfc), ?3) > 0)
         AND (?5 IS NULL OR instr(',' || available_channels || ',', ',' || ?5 || ',') > 0)"
    };
}

fn contact(row: &Row<'_>, scope: &Scope) -> Result<Contact, StoreError> {
    Ok(Contact {
        id: ContactId::from_bytes(row.bytes(0)?),
        account: scope.account,
        environment: scope.environment,
        phone_number: row.text(1)?.to_owned(),
        format_e164: row.text(2)?.to_owned(),
        format_international: row.text(3)?.to_owned(),
        format_national: row.text(4)?.to_owned(),
        format_rfc: row.text(5)?.to_owned(),
        country_code: row.text(6)?.to_owned(),
        region_code: row.text(7)?.to_owned(),
        available_channels: row.text(8)?.to_owned(),
        default_channel: row.text(9)?.to_owned(),
        opt_out: row.int(10)? != 0,
        created_at: row.at(11)?,
        updated_at: row.maybe_at(12)?,
    })
}

/// Adds a contact.
///
/// # Errors
/// `Conflict(ContactNumber)` if the account has the number in this environment.
pub fn insert(tx: &mut Tx<'_>, contact: &Contact) -> Result<(), StoreError> {
    let number = tx.query_one(
        "INSERT INTO contacts (id, account, environment, phone_number, format_e164,
             format_international, format_national, format_rfc, country_code, region_code,
             available_channels, default_channel, opt_out, created_at, updated_at)
         VALUES (?1, (SELECT number FROM accounts WHERE id = ?2), ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10,
             ?11, ?12, ?13, ?14, ?15)
         RETURNING number",
        &[
            contact.id.as_bytes().into(),
            contact.account.as_bytes().into(),
            contact.environment.as_str().into(),
            (&contact.phone_number).into(),
            (&contact.format_e164).into(),
            (&contact.format_international).into(),
            (&contact.format_national).into(),
            (&contact.format_rfc).into(),
            (&contact.country_code).into(),
            (&contact.region_code).into(),
            (&contact.available_channels).into(),
            (&contact.default_channel).into(),
            contact.opt_out.into(),
            contact.created_at.into(),
            contact.updated_at.into(),
        ],
        |row| row.int(0),
    )?;
    tx.execute_last(
        "INSERT INTO contact_numbers (rowid, format_e164) VALUES (?1, ?2)",
        &[number.into(), (&contact.format_e164).into()],
    )?;
    let scope = Scope { account: contact.account, environment: contact.environment };
    contact_blocks::added(tx, &scope, (contact.created_at, contact.id))
}

/// # Errors
/// What the engine reports.
pub fn find(tx: &mut Tx<'_>, scope: &Scope, id: ContactId) -> Result<Option<Contact>, StoreError> {
    tx.query_one(
        select!("AND id = ?3"),
        &[scope.account.as_bytes().into(), scope.environment.as_str().into(), id.as_bytes().into()],
        |row| contact(row, scope),
    )
}

/// # Errors
/// What the engine reports.
pub fn find_by_number(
    tx: &mut Tx<'_>,
    scope: &Scope,
    e164: &str,
) -> Result<Option<Contact>, StoreError> {
    tx.query_one(
        select!("AND format_e164 = ?3"),
        &[scope.account.as_bytes().into(), scope.environment.as_str().into(), e164.into()],
        |row| contact(row, scope),
    )
}

/// Writes what may change of a contact.
///
/// # Errors
/// What the engine reports.
pub fn put(tx: &mut Tx<'_>, contact: &Contact) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE contacts SET available_channels = ?2, default_channel = ?3, opt_out = ?4,
             updated_at = ?5
         WHERE id = ?1",
        &[
            contact.id.as_bytes().into(),
            (&contact.available_channels).into(),
            (&contact.default_channel).into(),
            contact.opt_out.into(),
            contact.updated_at.into(),
        ],
    )?;
    Ok(())
}

/// Removes a contact; gives false if there is none.
///
/// # Errors
/// What the engine reports.
pub fn remove(tx: &mut Tx<'_>, scope: &Scope, id: ContactId) -> Result<bool, StoreError> {
    let Some(contact) = find(tx, scope, id)? else { return Ok(false) };
    let number = tx.query_one(
        "DELETE FROM contacts WHERE id = ?1 RETURNING number",
        &[id.as_bytes().into()],
        |row| row.int(0),
    )?;
    tx.execute_last(
        "INSERT INTO contact_numbers (contact_numbers, rowid, format_e164) VALUES ('delete', ?1, ?2)",
        &[number.into(), (&contact.format_e164).into()],
    )?;
    contact_blocks::removed(tx, scope, (contact.created_at, id))?;
    Ok(true)
}

macro_rules! count {
    ($from:expr, $rest:literal) => {
        concat!(
            "SELECT count(*) FROM ",
            $from,
            " WHERE account = (SELECT number FROM accounts WHERE id = ?1) AND environment = ?2 ",
            $rest,
            matching!()
        )
    };
}

macro_rules! listed {
    ($from:expr, $rest:literal) => {
        concat!(
            select!($from, $rest),
            matching!(),
            " ORDER BY created_at DESC, id DESC LIMIT ?7 OFFSET ?8"
        )
    };
}

/// One page of contacts, newest first, then by id; and how many there are in all.
///
/// Without a filter a page costs the same wherever it stands; a search for five digits or more costs
/// what it finds; with a shorter one or a channel alone, all contacts are looked at.
///
/// # Errors
/// What the engine reports.
pub fn page(
    tx: &mut Tx<'_>,
    scope: &Scope,
    filter: &ContactFilter,
    offset: u64,
    limit: u32,
) -> Result<(Vec<Contact>, u64), StoreError> {
    if filter.search.is_none() && filter.channel.is_none() {
        return page_of_all(tx, scope, offset, limit);
    }
    let written = filter.search.as_ref().map(|text| text.trim().to_lowercase());
    let digits = written.as_deref().and_then(digits_of);
    let mut parameters: Vec<Value<'_>> = vec![
        scope.account.as_bytes().into(),
        scope.environment.as_str().into(),
        written.as_ref().into(),
        digits.as_ref().into(),
        filter.channel.as_ref().into(),
    ];
    let candidates = written.as_deref().and_then(candidates_for);
    parameters.push(candidates.as_ref().into());
    let (count_sql, page_sql) = match candidates {
        Some(_) => (
            count!(numbered!(), "AND n.format_e164 MATCH ?6 "),
            listed!(numbered!(), "AND n.format_e164 MATCH ?6 "),
        ),
        None => (count!("contacts", "AND ?6 IS NULL "), listed!("contacts", "AND ?6 IS NULL ")),
    };
    let total = tx.query_one(count_sql, &parameters, |row| row.int(0))?;
    parameters.push(limit.into());
    parameters.push(i64::try_from(offset).unwrap_or(i64::MAX).into());
    let found = tx.query(page_sql, &parameters, |row| contact(row, scope))?;
    Ok((found, total.and_then(|total| u64::try_from(total).ok()).unwrap_or(0)))
}

/// What the number of every contact holds that a text can be found in, as a query of the index; `None`
/// if the text has too few digits to say.
///
/// Digits that stand together in any way of writing a number stand together in the number. Only the
/// first ones may be what is dialled within a country before it, so two of them are not asked for.
fn candidates_for(text: &str) -> Option<String> {
    let groups = text.split(|c: char| !c.is_ascii_digit()).filter(|group| !group.is_empty());
    let asked = groups
        .enumerate()
        .map(|(n, group)| if n == 0 { group.get(2..).unwrap_or("") } else { group });
    let phrases: Vec<String> =
        asked.filter(|group| group.len() >= 3).map(|group| format!("\"{group}\"")).collect();
    (!phrases.is_empty()).then(|| phrases.join(" AND "))
}

fn page_of_all(
    tx: &mut Tx<'_>,
    scope: &Scope,
    offset: u64,
    limit: u32,
) -> Result<(Vec<Contact>, u64), StoreError> {
    let start = contact_blocks::start(tx, scope, offset)?;
    if offset >= start.total {
        return Ok((vec![], start.total));
    }
    let (before, id) = start.before;
    let found = tx.query(
        select!(
            "AND (created_at, id) < (?3, ?4) ORDER BY created_at DESC, id DESC LIMIT ?5 OFFSET ?6"
        ),
        &[
            scope.account.as_bytes().into(),
            scope.environment.as_str().into(),
            before.into(),
            id.as_bytes().into(),
            limit.into(),
            i64::try_from(start.skip).unwrap_or(i64::MAX).into(),
        ],
        |row| contact(row, scope),
    )?;
    Ok((found, start.total))
}

/// The digits of a text that is a part of a number, with its leading plus: separators do not
/// matter. `None` for a text with anything else in it, or without a digit.
fn digits_of(text: &str) -> Option<String> {
    let is_separator = |c: char| " -.()/".contains(c);
    let rest = text.strip_prefix('+').unwrap_or(text);
    let is_number = rest.chars().all(|c| c.is_ascii_digit() || is_separator(c));
    let digits: String = text.chars().filter(|c| c.is_ascii_digit() || *c == '+').collect();
    (is_number && digits.bytes().any(|byte| byte.is_ascii_digit())).then_some(digits)
}

/// For the fuzz targets alone.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    /// A search as it is asked of the index, and as digits.
    #[must_use]
    pub fn asked(text: &str) -> (Option<String>, Option<String>) {
        let written = text.trim().to_lowercase();
        (super::candidates_for(&written), super::digits_of(&written))
    }
}
