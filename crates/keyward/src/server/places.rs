//! Who is connected: so many at once, so many from one address, and room for others when it is full.
//!
//! An address that holds as many connections as one may is refused the next one; a trusted proxy stands
//! for many clients and is not counted. When all places are taken, connections on which nothing is being
//! answered make room, first of the address that holds most: whoever fills the house pays for it, and a
//! client that has only a few is not locked out. Those that came first go first.
//!
//! Bound: an entry of about 150 bytes for each connection, of which there are at most
//! [`CONNECTIONS`] and those that are on their way from one thread to another.
//! Locks: one, held to enter, to leave and to look for room; never by a request.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use keyward_core::address::{canonical, guess_origin};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

/// Connections at once.
pub const CONNECTIONS: u32 = 16_384;
/// Closed at once when it is full, so that a flood does not pay for a search each time.
const MADE_FREE: usize = 16;
/// When nobody can be asked to go, it is tried again after this.
const AGAIN: Duration = Duration::from_millis(50);

/// Places for connections.
pub struct Places {
    free: Arc<Semaphore>,
    n_places: u32,
    guests: Arc<Mutex<Guests>>,
    most_of_one: usize,
    proxies: Vec<IpNet>,
}

#[derive(Default)]
struct Guests {
    of: HashMap<IpAddr, BTreeMap<u64, Guest>>,
    n_so_far: u64,
    /// Refused, for one address may have no more.
    n_refused: u64,
    /// Ended to make room.
    n_ended: u64,
}

/// Connections of clients, for who watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionFigures {
    pub open: u64,
    /// Since the start, as all that follow.
    pub accepted: u64,
    pub refused: u64,
    pub ended: u64,
}

struct Guest {
    activity: Arc<Activity>,
    /// Known once a thread has taken the connection over.
    task: Option<AbortHandle>,
    is_proxy: bool,
}

/// Whether a connection is at work: requests that came whole and whose answers are not begun (HTTP/1, one
/// at a time) or not gone (HTTP/2).
///
/// Written by the connection's own tasks, read without a lock by who looks for room.
#[derive(Debug, Default)]
pub struct Activity {
    at_work: AtomicU32,
    /// Something was read since the last request was there.
    has_read: AtomicBool,
}

impl Activity {
    /// Bytes came.
    pub fn read(&self) {
        self.has_read.store(true, Ordering::Relaxed);
    }

    /// The one request is there: true if nothing was read for it, for it came in one pile with those
    /// before it. Others have their turn first.
    pub fn work(&self) -> bool {
        self.at_work.store(1, Ordering::Relaxed);
        let has_read = self.has_read.load(Ordering::Relaxed);
        self.has_read.store(false, Ordering::Relaxed);
        !has_read
    }

    /// Its answer is begun.
    pub fn rest(&self) {
        self.at_work.store(0, Ordering::Relaxed);
    }

    /// One of many begins.
    pub fn begin(&self) {
        self.at_work.fetch_add(1, Ordering::Relaxed);
    }

    /// One of many is over.
    pub fn end(&self) {
        self.at_work.fetch_sub(1, Ordering::Relaxed);
    }

    #[must_use]
    pub fn is_at_work(&self) -> bool {
        self.at_work.load(Ordering::Relaxed) > 0
    }
}

/// A connection's place, until it is dropped.
pub struct Place {
    guests: Arc<Mutex<Guests>>,
    origin: IpAddr,
    number: u64,
    pub activity: Arc<Activity>,
    _room: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut guests = lock(&self.guests);
        if let Some(of_origin) = guests.of.get_mut(&self.origin) {
            of_origin.remove(&self.number);
            if of_origin.is_empty() {
                guests.of.remove(&self.origin);
            }
        }
    }
}

/// How a connection can be ended from outside: kept apart from the place, which the connection owns.
pub struct Handle {
    guests: Arc<Mutex<Guests>>,
    origin: IpAddr,
    number: u64,
}

impl Handle {
    /// Ends `task` when its place is needed for others.
    pub fn may_end(self, task: AbortHandle) {
        let mut guests = lock(&self.guests);
        let guest = guests.of.get_mut(&self.origin).and_then(|of| of.get_mut(&self.number));
        if let Some(guest) = guest {
            guest.task = Some(task);
        }
    }
}

