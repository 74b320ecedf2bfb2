//! How webhooks, their events and their secrets are told. Sources 8.4.

use keyward_core::id::WebhookId;
use keyward_store::webhook_events::Event;
use keyward_store::webhooks::{Filters, Webhook};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::app::webhooks::events::{EventName, FAMILIES};
use crate::app::webhooks::{Made, Secret};
use crate::v3::page::{Page, Pagination, Query};
use crate::when;

/// What a test that went well is told as.
pub(super) const DELIVERED: &str = "Test event delivered successfully";

/// Where an account hears what happens.
#[derive(Serialize, ToSchema)]
#[schema(as = Webhook)]
pub(in crate::v3) struct WebhookView<'a> {
    #[schema(format = Uuid)]
    id: String,
    /// The account that the webhook belongs to.
    #[schema(format = Uuid)]
    customer_id: String,
    display_name: &'a str,
    endpoint_url: &'a str,
    /// The families of events that it hears of.
    event_types: &'a [String],
    /// Of which of a family's events; families that are not named pass whole. `null`: all of them.
    #[schema(value_type = Option<std::collections::HashMap<String, Vec<String>>>)]
    event_filters: Option<&'a Filters>,
    is_active: bool,
    /// Told when the webhook is made, and `null` ever after.
    signing_secret: Option<String>,
    /// How often a delivery is tried again, 1 to 5.
    retry_count: u32,
    /// How long an answer may take, 5 to 120.
    timeout_seconds: u32,
    /// Events in a row that failed; ten switch it off.
    consecutive_failures: u32,
    #[schema(format = DateTime)]
    last_delivery_attempt_at: Option<String>,
    #[schema(format = DateTime)]
    last_successful_delivery_at: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: Option<String>,
}

impl<'a> From<&'a Webhook> for WebhookView<'a> {
    fn from(webhook: &'a Webhook) -> Self {
        Self {
            id: webhook.id.to_string(),
            customer_id: webhook.account.to_string(),
            display_name: &webhook.display_name,
            endpoint_url: &webhook.endpoint_url,
            event_types: &webhook.event_types,
            event_filters: webhook.event_filters.as_ref(),
            is_active: webhook.is_active,
            signing_secret: None,
            retry_count: webhook.retry_count,
            timeout_seconds: webhook.timeout_seconds,
            consecutive_failures: webhook.consecutive_failures,
            last_delivery_attempt_at: webhook.last_attempt_at.map(when),
            last_successful_delivery_at: webhook.last_success_at.map(when),
            created_at: when(webhook.created_at),
            updated_at: webhook.updated_at.map(when),
        }
    }
}

impl<'a> WebhookView<'a> {
    /// With the secret, for the one answer that shows it.
    pub(in crate::v3) fn with_secret(made: &'a Made) -> Self {
        let signing_secret = Some(made.secret.reveal().to_string());
        Self { signing_secret, ..Self::from(&made.webhook) }
    }
}

/// One page of webhooks, the newest first.
#[derive(Serialize, ToSchema)]
pub(in crate::v3) struct WebhookList<'a> {
    pub(super) webhooks: Vec<WebhookView<'a>>,
    pub(super) pagination: Pagination,
}

/// The new signing secret, told this once.
#[derive(Serialize, ToSchema)]
pub(in crate::v3) struct NewSecret {
    signing_secret: String,
}

impl NewSecret {
    pub(in crate::v3) fn of(secret: &Secret) -> Self {
        Self { signing_secret: secret.reveal().to_string() }
    }
}

/// How a test went.
#[derive(Serialize, ToSchema)]
pub(in crate::v3) struct TestResult {
    pub(super) success: bool,
    pub(super) message: String,
}

/// A family of events.
#[derive(Serialize, ToSchema)]
pub(in crate::v3) struct EventType {
    name: &'static str,
    display_name: &'static str,
    description: &'static str,
    /// Always `null`: a family belongs to none.
    event_type: Option<&'static str>,
    is_active: bool,
    sub_types: Vec<EventSubType>,
}

/// An event of a family, of the same shape.
#[derive(Serialize, ToSchema)]
struct EventSubType {
    name: &'static str,
    display_name: String,
    description: &'static str,
    /// The family that it belongs to.
    event_type: &'static str,
    is_active: bool,
    /// Always `null`.
    sub_types: Option<&'static str>,
}

/// All families of events, on one page.
#[derive(Serialize, ToSchema)]
pub(in crate::v3) struct EventTypeList {
    pub(super) event_types: Vec<EventType>,
    pub(super) pagination: Pagination,
}

/// Something that was, or is to be, sent to a webhook.
#[derive(Serialize, ToSchema)]
#[schema(as = Event)]
pub(in crate::v3) struct EventView<'a> {
    #[schema(format = Uuid)]
    id: String,
    event_type: &'a str,
    /// The body, exactly as it is sent.
    #[schema(value_type = Value)]
    event_data: &'a RawValue,
    /// `pending`, `processing`, `delivered` or `failed`.
    delivery_status: &'static str,
    delivery_attempts: u32,
    /// What the last attempt was answered with.
    http_status_code: Option<u16>,
    /// The beginning of the last answer.
    response_body: Option<&'a str>,
    error_message: Option<&'a str>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    processing_started_at: Option<String>,
    #[schema(format = DateTime)]
    processing_completed_at: Option<String>,
}

