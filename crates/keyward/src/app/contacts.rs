//! Contacts of an account. Test and production data are apart. Contract 8.

use keyward_core::id::ContactId;
use keyward_core::time::UnixMillis;
use keyward_core::verdict::Caller;
use keyward_store::contacts::{self, Contact, ContactFilter, Scope};
use keyward_store::{Constraint, StoreError, Tx};

use super::webhooks::events::{self, EventName};
use super::{Actor, App, AppError, Chance, Clock, Holder, Resource, phone};

/// A way to reach a contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    Sms,
    Whatsapp,
}

impl Channel {
    pub const ALL: [Self; 2] = [Self::Sms, Self::Whatsapp];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sms => "sms",
            Self::Whatsapp => "whatsapp",
        }
    }

    /// Words are compared letter by letter, in lower case. Sources 2.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.as_str() == text)
    }
}

/// A change; `None` leaves a field as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct ContactChange {
    pub default_channel: Option<Channel>,
    pub opt_out: Option<bool>,
}

/// What a list is asked for.
#[derive(Clone, Debug, Default)]
pub struct ContactQuery {
    pub search: Option<String>,
    pub channel: Option<Channel>,
    pub offset: u64,
    pub limit: u32,
}

const fn scope(caller: &Caller) -> Scope {
    Scope { account: caller.account(), environment: caller.environment() }
}

/// A contact as it would be made: everything but the writing.
///
/// # Errors
/// If the number is not E.164.
pub fn draft(
    app: &App,
    caller: &Caller,
    at: UnixMillis,
    number: &str,
) -> Result<Contact, AppError> {
    let e164 = phone::to_e164(number);
    let e164 = e164.ok_or_else(|| AppError::PhoneNumber(phone::EXPECTED.to_owned()))?;
    let formats = phone::formats(&e164);
    Ok(Contact {
        id: app.new_contact_id(at),
        account: caller.account(),
        environment: caller.environment(),
        phone_number: number.to_owned(),
        format_e164: formats.e164,
        format_international: formats.international,
        format_national: formats.national,
        format_rfc: formats.rfc,
        country_code: formats.country_code,
        region_code: formats.region_code,
        available_channels: Channel::Sms.as_str().to_owned(),
        default_channel: Channel::Sms.as_str().to_owned(),
        opt_out: false,
        created_at: at,
        updated_at: None,
    })
}

/// Adds a contact. `finish` gets it in the transaction; durable when this returns.
///
/// # Errors
/// If the number is not E.164, or a contact of this account and environment has it.
pub async fn create<R: Send + 'static>(
    app: &App,
    holder: &Holder,
    at: UnixMillis,
    number: &str,
    finish: impl FnOnce(&mut Tx<'_>, Contact) -> Result<R, AppError> + Send + 'static,
) -> Result<R, AppError> {
    let contact = draft(app, &holder.caller, at, number)?;
    let teller = Teller::new(app, holder, at);
    app.store
        .write(move |tx| {
            teller.check_may_still(tx)?;
            match contacts::insert(tx, &contact) {
                Err(StoreError::Conflict(Constraint::ContactNumber)) => {
                    return Err(AppError::Taken(String::from(
                        "Contact with this phone number already exists for this customer",
                    )));
                }
                other => other?,
            }
            teller.tell(tx, EventName::ContactCreated, &contact)?;
            finish(tx, contact)
        })
        .await
}

/// Tells webhooks what happens to contacts.
struct Teller {
    at: UnixMillis,
    actor: Actor,
    clock: Clock,
    chance: Chance,
}

impl Teller {
    fn new(app: &App, holder: &Holder, at: UnixMillis) -> Self {
        let (clock, chance) = (app.clock.clone(), app.chance.clone());
        Self { at, actor: Actor::Key(*holder), clock, chance }
    }

    /// Lets a key pass that neither was taken away nor expired while its request was on its way.
    fn check_may_still(&self, tx: &mut Tx<'_>) -> Result<(), AppError> {
        self.actor.refreshed(tx, self.clock.wall()).map(|_| ())
    }

    fn tell(&self, tx: &mut Tx<'_>, name: EventName, contact: &Contact) -> Result<(), StoreError> {
        events::contact(tx, &self.chance, self.at, &self.actor, name, contact)
    }
}

