//! Keys that were in use elsewhere, from a CSV file: all of them or none.
//!
//! Everything is read and checked first, then written in one transaction. A fault names its line and
//! its reason and never the key.
//!
//! Bound: about 250 bytes of memory a row.

use std::collections::{HashMap, HashSet};
use std::io::Read;

use keyward_core::account::{Account, AccountKind, AccountState, Environment, OwnLimits};
use keyward_core::digest::KeyDigest;
use keyward_core::id::AccountId;
use keyward_core::key::{ApiKey, KeyHint};
use keyward_core::permission::{Permission, PermissionSet};
use keyward_core::record::{KeyRecord, Mark};
use keyward_core::secret::digests_in;
use keyward_core::time::UnixMillis;
use keyward_store::{StoreError, accounts, keys};
use serde_json::json;

use super::audit::Trail;
use super::keys::LONGEST_NAME;
use super::plain_lines::PlainLines;
use super::{Actor, App, AppError, HOLDS_A_KEY, check_name};

/// What is wrong with a row.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    pub line: u64,
    pub reason: String,
}

/// How an import ended.
#[derive(Debug)]
pub enum Imported {
    Done {
        keys: usize,
        new_accounts: Vec<String>,
    },
    /// Nothing was written.
    Refused(Vec<Fault>),
}

/// How far an import has come.
#[derive(Clone, Copy, Debug)]
pub enum Progress {
    /// Bytes of the file.
    Read(u64),
    /// Rows in the database, of so many.
    Written(usize, usize),
}

/// Where keys go whose row names no account.
pub type Default = Option<Account>;

struct Row {
    line: u64,
    digest: KeyDigest,
    hint: KeyHint,
    name: String,
    environment: Environment,
    /// An index into the account names of the file.
    account: usize,
    permissions: PermissionSet,
    expires_at: Option<UnixMillis>,
}

#[derive(std::default::Default)]
struct Checked {
    rows: Vec<Row>,
    /// Account names or identifiers as they stand in the file; an empty one is the default.
    accounts: Vec<String>,
    faults: Vec<Fault>,
}

const COLUMNS: [&str; 7] =
    ["key", "sha256", "name", "environment", "account", "permissions", "expires_at"];

/// Reads a file and, if all of it is good, adds its keys. They work when this returns.
///
/// # Errors
/// If the file cannot be read as CSV, lacks a column, or the store does not answer.
pub async fn import(
    app: &App,
    actor: &Actor,
    file: impl Read,
    default: Default,
    on_progress: impl Fn(Progress) + Send + 'static,
) -> Result<Imported, AppError> {
    let at = app.clock.wall();
    let checked = read(file, at, &on_progress)?;
    if !checked.faults.is_empty() {
        return Ok(Imported::Refused(checked.faults));
    }
    let faults = named_like_keys(app, &checked)?;
    if !faults.is_empty() {
        return Ok(Imported::Refused(faults));
    }
    if checked.rows.is_empty() {
        return Err(AppError::invalid("file", "has no rows"));
    }
    let ids = checked.rows.iter().map(|_| app.new_key_id(at)).collect::<Vec<_>>();
    let account_ids = checked.accounts.iter().map(|_| app.new_account_id(at)).collect::<Vec<_>>();
    let by = format!("{} (import)", actor.describe());
    let actor = *actor;
    let imported = app
        .store
        .write(move |tx| {
            let Checked { rows, accounts: names, .. } = checked;
            let mut faults = already_there(tx, &rows)?;
            let (accounts, new_accounts) =
                match resolve(tx, &names, &account_ids, default.as_ref(), at)? {
                    Ok(resolved) => resolved,
                    Err(reason) => {
                        let named = rows.iter().filter(|row| names[row.account].is_empty());
                        let reason = |row: &Row| Fault { line: row.line, reason: reason.clone() };
                        faults.extend(named.map(reason));
                        (vec![], vec![])
                    }
                };
            if !faults.is_empty() {
                faults.sort_by_key(|fault| fault.line);
                return Err(Stop::Refused(faults));
            }
            let total = rows.len();
            let records = rows.into_iter().zip(ids).map(|(row, id)| KeyRecord {
                id,
                account: accounts[row.account],
                digest: row.digest,
                hint: row.hint,
                name: row.name,
                environment: row.environment,
                permissions: row.permissions,
                networks: vec![],
                created: Mark { at, by: by.clone() },
                expires_at: row.expires_at,
                disabled: None,
                revoked: None,
                rotated: None,
                last_used: None,
            });
            let mut n_written = 0_usize;
            keys::insert_all(tx, records, || {
                n_written += 1;
                if n_written.is_multiple_of(1000) || n_written == total {
                    on_progress(Progress::Written(n_written, total));
                }
            })?;
            let trail = Trail {
                at,
                account: None,
                actor: &actor,
                action: "key.imported",
                target: String::from("keys"),
                label: "",
                details: json!({ "keys": total, "new_accounts": new_accounts.len() }),
            };
            trail.append(tx)?;
            Ok(Imported::Done { keys: total, new_accounts })
        })
        .await;
    match imported {
        Ok(imported) => {
            app.put_in_force().await?;
            Ok(imported)
        }
        Err(Stop::Refused(faults)) => Ok(Imported::Refused(faults)),
        Err(Stop::Store(error)) => Err(error.into()),
    }
}

