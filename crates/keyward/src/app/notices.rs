//! Telling people of alerts by mail: the owner and the admins of an account.
//!
//! Alerts of one account go out together, at most 20 in a mail. A mail that cannot be sent is tried
//! again after 1 minute, 10 minutes and an hour, then given up; the page shows why. A crash between
//! sending and writing that down may send a mail twice.

use std::collections::HashMap;

use keyward_core::id::AccountId;
use keyward_core::role::UserStatus;
use keyward_core::time::UnixMillis;
use keyward_store::alerts::{self, Alert};
use keyward_store::{accounts, users};

use super::{App, AppError};
use crate::mail;

const PAUSES_MILLIS: [i64; 3] = [60_000, 600_000, 3_600_000];
const LINES: usize = 20;

/// Which accounts' mails failed, how often, and when they are tried again.
#[derive(Default)]
pub struct Tries(HashMap<AccountId, (usize, UnixMillis)>);

/// Sends what is to be told.
///
/// # Errors
/// If the store does not answer. That a mail was not sent is no error: it is written down.
pub async fn send(app: &App, tries: &mut Tries) -> Result<(), AppError> {
    let Some(mailer) = app.mailer.clone() else { return Ok(()) };
    let now = app.clock.wall();
    let waiting = app.store.read(move |tx| Ok::<_, AppError>(alerts::unmailed(tx, now)?)).await?;
    let mut by_account: HashMap<AccountId, Vec<Alert>> = HashMap::new();
    for alert in waiting {
        by_account.entry(alert.account).or_default().push(alert);
    }
    for (account, mut open) in by_account {
        if tries.0.get(&account).is_some_and(|(_, at)| now < *at) {
            continue;
        }
        open.truncate(LINES);
        let (name, people) = app
            .store
            .read(move |tx| {
                let found = accounts::find(tx, account)?;
                let name = found.map(|account| account.name).unwrap_or_default();
                Ok::<_, AppError>((name, users::of_account(tx, account)?))
            })
            .await?;
        let is_told =
            |user: &&users::User| user.role.is_in_charge() && user.status == UserStatus::Active;
        let title = match open.as_slice() {
            [one] => one.kind.as_str().replace('_', " "),
            several => format!("{} alerts", several.len()),
        };
        let lines: Vec<String> = open.iter().map(|alert| alert.text.clone()).collect();
        let url = match &app.public_url {
            Some(base) => format!("{base}/alerts"),
            None => String::from("the page Alerts of your Keyward"),
        };
        let mut fault = None;
        for user in people.iter().filter(is_told) {
            let letter = mail::alert(&name, &title, &lines, &url);
            if let Err(error) = mailer.send(letter.to(&user.email)).await {
                fault = Some(error.to_string());
            }
        }
        let n_failed = tries.0.get(&account).map_or(0, |(n, _)| *n);
        let mailed_at = match (&fault, PAUSES_MILLIS.get(n_failed)) {
            (Some(_), Some(pause)) => {
                tries.0.insert(account, (n_failed + 1, now + *pause));
                None
            }
            _ => {
                tries.0.remove(&account);
                Some(now)
            }
        };
        app.store
            .write(move |tx| {
                for alert in &open {
                    alerts::put_mailed(tx, alert.id, mailed_at, fault.as_deref())?;
                }
                Ok::<_, AppError>(())
            })
            .await?;
    }
    Ok(())
}
