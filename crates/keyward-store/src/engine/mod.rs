//! Work on its way to the engine's threads.

pub(crate) mod health;
mod line;
mod readers;
pub(crate) mod reading;
pub(crate) mod sqlite;
mod writer;

use tokio::sync::oneshot;

use crate::error::StoreError;
use crate::tx::Tx;

/// What a writer's job says once it has run: whether to keep it, and how to answer after the commit.
pub(crate) struct Done {
    pub(crate) is_ok: bool,
    pub(crate) answer: Box<dyn FnOnce(Result<(), StoreError>) + Send>,
}

/// A job that writes. `Err` instead of a transaction means that none could be had.
pub(crate) type WriteJob = Box<dyn FnOnce(Result<&mut Tx<'_>, StoreError>) -> Done + Send>;
/// A job that reads, and answers by itself.
pub(crate) type ReadJob = Box<dyn FnOnce(Result<&mut Tx<'_>, StoreError>) + Send>;

pub(crate) fn read_job<T, E, F>(f: F) -> (oneshot::Receiver<Result<T, E>>, ReadJob)
where
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
    F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
{
    let (answer, receiver) = oneshot::channel();
    // Who asked may have gone away; then nobody needs the answer.
    let job: ReadJob = Box::new(move |tx| {
        let _ = answer.send(tx.map_err(E::from).and_then(f));
    });
    (receiver, job)
}

pub(crate) fn write_job<T, E, F>(f: F) -> (oneshot::Receiver<Result<T, E>>, WriteJob)
where
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
    F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
{
    let (answer, receiver) = oneshot::channel();
    let job: WriteJob = Box::new(move |tx| {
        let result = tx.map_err(E::from).and_then(f);
        Done {
            is_ok: result.is_ok(),
            answer: Box::new(move |committed| {
                let result = match (result, committed) {
                    (Ok(_), Err(error)) => Err(error.into()),
                    (result, _) => result,
                };
                let _ = answer.send(result);
            }),
        }
    });
    (receiver, job)
}
