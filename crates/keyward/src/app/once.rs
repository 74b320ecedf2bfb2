//! Forms that make something are taken once: a page that is reloaded, or a form sent twice, finds what
//! was made the first time. One that comes again while the first is under way waits for it.
//!
//! Bound: the last 4,096 forms are remembered, about 150 bytes each, until the server stops. Those under way
//! have an entry each; whose sender has gone ends with its job in the store, or with its name lookup.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keyward_core::id::UserId;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::AppError;
use super::tokens::Token;

const MOST: usize = 4096;
/// How long a form waits for the one before it. Passwords are checked two at a time, and both may have to
/// wait for that.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Whose form it is, and which: no member meets the form of another, though both send the same word.
type Word = [u8; 32];

/// Which forms were taken, and what they made.
#[derive(Default)]
pub struct Once(Arc<Mutex<Forms>>);

#[derive(Default)]
struct Forms {
    taken: VecDeque<(Word, String)>,
    /// What each of them holds is closed when its turn is over.
    under_way: HashMap<Word, watch::Receiver<()>>,
}

/// What became of a form that came.
pub enum Begun {
    First(Turn),
    /// It was taken before: where the page of what it made is.
    Again(String),
}

/// A form that is being taken. Others with the same word wait until this is dropped or carried out.
pub struct Turn(Option<Held>);

struct Held {
    word: Word,
    forms: Arc<Mutex<Forms>>,
    /// Dropped after the entry is gone: who wakes up finds none.
    _over: watch::Sender<()>,
}

enum Look {
    Begun(Begun),
    UnderWay(watch::Receiver<()>),
}

fn lock(forms: &Mutex<Forms>) -> MutexGuard<'_, Forms> {
    forms.lock().unwrap_or_else(PoisonError::into_inner)
}

fn word_of(member: UserId, form: &str) -> Word {
    let mut hasher = Sha256::new();
    hasher.update(member.as_bytes());
    hasher.update(form.as_bytes());
    hasher.finalize().into()
}

impl Once {
    /// A word for a form that is about to be shown.
    #[must_use]
    pub fn new_form(&self) -> String {
        Token::new().reveal().chars().take(22).collect()
    }

    /// Begins to take a form, or finds what it made before. To be asked before anything slow is done for it.
    ///
    /// # Errors
    /// `InProgress` if the same form has been under way for long.
    pub async fn begin(&self, member: UserId, form: &str) -> Result<Begun, AppError> {
        if form.is_empty() {
            return Ok(Begun::First(Turn(None)));
        }
        let word = word_of(member, form);
        let begun = async {
            loop {
                match self.look(word) {
                    Look::Begun(begun) => return begun,
                    // Nothing is ever sent: this ends when the turn does. What came of it, and who is next,
                    // is looked up again.
                    Look::UnderWay(mut first) => {
                        let _ = first.changed().await;
                    }
                }
            }
        };
        tokio::time::timeout(LONGEST_WAIT, begun).await.map_err(|_| AppError::InProgress)
    }

    /// What there is of a form by now; its turn, if there is nothing.
    fn look(&self, word: Word) -> Look {
        let mut forms = lock(&self.0);
        if let Some((_, place)) = forms.taken.iter().find(|(taken, _)| *taken == word) {
            return Look::Begun(Begun::Again(place.clone()));
        }
        if let Some(first) = forms.under_way.get(&word) {
            return Look::UnderWay(first.clone());
        }
        let (over, under_way) = watch::channel(());
        forms.under_way.insert(word, under_way);
        let held = Held { word, forms: Arc::clone(&self.0), _over: over };
        Look::Begun(Begun::First(Turn(Some(held))))
    }
}

impl Turn {
    /// Makes what the form asks for, and remembers where its page is. Once begun this goes on though the
    /// sender has gone: what is on its way into the store is made, and must be found by a form sent again.
    ///
    /// # Errors
    /// What `work` fails with; the form may then be sent again.
    pub async fn carry_out<T: Send + 'static>(
        self,
        work: impl Future<Output = Result<T, AppError>> + Send + 'static,
        place: impl FnOnce(&T) -> String + Send + 'static,
    ) -> Result<T, AppError> {
        let Some(held) = self.0 else { return work.await };
        let carried_out = tokio::spawn(async move {
            let made = work.await?;
            held.remember(place(&made));
            Ok::<T, AppError>(made)
        });
        carried_out.await.map_err(AppError::internal)?
    }
}

