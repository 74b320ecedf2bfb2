//! Settings → API Keys: the list, a key's page, generating, editing, rotating, switching, revoking.

mod action;
mod issue;
mod list;
mod show;

pub use action::{ask_revoke, ask_rotate, disable, enable, revoke, rotate, share, unshare};
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use issue::fuzzing;
pub use issue::{change, edit, issue, new};
pub use list::list;
pub(super) use show::Usage;
pub use show::show;

use std::collections::HashMap;

use keyward_core::account::Environment;
use keyward_core::id::{KeyId, UserId};
use keyward_core::time::UnixMillis;
use keyward_store::key_list::{self, Listed};
use keyward_store::users::Named;
use keyward_store::{Tx, users};

use super::{Form, Request, Stop};
use crate::app::{AppError, Resource};

/// Who made what, by the text in which a key's marks keep it.
pub(super) struct Names(HashMap<String, (String, bool)>);

impl Names {
    pub(super) fn new(named: Vec<Named>) -> Self {
        let pair = |named: Named| (format!("user {}", named.id), (named.name, named.is_former));
        Self(named.into_iter().map(pair).collect())
    }

    /// A name to show, and whether it is of somebody who is no member any more.
    pub(super) fn of(&self, by: &str) -> (String, bool) {
        if let Some((name, is_former)) = self.0.get(by) {
            return (name.clone(), *is_former);
        }
        let name = match by.split_once(' ') {
            Some(("user", id)) if id.parse::<UserId>().is_ok() => String::from("somebody"),
            Some(("operator", "(import)")) => String::from("Import"),
            _ if by == "operator" => String::from("Command line"),
            _ => by.to_owned(),
        };
        (name, false)
    }
}

/// A key that whoever asks may see, with the names of those who made and changed it.
async fn find(request: &Request) -> Result<(Listed, Names), Stop> {
    let (id, person, now) = (request.id::<KeyId>()?, request.person()?, request.at);
    let (found, names) = request
        .app
        .read_for(person.account, move |tx| {
            let found = key_list::find(tx, person.account, id, now)?;
            Ok::<_, AppError>((found, users::names_of(tx, person.account)?))
        })
        .await?;
    let sees = |key: &Listed| person.role.sees_keys_of(key.record.environment, key.is_shared);
    let found = found.filter(sees).ok_or(AppError::NotFound(Resource::ApiKey))?;
    Ok((found, Names::new(names)))
}

/// The same, for whoever may change it too.
async fn find_to_change(request: &Request) -> Result<Listed, Stop> {
    let (found, _) = find(request).await?;
    if request.person()?.role.manages_keys_of(found.record.environment) {
        Ok(found)
    } else {
        Err(AppError::NotAllowed.into())
    }
}

/// True if a change of such a key asks for the password or a code first.
pub(super) fn asks_confirmation(request: &Request, environment: Environment) -> Result<bool, Stop> {
    Ok(environment == Environment::Production && !request.entered()?.is_confirmed(request.at))
}

/// Takes the confirmation that a production key asks for; a wrong one is told beside its field.
pub(super) async fn confirmed(
    request: &Request,
    form: &Form,
    environment: Environment,
) -> Result<Result<(), String>, Stop> {
    if environment != Environment::Production {
        return Ok(Ok(()));
    }
    match request.confirm(form).await {
        Ok(()) => Ok(Ok(())),
        Err(Stop::App(AppError::NotConfirmed)) => {
            Ok(Err(String::from("Enter your password: this is about production.")))
        }
        Err(Stop::App(AppError::WrongCredentials)) => {
            Ok(Err(String::from("The password or code was wrong. Nothing was changed.")))
        }
        Err(other) => Err(other),
    }
}

/// The key that a key replaced, if it replaced one.
fn predecessor(
    tx: &mut Tx<'_>,
    id: KeyId,
) -> Result<Option<keyward_core::record::KeyRecord>, AppError> {
    Ok(keyward_store::keys::predecessor_of(tx, id)?)
}

/// When a key ends, in words: `expires 2024-03-31`.
fn expiry(expires_at: Option<UnixMillis>) -> String {
    match expires_at {
        Some(at) => format!("expires {}", super::show::time(at)),
        None => String::from("never expires"),
    }
}
