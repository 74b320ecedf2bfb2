//! Where keys are verified, and how a change gets there before it is acknowledged.
//!
//! The truth is in the store, where every change has a revision. A server follows the revisions: at
//! start from nothing, then whenever somebody rings, and a few times a second unasked. The command
//! line writes to the same store and rings over a socket in the data folder; the server answers
//! when it has caught up, so a command returns when its change is in force.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keyward_core::account::RateClass;
use keyward_core::digest::KeyDigest;
use keyward_core::id::AccountId;
use keyward_core::record::LastUse;
use keyward_core::time::{Moment, UnixMillis};
use keyward_core::verifier::Verifier;
use keyward_store::{Store, StoreError, changes, keys};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::AppError;
use super::explain::Left;

/// The name of the socket in the data folder.
pub const SOCKET: &str = "control.sock";

/// How long the command line waits for a server that does not answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait for a place among those who read.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// Where keys are verified.
pub enum Reach {
    /// In this process.
    Here(Follower),
    /// In a server that may be running on the same data folder.
    Elsewhere { socket: PathBuf },
}

impl Reach {
    /// The organization of a profile, as far as it is known here; any other account itself.
    pub(super) fn organization_of(&self, account: AccountId) -> AccountId {
        let Self::Here(follower) = self else { return account };
        let index = follower.verifier.index();
        let slot = index.find_account(account);
        let facts = slot.and_then(|slot| index.account_facts(slot));
        facts.and_then(|facts| facts.organization).unwrap_or(account)
    }
}

impl Reach {
    /// True if one of these is the digest of a key of this server, whatever became of it.
    pub(super) fn knows_any(
        &self,
        store: &Store,
        digests: impl IntoIterator<Item = KeyDigest>,
    ) -> Result<bool, AppError> {
        for digest in digests {
            let is_known = match self {
                Self::Here(follower) => follower.verifier.index().find(&digest).is_some(),
                // On a thread that may wait: a command has nothing else to do.
                Self::Elsewhere { .. } => {
                    let look = || store.read_blocking(move |tx| keys::exists(tx, &digest));
                    let looked = std::thread::scope(|scope| scope.spawn(look).join());
                    looked.map_err(|_| AppError::internal("a look-up of a key ended"))??
                }
            };
            if is_known {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Keeps a verifier true to the store.
pub struct Follower {
    pub verifier: Arc<Verifier>,
    /// The revision that the verifier has reached. Held by the store's thread while it catches up,
    /// and not by who asked for it: should that one give up waiting, no other may overtake the work
    /// that goes on and then be undone by it.
    reached: Arc<Mutex<i64>>,
}

/// What is asked over the socket.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Catch up with the store.
    Follow,
    Look(Look),
}

/// A question about a key.
#[derive(Debug, Serialize, Deserialize)]
pub struct Look {
    pub digest: [u8; 32],
}

/// What a server has in memory about a key.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    last_used_at: Option<i64>,
    last_used_from: Option<std::net::IpAddr>,
    last_used_by: Option<String>,
    pub left: Vec<Left>,
}

impl Seen {
    #[must_use]
    pub fn last_use(&self) -> Option<LastUse> {
        Some(LastUse {
            at: UnixMillis(self.last_used_at?),
            address: self.last_used_from?,
            client: self.last_used_by.clone()?,
        })
    }
}

/// What is answered over the socket.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Caught up to this revision.
    Reached(i64),
    Seen(Seen),
    Failed(String),
}

impl Follower {
    #[must_use]
    pub fn new(verifier: Arc<Verifier>, reached: i64) -> Self {
        Self { verifier, reached: Arc::new(Mutex::new(reached)) }
    }

