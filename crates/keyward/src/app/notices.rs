//! Telling people of alerts by mail: the active owner and admins of an account.
//!
//! What one person has to be told goes out as one mail of at most 20 lines. A mail that cannot be sent
//! is tried again after 1 minute, 10 minutes and an hour, together with what came since, then given up;
//! the page shows why. Once the mail server cannot be reached, nobody else waits for it in that turn.
//!
//! A crash or a stop between sending and writing that down may send a mail twice: an alert is marked when
//! everybody was told or given up, and who was told already is known in memory only.
//!
//! Bound: an entry for each person of alerts that some were told of and others not yet.

use std::collections::HashMap;

use keyward_core::id::{AccountId, AlertId, UserId};
use keyward_core::role::UserStatus;
use keyward_core::time::UnixMillis;
use keyward_store::alerts::{self, Alert};
use keyward_store::users::{self, User};
use keyward_store::{StoreError, accounts};

use super::{App, AppError};
use crate::mail::{self, MailError, Mailer};

const PAUSES_MILLIS: [i64; 3] = [60_000, 600_000, 3_600_000];
const LINES: usize = 20;

/// What is not written down of mails that are on their way.
#[derive(Default)]
pub struct Tries {
    /// Who needs no mail about an alert any more; with the fault, if it was given up.
    done: HashMap<AlertId, HashMap<UserId, Option<String>>>,
    /// Whose mail failed.
    failed: HashMap<UserId, Failed>,
}

struct Failed {
    n: usize,
    again_at: UnixMillis,
    fault: String,
}

/// Sends what is to be told.
///
/// # Errors
/// If the store does not answer. That a mail was not sent is no error: it is written down.
pub async fn send(app: &App, tries: &mut Tries) -> Result<(), AppError> {
    let Some(mailer) = app.mailer.clone() else { return Ok(()) };
    let now = app.clock.wall();
    let of_account = app.store.read(move |tx| alerts::accounts_to_mail(tx, now)).await?;
    let mut all = vec![];
    for account in of_account {
        all.push(read(app, account, now).await?);
    }
    // Who waits for nothing any more is forgotten: those alerts ended, or those people went.
    let is_open = |id: &AlertId| all.iter().any(|told| told.open.iter().any(|a| a.id == *id));
    tries.done.retain(|id, _| is_open(id));
    let is_told = |id: &UserId| all.iter().any(|told| told.people.iter().any(|u| u.id == *id));
    tries.failed.retain(|id, _| is_told(id));
    let mut turn = Turn { app, mailer, now, tries, unreachable: None };
    for told in all {
        turn.send_all(told).await?;
    }
    Ok(())
}

/// What an account has to be told, and whom.
struct ToTell {
    account: String,
    open: Vec<Alert>,
    people: Vec<User>,
}

async fn read(app: &App, account: AccountId, now: UnixMillis) -> Result<ToTell, StoreError> {
    app.store
        .read(move |tx| {
            let found = accounts::find(tx, account)?;
            let mut people = users::of_account(tx, account)?;
            people.retain(|u| u.role.is_in_charge() && u.status == UserStatus::Active);
            Ok(ToTell {
                account: found.map(|account| account.name).unwrap_or_default(),
                open: alerts::unmailed(tx, account, now)?,
                people,
            })
        })
        .await
}

struct Turn<'a> {
    app: &'a App,
    mailer: Mailer,
    now: UnixMillis,
    tries: &'a mut Tries,
    /// Why the mail server could not be reached in this turn.
    unreachable: Option<MailError>,
}

impl Turn<'_> {
    async fn send_all(&mut self, told: ToTell) -> Result<(), AppError> {
        for user in &told.people {
            self.send_to(user, &told).await;
        }
        // Where nobody is to be told, the alerts wait until somebody is.
        if told.people.is_empty() {
            return Ok(());
        }
        let mut marks = vec![];
        for alert in &told.open {
            let done = self.tries.done.get(&alert.id);
            let state = |user: &User| done.and_then(|done| done.get(&user.id));
            let is_done = told.people.iter().all(|user| state(user).is_some());
            let fault = told.people.iter().find_map(|user| match state(user) {
                Some(fault) => fault.clone(),
                None => self.tries.failed.get(&user.id).map(|failed| failed.fault.clone()),
            });
            if is_done || fault != alert.mail_fault {
                marks.push((alert.id, is_done.then_some(self.now), fault));
            }
            if is_done {
                self.tries.done.remove(&alert.id);
            }
        }
        if marks.is_empty() {
            return Ok(());
        }
        self.app
            .store
            .write(move |tx| {
                for (id, at, fault) in &marks {
                    alerts::put_mailed(tx, *id, *at, fault.as_deref())?;
                }
                Ok::<_, AppError>(())
            })
            .await
    }

    /// Tells one person everything that this one was not told yet.
    async fn send_to(&mut self, user: &User, told: &ToTell) {
        let failed = self.tries.failed.get(&user.id);
        if failed.is_some_and(|failed| self.now < failed.again_at) {
            return;
        }
        let n_failed = failed.map_or(0, |failed| failed.n);
        let is_done = |alert: &&Alert| {
            self.tries.done.get(&alert.id).is_some_and(|done| done.contains_key(&user.id))
        };
        let due: Vec<&Alert> = told.open.iter().filter(|alert| !is_done(alert)).collect();
        if due.is_empty() {
            self.tries.failed.remove(&user.id);
            return;
        }
        let sent = match &self.unreachable {
            Some(error) => Err(error.clone()),
            None => self.mailer.send(self.letter(&told.account, &due).to(&user.email)).await,
        };
        if let Err(error @ MailError::Unreachable(_)) = &sent {
            self.unreachable = Some(error.clone());
        }
        let fault = match &sent {
            Ok(()) => None,
            Err(error) => Some(format!("to {}: {error}", user.email)),
        };
        // An address that is none does not become one.
        let is_hopeless = matches!(sent, Err(MailError::BadAddress));
        match (fault, PAUSES_MILLIS.get(n_failed)) {
            (Some(fault), Some(pause)) if !is_hopeless => {
                let failed = Failed { n: n_failed + 1, again_at: self.now + *pause, fault };
                self.tries.failed.insert(user.id, failed);
            }
            (fault, _) => {
                self.tries.failed.remove(&user.id);
                for alert in due {
                    let done = self.tries.done.entry(alert.id).or_default();
                    done.insert(user.id, fault.clone());
                }
            }
        }
    }

    fn letter(&self, account: &str, due: &[&Alert]) -> mail::Letter {
        let title = match due {
            [one] => {
                let words = one.kind.as_str().replace('_', " ");
                words.get(..1).unwrap_or_default().to_uppercase() + words.get(1..).unwrap_or("")
            }
            several => format!("{} alerts", several.len()),
        };
        let mut lines: Vec<String> = due.iter().map(|alert| alert.text.clone()).collect();
        if lines.len() > LINES {
            let n_more = lines.len() - (LINES - 1);
            lines.truncate(LINES - 1);
            lines.push(format!("and {n_more} more"));
        }
        let url = match &self.app.public_url {
            Some(base) => format!("{base}/alerts"),
            None => String::from("the page Alerts of your Keyward"),
        };
        mail::alert(account, &title, &lines, &url)
    }
}
