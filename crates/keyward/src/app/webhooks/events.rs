//! What happens that somebody may want to hear of, and queueing it in the transaction in which it
//! happens: no change without its event, and no event without its change. Contract 9.

use std::borrow::Cow;

use keyward_core::account::{Environment, words};
use keyward_core::id::{AccountId, EventId};
use keyward_core::permission::Permission;
use keyward_core::record::KeyRecord;
use keyward_core::role::Role;
use keyward_core::time::UnixMillis;
use keyward_store::contacts::{Contact, Scope};
use keyward_store::users::User;
use keyward_store::webhook_events::{self, Event, EventStatus};
use keyward_store::webhooks::{self, Webhook};
use keyward_store::{StoreError, Tx};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::app::{Actor, Chance};

/// Events that wait for one webhook; what comes on top is written down as failed.
pub const MOST_WAITING: u32 = 10_000;

words! {
    /// The events that there are.
    EventName {
        ContactCreated = "contact.created",
        ContactUpdated = "contact.updated",
        ContactDeleted = "contact.deleted",
        ContactOptIn = "contact.opt_in",
        ContactOptOut = "contact.opt_out",
        KeyCreated = "api_key.created",
        KeyRotated = "api_key.rotated",
        KeyDisabled = "api_key.disabled",
        KeyEnabled = "api_key.enabled",
        KeyRevoked = "api_key.revoked",
        KeyExpiring = "api_key.expiring",
        KeyExpired = "api_key.expired",
        KeyAlert = "api_key.alert",
        UserInvited = "user.invited",
        UserRoleChanged = "user.role_changed",
        UserRemoved = "user.removed",
    }
}

/// The families, with what they are about.
pub const FAMILIES: [(&str, &str, &str); 3] = [
    ("contact", "Contacts", "Contacts come, go, and choose whether they want messages."),
    ("api_key", "API keys", "Keys are issued, replaced, switched off and on, and end."),
    ("user", "Members", "Members are invited, get another role, and leave."),
];

impl EventName {
    /// `contact` of `contact.created`.
    #[must_use]
    pub fn family(self) -> &'static str {
        self.as_str().split('.').next().unwrap_or_default()
    }

    /// `created` of `contact.created`.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        self.as_str().split('.').nth(1).unwrap_or_default()
    }

    /// What happened, in words.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::ContactCreated => "A contact was created.",
            Self::ContactUpdated => "A contact was changed.",
            Self::ContactDeleted => "A contact was deleted.",
            Self::ContactOptIn => "A contact wants messages again.",
            Self::ContactOptOut => "A contact wants no messages any more.",
            Self::KeyCreated => "A key was issued.",
            Self::KeyRotated => "A key was replaced, and works for its grace period.",
            Self::KeyDisabled => "A key was switched off.",
            Self::KeyEnabled => "A key was switched on again.",
            Self::KeyRevoked => "A key was ended for good.",
            Self::KeyExpiring => "A key expires within 14 days.",
            Self::KeyExpired => "A key has expired.",
            Self::KeyAlert => "There is something about keys to look at.",
            Self::UserInvited => "Somebody was invited to the account.",
            Self::UserRoleChanged => "A member got another role.",
            Self::UserRemoved => "A member was removed.",
        }
    }
}

/// Something that happened.
pub(crate) struct Happened {
    pub(crate) account: AccountId,
    pub(crate) environment: Environment,
    pub(crate) name: EventName,
    pub(crate) at: UnixMillis,
    /// The request to the API that caused it, if one did.
    pub(crate) request_id: Option<String>,
    pub(crate) payload: Value,
}

/// What is sent. Sources 9.3.
#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    field: &'a str,
    event: &'a str,
    sub_type: &'a str,
    timestamp: Cow<'a, str>,
    request_id: Option<&'a str>,
    payload: Cow<'a, Value>,
}

/// A body as people read it: the same members in the same order, a line each.
#[must_use]
pub fn pretty(body: &str) -> String {
    let envelope = serde_json::from_str::<Envelope<'_>>(body);
    let pretty = envelope.and_then(|envelope| serde_json::to_string_pretty(&envelope));
    pretty.unwrap_or_else(|_| body.to_owned())
}

/// The body of an event, as it is sent.
pub(super) fn body_of(happened: &Happened) -> String {
    let envelope = Envelope {
        field: happened.name.family(),
        event: happened.name.as_str(),
        sub_type: happened.name.as_str(),
        timestamp: crate::when(happened.at).into(),
        request_id: happened.request_id.as_deref(),
        payload: Cow::Borrowed(&happened.payload),
    };
    serde_json::to_string(&envelope).unwrap_or_default()
}

pub(super) fn new_event_id(chance: &Chance, at: UnixMillis) -> EventId {
    let mut random = [0; 10];
    chance.fill(&mut random);
    EventId::new(at, random)
}

/// True if a webhook asked for an event. Sources 9.5.
fn wants(webhook: &Webhook, name: EventName) -> bool {
    let filters = webhook.event_filters.as_ref();
    let suffixes = filters.and_then(|filters| filters.get(name.family()));
    webhook.event_types.iter().any(|family| family == name.family())
        && suffixes.is_none_or(|suffixes| suffixes.iter().any(|suffix| suffix == name.suffix()))
}