/// Why the transaction was given up.
enum Stop {
    Refused(Vec<Fault>),
    Store(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Rows in whose names somebody wrote a key, of this file or of this server.
fn named_like_keys(app: &App, checked: &Checked) -> Result<Vec<Fault>, AppError> {
    let of_file: HashSet<&[u8; 32]> =
        checked.rows.iter().map(|row| row.digest.as_bytes()).collect();
    let mut faults = vec![];
    for row in &checked.rows {
        for (column, text) in [("name", &row.name), ("account", &checked.accounts[row.account])] {
            let is_of_file = digests_in(text).any(|digest| of_file.contains(digest.as_bytes()));
            if is_of_file || app.reach.knows_any(&app.store, digests_in(text))? {
                faults.push(Fault { line: row.line, reason: format!("{column}: {HOLDS_A_KEY}") });
            }
        }
    }
    Ok(faults)
}

fn already_there(tx: &mut keyward_store::Tx<'_>, rows: &[Row]) -> Result<Vec<Fault>, StoreError> {
    let mut faults = Vec::new();
    if keys::count(tx)? == 0 {
        return Ok(faults);
    }
    for row in rows {
        if keys::exists(tx, &row.digest)? {
            let reason = format!("the key named '{}' is already there", row.name);
            faults.push(Fault { line: row.line, reason });
        }
    }
    Ok(faults)
}

type Resolved = (Vec<AccountId>, Vec<String>);

/// Finds the accounts of the file, and makes those whose names are new.
fn resolve(
    tx: &mut keyward_store::Tx<'_>,
    names: &[String],
    new_ids: &[AccountId],
    default: Option<&Account>,
    at: UnixMillis,
) -> Result<Result<Resolved, String>, StoreError> {
    let mut ids = Vec::with_capacity(names.len());
    let mut made = Vec::new();
    for (name, new_id) in names.iter().zip(new_ids) {
        if name.is_empty() {
            let Some(default) = default else {
                let reason = "names no account: there is not exactly one account that could be \
                              meant; fill the column 'account' or use --account";
                return Ok(Err(reason.to_owned()));
            };
            ids.push(default.id);
            continue;
        }
        let found = match name.parse::<AccountId>() {
            Ok(id) => accounts::find(tx, id)?,
            Err(_) => accounts::find_by_name(tx, name)?,
        };
        if let Some(account) = found {
            ids.push(account.id);
            continue;
        }
        accounts::insert(
            tx,
            &Account {
                id: *new_id,
                kind: AccountKind::Organization,
                organization: None,
                name: name.clone(),
                email: None,
                icon: None,
                description: None,
                state: AccountState::Active,
                limits: OwnLimits::default(),
                created_at: at,
            },
        )?;
        ids.push(*new_id);
        made.push(name.clone());
    }
    Ok(Ok((ids, made)))
}

/// Which column is where.
struct Columns([Option<usize>; COLUMNS.len()]);

impl Columns {
    fn of(header: &csv::ByteRecord) -> Result<Self, AppError> {
        let mut columns = [None; COLUMNS.len()];
        for (index, name) in header.iter().enumerate() {
            let name = String::from_utf8_lossy(name.trim_ascii()).to_lowercase();
            let name = name.trim_start_matches('\u{feff}');
            let Some(known) = COLUMNS.iter().position(|column| *column == name) else {
                let sentence = if is_data(name) {
                    String::from("must begin with a line of column names")
                } else {
                    format!("has an unknown column '{name}'; known are: {}", COLUMNS.join(", "))
                };
                return Err(AppError::invalid("file", sentence));
            };
            if columns[known].replace(index).is_some() {
                let sentence = format!("has the column '{name}' twice");
                return Err(AppError::invalid("file", sentence));
            }
        }
        let columns = Self(columns);
        for (needed, text) in [("name", "name"), ("environment", "environment")] {
            if columns.index(needed).is_none() {
                return Err(AppError::invalid("file", format!("lacks the column '{text}'")));
            }
        }
        if columns.index("key").is_none() && columns.index("sha256").is_none() {
            return Err(AppError::invalid("file", "lacks a column 'key' or 'sha256'"));
        }
        Ok(columns)
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.0[COLUMNS.iter().position(|column| *column == name)?]
    }

    fn get<'r>(&self, record: &'r csv::ByteRecord, name: &str) -> &'r [u8] {
        self.index(name).and_then(|index| record.get(index)).unwrap_or_default().trim_ascii()
    }
}

