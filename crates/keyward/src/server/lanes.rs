//! The threads that serve, and what happens when one dies.
//!
//! Each has a runtime of its own and keeps the connections that it is given, in turn. A fault in a
//! request is caught where it is answered, and one in a connection ends that connection alone. Should a
//! thread die all the same, another one takes its place before the next connection that was meant for
//! it, and the log says so: no lane stays silent.
//!
//! Bound: connections wait for their thread in a queue of its own; there are as many as have a place.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};

use super::places::Place;

/// A connection that has its place.
pub type Accepted = (TcpStream, Place);

/// What a thread serves: connections that come, and whom it tells at its end whether all requests were
/// answered.
pub struct Work {
    pub runtime: Runtime,
    pub accepted: mpsc::UnboundedReceiver<Accepted>,
    pub finished: oneshot::Sender<bool>,
}

struct Lane {
    connections: mpsc::UnboundedSender<Accepted>,
    is_finished: oneshot::Receiver<bool>,
}

type Serve = Box<dyn Fn(Work) + Send + Sync>;

/// All threads that serve.
pub struct Lanes {
    serve: Arc<Serve>,
    lanes: Vec<Lane>,
    turn: usize,
}

/// What became of handing a connection over.
#[derive(Debug, PartialEq, Eq)]
pub enum Handed {
    Over,
    /// Its thread had died, and another one serves in its place: the number of the thread.
    ToAnother(usize),
    /// Its thread had died and the system starts no other: the connection is closed.
    ToNobody(usize, String),
}

impl Lanes {
    /// Starts threads. They end when this is gone or [`Self::finish`] is called.
    ///
    /// # Errors
    /// If the system does not start one.
    pub fn start(n: usize, serve: impl Fn(Work) + Send + Sync + 'static) -> io::Result<Self> {
        let serve: Arc<Serve> = Arc::new(Box::new(serve));
        let lanes = (0..n).map(|number| lane(number, &serve)).collect::<io::Result<_>>()?;
        Ok(Self { serve, lanes, turn: 0 })
    }

    /// Gives a connection to the thread whose turn it is.
    pub fn hand_over(&mut self, accepted: Accepted) -> Handed {
        let number = self.turn % self.lanes.len();
        self.turn = self.turn.wrapping_add(1);
        let Err(mpsc::error::SendError(accepted)) = self.lanes[number].connections.send(accepted)
        else {
            return Handed::Over;
        };
        match lane(number, &self.serve) {
            Ok(lane) => {
                // A thread that dies at once is found dead in its next turn.
                let _ = lane.connections.send(accepted);
                self.lanes[number] = lane;
                Handed::ToAnother(number)
            }
            Err(error) => Handed::ToNobody(number, error.to_string()),
        }
    }

    /// Gives no more connections and waits until those that are there are served. True if all requests
    /// were answered.
    pub async fn finish(self) -> bool {
        let ends: Vec<_> = self.lanes.into_iter().map(|lane| lane.is_finished).collect();
        let mut is_finished = true;
        for end in ends {
            is_finished &= end.await.unwrap_or(false);
        }
        is_finished
    }
}

fn lane(number: usize, serve: &Arc<Serve>) -> io::Result<Lane> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (connections, accepted) = mpsc::unbounded_channel();
    let (finished, is_finished) = oneshot::channel();
    let serve = Arc::clone(serve);
    std::thread::Builder::new()
        .name(format!("serve-{number}"))
        .spawn(move || serve(Work { runtime, accepted, finished }))?;
    Ok(Lane { connections, is_finished })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::Mutex;

    use super::*;
    use crate::server::places::Places;

    #[tokio::test]
    async fn a_thread_that_died_is_replaced_and_no_client_finds_a_silent_lane() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let places = Places::new(100, vec![]);
        let (died, is_dead) = std::sync::mpsc::channel();
        // Told of its end when the thread has let everything go, also by a panic.
        struct Told(std::sync::mpsc::Sender<()>);
        impl Drop for Told {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let died = Mutex::new(died);
        let mut lanes = Lanes::start(2, move |work| {
            let _told = Told(died.lock().expect("nobody panics with it").clone());
            let Work { runtime, mut accepted, finished } = work;
            runtime.block_on(async {
                while let Some((mut stream, place)) = accepted.recv().await {
                    let mut word = [0; 4];
                    stream.set_nonblocking(false).expect("a socket");
                    stream.read_exact(&mut word).expect("four bytes come");
                    assert_ne!(&word, b"die\n", "as the test asks");
                    stream.write_all(b"served").expect("it is read");
                    drop(place);
                }
            });
            let _ = finished.send(true);
        })
        .expect("two threads");
        let mut ask = async |word: &[u8; 4]| {
            let mut client = TcpStream::connect(address).expect("it listens");
            let (stream, from) = listener.accept().expect("it came");
            let place = places.enter(from.ip()).await.expect("there is room");
            client.write_all(word).expect("it is read");
            let handed = lanes.hand_over((stream, place));
            let mut answer = String::new();
            let _ = client.read_to_string(&mut answer);
            (handed, answer)
        };
        let served = (Handed::Over, String::from("served"));
        assert_eq!(ask(b"ask\n").await, served);
        assert_eq!(ask(b"ask\n").await, served);
        assert_eq!(ask(b"die\n").await, (Handed::Over, String::new()));
        is_dead.recv().expect("thread 0 died");
        assert_eq!(ask(b"ask\n").await, served, "the other one goes on");
        assert_eq!(ask(b"ask\n").await, (Handed::ToAnother(0), String::from("served")));
        for _ in 0..4 {
            assert_eq!(ask(b"ask\n").await, served);
        }
        assert!(places.count().is_empty(), "what the dead one held is free");
        assert!(lanes.finish().await, "those that serve now all end well");
    }
}