/// Nothing that can panic happens while the lock is held, so a poisoned one is good.
fn lock(guests: &Mutex<Guests>) -> MutexGuard<'_, Guests> {
    guests.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Places {
    #[must_use]
    pub fn new(most_of_one: usize, proxies: Vec<IpNet>) -> Self {
        Self::with_room(CONNECTIONS, most_of_one, proxies)
    }

    fn with_room(room: u32, most_of_one: usize, proxies: Vec<IpNet>) -> Self {
        let free = Arc::new(Semaphore::new(room as usize));
        Self { free, n_places: room, guests: Arc::default(), most_of_one, proxies }
    }

    /// A place for a connection from `address`; none if it has as many as one may have. Where there is
    /// no room, some is made, and waited for.
    pub async fn enter(&self, address: IpAddr) -> Option<Place> {
        let is_proxy = self.proxies.iter().any(|network| network.contains(&canonical(address)));
        let origin = guess_origin(address);
        {
            let mut guests = lock(&self.guests);
            let of_origin = guests.of.get(&origin).map_or(0, BTreeMap::len);
            if of_origin >= self.most_of_one && !is_proxy {
                guests.n_refused += 1;
                return None;
            }
        }
        let room = self.room().await;
        let activity = Arc::new(Activity::default());
        let mut guests = lock(&self.guests);
        guests.n_so_far += 1;
        let number = guests.n_so_far;
        let guest = Guest { activity: Arc::clone(&activity), task: None, is_proxy };
        guests.of.entry(origin).or_default().insert(number, guest);
        drop(guests);
        let guests = Arc::clone(&self.guests);
        Some(Place { guests, origin, number, activity, _room: room })
    }

    async fn room(&self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(room) = Arc::clone(&self.free).try_acquire_owned() {
                return room;
            }
            lock(&self.guests).make_room();
            let waiting = Arc::clone(&self.free).acquire_owned();
            if let Ok(Ok(room)) = tokio::time::timeout(AGAIN, waiting).await {
                return room;
            }
        }
    }

    /// Tells how many are connected.
    #[must_use]
    pub fn count(&self) -> Connected {
        let (guests, free) = (Arc::clone(&self.guests), Arc::clone(&self.free));
        Connected { guests, free, n_places: self.n_places }
    }
}

/// How many are connected.
#[derive(Clone)]
pub struct Connected {
    guests: Arc<Mutex<Guests>>,
    free: Arc<Semaphore>,
    n_places: u32,
}

impl Connected {
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.guests).of.values().map(BTreeMap::len).sum()
    }

    #[must_use]
    pub fn figures(&self) -> ConnectionFigures {
        let open = self.len() as u64;
        let guests = lock(&self.guests);
        let Guests { n_so_far, n_refused, n_ended, .. } = *guests;
        ConnectionFigures { open, accepted: n_so_far, refused: n_refused, ended: n_ended }
    }

    /// Returns when nobody is connected any more. Meanwhile nobody new gets a place.
    pub async fn none_left(&self) {
        // It is closed by nobody.
        let _ = self.free.acquire_many(self.n_places).await;
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Place {
    /// Whom the connection counts for: the address that it came from, or its network.
    #[must_use]
    pub fn origin(&self) -> IpAddr {
        self.origin
    }

    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle { guests: Arc::clone(&self.guests), origin: self.origin, number: self.number }
    }
}