fn read(
    file: impl Read,
    now: UnixMillis,
    on_progress: &impl Fn(Progress),
) -> Result<Checked, AppError> {
    let file = PlainLines::of(file);
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file);
    let not_csv = |error: csv::Error| AppError::invalid("file", format!("is no CSV: {error}"));
    let columns = Columns::of(reader.byte_headers().map_err(not_csv)?)?;
    let n_columns = reader.byte_headers().map_err(not_csv)?.len();
    let mut checked = Checked::default();
    let mut seen: HashMap<[u8; 32], u64> = HashMap::new();
    let mut account_numbers: HashMap<String, usize> = HashMap::new();
    let mut record = csv::ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(not_csv)? {
        let position = record.position();
        let line = position.map_or(0, csv::Position::line);
        let row = if record.len() == n_columns {
            row(&columns, &record, now, line, &mut checked.accounts, &mut account_numbers)
        } else {
            Err(format!("has {} columns instead of {n_columns}", record.len()))
        };
        match row {
            Ok(row) => match seen.insert(*row.digest.as_bytes(), line) {
                Some(first) => {
                    let reason = format!("repeats the key of line {first}");
                    checked.faults.push(Fault { line, reason });
                }
                None => checked.rows.push(row),
            },
            Err(reason) => checked.faults.push(Fault { line, reason }),
        }
        if line.is_multiple_of(1000) {
            on_progress(Progress::Read(position.map_or(0, csv::Position::byte)));
        }
    }
    Ok(checked)
}

