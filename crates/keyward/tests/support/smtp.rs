//! A mail server on a free port of 127.0.0.1: it takes mail, refuses or falls silent as a test says,
//! and tells of each session when that is over.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// How the server behaves. Commands are named by their first word; `greeting` and `message` are the
/// places before the first and after the last line of a message.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    /// What it offers when greeted, beside its name.
    pub(crate) offers: &'static [&'static str],
    /// Where it says something else, and what.
    pub(crate) answers: &'static [(&'static str, &'static str)],
    /// Where it says nothing any more.
    pub(crate) hangs_at: Option<&'static str>,
}

impl Default for Rules {
    fn default() -> Self {
        Self { offers: &["AUTH PLAIN LOGIN"], answers: &[], hangs_at: None }
    }
}

/// What came in over one connection.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Session {
    /// What the client said, line by line; of its greeting the first word, for the rest is the
    /// name of the machine that runs the tests; of TLS that it began.
    pub(crate) said: Vec<String>,
    /// The messages that were taken, as they came but for the dots that hide dots.
    pub(crate) mails: Vec<String>,
}

/// A mail server that a test holds.
pub(crate) struct SmtpServer {
    pub(crate) address: SocketAddr,
    sessions: mpsc::UnboundedReceiver<Session>,
    silences: mpsc::UnboundedReceiver<()>,
    task: tokio::task::JoinHandle<()>,
}

impl SmtpServer {
    pub(crate) async fn start(rules: Rules) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (ended, sessions) = mpsc::unbounded_channel();
        let (fell_silent, silences) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let peer = Peer::new(stream, rules, fell_silent.clone());
                // A test that has seen enough is gone.
                let _ = ended.send(peer.serve().await);
            }
        });
        Self { address, sessions, silences, task }
    }

    /// The next session that is over.
    pub(crate) async fn session(&mut self) -> Session {
        self.sessions.recv().await.expect("the server lives as long as this")
    }

    /// Returns when the server has reached the place at which it hangs.
    pub(crate) async fn silence(&mut self) {
        self.silences.recv().await.expect("the server lives as long as this");
    }

    /// Nobody listens at the address any more.
    pub(crate) async fn stop(self) {
        self.task.abort();
        assert!(self.task.await.is_err(), "it runs until it is told to stop");
    }
}

/// One connection.
struct Peer {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    rules: Rules,
    fell_silent: mpsc::UnboundedSender<()>,
    session: Session,
}

/// Why a session is over: the client went, or what it was to hear is not said.
struct Over;

impl Peer {
    fn new(stream: TcpStream, rules: Rules, fell_silent: mpsc::UnboundedSender<()>) -> Self {
        let (reader, writer) = stream.into_split();
        let reader = BufReader::new(reader);
        Self { reader, writer, rules, fell_silent, session: Session::default() }
    }

    async fn serve(mut self) -> Session {
        // Either way it is over.
        let _ = self.talk().await;
        self.session
    }

    async fn talk(&mut self) -> Result<(), Over> {
        self.answer("greeting", "220 mail.test").await?;
        if self.reader.fill_buf().await.map_err(|_| Over)?.first() == Some(&0x16) {
            self.session.said.push(String::from("(TLS)"));
            return Ok(());
        }
        loop {
            let line = self.line().await?;
            let verb = line.split(' ').next().unwrap_or_default().to_owned();
            self.session.said.push(if verb == "EHLO" { verb.clone() } else { line.clone() });
            match verb.as_str() {
                "EHLO" => {
                    let mut lines = vec!["mail.test"];
                    lines.extend(self.rules.offers);
                    let last = lines.pop().expect("there is one");
                    let mut text: String = lines.iter().map(|l| format!("250-{l}\r\n")).collect();
                    text.push_str(&format!("250 {last}"));
                    self.answer("EHLO", &text).await?;
                }
                "AUTH" if line == "AUTH LOGIN" => {
                    // "Username:" and "Password:".
                    for question in ["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6"] {
                        self.say(question).await?;
                        let answer = self.line().await?;
                        self.session.said.push(answer);
                    }
                    self.answer("AUTH", "235 come in").await?;
                }
                "AUTH" => self.answer("AUTH", "235 come in").await?,
                "MAIL" | "RCPT" => self.answer(&verb, "250 so be it").await?,
                "DATA" => {
                    self.answer("DATA", "354 go on").await?;
                    let mail = self.message().await?;
                    self.session.mails.push(mail);
                    self.answer("message", "250 taken").await?;
                }
                "QUIT" => return self.answer("QUIT", "221 farewell").await,
                _ => self.say("500 what").await?,
            }
        }
    }

    /// Says what is usual at this place, or what the test wants, or nothing until the client goes.
    async fn answer(&mut self, place: &str, usual: &str) -> Result<(), Over> {
        if self.rules.hangs_at == Some(place) {
            let _ = self.fell_silent.send(());
            while self.line().await.is_ok() {}
            return Err(Over);
        }
        let other = self.rules.answers.iter().find(|(at, _)| *at == place);
        self.say(other.map_or(usual, |(_, text)| text)).await
    }

    async fn say(&mut self, text: &str) -> Result<(), Over> {
        self.writer.write_all(format!("{text}\r\n").as_bytes()).await.map_err(|_| Over)
    }

    async fn line(&mut self) -> Result<String, Over> {
        let mut bytes = vec![];
        self.reader.read_until(b'\n', &mut bytes).await.map_err(|_| Over)?;
        let line = bytes.strip_suffix(b"\r\n").ok_or(Over)?;
        Ok(String::from_utf8_lossy(line).into_owned())
    }

    async fn message(&mut self) -> Result<String, Over> {
        let mut text = String::new();
        loop {
            let line = self.line().await?;
            if line == "." {
                return Ok(text);
            }
            text.push_str(line.strip_prefix('.').unwrap_or(&line));
            text.push('\n');
        }
    }
}