impl Guests {
    /// Ends some connections that are at rest, of the one address that has most of those that have any.
    fn make_room(&mut self) {
        let mut by_weight: Vec<(usize, IpAddr)> =
            self.of.iter().map(|(origin, guests)| (guests.len(), *origin)).collect();
        by_weight.sort_unstable_by(|one, other| other.cmp(one));
        for (n_guests, origin) in by_weight {
            // No more than a fourth of what it has, so that others who have much pay as well.
            let most = MADE_FREE.min(n_guests.div_ceil(4));
            let guests = self.of.get_mut(&origin).into_iter().flat_map(BTreeMap::values_mut);
            let at_rest = guests.filter(|guest| !guest.is_proxy && !guest.activity.is_at_work());
            // Taken, so that it is not counted twice before it is gone.
            let tasks: Vec<_> = at_rest.filter_map(|guest| guest.task.take()).take(most).collect();
            if !tasks.is_empty() {
                self.n_ended += tasks.len() as u64;
                tasks.iter().for_each(AbortHandle::abort);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct House {
        places: Places,
        tasks: Vec<(IpAddr, Arc<Activity>, tokio::task::JoinHandle<()>)>,
    }

    impl House {
        fn new(room: u32, most_of_one: usize) -> Self {
            let proxies = vec!["10.0.0.0/8".parse().expect("a network")];
            Self { places: Places::with_room(room, most_of_one, proxies), tasks: vec![] }
        }

        /// A connection that would last for ever.
        async fn enter(&mut self, address: &str) -> bool {
            let address: IpAddr = address.parse().expect(address);
            let Some(place) = self.places.enter(address).await else { return false };
            let (handle, activity) = (place.handle(), Arc::clone(&place.activity));
            let task = tokio::spawn(async move {
                let _place = place;
                std::future::pending::<()>().await;
            });
            handle.may_end(task.abort_handle());
            self.tasks.push((address, activity, task));
            true
        }

        /// How many of those that `address` opened are still there.
        async fn left(&self, address: &str) -> usize {
            // Lets those that were ended go.
            tokio::task::yield_now().await;
            let address: IpAddr = address.parse().expect(address);
            self.tasks.iter().filter(|(of, _, task)| *of == address && !task.is_finished()).count()
        }
    }

    #[tokio::test]
    async fn one_address_has_so_many_and_a_trusted_proxy_as_many_as_there_are() {
        let mut house = House::new(100, 3);
        for address in ["192.0.2.1", "2001:db8:0:1::1"] {
            for _ in 0..3 {
                assert!(house.enter(address).await);
            }
            assert!(!house.enter(address).await);
        }
        assert!(!house.enter("2001:db8:0:1:ffff::2").await, "the same network of one host");
        assert!(!house.enter("::ffff:192.0.2.1").await, "the same in other clothes");
        assert!(house.enter("2001:db8:0:2::1").await);
        for _ in 0..20 {
            assert!(house.enter("10.1.2.3").await);
        }
        assert_eq!(house.places.count().len(), 27);
        for (_, _, task) in &house.tasks {
            task.abort();
        }
        tokio::task::yield_now().await;
        assert!(house.places.count().is_empty(), "nothing is kept of who went");
        assert_eq!(house.places.free.available_permits(), 100);
    }

    #[tokio::test]
    async fn who_fills_the_house_makes_room_and_who_has_little_stays() {
        let mut house = House::new(40, 40);
        for _ in 0..2 {
            assert!(house.enter("192.0.2.7").await);
        }
        for _ in 0..10 {
            assert!(house.enter("10.0.0.1").await);
        }
        for _ in 0..28 {
            assert!(house.enter("192.0.2.1").await);
        }
        assert_eq!(house.places.free.available_permits(), 0);
        // The one that fills the house comes again and again, and others come as well.
        for n in 0..100 {
            assert!(house.enter("192.0.2.1").await);
            if n % 10 == 0 {
                assert!(house.enter(&format!("198.51.100.{n}")).await);
            }
        }
        assert_eq!(house.left("192.0.2.7").await, 2);
        assert_eq!(house.left("10.0.0.1").await, 10, "a proxy stands for many");
        assert_eq!(house.left("198.51.100.50").await, 1);
        assert!(house.places.count().len() <= 40);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_who_is_being_answered_is_sent_away() {
        let mut house = House::new(4, 4);
        for n in 0..4 {
            assert!(house.enter("192.0.2.1").await);
            if n != 2 {
                house.tasks[n].1.begin();
            }
        }
        assert!(house.enter("192.0.2.2").await);
        let is_there = |house: &House| -> Vec<bool> {
            house.tasks.iter().map(|(_, _, task)| !task.is_finished()).collect()
        };
        assert_eq!(is_there(&house), [true, true, false, true, true]);
        house.tasks[4].1.begin();
        // Now all are at work: a newcomer waits until one has been answered.
        let waiting = tokio::time::timeout(Duration::from_secs(5), house.places.room());
        assert!(waiting.await.is_err());
        house.tasks[1].1.end();
        assert!(house.enter("192.0.2.3").await);
        assert_eq!(is_there(&house), [true, false, false, true, true, true]);
    }
}
