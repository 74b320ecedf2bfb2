//! Recent requests: who may see which, and why each was let in or refused.

use std::collections::HashMap;

use ipnet::IpNet;
use keyward_core::id::KeyId;
use keyward_core::record::KeyRecord;
use keyward_core::role::Role;
use keyward_core::time::{DAY_MILLIS, HOUR_MILLIS, UnixMillis};
use keyward_store::requests::{
    self, FROM_BROWSER, Found, NewRequest, OVER_PLAIN_HTTP, RequestFilter, RequestRow, Sighting,
    Whose,
};
use keyward_store::{Tx, accounts, key_list, keys, users};

use super::actor::Person;
use super::story::{self, Told};
use super::{App, AppError, Resource};

/// A request with what was decided about it.
pub struct Story {
    pub request: RequestRow,
    /// At which of the checks it was decided. Contract 2.
    pub check: &'static str,
    pub why: String,
    pub remedy: Vec<String>,
    pub key: Option<KeyRecord>,
    /// What replaced the key.
    pub successor: Option<KeyRecord>,
}

/// How long requests are remembered, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub records: u64,
    pub days: u64,
}

/// Requests of people who see none are not found, whatever is asked.
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
    app.store.read(move |tx| sees_strangers_in(tx, &person)).await
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
    app.store
        .read(move |tx| {
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
/// `lacking` names the permission that a route asks for.
///
/// # Errors
/// `NotFound` for one that is not remembered, is another account's, or is not for this member.
pub async fn find(
    app: &App,
    person: &Person,
    request_id: &str,
    lacking: impl Fn(&str, &str) -> Option<&'static str>,
) -> Result<Story, AppError> {
    check_sees_any(person)?;
    let (person, wanted) = (*person, request_id.trim().to_owned());
    let told = app
        .store
        .read(move |tx| {
            let row = requests::find(tx, &wanted)?.ok_or(AppError::NotFound(Resource::Request))?;
            if row.account.is_some_and(|account| account != person.account) {
                return Err(AppError::NotFound(Resource::Request));
            }
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
    let lacking = lacking(&told.row.method, &told.row.route);
    let (check, why, remedy) = story::tell(&told, lacking);
    let Told { row, key, successor, .. } = told;
    Ok(Story { request: row, check, why, remedy, key, successor })
}

/// What was noted lately, so that the store is told of a network at most once an hour.
///
/// Bound: 65,536 pairs of a key and a network; then all are forgotten and told again.
#[derive(Default)]
pub struct Noted(HashMap<(KeyId, IpNet), i64>);

const MOST_NOTED: usize = 65_536;

/// The network that an address stands for when people ask "from where".
#[must_use]
pub fn network_of(address: std::net::IpAddr) -> IpNet {
    let bits = if address.is_ipv4() { 24 } else { 48 };
    IpNet::new(address, bits).map_or_else(|_| IpNet::from(address), |network| network.trunc())
}

/// What a batch of requests tells about keys.
fn sightings(batch: &[NewRequest], noted: &mut Noted) -> Vec<Sighting> {
    let mut exposed: HashMap<(KeyId, &'static str), (UnixMillis, i64)> = HashMap::new();
    let mut seen = vec![];
    if noted.0.len() > MOST_NOTED {
        noted.0.clear();
    }
    for request in batch {
        let Some(key) = request.key else { continue };
        for (flag, kind) in [(FROM_BROWSER, "browser"), (OVER_PLAIN_HTTP, "plain_http")] {
            if request.flags & flag != 0 {
                let (at, n) = exposed.entry((key, kind)).or_insert((request.at, 0));
                *at = (*at).max(request.at);
                *n += 1;
            }
        }
        // A key that was refused says nothing of where its holder is.
        if matches!(request.status, 401) {
            continue;
        }
        let network = network_of(request.address);
        let hour = request.at.0.div_euclid(HOUR_MILLIS);
        if noted.0.insert((key, network), hour) != Some(hour) {
            seen.push(Sighting::Network { key, network, at: request.at });
        }
    }
    seen.extend(exposed.into_iter().map(|((key, kind), (at, requests))| Sighting::Exposed {
        key,
        kind,
        at,
        requests,
    }));
    seen
}

/// Networks from which keys were used for the first time, for the alerts.
///
/// Bound: 1,024; what is beyond is not told of.
pub type NewNetworks = Vec<(KeyId, IpNet, UnixMillis)>;

const MOST_NEW_NETWORKS: usize = 1024;
/// Written at once, so that other writers get their turn.
const BATCH: usize = 4096;

/// Remembers requests. Gives how many were written; the rest could not be.
///
/// # Errors
/// If the store cannot write.
pub async fn remember(
    app: &App,
    mut requests: Vec<NewRequest>,
    noted: &mut Noted,
) -> Result<(), (AppError, u64)> {
    while !requests.is_empty() {
        let rest = requests.split_off(requests.len().min(BATCH));
        let batch = std::mem::replace(&mut requests, rest);
        let seen = sightings(&batch, noted);
        let n_lost = u64::try_from(batch.len() + requests.len()).unwrap_or(u64::MAX);
        let at = batch.last().map_or(UnixMillis(0), |request| request.at);
        let new = app
            .store
            .write(move |tx| {
                requests::add(tx, &batch)?;
                Ok::<_, AppError>(requests::note(tx, &seen)?)
            })
            .await
            .map_err(|error| (error, n_lost))?;
        let mut networks =
            app.new_networks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let room = MOST_NEW_NETWORKS.saturating_sub(networks.len());
        networks.extend(new.into_iter().take(room).map(|(key, network)| (key, network, at)));
    }
    Ok(())
}

/// Forgets what is too old or too much. Gives true if there may be more to forget.
///
/// # Errors
/// If the store cannot write.
pub async fn forget(app: &App) -> Result<bool, AppError> {
    let Retention { records, days } = app.retention;
    let days = i64::try_from(days).unwrap_or(i64::MAX / DAY_MILLIS);
    let before = UnixMillis(app.clock.wall().0 - days * DAY_MILLIS);
    let most = i64::try_from(records).unwrap_or(i64::MAX);
    app.store.write(move |tx| Ok(requests::forget(tx, before, most)?)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_what_people_mean_by_where() {
        let check = |address: &str, expected: &str| {
            let network = network_of(address.parse().expect(address));
            assert_eq!(network.to_string(), expected);
        };
        check("192.0.2.77", "192.0.2.0/24");
        check("2001:db8:1:2::5", "2001:db8:1::/48");
    }
}