    /// Applies every change since the last time. Gives the revision reached.
    ///
    /// # Errors
    /// If the store does not answer or the index is full.
    pub async fn catch_up(&self, store: &Store) -> Result<i64, AppError> {
        let (verifier, reached) = (Arc::clone(&self.verifier), Arc::clone(&self.reached));
        store
            .read(move |tx| {
                let mut reached = reached.lock().unwrap_or_else(PoisonError::into_inner);
                // A snapshot from before somebody else caught up tells of nothing new.
                *reached = apply(tx, *reached, &verifier)?.max(*reached);
                Ok(*reached)
            })
            .await
    }
}

/// Reads the changes after a revision into a verifier's index.
fn apply(tx: &mut keyward_store::Tx<'_>, from: i64, verifier: &Verifier) -> Result<i64, AppError> {
    let mut fault = None;
    let index = verifier.index();
    let fault_cell = std::cell::RefCell::new(&mut fault);
    let note = |result: Result<(), keyward_core::index::IndexError>| {
        if let Err(error) = result {
            **fault_cell.borrow_mut() = Some(error);
        }
    };
    let current = changes::since(
        tx,
        from,
        |account| note(index.put_account(&account)),
        |key| note(index.put_key(&key)),
    )?;
    match fault {
        Some(error) => Err(AppError::internal(error)),
        None => Ok(current),
    }
}

/// Fills a new verifier with everything there is. Gives the revision reached.
///
/// # Errors
/// If the store does not answer or the index is full.
pub fn load(store: &Store, verifier: &Arc<Verifier>) -> Result<i64, AppError> {
    let verifier = Arc::clone(verifier);
    store.read_blocking(move |tx| apply(tx, 0, &verifier))
}

/// What a verifier knows about a key.
#[must_use]
pub fn look(verifier: &Verifier, look: &Look, now: Moment) -> Seen {
    let Some(slot) = verifier.index().find(&KeyDigest::from_bytes(look.digest)) else {
        return Seen::default();
    };
    let last = verifier.last_use(slot);
    let left = RateClass::ALL.iter().filter_map(|class| {
        let allowance = verifier.allowance_of_key(slot, *class, now)?;
        Some(Left {
            class: *class as u8,
            limit: allowance.limit,
            remaining: allowance.remaining,
            resets_in_millis: allowance.resets_in_millis,
        })
    });
    Seen {
        left: left.collect(),
        last_used_at: last.as_ref().map(|last| last.at.0),
        last_used_from: last.as_ref().map(|last| last.address),
        last_used_by: last.map(|last| last.client),
    }
}

impl Reach {
    #[must_use]
    pub fn elsewhere(data_dir: &Path) -> Self {
        Self::Elsewhere { socket: data_dir.join(SOCKET) }
    }

    /// Returns when what is in the store is in force.
    pub(crate) async fn put_in_force(&self, store: &Store) -> Result<(), AppError> {
        match self {
            Self::Here(follower) => loop {
                match follower.catch_up(store).await {
                    Ok(_) => return Ok(()),
                    // Why not given up: the change is made, and whoever is told that it is not would
                    // make it once more.
                    Err(AppError::Unavailable(StoreError::Busy)) => {
                        tokio::time::sleep(BUSY_PAUSE).await;
                    }
                    Err(error) => {
                        return Err(AppError::internal(format!(
                            "the change is stored, but not in force yet: {error}"
                        )));
                    }
                }
            },
            Self::Elsewhere { socket } => match ask(socket, &Ask::Follow).await? {
                None | Some(Answer::Reached(_)) => Ok(()),
                Some(other) => Err(AppError::internal(format!(
                    "the change is stored, but the running server has not taken it over: {other:?}"
                ))),
            },
        }
    }

    /// What is in memory about a key; `None` if no server is running.
    pub(crate) async fn look(&self, question: &Look, now: Moment) -> Option<Seen> {
        match self {
            Self::Here(follower) => Some(look(&follower.verifier, question, now)),
            Self::Elsewhere { socket } => {
                let question = Ask::Look(Look { digest: question.digest });
                match ask(socket, &question).await {
                    Ok(Some(Answer::Seen(seen))) => Some(seen),
                    _ => None,
                }
            }
        }
    }
}

/// True if a server answers on a data folder, false if there is none.
///
/// # Errors
/// If there is one and it does not answer.
pub async fn is_answered(data_dir: &Path) -> Result<bool, AppError> {
    let fault = |error: &str| AppError::internal(error.to_owned());
    let asking = ask(&data_dir.join(SOCKET), &Ask::Follow).await;
    match asking.map_err(|_| fault("no answer within 5 s"))? {
        None => Ok(false),
        Some(Answer::Reached(_) | Answer::Seen(_)) => Ok(true),
        Some(Answer::Failed(why)) => Err(fault(&why)),
    }
}

/// Asks the running server; `None` if there is none.
async fn ask(socket: &Path, question: &Ask) -> Result<Option<Answer>, AppError> {
    let Ok(mut stream) = UnixStream::connect(socket).await else { return Ok(None) };
    let talk = async {
        let mut line = serde_json::to_vec(question)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).await?;
        Ok::<_, std::io::Error>(serde_json::from_str(&answer)?)
    };
    match tokio::time::timeout(PATIENCE, talk).await {
        Ok(Ok(answer)) => Ok(Some(answer)),
        Ok(Err(error)) => Err(AppError::internal(format!(
            "the change is stored, but the running server did not confirm it: {error}"
        ))),
        Err(_) => Err(AppError::internal(format!(
            "the change is stored, but the running server did not confirm it within {} s",
            PATIENCE.as_secs()
        ))),
    }
}