fn row(
    columns: &Columns,
    record: &csv::ByteRecord,
    now: UnixMillis,
    line: u64,
    accounts: &mut Vec<String>,
    numbers: &mut HashMap<String, usize>,
) -> Result<Row, String> {
    let (digest, hint) = digest(columns.get(record, "key"), columns.get(record, "sha256"))?;
    let text = |column: &str| {
        str::from_utf8(columns.get(record, column))
            .map_err(|_| format!("{column}: not valid UTF-8"))
    };
    let environment = text("environment")?;
    let environment = Environment::from_text(environment)
        .ok_or_else(|| String::from("environment: must be production or test"))?;
    let name = check_name("name", text("name")?, LONGEST_NAME).map_err(|e| e.to_string())?;
    let account = match text("account")? {
        "" => String::new(),
        account => check_name("account", account, 100).map_err(|error| error.to_string())?,
    };
    let account = match numbers.get(&account.to_lowercase()) {
        Some(number) => *number,
        None => {
            numbers.insert(account.to_lowercase(), accounts.len());
            accounts.push(account);
            accounts.len() - 1
        }
    };
    Ok(Row {
        line,
        digest,
        hint,
        name,
        environment,
        account,
        permissions: permissions(text("permissions")?)?,
        expires_at: expiry(text("expires_at")?, now)?,
    })
}

fn digest(key: &[u8], sha256: &[u8]) -> Result<(KeyDigest, KeyHint), String> {
    match (key, sha256) {
        (b"", b"") => Err(String::from("has neither a key nor a sha256")),
        (b"", sha256) => {
            let text = str::from_utf8(sha256).unwrap_or_default();
            let digest = KeyDigest::from_hex(text)
                .ok_or_else(|| String::from("sha256: must be 64 hexadecimal characters"))?;
            Ok((digest, KeyHint::UNKNOWN))
        }
        (key, b"") => {
            let key = ApiKey::parse(key).map_err(|error| format!("key: {error}"))?;
            if key.is_placeholder() {
                return Err(String::from("key: is a placeholder and no secret"));
            }
            Ok((key.digest(), key.hint()))
        }
        _ => Err(String::from("has both a key and a sha256: leave one of them empty")),
    }
}

/// Too long for a name that we know: it may be a key in the wrong place, and is not repeated.
const fn is_data(text: &str) -> bool {
    text.len() >= 30
}

/// A preset, or permissions separated by spaces, commas or semicolons. Nothing means full.
fn permissions(text: &str) -> Result<PermissionSet, String> {
    match text {
        "" | "full" => Ok(PermissionSet::FULL),
        "read-only" => Ok(PermissionSet::READ_ONLY),
        _ => text
            .split([' ', ',', ';', '|'])
            .filter(|part| !part.is_empty())
            .map(|part| {
                part.parse::<Permission>().map_err(|error| {
                    if is_data(part) {
                        String::from("permissions: what stands there is none")
                    } else {
                        format!("permissions: {error}")
                    }
                })
            })
            .collect(),
    }
}

/// A time such as `2027-01-31T00:00:00Z`. Nothing means never: what is in use elsewhere must not
/// stop by itself because it moved.
fn expiry(text: &str, now: UnixMillis) -> Result<Option<UnixMillis>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let at: jiff::Timestamp = text.parse().map_err(|_| {
        String::from("expires_at: expected a time such as 2027-01-31T00:00:00Z, or nothing")
    })?;
    let at = UnixMillis(at.as_millisecond());
    if at <= now {
        return Err(String::from("expires_at: is in the past"));
    }
    Ok(Some(at))
}

/// For the fuzz targets alone.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    use super::{AppError, Fault, KeyDigest, PermissionSet, UnixMillis};

    /// A row that is good.
    #[derive(Debug)]
    pub struct Row {
        pub line: u64,
        pub digest: KeyDigest,
        pub name: String,
        pub account: String,
        pub permissions: PermissionSet,
        pub expires_at: Option<UnixMillis>,
    }

    /// # Errors
    /// If it is no CSV or lacks a column.
    pub fn read(file: &[u8], now: UnixMillis) -> Result<(Vec<Row>, Vec<Fault>), AppError> {
        let super::Checked { rows, accounts, faults } = super::read(file, now, &|_| {})?;
        let row = |row: super::Row| Row {
            line: row.line,
            digest: row.digest,
            name: row.name,
            account: accounts[row.account].clone(),
            permissions: row.permissions,
            expires_at: row.expires_at,
        };
        Ok((rows.into_iter().map(row).collect(), faults))
    }
}

#[cfg(test)]
mod tests;
