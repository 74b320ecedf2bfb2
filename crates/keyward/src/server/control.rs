//! The socket in the data folder over which the command line rings.
//!
//! Only who may read the folder can connect, and nothing secret is said: a digest, what is left of a
//! window, when a key was last used.
//!
//! Bound: 64 questions at once, of 4 KiB and 10 s each; who comes then waits in the system's queue.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::app::App;
use crate::app::reach::{Answer, Ask, Reach, SOCKET, look};

/// The longest question.
const QUESTION_BYTES: u64 = 4096;
const MOST_AT_ONCE: usize = 64;
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is tried to make a socket that could not be made.
const TRY_EVERY: Duration = Duration::from_millis(100);

/// Opens the socket. The data folder must be held by this process.
///
/// # Errors
/// If the socket cannot be made.
pub fn open(data_dir: &Path) -> std::io::Result<UnixListener> {
    let path = data_dir.join(SOCKET);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// The same on a disk that takes nothing: tries it again until it is made, and answers then. Until then a
/// command finds no server to ring at, and what it changes is in force when the server looks by itself.
pub async fn serve_when_made(data_dir: PathBuf, app: Arc<App>) {
    loop {
        tokio::time::sleep(TRY_EVERY).await;
        if let Ok(listener) = open(&data_dir) {
            return serve(listener, app).await;
        }
    }
}

/// Answers until the task is ended.
pub async fn serve(listener: UnixListener, app: Arc<App>) {
    let seats = Arc::new(Semaphore::new(MOST_AT_ONCE));
    loop {
        let Ok(seat) = Arc::clone(&seats).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let app = Arc::clone(&app);
        tokio::spawn(async move {
            // Whoever rang and went away has nobody to be told.
            let _ = tokio::time::timeout(PATIENCE, answer(stream, &app)).await;
            drop(seat);
        });
    }
}

async fn answer(mut stream: UnixStream, app: &App) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    BufReader::new(read.take(QUESTION_BYTES)).read_line(&mut line).await?;
    let answer = match (serde_json::from_str(&line), &app.reach) {
        (Ok(Ask::Follow), Reach::Here(follower)) => match follower.catch_up(&app.store).await {
            Ok(revision) => Answer::Reached(revision),
            Err(error) => Answer::Failed(error.to_string()),
        },
        (Ok(Ask::Look(question)), Reach::Here(follower)) => {
            Answer::Seen(look(&follower.verifier, &question, app.clock.now()))
        }
        (Ok(_), Reach::Elsewhere { .. }) => Answer::Failed(String::from("no keys are held here")),
        (Err(error), _) => Answer::Failed(format!("not understood: {error}")),
    };
    let mut answer = serde_json::to_vec(&answer)?;
    answer.push(b'\n');
    write.write_all(&answer).await
}
