//! Writing down answered requests and what they tell about keys, and forgetting them again.
//!
//! Bound: 32,768 requests, 7 MB, wait to be written; while they cannot be, the buffers of
//! `observe/records.rs` fill up and then drop. 65,536 pairs of a key and a network, about 5 MB.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::PoisonError;

use ipnet::IpNet;
use keyward_core::id::KeyId;
use keyward_core::time::{DAY_MILLIS, HOUR_MILLIS, MINUTE_MILLIS, UnixMillis};
use keyward_store::StoreError;
use keyward_store::requests::{self, FROM_BROWSER, NewRequest, OVER_PLAIN_HTTP, Sighting};

use super::App;
use super::requests::Retention;
use crate::observe::records::Batch;

/// Written in one transaction at most, so that other writers get their turn.
const PORTION: usize = 4096;
/// It is looked what to forget after so many requests,
const SWEEP_ROWS: usize = 10_000;
/// or after so much time,
const SWEEP_MILLIS: i64 = MINUTE_MILLIS;
/// and then in so many transactions at most.
const SWEEPS_AT_ONCE: usize = 4;
const MOST_NOTED: usize = 65_536;
const MOST_NEW_NETWORKS: usize = 1024;

/// Requests on their way to the store.
pub struct Pending {
    batch: Batch,
    rows: Vec<NewRequest>,
    n_written: usize,
    noted: Noted,
    n_unswept: usize,
    /// When it was last looked what to forget, if all of it was.
    swept_at: Option<UnixMillis>,
}

impl Pending {
    /// `is_on`: whether requests are remembered at all.
    #[must_use]
    pub fn new(is_on: bool) -> Self {
        Self {
            batch: if is_on { Batch::with_room() } else { Batch::default() },
            rows: vec![],
            n_written: 0,
            noted: Noted::default(),
            n_unswept: 0,
            swept_at: None,
        }
    }

    /// Writes everything that was answered so far. What cannot be written stays for the next time, and
    /// nothing more is taken over until then.
    ///
    /// # Errors
    /// If the store cannot write.
    pub async fn write(&mut self, app: &App) -> Result<(), StoreError> {
        // What was on its way before comes first.
        for _ in 0..2 {
            for _ in 0..self.begin(app) {
                self.write_portion(app).await?;
            }
        }
        Ok(())
    }

    /// Takes over what was answered so far, unless something is on its way; gives the portions that are
    /// to be written.
    pub fn begin(&mut self, app: &App) -> usize {
        if self.n_written == self.rows.len() {
            self.rows.clear();
            self.n_written = 0;
            app.records.drain(&mut self.batch);
            self.batch.empty_into(&mut self.rows);
        }
        (self.rows.len() - self.n_written).div_ceil(PORTION)
    }

    /// Writes one portion of what is on its way. What cannot be written stays for the next time.
    ///
    /// # Errors
    /// If the store cannot write.
    pub async fn write_portion(&mut self, app: &App) -> Result<(), StoreError> {
        let until = self.rows.len().min(self.n_written + PORTION);
        if self.n_written < until {
            let rows = self.rows[self.n_written..until].to_vec();
            let seen = self.noted.look_at(&rows);
            let sightings = seen.sightings();
            let new = app
                .store
                .write(move |tx| {
                    requests::add(tx, &rows)?;
                    requests::note(tx, &sightings)
                })
                .await?;
            self.n_unswept += until - self.n_written;
            self.n_written = until;
            tell_of(app, &new, &seen);
            self.noted.remember(seen);
        }
        Ok(())
    }

    /// Forgets what is too old or too much, if it is time to look.
    ///
    /// # Errors
    /// If the store cannot write.
    pub async fn sweep(&mut self, app: &App) -> Result<(), StoreError> {
        let since = self.swept_at.map(|at| app.clock.wall() - at);
        let is_time = since.is_none_or(|since| !(0..SWEEP_MILLIS).contains(&since));
        if is_time || self.n_unswept >= SWEEP_ROWS {
            self.sweep_in(app, SWEEPS_AT_ONCE).await?;
        }
        Ok(())
    }