impl<'a> TryFrom<&'a Event> for EventView<'a> {
    type Error = serde_json::Error;

    fn try_from(event: &'a Event) -> Result<Self, serde_json::Error> {
        Ok(Self {
            id: event.id.to_string(),
            event_type: &event.event_type,
            event_data: serde_json::from_str(&event.body)?,
            delivery_status: event.status.as_str(),
            delivery_attempts: event.attempts,
            http_status_code: event.http_status,
            response_body: event.response_body.as_deref(),
            error_message: event.error.as_deref(),
            created_at: when(event.created_at),
            processing_started_at: event.started_at.map(when),
            processing_completed_at: event.completed_at.map(when),
        })
    }
}

/// One page of events, the newest first.
#[derive(Serialize, ToSchema)]
pub(in crate::v3) struct EventList<'a> {
    pub(super) events: Vec<EventView<'a>>,
    pub(super) pagination: Pagination,
}

pub(super) fn event_type_list(page: Page) -> EventTypeList {
    let families = FAMILIES.map(|(family, display_name, description)| {
        let of_family = EventName::ALL.iter().filter(|name| name.family() == family);
        let sub_types = of_family.map(|name| EventSubType {
            name: name.as_str(),
            display_name: display_name_of(*name),
            description: name.meaning(),
            event_type: family,
            is_active: true,
            sub_types: None,
        });
        EventType {
            name: family,
            display_name,
            description,
            event_type: None,
            is_active: true,
            sub_types: sub_types.collect(),
        }
    });
    let total = u64::try_from(FAMILIES.len()).unwrap_or(0);
    EventTypeList { event_types: families.into(), pagination: page.of_total(total) }
}

/// `Opt out` of `contact.opt_out`.
fn display_name_of(name: EventName) -> String {
    let mut words = name.suffix().replace('_', " ");
    if let Some(first) = words.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    words
}

/// Answers for the reference, made as the handlers make theirs.
pub(in crate::v3) mod examples {
    use keyward_core::account::Environment;
    use keyward_core::id::{AccountId, EventId};
    use keyward_core::time::UnixMillis;
    use keyward_store::webhook_events::EventStatus;
    use serde_json::json;

    use super::{
        DELIVERED, Event, EventList, EventView, NewSecret, Page, Query, TestResult, Value, Webhook,
        WebhookId, WebhookList, WebhookView,
    };

    const AT: UnixMillis = UnixMillis(1_704_067_200_000);
    /// Of the contract's test vector: it signs nothing.
    const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn webhook() -> Webhook {
        Webhook {
            id: WebhookId::new(AT, [1; 10]),
            account: AccountId::new(AT, [2; 10]),
            environment: Environment::Production,
            display_name: String::from("CRM"),
            endpoint_url: String::from("https://crm.example.com/hooks/keyward"),
            event_types: vec![String::from("contact"), String::from("api_key")],
            event_filters: None,
            is_active: true,
            secret: vec![],
            previous: None,
            retry_count: 3,
            timeout_seconds: 30,
            consecutive_failures: 0,
            last_attempt_at: None,
            last_success_at: None,
            created_at: AT,
            updated_at: None,
            turned_off_at: None,
            waiting: 0,
        }
    }

    fn first_page() -> Option<Page> {
        Page::of(&Query::of(&http::Uri::from_static("/"))).ok()
    }

    pub(in crate::v3) fn created() -> Value {
        let webhook = webhook();
        let signing_secret = Some(SECRET.to_owned());
        json!(WebhookView { signing_secret, ..WebhookView::from(&webhook) })
    }

    pub(in crate::v3) fn one() -> Value {
        json!(WebhookView::from(&webhook()))
    }

    pub(in crate::v3) fn list() -> Value {
        let webhook = webhook();
        let webhooks = vec![WebhookView::from(&webhook)];
        json!(first_page().map(|page| WebhookList { webhooks, pagination: page.of_total(1) }))
    }

    pub(in crate::v3) fn secret() -> Value {
        json!(NewSecret { signing_secret: SECRET.to_owned() })
    }

    pub(in crate::v3) fn tested() -> Value {
        json!(TestResult { success: true, message: DELIVERED.to_owned() })
    }

    pub(in crate::v3) fn event_types() -> Value {
        let mut list = super::event_type_list(Page::whole());
        // One family is enough to see the shape.
        list.event_types.truncate(1);
        json!(list)
    }

    pub(in crate::v3) fn events() -> Value {
        let event = Event {
            id: EventId::new(AT, [3; 10]),
            webhook: webhook().id,
            event_type: String::from("contact.opt_out"),
            body: String::from(concat!(
                r#"{"field":"contact","event":"contact.opt_out","sub_type":"contact.opt_out","#,
                r#""timestamp":"2024-01-01T00:00:00Z","request_id":"req_b9ln7IPEQIItkJ2yWQjj","#,
                r#""payload":{"contact_id":"018cc251-f400-7101-8101-010101010101","opt_out":true}}"#
            )),
            status: EventStatus::Delivered,
            is_test: false,
            attempts: 1,
            tries: 1,
            http_status: Some(200),
            response_body: Some(String::new()),
            error: None,
            created_at: AT,
            started_at: Some(AT),
            completed_at: Some(AT),
        };
        let Ok(view) = EventView::try_from(&event) else { return Value::Null };
        let events = vec![view];
        json!(first_page().map(|page| EventList { events, pagination: page.of_total(1) }))
    }
}
