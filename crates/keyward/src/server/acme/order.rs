//! One order: from an account to a certificate, in the words of RFC 8555.
//!
//! The protocol is a library's (instant-acme); how it reaches the server is ours, over [`Outbound`]: a
//! connection for each request, HTTPS alone, and a bound on time and size.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http_body_util::{BodyExt as _, Full};
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeType,
    Error, HttpClient, Identifier, NewAccount, NewOrder, OrderStatus, Problem, RetryPolicy,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Wanted;
use super::challenge::Challenges;
use super::files::{Folder, compose};
use crate::outbound::Outbound;

/// An answer takes no longer,
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// nor does the server think longer about a proof, or about a certificate.
const THINK_WITHIN: Duration = Duration::from_secs(90);
/// As much of what a server says about a failure is told.
const MOST_TOLD: usize = 600;

/// What an order needs.
pub(super) struct Ordering<'a> {
    pub(super) wanted: &'a Wanted,
    pub(super) folder: &'a Folder,
    pub(super) challenges: &'a Challenges,
    pub(super) http: Http,
}

/// Why there is no certificate.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) why: String,
    /// What to look at.
    pub(super) check: Check,
    /// The server asked not to be asked before.
    pub(super) patience: Option<Duration>,
}

/// What the operator is to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// The way from the certificate authority to here.
    WayHere,
    /// The way from here to the ACME server, and its address.
    WayThere,
    /// What the server says, and the settings.
    Words,
    /// The data folder.
    Folder,
}

impl Ordering<'_> {
    /// Orders a certificate; gives what is to be kept: the certificate and its new key.
    pub(super) async fn run(&self) -> Result<Zeroizing<String>, Failed> {
        let identifiers: Vec<_> =
            self.wanted.domains.iter().cloned().map(Identifier::Dns).collect();
        let new = NewOrder::new(&identifiers);
        let mut account = self.account().await?;
        let mut order = match account.new_order(&new).await {
            Err(Error::Api(problem)) if is_forgotten(&problem) => {
                account = self.new_account().await?;
                account.new_order(&new).await
            }
            result => result,
        }
        .map_err(|error| self.failed(&error))?;
        // Until this is dropped, each name is proved to whoever asks.
        let mut pending = vec![];
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| self.failed(&error))?;
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                status => return Err(words(format!("the proof of a name is {status:?}"))),
            }
            let mut challenge = authorization
                .challenge(ChallengeType::TlsAlpn01)
                .ok_or_else(|| words("the server takes no proof by TLS-ALPN-01".to_owned()))?;
            let name = match challenge.identifier().identifier {
                Identifier::Dns(name) if self.wanted.domains.contains(name) => name.clone(),
                _ => return Err(words("the server asks to prove another name".to_owned())),
            };
            let digest = challenge.key_authorization().digest().as_ref().to_vec();
            pending.push(self.challenges.begin(&name, &digest).map_err(words)?);
            challenge.set_ready().await.map_err(|error| self.failed(&error))?;
        }
        let patience = RetryPolicy::new().timeout(THINK_WITHIN);
        let status = order.poll_ready(&patience).await;
        if !matches!(status, Ok(OrderStatus::Ready)) {
            // The order says that it failed; the proof of which name, and why, says the proof.
            let said = why_not_proved(&mut order).await;
            return Err(match (said, status) {
                (Some(why), _) => Failed { why, check: Check::WayHere, patience: None },
                (None, Err(error)) => self.failed(&error),
                (None, Ok(status)) => words(format!("the order is {status:?}")),
            });
        }
        drop(pending);
        let key = order.finalize().await.map_err(|error| self.failed(&error))?;
        let key = Zeroizing::new(key);
        let chain = order.poll_certificate(&patience).await;
        let chain = chain.map_err(|error| self.failed(&error))?;
        Ok(compose(&self.wanted.of, &key, &chain))
    }

    /// The account that is kept, or a new one.
    async fn account(&self) -> Result<Account, Failed> {
        let kept = self.folder.account().map_err(|error| in_folder(&error))?;
        // One that cannot be read is as good as none: an account costs nothing.
        let kept = kept.and_then(|text| serde_json::from_str::<KeptAccount>(&text).ok());
        let Some(kept) = kept.filter(|kept| kept.directory == self.wanted.directory) else {
            return self.new_account().await;
        };
        let builder = Account::builder_with_http(Box::new(self.http.clone()));
        let account = builder.from_credentials(kept.credentials).await;
        let account = account.map_err(|error| self.failed(&error))?;
        if kept.email != self.wanted.email {
            // A contact that cannot be changed, or an account that is gone, is no reason to fail here.
            let contact = contact(self.wanted);
            let contact: Vec<_> = contact.iter().map(String::as_str).collect();
            if account.update_contacts(&contact).await.is_ok()
                && let Ok(Some(text)) = self.folder.account()
                && let Ok(kept) = serde_json::from_str::<KeptAccount>(&text)
            {
                self.keep(kept.credentials)?;
            }
        }
        Ok(account)
    }

    async fn new_account(&self) -> Result<Account, Failed> {
        let contact = contact(self.wanted);
        let contact: Vec<_> = contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            // Nobody comes here without the setting.
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let builder = Account::builder_with_http(Box::new(self.http.clone()));
        let made = builder.create(&new, self.wanted.directory.clone(), None).await;
        let (account, credentials) = made.map_err(|error| self.failed(&error))?;
        self.keep(credentials)?;
        Ok(account)
    }

    fn keep(&self, credentials: AccountCredentials) -> Result<(), Failed> {
        let kept = KeptAccount {
            directory: self.wanted.directory.clone(),
            email: self.wanted.email.clone(),
            credentials,
        };
        let text = serde_json::to_string(&kept).map(Zeroizing::new);
        let text = text.map_err(|error| words(error.to_string()))?;
        self.folder.write_account(&text).map_err(|error| in_folder(&error))
    }

    fn failed(&self, error: &Error) -> Failed {
        let patience = self.http.patience.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (why, check) = match error {
            Error::Api(problem) => (said(problem), Check::Words),
            Error::Timeout(_) => ("the server did not decide in time".to_owned(), Check::Words),
            error => (error.to_string(), Check::WayThere),
        };
        Failed { why: tellable(&why), check, patience }
    }
}

