//! Requests that came in one pile with those before them on their connection: the others go first.
//!
//! The library answers up to 16 requests of a pile before anybody else has a turn, and each turn of everybody
//! else would be as long as one request of each of some thousand connections. So a few requests out of piles
//! are let on before all others have had their turn; those that wait have turns by address.
//!
//! Bound: one request of each connection waits.
//! Locks: one mutex, held to put a request in or to take the next one out.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keyward_core::turns::Turns;
use tokio::sync::oneshot;

/// The piles of one thread.
pub struct Piles {
    most: usize,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    n_let_on: usize,
    waiting: Turns<IpAddr, oneshot::Sender<Place>>,
}

/// One of those that were let on; the next one is when it is dropped.
struct Place(Arc<Piles>);

impl Piles {
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, inside: Mutex::default() }
    }

    /// Nothing that can panic happens while the lock is held, so a poisoned one is good.
    fn locked(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is let on and all others had their turn.
    pub async fn stand_back(self: Arc<Self>, address: IpAddr) {
        let waiting = {
            let mut inside = self.locked();
            if inside.n_let_on < self.most {
                inside.n_let_on += 1;
                None
            } else {
                let (let_on, waiting) = oneshot::channel();
                inside.waiting.push(address, let_on);
                Some(waiting)
            }
        };
        let _place = match waiting {
            None => Some(Place(self)),
            // Nobody forgets those that wait: they are let on one after the other.
            Some(waiting) => waiting.await.ok(),
        };
        tokio::task::yield_now().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let next = {
            let mut inside = self.0.locked();
            // Without those whose connection has ended.
            let next = std::iter::from_fn(|| inside.waiting.take()).find(|next| !next.is_closed());
            if next.is_none() {
                inside.n_let_on -= 1;
            }
            next
        };
        if let Some(next) = next {
            // One that ends at this very moment gives the place back, and the next one gets it.
            let _ = next.send(Self(Arc::clone(&self.0)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const MOST: usize = 16;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    /// Spawns one that sends piles from there without end, and counts what is let on.
    fn sender(piles: &Arc<Piles>, from: IpAddr, n: &Arc<AtomicUsize>) -> tokio::task::AbortHandle {
        let (piles, n) = (Arc::clone(piles), Arc::clone(n));
        let sending = tokio::spawn(async move {
            loop {
                Arc::clone(&piles).stand_back(from).await;
                n.fetch_add(1, Ordering::Relaxed);
            }
        });
        sending.abort_handle()
    }

    async fn until(mut is_so: impl FnMut() -> bool) {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn between_two_turns_of_others_few_requests_of_piles_are_let_on() {
        let piles = Arc::new(Piles::new(MOST));
        let n = Arc::<AtomicUsize>::default();
        for _ in 0..2000 {
            sender(&piles, address(1), &n);
        }
        let count = || n.load(Ordering::Relaxed);
        until(|| count() >= 2000).await;
        for _ in 0..100 {
            let before = count();
            tokio::task::yield_now().await;
            let n_between = count() - before;
            assert!(n_between <= 2 * MOST, "{n_between}");
        }
        assert!(count() >= 2000 + 50 * MOST, "they go on");
    }

    #[tokio::test]
    async fn an_address_with_few_connections_waits_for_none_of_the_many_of_another() {
        let piles = Arc::new(Piles::new(MOST));
        let (of_many, of_one) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        for _ in 0..2000 {
            sender(&piles, address(1), &of_many);
        }
        until(|| of_many.load(Ordering::Relaxed) >= 2000).await;
        sender(&piles, address(2), &of_one);
        let before = of_many.load(Ordering::Relaxed);
        until(|| of_one.load(Ordering::Relaxed) >= 100).await;
        let meanwhile = of_many.load(Ordering::Relaxed) - before;
        assert!(meanwhile <= 100 * 4 * MOST, "{meanwhile} of the others for 100 of it");
    }

    #[tokio::test]
    async fn places_of_connections_that_went_away_are_given_to_others() {
        let piles = Arc::new(Piles::new(MOST));
        let n = Arc::<AtomicUsize>::default();
        for round in 0..20 {
            let sending: Vec<_> = (0..200).map(|_| sender(&piles, address(1), &n)).collect();
            for _ in 0..round {
                tokio::task::yield_now().await;
            }
            for sender in sending {
                sender.abort();
            }
        }
        until(|| piles.locked().n_let_on == 0).await;
        assert!(piles.locked().waiting.is_empty());
        Arc::clone(&piles).stand_back(address(1)).await;
    }
}
