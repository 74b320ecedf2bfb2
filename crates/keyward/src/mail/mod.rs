//! Mail: hands one plain message to the mail server that the settings name.
//!
//! A connection for each message, and none is kept: mail is rare, and one that the server has closed
//! in the meantime would cost the next message.
//!
//! Invariant: no text makes a header, a recipient or a command (`tests/mail.rs`).
//! Bound: no queue and no retry; whoever sends waits, at most 30 s, with one connection.
//! Leaves out: HTML, attachments, more than one recipient.

mod templates;

use std::fmt;
use std::io::Read as _;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use lettre::Address;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0};
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;

use crate::config::{Settings, SmtpTls, SmtpUrl};

pub use templates::{Letter, Link, alert, invitation, password_reset};

/// From looking up the server's name to its word that it has the message.
///
/// Why one for the whole: lettre's own bounds the connecting only, and a server that says nothing
/// would hold us for ever.
pub const SEND_WITHIN: Duration = Duration::from_secs(30);

/// For each address of the server, so that a second one is tried within the whole.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// As much as is kept of what a server says.
const MOST_WORDS: usize = 200;

/// A message to one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// An address alone: `ada@example.com`.
    pub to: String,
    /// One line; what would make it two becomes a space.
    pub subject: String,
    pub text: String,
}

/// Why a message was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// Nobody has such an address: whoever wrote it has to look at it again.
    #[error("this is no address to which mail can be sent")]
    BadAddress,
    /// The mail server's own words, which may hold the address.
    #[error("the mail server refused with {code}: {text}")]
    Refused { code: u16, text: String },
    /// The mail server cannot be reached, or not as safely as the settings ask.
    #[error("the mail server cannot be reached: {0}")]
    Unreachable(String),
}

impl MailError {
    /// Whether the same message may pass later, with nobody doing anything.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::BadAddress => false,
            Self::Refused { code, .. } => *code < 500,
            Self::Unreachable(_) => true,
        }
    }
}

/// Sends mail. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Mailer(Arc<Server>);

struct Server {
    host: String,
    port: u16,
    way: Way,
    credentials: Option<Credentials>,
    from: Mailbox,
    /// How we greet: by this machine's name.
    name: ClientId,
}

/// [`SmtpTls`] with what it takes.
enum Way {
    FromTheStart(TlsParameters),
    StartTls(TlsParameters),
    InClear,
}

impl Mailer {
    /// `None` if no mail server is set. Reads the password's file and the certificates that this
    /// machine trusts, once.
    ///
    /// # Errors
    /// If the settings do not fit together, or the password's file cannot be read.
    pub fn from_settings(settings: &Settings) -> anyhow::Result<Option<Self>> {
        let Some(url) = &settings.smtp_url else { return Ok(None) };
        let Some(from) = settings.smtp_from.clone() else {
            bail!(
                "smtp_url is set, but smtp_from is not: name the sender, such as \
                 'Keyward <keyward@example.com>'"
            );
        };
        let credentials = credentials(url, settings.smtp_password_file.as_deref())?;
        let tls = || TlsParameters::new(url.host.clone()).context("TLS towards the mail server");
        let way = match url.tls {
            SmtpTls::FromTheStart => Way::FromTheStart(tls()?),
            SmtpTls::StartTls => Way::StartTls(tls()?),
            SmtpTls::Off => Way::InClear,
        };
        let (host, port) = (url.host.clone(), url.port);
        let name = ClientId::default();
        Ok(Some(Self(Arc::new(Server { host, port, way, credentials, from, name }))))
    }

    /// Hands the message over, within [`SEND_WITHIN`]. When this returns, the server has it.
    ///
    /// A message may arrive although this fails, if the server's word got lost: whoever sends again
    /// may send twice.
    ///
    /// # Errors
    /// See [`MailError`].
    pub async fn send(&self, message: Message) -> Result<(), MailError> {
        self.send_until(message, tokio::time::sleep(SEND_WITHIN)).await
    }

    /// The same until something else happens.
    ///
    /// # Errors
    /// See [`MailError`].
    pub async fn send_until(
        &self,
        message: Message,
        too_late: impl Future<Output = ()>,
    ) -> Result<(), MailError> {
        let message = self.written(message)?;
        let mut too_late = pin!(too_late);
        let mut connection = tokio::select! {
            done = self.0.hand_over(&message) => done?,
            () = &mut too_late => {
                return Err(MailError::Unreachable(String::from("it did not answer in time")));
            }
        };
        // The server has it, so nothing that happens to the farewell is an error.
        tokio::select! {
            () = connection.abort() => {}
            () = too_late => {}
        }
        Ok(())
    }

    /// The message as it goes out.
    ///
    /// Why lettre may read the clock for its date and draw its identifier: nothing is decided by
    /// either, and no answer of ours holds them.
    fn written(&self, message: Message) -> Result<lettre::Message, MailError> {
        let to = address(&message.to)?;
        // Why: no holiday notice comes back to a machine (RFC 3834).
        let by_machine = HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            String::from("auto-generated"),
        );
        lettre::Message::builder()
            .from(self.0.from.clone())
            .to(Mailbox::new(None, to))
            .subject(templates::one_line(&message.subject))
            .message_id(None)
            .raw_header(by_machine)
            .header(MIME_VERSION_1_0)
            .header(ContentType::TEXT_PLAIN)
            .body(templates::lines(&message.text))
            .map_err(|_| MailError::BadAddress)
    }
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailer({}:{})", self.0.host, self.0.port)
    }
}