    /// Forgets all that is too old or too much.
    ///
    /// # Errors
    /// If the store cannot write.
    pub async fn sweep_all(&mut self, app: &App) -> Result<(), StoreError> {
        self.sweep_in(app, usize::MAX).await
    }

    async fn sweep_in(&mut self, app: &App, n_times: usize) -> Result<(), StoreError> {
        let Retention { records, days } = app.retention;
        let now = app.clock.wall();
        let days = i64::try_from(days).unwrap_or(i64::MAX);
        let before = if app.forgetting.may(app.clock.now()) {
            UnixMillis(now.0.saturating_sub(days.saturating_mul(DAY_MILLIS)))
        } else {
            UnixMillis(i64::MIN)
        };
        let most = i64::try_from(records).unwrap_or(i64::MAX);
        self.swept_at = None;
        for _ in 0..n_times {
            if !app.store.write(move |tx| requests::forget(tx, before, most)).await? {
                self.swept_at = Some(now);
                self.n_unswept = 0;
                break;
            }
        }
        Ok(())
    }
}

/// The network that an address stands for when people ask "from where".
#[must_use]
pub fn network_of(address: IpAddr) -> IpNet {
    let bits = if address.is_ipv4() { 24 } else { 48 };
    IpNet::new(address, bits).map_or_else(|_| IpNet::from(address), |network| network.trunc())
}

/// What was noted lately, so that the store is told of a network at most once an hour. When it is full
/// everything is forgotten and told again.
#[derive(Default)]
struct Noted(HashMap<(KeyId, IpNet), UnixMillis>);

/// What some requests tell about keys.
#[derive(Default)]
struct Seen {
    exposed: HashMap<(KeyId, &'static str), (UnixMillis, i64)>,
    networks: HashMap<(KeyId, IpNet), UnixMillis>,
}

impl Noted {
    fn look_at(&self, requests: &[NewRequest]) -> Seen {
        let mut seen = Seen::default();
        for request in requests {
            let Some(key) = request.key else { continue };
            for (flag, kind) in [(FROM_BROWSER, "browser"), (OVER_PLAIN_HTTP, "plain_http")] {
                if request.flags & flag != 0 {
                    let (at, n) = seen.exposed.entry((key, kind)).or_insert((request.at, 0));
                    *at = request.at.max(*at);
                    *n += 1;
                }
            }
            // A key that the door refused says nothing of where its holder is.
            if request.reason.is_some() {
                continue;
            }
            let pair = (key, network_of(request.address));
            let is_due = |last: &UnixMillis| request.at - *last >= HOUR_MILLIS;
            let last = seen.networks.get(&pair).or_else(|| self.0.get(&pair));
            if last.is_none_or(is_due) {
                seen.networks.insert(pair, request.at);
            }
        }
        seen
    }

