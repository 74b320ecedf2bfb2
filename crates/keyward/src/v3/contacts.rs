//! `/v3/contacts`. Contract 8; sources 8.2.

use http::StatusCode;
use keyward_core::id::ContactId;
use keyward_store::Tx;
use keyward_store::contacts::Contact;
use keyward_tower::{ApiError, Code};
use serde::Serialize;
use utoipa::ToSchema;

use super::change::Change;
use super::extract::{Object, check, fault};
use super::page::{Page, Pagination, Query};
use super::{Answer, Request};
use crate::app::AppError;
use crate::app::contacts::{self, Channel, ContactChange, ContactQuery};
use crate::when;

/// A phone number that messages can be sent to.
#[derive(Serialize, ToSchema)]
#[schema(as = Contact)]
pub(super) struct ContactView<'a> {
    #[schema(format = Uuid)]
    id: String,
    /// The account that the contact belongs to.
    #[schema(format = Uuid)]
    customer_id: String,
    /// The number as it was given.
    phone_number: &'a str,
    /// A plus sign and digits alone.
    format_e164: &'a str,
    /// With spaces, for readers abroad.
    format_international: &'a str,
    /// With spaces, for readers in its country.
    format_national: &'a str,
    /// As a link: RFC 3966.
    format_rfc: &'a str,
    /// The calling code, without a plus sign.
    country_code: &'a str,
    /// The country in two letters (ISO 3166).
    region_code: &'a str,
    /// `sms`, `whatsapp` or both, separated by a comma.
    available_channels: &'a str,
    /// `sms` or `whatsapp`.
    default_channel: &'a str,
    /// Whether the person behind the number wants no messages.
    opt_out: bool,
    /// Always false; the clients know the field.
    is_inherited: bool,
    #[schema(format = DateTime)]
    created_at: String,
    /// `null` until the first change.
    #[schema(format = DateTime)]
    updated_at: Option<String>,
}

impl<'a> From<&'a Contact> for ContactView<'a> {
    fn from(contact: &'a Contact) -> Self {
        Self {
            id: contact.id.to_string(),
            customer_id: contact.account.to_string(),
            phone_number: &contact.phone_number,
            format_e164: &contact.format_e164,
            format_international: &contact.format_international,
            format_national: &contact.format_national,
            format_rfc: &contact.format_rfc,
            country_code: &contact.country_code,
            region_code: &contact.region_code,
            available_channels: &contact.available_channels,
            default_channel: &contact.default_channel,
            opt_out: contact.opt_out,
            is_inherited: false,
            created_at: when(contact.created_at),
            updated_at: contact.updated_at.map(when),
        }
    }
}

/// One page of contacts, the newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct ContactList<'a> {
    contacts: Vec<ContactView<'a>>,
    pagination: Pagination,
}