impl Server {
    async fn hand_over(&self, message: &lettre::Message) -> Result<AsyncSmtpConnection, MailError> {
        let from_the_start = match &self.way {
            Way::FromTheStart(tls) => Some(tls.clone()),
            Way::StartTls(_) | Way::InClear => None,
        };
        let server = (self.host.as_str(), self.port);
        let mut connection = AsyncSmtpConnection::connect_tokio1(
            server,
            Some(CONNECT_WITHIN),
            &self.name,
            from_the_start,
            None,
        )
        .await
        .map_err(failed)?;
        if let Way::StartTls(tls) = &self.way {
            connection.starttls(tls.clone(), &self.name).await.map_err(failed)?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await.map_err(not_let_in)?;
        }
        let is_plain = message.envelope().to().iter().all(|to| to.to_string().is_ascii());
        match connection.send(message.envelope(), &message.formatted()).await {
            Ok(_) => Ok(connection),
            // The server knows only addresses in ASCII.
            Err(error) if error.is_client() && !is_plain => Err(MailError::BadAddress),
            Err(error) => Err(failed(error)),
        }
    }
}

fn failed(error: lettre::transport::smtp::Error) -> MailError {
    // The innermost cause says it; what is around it says "connection error", sometimes twice.
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let text = templates::cut(&cause.to_string(), MOST_WORDS);
    match error.status() {
        Some(code) => MailError::Refused { code: code.into(), text },
        None => MailError::Unreachable(text),
    }
}

/// Why not the server's words: it might repeat what it was given, and that was the password.
fn not_let_in(error: lettre::transport::smtp::Error) -> MailError {
    match error.status() {
        Some(code) => MailError::Refused {
            code: code.into(),
            text: String::from("it does not take the user of smtp_url with this password"),
        },
        None => MailError::Unreachable(String::from("signing in failed")),
    }
}

/// One address and nothing else.
fn address(text: &str) -> Result<Address, MailError> {
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || "<>,;\"\\".contains(c);
    if text.len() > 254 || text.contains(is_odd) {
        return Err(MailError::BadAddress);
    }
    text.parse().map_err(|_| MailError::BadAddress)
}

fn credentials(url: &SmtpUrl, file: Option<&Path>) -> anyhow::Result<Option<Credentials>> {
    let password = match (&url.password, file) {
        (Some(_), Some(_)) => {
            bail!("the mail server's password is in smtp_url and in smtp_password_file: leave one")
        }
        (Some(password), None) => Some(password.expose().clone()),
        (None, Some(path)) => {
            Some(read_password(path).with_context(|| format!("smtp_password_file {path:?}"))?)
        }
        (None, None) => None,
    };
    match (&url.user, password) {
        (None, None) => Ok(None),
        (Some(user), Some(password)) => Ok(Some(Credentials::new(user.clone(), password))),
        (Some(_), None) => bail!(
            "smtp_url names a user without a password: write it into a file and name that with \
             smtp_password_file"
        ),
        (None, Some(_)) => bail!(
            "smtp_password_file is set, but smtp_url names no user: write \
             smtps://user@mail.example.com"
        ),
    }
}

/// The first and only line.
fn read_password(path: &Path) -> anyhow::Result<String> {
    const MOST_BYTES: u64 = 4096;
    let mut text = String::new();
    let file = std::fs::File::open(path).context("cannot be read")?;
    file.take(MOST_BYTES).read_to_string(&mut text).context("cannot be read")?;
    let password = text.trim_end_matches(['\r', '\n']);
    ensure!(!password.is_empty(), "is empty: write the password into it");
    ensure!(!password.contains(char::is_control), "holds more than one line");
    Ok(password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_address_and_nothing_else() {
        for text in ["ada@example.com", "a.b+c@mail.example.com", "zoë@example.com", "o'x@b.co"] {
            assert_eq!(address(text).expect(text).to_string(), text);
        }
        for text in [
            "",
            "ada",
            "@example.com",
            "ada@",
            "ada@@example.com",
            "Ada <ada@example.com>",
            "ada@example.com, bob@example.com",
            "ada@example.com\r\nBcc: bob@example.com",
            "ada@example.com\n",
            "ada@example.com> NOTIFY=NEVER",
            "\"a b\"@example.com",
            &format!("{}@example.com", "a".repeat(254)),
        ] {
            assert_eq!(address(text), Err(MailError::BadAddress), "{text:?}");
        }
    }

    #[test]
    fn only_what_may_pass_by_itself_is_worth_another_try() {
        let refused = |code| MailError::Refused { code, text: String::new() };
        assert!(refused(421).is_passing() && refused(451).is_passing());
        assert!(!refused(550).is_passing() && !MailError::BadAddress.is_passing());
        assert!(MailError::Unreachable(String::new()).is_passing());
    }
}
