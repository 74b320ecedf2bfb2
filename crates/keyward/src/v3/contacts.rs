//! `/v3/contacts`. Contract 8; sources 8.2.

use http::StatusCode;
use keyward_core::id::ContactId;
use keyward_store::contacts::Contact;
use keyward_tower::{ApiError, Code};
use serde::Serialize;

use super::extract::{Object, check_idempotency_key, fault};
use super::page::{Page, Pagination, Query};
use super::{Answer, Request, no_content};
use crate::app::contacts::{self, Channel, ContactChange, ContactQuery};
use crate::app::{AppError, Faults};
use crate::when;

const LONGEST_SEARCH: usize = 100;

#[derive(Serialize)]
struct ContactView<'a> {
    id: String,
    customer_id: String,
    phone_number: &'a str,
    format_e164: &'a str,
    format_international: &'a str,
    format_national: &'a str,
    format_rfc: &'a str,
    country_code: &'a str,
    region_code: &'a str,
    available_channels: &'a str,
    default_channel: &'a str,
    opt_out: bool,
    is_inherited: bool,
    created_at: String,
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

#[derive(Serialize)]
struct ContactList<'a> {
    contacts: Vec<ContactView<'a>>,
    pagination: Pagination,
}

#[derive(Serialize)]
struct MessageSummary {
    contact_id: String,
    message_count: u64,
    first_message_at: Option<String>,
    last_message_at: Option<String>,
    channels_used: [&'static str; 0],
    channel_scores: [u64; 0],
}

/// `POST /v3/contacts`
///
/// # Errors
/// VALIDATION_001, VALIDATION_002, RESOURCE_007.
pub async fn create(mut request: Request) -> Answer {
    let body = request.object().await?;
    check_idempotency_key(&request.parts.headers)?;
    let mut faults = Faults::new();
    let is_sandbox = body.flag("sandbox", &mut faults).unwrap_or(false);
    let number = body.text("phone_number", &mut faults);
    if number.is_none_or(|number| number.trim().is_empty()) && !faults.contains_key("phone_number")
    {
        fault(&mut faults, "phone_number", "Phone number is required");
    }
    let number = check(faults).map(|()| number.unwrap_or_default())?;
    let Request { app, caller, at, .. } = &request;
    let contact = if is_sandbox {
        contacts::draft(app, caller, *at, number)?
    } else {
        contacts::create(app, caller, *at, number).await?
    };
    request.answer(StatusCode::CREATED, &ContactView::from(&contact), is_sandbox)
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
    let search = query.get("search").map(ToOwned::to_owned);
    if search.as_ref().is_some_and(|text| text.chars().count() > LONGEST_SEARCH) {
        let sentence = format!("search must not be longer than {LONGEST_SEARCH} characters");
        return Err(ApiError::new(Code::RequestInvalid).about("search", sentence));
    }
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
    request.answer(StatusCode::OK, &list, false)
}

/// `GET /v3/contacts/{id}`
///
/// # Errors
/// VALIDATION_003, RESOURCE_001.
pub async fn show(request: Request) -> Answer {
    let contact = contacts::find(&request.app, &request.caller, request.id()?).await?;
    request.answer(StatusCode::OK, &ContactView::from(&contact), false)
}

/// `PATCH /v3/contacts/{id}`
///
/// # Errors
/// VALIDATION_001, VALIDATION_003, RESOURCE_001.
pub async fn update(mut request: Request) -> Answer {
    let body = request.object().await?;
    check_idempotency_key(&request.parts.headers)?;
    let id: ContactId = request.id()?;
    let (change, is_sandbox) = read_change(&body)?;
    let Request { app, caller, at, .. } = &request;
    let contact = if is_sandbox {
        // Nothing is looked up: an example stands in, under the id that was asked for. Contract 6.
        let mut contact = contacts::draft(app, caller, *at, SANDBOX_NUMBER)?;
        contacts::apply(&mut contact, change, *at);
        Contact { id, ..contact }
    } else {
        contacts::update(app, caller, *at, id, change).await?
    };
    request.answer(StatusCode::OK, &ContactView::from(&contact), is_sandbox)
}

/// A number that belongs to nobody.
const SANDBOX_NUMBER: &str = "+14155550123";

fn read_change(body: &Object) -> Result<(ContactChange, bool), ApiError> {
    let mut faults = Faults::new();
    let is_sandbox = body.flag("sandbox", &mut faults).unwrap_or(false);
    let opt_out = body.flag("opt_out", &mut faults);
    let channel = body.text("default_channel", &mut faults);
    let default_channel = channel.and_then(Channel::from_text);
    if channel.is_some() && default_channel.is_none() {
        let sentence = "default_channel must be one of: sms, whatsapp";
        fault(&mut faults, "default_channel", sentence);
    }
    check(faults)?;
    Ok((ContactChange { default_channel, opt_out }, is_sandbox))
}

/// `DELETE /v3/contacts/{id}`
///
/// # Errors
/// VALIDATION_001, VALIDATION_003, RESOURCE_001.
pub async fn remove(mut request: Request) -> Answer {
    let body = request.object().await?;
    check_idempotency_key(&request.parts.headers)?;
    let id: ContactId = request.id()?;
    let mut faults = Faults::new();
    let is_sandbox = body.flag("sandbox", &mut faults).unwrap_or(false);
    check(faults)?;
    if !is_sandbox {
        contacts::remove(&request.app, &request.caller, id).await?;
    }
    no_content(is_sandbox)
}

/// `GET /v3/contacts/{id}/message-summary`: zeros, for this server sends no messages.
///
/// # Errors
/// VALIDATION_003, RESOURCE_001.
pub async fn message_summary(request: Request) -> Answer {
    let contact = contacts::find(&request.app, &request.caller, request.id()?).await?;
    let summary = MessageSummary {
        contact_id: contact.id.to_string(),
        message_count: 0,
        first_message_at: None,
        last_message_at: None,
        channels_used: [],
        channel_scores: [],
    };
    request.answer(StatusCode::OK, &summary, false)
}

fn check(faults: Faults) -> Result<(), ApiError> {
    if faults.is_empty() { Ok(()) } else { Err(AppError::Invalid(faults).into()) }
}

fn unknown_channel(field: &str) -> ApiError {
    let sentence = format!("{field} must be one of: sms, whatsapp");
    ApiError::new(Code::EnumInvalid).about(field, sentence)
}