    fn remember(&mut self, seen: Seen) {
        if self.0.len() + seen.networks.len() > MOST_NOTED {
            self.0.clear();
        }
        self.0.extend(seen.networks);
    }
}

impl Seen {
    fn sightings(&self) -> Vec<Sighting> {
        let exposed = self
            .exposed
            .iter()
            .map(|(&(key, kind), &(at, requests))| Sighting::Exposed { key, kind, at, requests });
        let networks = self.networks.iter().map(|(&(key, network), &at)| Sighting::Network {
            key,
            network,
            at,
        });
        exposed.chain(networks).collect()
    }
}

/// Hands new networks to the alerts.
fn tell_of(app: &App, new: &[(KeyId, IpNet)], seen: &Seen) {
    if new.is_empty() {
        return;
    }
    let mut told = app.new_networks.lock().unwrap_or_else(PoisonError::into_inner);
    let room = MOST_NEW_NETWORKS.saturating_sub(told.len());
    let with_time = |pair: &(KeyId, IpNet)| Some((pair.0, pair.1, *seen.networks.get(pair)?));
    told.extend(new.iter().filter_map(with_time).take(room));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keyward_core::account::{AccountKind, Environment};
    use keyward_core::digest::KeyDigest;
    use keyward_core::key::KeyHint;
    use keyward_core::permission::PermissionSet;
    use keyward_core::record::{KeyRecord, Mark};
    use keyward_store::Store;

    use super::*;
    use crate::app::accounts::{self, NewAccount};
    use crate::app::clock::HeldClock;
    use crate::app::{Actor, Chance, Clock, Reach};
    use crate::config::Settings;
    use crate::outbound::Outbound;

    fn request(at: i64, key: u8, address: &str) -> NewRequest {
        NewRequest {
            at: UnixMillis(at),
            request_id: [b'x'; 24],
            account: None,
            key: Some(KeyId::from_bytes([key; 16])),
            environment: None,
            method: "GET",
            route: "/v3/me",
            status: 200,
            code: None,
            reason: None,
            limited: None,
            address: address.parse().expect(address),
            micros: 1,
            flags: 0,
        }
    }

    fn networks(noted: &mut Noted, requests: &[NewRequest]) -> Vec<(String, i64)> {
        let seen = noted.look_at(requests);
        let text =
            |(&(_, network), at): (&(KeyId, IpNet), &UnixMillis)| (network.to_string(), at.0);
        let mut found: Vec<(String, i64)> = seen.networks.iter().map(text).collect();
        found.sort();
        noted.remember(seen);
        found
    }

    #[test]
    fn a_network_is_what_people_mean_by_where() {
        let check = |address: &str, expected: &str| {
            let network = network_of(address.parse().expect(address));
            assert_eq!(network.to_string(), expected);
        };
        check("192.0.2.77", "192.0.2.0/24");
        check("2001:db8:1:2::5", "2001:db8:1::/48");
    }

    #[test]
    fn a_network_is_told_once_an_hour_for_each_key() {
        let mut noted = Noted::default();
        let told = |at| vec![(String::from("192.0.2.0/24"), at)];
        let batch = [request(5, 1, "192.0.2.1"), request(6, 1, "192.0.2.2")];
        assert_eq!(networks(&mut noted, &batch), told(5));
        assert_eq!(networks(&mut noted, &[request(7, 1, "192.0.2.3")]), []);
        assert_eq!(networks(&mut noted, &[request(7, 2, "192.0.2.3")]), told(7));
        assert_eq!(networks(&mut noted, &[request(4 + HOUR_MILLIS, 1, "192.0.2.3")]), []);
        let later = 5 + HOUR_MILLIS;
        assert_eq!(networks(&mut noted, &[request(later, 1, "192.0.2.3")]), told(later));
    }

    #[test]
    fn what_is_remembered_of_networks_is_bounded() {
        let mut noted = Noted::default();
        for n in 0..70_000_u32 {
            let address = IpAddr::from((n << 8).to_be_bytes());
            let seen = noted.look_at(&[NewRequest { address, ..request(1, 1, "192.0.2.1") }]);
            noted.remember(seen);
            assert!(noted.0.len() <= MOST_NOTED);
        }
    }

    #[test]
    fn exposures_are_added_up_and_a_refused_key_tells_no_network() {
        let flagged = |at, flags| NewRequest { flags, ..request(at, 1, "192.0.2.1") };
        let revoked = NewRequest { reason: Some("key_revoked"), ..flagged(9, FROM_BROWSER) };
        let strange = NewRequest { key: None, ..flagged(10, FROM_BROWSER) };
        let batch = [
            flagged(1, FROM_BROWSER),
            flagged(2, FROM_BROWSER | OVER_PLAIN_HTTP),
            flagged(3, 0),
            revoked,
            strange,
        ];
        let seen = Noted::default().look_at(&batch);
        let key = KeyId::from_bytes([1; 16]);
        let expected =
            [((key, "browser"), (UnixMillis(9), 3)), ((key, "plain_http"), (UnixMillis(2), 1))];
        assert_eq!(seen.exposed, HashMap::from(expected));
        assert_eq!(seen.sightings().len(), 3);
        assert!(Noted::default().look_at(&[revoked, strange]).networks.is_empty());
    }

    /// An application with a key in a folder of its own, and nothing that runs by itself.
    async fn app(folder: &tempfile::TempDir, records: u64) -> (App, Arc<HeldClock>) {
        let clock = Arc::new(HeldClock::at(UnixMillis(DAY_MILLIS)));
        let store = Store::open(folder.path()).expect("it is new");
        let reach = Reach::Elsewhere { socket: folder.path().join("none") };
        let held = Clock::Held(Arc::clone(&clock));
        let settings = Settings {
            data_dir: folder.path().to_owned(),
            request_records: i64::try_from(records).expect("it is small"),
            ..Settings::default()
        };
        let outbound = Outbound::from_settings(&settings).expect("nothing is to be read");
        let app = App::new(store, held, Chance::counting(), reach, outbound, &settings);
        let new = NewAccount {
            name: String::from("Acme"),
            kind: AccountKind::Organization,
            organization: None,
            email: None,
            description: None,
        };
        let account = accounts::create(&app, &Actor::Operator, new).await.expect("it is new");
        let mut bytes = *b"a key of a test.";
        bytes[6] = 0x40;
        let key = KeyRecord {
            id: KeyId::from_bytes([1; 16]),
            account: account.id,
            digest: KeyDigest::of(&bytes),
            hint: KeyHint::UNKNOWN,
            name: String::from("billing"),
            environment: Environment::Production,
            permissions: PermissionSet::FULL,
            networks: vec![],
            created: Mark { at: UnixMillis(1), by: String::from("operator") },
            expires_at: None,
            disabled: None,
            revoked: None,
            rotated: None,
            last_used: None,
        };
        let inserted = app.store.write(move |tx| keyward_store::keys::insert(tx, &key)).await;
        inserted.unwrap_or_else(|error: StoreError| panic!("{error}"));
        (app, clock)
    }

    async fn count(app: &App) -> i64 {
        let sql = "SELECT count(*) FROM requests";
        let read = app.store.read(|tx| tx.query_one(sql, &[], |row| row.int(0))).await;
        read.unwrap_or_else(|error: StoreError| panic!("{error}")).unwrap_or(0)
    }

    #[tokio::test]
    async fn it_is_looked_what_to_forget_once_a_minute_or_after_many_requests() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (app, clock) = app(&folder, 10).await;
        let mut pending = Pending::new(true);
        let mut left_after = async |n: usize| {
            for _ in 0..n {
                app.records.push(request(DAY_MILLIS, 1, "192.0.2.1"));
            }
            pending.write(&app).await.expect("there is room");
            pending.sweep(&app).await.expect("there is room");
            count(&app).await
        };
        assert_eq!(left_after(25).await, 10, "the first time");
        assert_eq!(left_after(5).await, 15, "it is too soon");
        clock.advance(60_000);
        assert_eq!(left_after(0).await, 10);
        assert_eq!(left_after(SWEEP_ROWS - 1).await, 10 + 9_999);
        assert_eq!(left_after(1).await, 10);
        clock.set_wall(UnixMillis(1));
        assert_eq!(left_after(1).await, 10, "a clock set back does not stop it");
    }

    #[tokio::test]
    async fn new_networks_are_handed_to_the_alerts_up_to_a_bound() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (app, _) = app(&folder, 1_000_000).await;
        let mut pending = Pending::new(true);
        let mut told_after = async |requests: &[NewRequest]| {
            for request in requests {
                app.records.push(*request);
            }
            pending.write(&app).await.expect("there is room");
            app.new_networks.lock().unwrap_or_else(PoisonError::into_inner).clone()
        };
        assert_eq!(told_after(&[request(5, 1, "192.0.2.1")]).await, [], "its first use at all");
        let away = [
            request(6, 1, "192.0.2.2"),
            request(7, 1, "198.51.100.7"),
            request(8, 1, "198.51.100.8"),
            request(9, 2, "203.0.113.1"),
        ];
        let expected = (KeyId::from_bytes([1; 16]), network_of(away[1].address), UnixMillis(7));
        assert_eq!(told_after(&away).await, [expected]);
        let filler = vec![expected; MOST_NEW_NETWORKS - 1];
        app.new_networks.lock().unwrap_or_else(PoisonError::into_inner).extend(filler);
        assert_eq!(told_after(&[request(9, 1, "10.0.0.1")]).await.len(), MOST_NEW_NETWORKS);
    }
}