/// # Errors
/// If the caller can see no such contact.
pub async fn find(app: &App, caller: &Caller, id: ContactId) -> Result<Contact, AppError> {
    let scope = scope(caller);
    app.read_for(caller.account(), move |tx| {
        contacts::find(tx, &scope, id)?.ok_or(AppError::NotFound(Resource::Contact))
    })
    .await
}

/// The contact with this number.
///
/// # Errors
/// If the number is not E.164, or the caller can see no contact that has it.
pub async fn find_by_number(app: &App, caller: &Caller, number: &str) -> Result<Contact, AppError> {
    let scope = scope(caller);
    let e164 = phone::to_e164(number);
    let e164 = e164.ok_or_else(|| AppError::PhoneNumber(phone::EXPECTED.to_owned()))?;
    app.read_for(caller.account(), move |tx| {
        let found = contacts::find_by_number(tx, &scope, &e164)?;
        found.ok_or(AppError::NotFound(Resource::Contact))
    })
    .await
}

/// One page of contacts, newest first, and how many there are in all.
///
/// # Errors
/// If the store does not answer.
pub async fn page(
    app: &App,
    caller: &Caller,
    query: ContactQuery,
) -> Result<(Vec<Contact>, u64), AppError> {
    let scope = scope(caller);
    let ContactQuery { search, channel, offset, limit } = query;
    let channel = channel.map(|channel| channel.as_str().to_owned());
    let filter = ContactFilter { search, channel };
    app.read_for(caller.account(), move |tx| {
        Ok(contacts::page(tx, &scope, &filter, offset, limit)?)
    })
    .await
}

/// Changes a contact. `finish` gets it in the transaction; durable when this returns.
///
/// # Errors
/// If the caller can see no such contact.
pub async fn update<R: Send + 'static>(
    app: &App,
    holder: &Holder,
    at: UnixMillis,
    id: ContactId,
    change: ContactChange,
    finish: impl FnOnce(&mut Tx<'_>, Contact) -> Result<R, AppError> + Send + 'static,
) -> Result<R, AppError> {
    let (scope, teller) = (scope(&holder.caller), Teller::new(app, holder, at));
    app.store
        .write(move |tx| {
            teller.check_may_still(tx)?;
            let found = contacts::find(tx, &scope, id)?;
            let mut contact = found.ok_or(AppError::NotFound(Resource::Contact))?;
            let was_out = contact.opt_out;
            if apply(&mut contact, change, at) {
                contacts::put(tx, &contact)?;
                teller.tell(tx, EventName::ContactUpdated, &contact)?;
                match (was_out, contact.opt_out) {
                    (false, true) => teller.tell(tx, EventName::ContactOptOut, &contact)?,
                    (true, false) => teller.tell(tx, EventName::ContactOptIn, &contact)?,
                    _ => {}
                }
            }
            finish(tx, contact)
        })
        .await
}

/// Applies a change; gives false if it asks for nothing.
pub fn apply(contact: &mut Contact, change: ContactChange, at: UnixMillis) -> bool {
    if change.default_channel.is_none() && change.opt_out.is_none() {
        return false;
    }
    if let Some(channel) = change.default_channel {
        contact.default_channel = channel.as_str().to_owned();
        let is_there = |known: &str| known == channel.as_str();
        if !contact.available_channels.split(',').any(is_there) {
            contact.available_channels.push(',');
            contact.available_channels.push_str(channel.as_str());
        }
    }
    if let Some(opt_out) = change.opt_out {
        contact.opt_out = opt_out;
    }
    contact.updated_at = Some(at);
    true
}

/// Removes a contact; its number is free again. `finish` runs in the transaction; durable when this
/// returns.
///
/// # Errors
/// If the caller can see no such contact.
pub async fn remove<R: Send + 'static>(
    app: &App,
    holder: &Holder,
    at: UnixMillis,
    id: ContactId,
    finish: impl FnOnce(&mut Tx<'_>, Contact) -> Result<R, AppError> + Send + 'static,
) -> Result<R, AppError> {
    let (scope, teller) = (scope(&holder.caller), Teller::new(app, holder, at));
    app.store
        .write(move |tx| {
            teller.check_may_still(tx)?;
            let found = contacts::find(tx, &scope, id)?;
            let contact = found.ok_or(AppError::NotFound(Resource::Contact))?;
            contacts::remove(tx, &scope, id)?;
            teller.tell(tx, EventName::ContactDeleted, &contact)?;
            finish(tx, contact)
        })
        .await
}