/// The account as it is kept.
#[derive(Serialize, Deserialize)]
struct KeptAccount {
    directory: String,
    email: Option<String>,
    credentials: AccountCredentials,
}

fn contact(wanted: &Wanted) -> Option<String> {
    wanted.email.as_ref().map(|address| format!("mailto:{address}"))
}

pub(super) fn words(why: String) -> Failed {
    Failed { why: tellable(&why), check: Check::Words, patience: None }
}

pub(super) fn in_folder(error: &anyhow::Error) -> Failed {
    Failed { why: format!("{error:#}"), check: Check::Folder, patience: None }
}

/// Whether the server knows our account no more.
fn is_forgotten(problem: &Problem) -> bool {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    kind.ends_with(":accountDoesNotExist") || kind.ends_with(":unauthorized")
}

/// What the proofs say about their failure.
async fn why_not_proved(order: &mut instant_acme::Order) -> Option<String> {
    let mut told = vec![];
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if authorization.refresh().await.is_err() {
            continue;
        }
        let name = authorization.identifier().to_string();
        let errors =
            authorization.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
        told.extend(errors.map(|problem| format!("{name}: {}", said(problem))));
    }
    (!told.is_empty()).then(|| tellable(&told.join("; ")))
}

/// A problem in the server's own words.
fn said(problem: &Problem) -> String {
    let mut text = problem.detail.clone().unwrap_or_else(|| "no reason given".to_owned());
    if let Some(kind) = problem.r#type.as_deref().and_then(|kind| kind.rsplit(':').next()) {
        text.push_str(&format!(" ({kind})"));
    }
    for part in &problem.subproblems {
        text.push_str(&format!("; {part}"));
    }
    text
}

/// On one line, without what moves a terminal's cursor, and not too long.
fn tellable(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(plain).take(MOST_TOLD).collect()
}

/// How the library reaches the server.
#[derive(Clone)]
pub(super) struct Http {
    outbound: Arc<Outbound>,
    /// What the server asked for when it refused last.
    patience: Arc<Mutex<Option<Duration>>>,
}

impl Http {
    pub(super) fn new(outbound: Arc<Outbound>) -> Self {
        Self { outbound, patience: Arc::default() }
    }

    async fn ask(self, request: http::Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let other = |text: String| Error::Other(text.into());
        let (head, body) = request.into_parts();
        let uri = head.uri.clone();
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(never) => match never {},
        };
        let request = http::Request::from_parts(head, Full::new(body));
        let answer = self.outbound.ask(request, ANSWER_WITHIN).await;
        let answer = answer.map_err(|error| other(format!("{uri}: {error}")))?;
        let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let patience = seconds.and_then(|text| text.parse().ok()).map(Duration::from_secs);
        let status = answer.status();
        if status.is_client_error() || status.is_server_error() {
            *self.patience.lock().unwrap_or_else(PoisonError::into_inner) = patience;
            let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            // The library takes any answer for one in JSON, and would complain of that alone.
            if !kind.is_some_and(|kind| kind.starts_with("application/problem+json")) {
                return Err(other(format!("{uri} answers {}", status.as_u16())));
            }
        }
        Ok(BytesResponse::from(answer))
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: http::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().ask(request))
    }
}