/// Queues an event for every webhook that asked for it.
pub(crate) fn emit(
    tx: &mut Tx<'_>,
    chance: &Chance,
    happened: &Happened,
) -> Result<(), StoreError> {
    let scope = Scope { account: happened.account, environment: happened.environment };
    let mut body = None;
    for webhook in webhooks::active(tx, &scope)? {
        if !wants(&webhook, happened.name) {
            continue;
        }
        let body = body.get_or_insert_with(|| body_of(happened));
        let is_full = webhook.waiting >= MOST_WAITING;
        let event = Event {
            id: new_event_id(chance, happened.at),
            webhook: webhook.id,
            event_type: happened.name.as_str().to_owned(),
            body: body.clone(),
            status: if is_full { EventStatus::Failed } else { EventStatus::Pending },
            is_test: false,
            attempts: 0,
            tries: 0,
            http_status: None,
            response_body: None,
            error: is_full.then(|| format!("{MOST_WAITING} events were waiting already")),
            created_at: happened.at,
            started_at: None,
            completed_at: is_full.then_some(happened.at),
        };
        webhook_events::insert(tx, &event)?;
    }
    Ok(())
}

fn request_id(actor: &Actor) -> Option<String> {
    actor.request_id().map(|id| id.as_str().to_owned())
}

/// Something happened to a contact. Sources 9.4.
pub(crate) fn contact(
    tx: &mut Tx<'_>,
    chance: &Chance,
    at: UnixMillis,
    actor: &Actor,
    name: EventName,
    contact: &Contact,
) -> Result<(), StoreError> {
    let payload = contact_payload(contact);
    let (account, environment) = (contact.account, contact.environment);
    let request_id = request_id(actor);
    emit(tx, chance, &Happened { account, environment, name, at, request_id, payload })
}

fn contact_payload(contact: &Contact) -> Value {
    json!({
        "account_id": contact.account.to_string(),
        "contact_id": contact.id.to_string(),
        "phone_number": contact.format_e164,
        "opt_out": contact.opt_out,
        "source": "API",
        "channel": contact.default_channel,
        "from": null,
        "to": null,
        "text": null,
    })
}

/// Something happened to a key; what the trail calls it, if it is an event at all.
pub(crate) fn key(
    tx: &mut Tx<'_>,
    chance: &Chance,
    at: UnixMillis,
    actor: &Actor,
    action: &str,
    key: &KeyRecord,
) -> Result<(), StoreError> {
    let name = action.strip_prefix("key.").map(|what| format!("api_key.{what}"));
    let Some(name) = name.and_then(|name| EventName::from_text(&name)) else { return Ok(()) };
    let (account, environment) = (key.account, key.environment);
    let mut payload = key_payload(key);
    payload["by"] = json!(actor.describe());
    let request_id = request_id(actor);
    emit(tx, chance, &Happened { account, environment, name, at, request_id, payload })
}

pub(crate) fn key_payload(key: &KeyRecord) -> Value {
    let permissions: Vec<&str> = key.permissions.iter().map(Permission::as_str).collect();
    json!({
        "account_id": key.account.to_string(),
        "api_key_id": key.id.to_string(),
        "name": key.name,
        "environment": key.environment.as_str(),
        "permissions": permissions,
        "expires_at": key.expires_at.map(crate::when),
        "replaced_by": key.rotated.as_ref().map(|rotation| rotation.successor.to_string()),
        "works_until": key.rotated.as_ref().map(|rotation| crate::when(rotation.until)),
    })
}

/// Something happened to a member; with the role from before, if that changed.
pub(crate) fn user(
    tx: &mut Tx<'_>,
    chance: &Chance,
    at: UnixMillis,
    actor: &Actor,
    action: &str,
    user: &User,
    before: Option<Role>,
) -> Result<(), StoreError> {
    let Some(name) = EventName::from_text(action) else { return Ok(()) };
    let (account, environment) = (user.account, user.environment);
    let payload = json!({
        "account_id": account.to_string(),
        "user_id": user.id.to_string(),
        "email": user.email,
        "name": user.name,
        "role": user.role.as_str(),
        "previous_role": before.map(Role::as_str),
        "status": user.status.as_str(),
        "by": actor.describe(),
    });
    let request_id = request_id(actor);
    emit(tx, chance, &Happened { account, environment, name, at, request_id, payload })
}

/// A payload to try a webhook with: of the same shape, about nobody.
pub(super) fn sample(name: EventName, webhook: &Webhook) -> Value {
    const NOBODY: &str = "00000000-0000-4000-8000-000000000000";
    let account = webhook.account.to_string();
    match name.family() {
        "contact" => json!({
            "account_id": account, "contact_id": NOBODY, "phone_number": "+14155550123",
            "opt_out": name == EventName::ContactOptOut, "source": "API", "channel": "sms",
            "from": null, "to": null, "text": null,
        }),
        "api_key" => json!({
            "account_id": account, "api_key_id": NOBODY, "name": "test", "permissions": [],
            "environment": webhook.environment.as_str(), "expires_at": null, "replaced_by": null,
            "works_until": null, "by": "system",
        }),
        _ => json!({
            "account_id": account, "user_id": NOBODY, "email": "ada@example.com", "name": "Ada",
            "role": "developer", "previous_role": null, "status": "invited", "by": "system",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_belongs_to_a_family_and_each_family_has_some() {
        for name in EventName::ALL {
            assert!(FAMILIES.iter().any(|(family, ..)| *family == name.family()), "{name}");
            assert_eq!(format!("{}.{}", name.family(), name.suffix()), name.as_str());
        }
        for (family, ..) in FAMILIES {
            assert!(EventName::ALL.iter().any(|name| name.family() == family), "{family}");
        }
    }
}