/// What was sent to a contact, counted.
#[derive(Serialize, ToSchema)]
pub(super) struct MessageSummary {
    #[schema(format = Uuid)]
    contact_id: String,
    message_count: u64,
    #[schema(format = DateTime)]
    first_message_at: Option<String>,
    #[schema(format = DateTime)]
    last_message_at: Option<String>,
    #[schema(value_type = Vec<String>)]
    channels_used: [&'static str; 0],
    channel_scores: [ChannelScore; 0],
}

/// How messages over one channel fared, in percent.
#[derive(Serialize, ToSchema)]
struct ChannelScore {
    channel: &'static str,
    success_score: u8,
    fail_score: u8,
}

impl MessageSummary {
    /// Zeros, for this server sends no messages.
    fn of(contact: ContactId) -> Self {
        Self {
            contact_id: contact.to_string(),
            message_count: 0,
            first_message_at: None,
            last_message_at: None,
            channels_used: [],
            channel_scores: [],
        }
    }
}

/// `POST /v3/contacts`
///
/// # Errors
/// VALIDATION_001, VALIDATION_002, RESOURCE_007.
pub async fn create(change: Change) -> Answer {
    let Change { request, body, is_sandbox, writer } = change;
    let mut faults = body.faults();
    let number = body.text("phone_number", &mut faults);
    if number.is_none_or(|number| number.trim().is_empty()) && !faults.contains_key("phone_number")
    {
        fault(&mut faults, "phone_number", "Phone number is required");
    }
    let number = check(faults).map(|()| number.unwrap_or_default())?;
    let Request { app, caller, at, .. } = &request;
    if is_sandbox {
        let contact = contacts::draft(app, caller, *at, number)?;
        return writer.pretend(StatusCode::CREATED, &ContactView::from(&contact)).await;
    }
    contacts::create(app, &request.holder(), *at, number, |tx, contact| {
        writer.write(tx, StatusCode::CREATED, &ContactView::from(&contact))
    })
    .await?
    .answer()
}

/// `GET /v3/contacts`
///
/// # Errors
/// VALIDATION_001, 002, 005, 006; RESOURCE_001 for a `phone` that no contact has.
pub async fn list(request: Request) -> Answer {
    let query = Query::of(&request.parts.uri);
    let page = Page::of(&query)?;
    let channel = match query.get("channel") {
        None => None,
        Some(text) => Some(Channel::from_text(text).ok_or_else(|| unknown_channel("channel"))?),
    };
    let search = query.search()?;
    let (found, total) = if let Some(phone) = query.get("phone") {
        // A plus sign that was not percent-encoded arrives as a space.
        let phone = phone.strip_prefix(' ').map_or_else(|| phone.to_owned(), |p| format!("+{p}"));
        let contact = contacts::find_by_number(&request.app, &request.caller, &phone).await;
        let contact = contact.map_err(|error| match error {
            AppError::PhoneNumber(sentence) => {
                ApiError::new(Code::PhoneNumberInvalid).about("phone", sentence)
            }
            other => other.into(),
        })?;
        (if page.offset() == 0 { vec![contact] } else { vec![] }, 1)
    } else {
        let query = ContactQuery { search, channel, offset: page.offset(), limit: page.size() };
        contacts::page(&request.app, &request.caller, query).await?
    };
    let list = ContactList {
        contacts: found.iter().map(ContactView::from).collect(),
        pagination: page.of_total(total),
    };
    request.answer(&list)
}

/// `GET /v3/contacts/{id}`
///
/// # Errors
/// VALIDATION_003, RESOURCE_001.
pub async fn show(request: Request) -> Answer {
    let contact = contacts::find(&request.app, &request.caller, request.id()?).await?;
    request.answer(&ContactView::from(&contact))
}

/// `PATCH /v3/contacts/{id}`
///
/// # Errors
/// VALIDATION_001, VALIDATION_003, RESOURCE_001.
pub async fn update(change: Change) -> Answer {
    let Change { request, body, is_sandbox, writer } = change;
    let id: ContactId = request.id()?;
    let change = read_change(&body)?;
    let Request { app, caller, at, .. } = &request;
    if is_sandbox {
        // Nothing is looked up: an example stands in, under the id that was asked for. Contract 6.
        let mut contact = contacts::draft(app, caller, *at, SANDBOX_NUMBER)?;
        contacts::apply(&mut contact, change, *at);
        let contact = Contact { id, ..contact };
        return writer.pretend(StatusCode::OK, &ContactView::from(&contact)).await;
    }
    contacts::update(app, &request.holder(), *at, id, change, |tx, contact| {
        writer.write(tx, StatusCode::OK, &ContactView::from(&contact))
    })
    .await?
    .answer()
}

/// A number that belongs to nobody.
const SANDBOX_NUMBER: &str = "+14155550123";

pub(super) fn read_change(body: &Object) -> Result<ContactChange, ApiError> {
    let mut faults = body.faults();
    let opt_out = body.flag("opt_out", &mut faults);
    let channel = body.text("default_channel", &mut faults);
    let default_channel = channel.and_then(Channel::from_text);
    if channel.is_some() && default_channel.is_none() {
        let sentence = "default_channel must be one of: sms, whatsapp";
        fault(&mut faults, "default_channel", sentence);
    }
    check(faults)?;
    Ok(ContactChange { default_channel, opt_out })
}

/// `DELETE /v3/contacts/{id}`
///
/// # Errors
/// VALIDATION_001, VALIDATION_003, RESOURCE_001.
pub async fn remove(change: Change) -> Answer {
    let Change { request, body, is_sandbox, writer } = change;
    let id: ContactId = request.id()?;
    check(body.faults())?;
    if is_sandbox {
        return writer.pretend_no_content().await;
    }
    let finish = |tx: &mut Tx<'_>, _| writer.no_content(tx);
    contacts::remove(&request.app, &request.holder(), request.at, id, finish).await?.answer()
}

/// `GET /v3/contacts/{id}/message-summary`
///
/// # Errors
/// VALIDATION_003, RESOURCE_001.
pub async fn message_summary(request: Request) -> Answer {
    let contact = contacts::find(&request.app, &request.caller, request.id()?).await?;
    request.answer(&MessageSummary::of(contact.id))
}

fn unknown_channel(field: &str) -> ApiError {
    let sentence = format!("{field} must be one of: sms, whatsapp");
    ApiError::new(Code::EnumInvalid).about(field, sentence)
}

/// Answers for the reference, made as the handlers make theirs.
pub(super) mod examples {
    use keyward_core::account::Environment;
    use keyward_core::id::AccountId;
    use keyward_core::time::UnixMillis;
    use serde_json::{Value, json};

    use super::{Contact, ContactId, ContactList, ContactView, MessageSummary, Page, Query};

    const AT: UnixMillis = UnixMillis(1_704_067_200_000);

    fn contact() -> Contact {
        Contact {
            id: ContactId::new(AT, [1; 10]),
            account: AccountId::new(AT, [2; 10]),
            environment: Environment::Production,
            phone_number: String::from("+1 (415) 555-0123"),
            format_e164: String::from("+14155550123"),
            format_international: String::from("+1 415-555-0123"),
            format_national: String::from("(415) 555-0123"),
            format_rfc: String::from("tel:+1-415-555-0123"),
            country_code: String::from("1"),
            region_code: String::from("US"),
            available_channels: String::from("sms"),
            default_channel: String::from("sms"),
            opt_out: false,
            created_at: AT,
            updated_at: None,
        }
    }

    pub(in crate::v3) fn one() -> Value {
        json!(ContactView::from(&contact()))
    }

    pub(in crate::v3) fn changed() -> Value {
        json!(ContactView::from(&Contact { opt_out: true, updated_at: Some(AT), ..contact() }))
    }

    pub(in crate::v3) fn list() -> Value {
        let contact = contact();
        let contacts = vec![ContactView::from(&contact)];
        let first = Page::of(&Query::of(&http::Uri::from_static("/")));
        first.map_or(Value::Null, |page| {
            json!(ContactList { contacts, pagination: page.of_total(1) })
        })
    }

    pub(in crate::v3) fn message_summary() -> Value {
        json!(MessageSummary::of(contact().id))
    }
}
