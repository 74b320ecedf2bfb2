//! Recent requests: who may see which, and why each was let in or refused.

use ipnet::IpNet;
use keyward_core::id::KeyId;
use keyward_core::permission::Permission;
use keyward_core::record::KeyRecord;
use keyward_core::role::Role;
use keyward_core::time::UnixMillis;
use keyward_store::requests::{self, Found, RequestFilter, RequestRow, Whose};
use keyward_store::{Tx, accounts, key_list, keys, users};

use super::actor::Person;
pub use super::story::CHECKS;
use super::story::{self, Told};
use super::{App, AppError, Resource};
use crate::observe::records::Dropped;

/// A request with what was decided about it.
pub struct Story {
    pub request: RequestRow,
    /// At which of the [`CHECKS`] it was decided. Contract 2.
    pub check: &'static str,
    pub why: String,
    pub remedy: Vec<String>,
    pub key: Option<KeyRecord>,
    /// What replaced the key.
    pub successor: Option<KeyRecord>,
}

/// How many requests are remembered, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub records: u64,
    pub days: u64,
}

/// Networks from which keys were used for the first time, for the alerts.
///
/// Bound: 1,024; what is beyond is not told of.
pub type NewNetworks = Vec<(KeyId, IpNet, UnixMillis)>;

/// Whoever reads bills alone sees no requests. Contract 10.
fn check_sees_any(person: &Person) -> Result<(), AppError> {
    if person.role == Role::Billing { Err(AppError::NotAllowed) } else { Ok(()) }
}

/// True if somebody sees requests that came without a known key: they are nobody's, so those see
/// them who run the account that the server was set up with.
///
/// # Errors
/// If the store does not answer.
pub async fn sees_strangers(app: &App, person: &Person) -> Result<bool, AppError> {
    let person = *person;
    app.read_for(person.account, move |tx| sees_strangers_in(tx, &person)).await
}

fn sees_strangers_in(tx: &mut Tx<'_>, person: &Person) -> Result<bool, AppError> {
    let first = accounts::first(tx)?;
    Ok(person.role.is_in_charge() && first == Some(person.account))
}

/// Requests, newest first, as far as somebody may see them.
///
/// # Errors
/// If the role does not allow it.
pub async fn list(
    app: &App,
    person: &Person,
    whose: Whose,
    mut filter: RequestFilter,
) -> Result<Found, AppError> {
    check_sees_any(person)?;
    let (person, now) = (*person, app.clock.wall());
    filter.only_test_or_shared = person.role == Role::Developer;
    app.read_for(person.account, move |tx| {
        match whose {
            Whose::Account(account) if account == person.account => {}
            Whose::Account(_) => return Err(AppError::NotFound(Resource::Account)),
            Whose::Key(id) => {
                let listed = key_list::find(tx, person.account, id, now)?;
                let sees = |listed: &key_list::Listed| {
                    person.role.sees_keys_of(listed.record.environment, listed.is_shared)
                };
                listed.filter(sees).ok_or(AppError::NotFound(Resource::ApiKey))?;
            }
            Whose::Strangers if sees_strangers_in(tx, &person)? => {}
            Whose::Strangers => return Err(AppError::NotAllowed),
        }
        Ok(requests::list(tx, whose, &filter)?)
    })
    .await
}

/// What was decided about a request, at which check, why, and what to do. One without a known key may
/// be asked about by every member who has its identifier, which nobody can guess.
///
/// `asked_by` gives the permission that a route asks for, by its method and pattern.
///
/// # Errors
/// `NotFound` for one that is not remembered, is another account's, or is not for this member.
pub async fn find(
    app: &App,
    person: &Person,
    request_id: &str,
    asked_by: impl Fn(&str, &str) -> Option<Permission>,
) -> Result<Story, AppError> {
    check_sees_any(person)?;
    let (person, wanted) = (*person, request_id.trim().to_owned());
    let told = app
        .read_for(person.account, move |tx| {
            let row = requests::find(tx, person.account, &wanted)?;
            let row = row.ok_or(AppError::NotFound(Resource::Request))?;
            let key = match row.key {
                Some(id) => keys::find(tx, id)?,
                None => None,
            };
            if let Some(key) = &key {
                let is_shared = key_list::is_shared(tx, key.id)?;
                if !person.role.sees_keys_of(key.environment, is_shared) {
                    return Err(AppError::NotFound(Resource::Request));
                }
            }
            let successor = match key.as_ref().and_then(|key| key.rotated.as_ref()) {
                Some(rotation) => keys::find(tx, rotation.successor)?,
                None => None,
            };
            let names = users::names_of(tx, person.account)?;
            Ok(Told { row, key, successor, names })
        })
        .await?;
    // The table of routes has one row for both.
    let method = if told.row.method == "HEAD" { "GET" } else { told.row.method.as_str() };
    let asked = asked_by(method, &told.row.route);
    let (check, why, remedy) = story::tell(&told, asked);
    let Told { row, key, successor, .. } = told;
    Ok(Story { request: row, check, why, remedy, key, successor })
}

/// How many requests are not remembered because too many came at once, since start.
#[must_use]
pub fn dropped(app: &App) -> Dropped {
    app.records.dropped()
}