impl Held {
    fn remember(self, place: String) {
        let mut forms = lock(&self.forms);
        if forms.taken.len() >= MOST {
            forms.taken.pop_front();
        }
        forms.taken.push_back((self.word, place));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        lock(&self.forms).under_way.remove(&self.word);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    const ADA: UserId = UserId::from_bytes([1; 16]);
    const BOB: UserId = UserId::from_bytes([2; 16]);

    async fn first(once: &Once, member: UserId, form: &str) -> Turn {
        match once.begin(member, form).await {
            Ok(Begun::First(turn)) => turn,
            Ok(Begun::Again(place)) => panic!("{form} made {place}"),
            Err(error) => panic!("{form}: {error}"),
        }
    }

    async fn made(once: &Once, member: UserId, form: &str) -> Option<String> {
        match once.begin(member, form).await {
            Ok(Begun::First(_)) => None,
            Ok(Begun::Again(place)) => Some(place),
            Err(error) => panic!("{form}: {error}"),
        }
    }

    async fn take(once: &Once, form: &str, place: &'static str) {
        let turn = first(once, ADA, form).await;
        let place = String::from(place);
        let done = turn.carry_out(async { Ok(()) }, move |_: &()| place).await;
        done.expect("it works");
    }

    #[tokio::test]
    async fn a_form_is_taken_once_and_the_oldest_are_forgotten() {
        let once = Once::default();
        let form = once.new_form();
        assert_ne!(form, once.new_form());
        assert_eq!(made(&once, ADA, &form).await, None);
        take(&once, &form, "/keys/1").await;
        assert_eq!(made(&once, ADA, &form).await, Some(String::from("/keys/1")));
        assert_eq!(made(&once, BOB, &form).await, None, "it is nothing of his");
        take(&once, "", "/keys/2").await;
        assert_eq!(made(&once, ADA, "").await, None);
        for n in 0..MOST {
            take(&once, &n.to_string(), "/keys/3").await;
        }
        assert_eq!(made(&once, ADA, &form).await, None);
        let forms = lock(&once.0);
        assert_eq!((forms.taken.len(), forms.under_way.len()), (MOST, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_form_waits_for_its_twin_and_for_no_other() {
        let once = Once::default();
        let turn = first(&once, ADA, "a").await;
        assert!(matches!(once.begin(ADA, "a").await, Err(AppError::InProgress)), "not for ever");
        assert_eq!(made(&once, BOB, "a").await, None);
        assert_eq!(made(&once, ADA, "b").await, None);
        // The first fails: of two that wait one is next, and the other finds what that one made.
        let take = async || match once.begin(ADA, "a").await.expect("it waits") {
            Begun::First(turn) => {
                tokio::task::yield_now().await;
                let done = turn.carry_out(async { Ok(()) }, |_: &()| String::from("/keys/1"));
                done.await.expect("it works");
                None
            }
            Begun::Again(place) => Some(place),
        };
        let fail = async {
            tokio::task::yield_now().await;
            let failed = turn.carry_out(async { Err::<(), _>(AppError::NotAllowed) }, |_: &()| {
                String::from("/keys/2")
            });
            assert!(failed.await.is_err());
        };
        let (one, other, ()) = tokio::join!(take(), take(), fail);
        let mut places = [one, other];
        places.sort();
        assert_eq!(places, [None, Some(String::from("/keys/1"))]);
        assert!(lock(&once.0).under_way.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_begun_is_remembered_though_its_sender_has_gone() {
        let once = Once::default();
        // Before anything was begun the form is free again.
        drop(first(&once, ADA, "a").await);
        let turn = first(&once, ADA, "a").await;
        let (commit, committed) = oneshot::channel::<()>();
        let work = async move { committed.await.map_err(AppError::internal) };
        tokio::select! {
            biased;
            _ = turn.carry_out(work, |_: &()| String::from("/keys/1")) => panic!("it is not committed"),
            () = std::future::ready(()) => {}
        }
        let (found, ()) = tokio::join!(made(&once, ADA, "a"), async {
            tokio::task::yield_now().await;
            commit.send(()).expect("it goes on");
        });
        assert_eq!(found, Some(String::from("/keys/1")));
    }
}
