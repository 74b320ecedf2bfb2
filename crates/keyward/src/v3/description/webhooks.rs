//! The words for `/v3/webhooks`.

use keyward_tower::Code;
use serde_json::json;
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, Type};

use super::{
    Body, NO_BODY_LEFT, Operation, QueryParameter, Success, no_query, paged, parameter, shape,
    text_schema,
};
use crate::v3::page::LONGEST_SEARCH;
use crate::v3::webhooks::{
    EventList, EventTypeList, NewSecret, TestResult, WebhookList, WebhookView, examples,
};

/// Where to hear what happens.
#[derive(ToSchema)]
#[expect(dead_code, reason = "bodies are read by hand; this only describes one")]
struct NewWebhook {
    /// A name for people.
    #[schema(min_length = 1, max_length = 100)]
    display_name: String,
    /// Where events are posted to; https, unless the server's settings allow more. Addresses that are not
    /// on the public internet are refused.
    #[schema(format = "uri", max_length = 2048)]
    endpoint_url: String,
    /// Families of events, as `event-types` lists them.
    #[schema(min_items = 1)]
    event_types: Vec<String>,
    /// Of which of a family's events: `{"contact": ["opt_out"]}`. `null` takes all filters away.
    #[schema(required = false)]
    event_filters: Option<std::collections::HashMap<String, Vec<String>>>,
    /// How often a delivery is tried again; 3 unless it is told.
    #[schema(required = false, minimum = 1, maximum = 5)]
    retry_count: Option<u32>,
    /// How long an answer may take; 30 unless it is told.
    #[schema(required = false, minimum = 5, maximum = 120)]
    timeout_seconds: Option<u32>,
    /// Checks everything and answers as usual, but changes nothing.
    #[schema(required = false)]
    sandbox: bool,
}

/// What to change; what is left out stays as it is.
#[derive(ToSchema)]
#[expect(dead_code, reason = "bodies are read by hand; this only describes one")]
struct WebhookChange {
    /// A name for people.
    #[schema(required = false, min_length = 1, max_length = 100)]
    display_name: Option<String>,
    /// Where events are posted to; https, unless the server's settings allow more. Addresses that are not
    /// on the public internet are refused.
    #[schema(required = false, format = "uri", max_length = 2048)]
    endpoint_url: Option<String>,
    /// Families of events, as `event-types` lists them.
    #[schema(required = false, min_items = 1)]
    event_types: Option<Vec<String>>,
    /// Of which of a family's events: `{"contact": ["opt_out"]}`. `null` takes all filters away.
    #[schema(required = false)]
    event_filters: Option<std::collections::HashMap<String, Vec<String>>>,
    /// How often a delivery is tried again; 3 unless it is told.
    #[schema(required = false, minimum = 1, maximum = 5)]
    retry_count: Option<u32>,
    /// How long an answer may take; 30 unless it is told.
    #[schema(required = false, minimum = 5, maximum = 120)]
    timeout_seconds: Option<u32>,
    /// Checks everything and answers as usual, but changes nothing.
    #[schema(required = false)]
    sandbox: bool,
}

/// On or off.
#[derive(ToSchema)]
#[expect(dead_code, reason = "bodies are read by hand; this only describes one")]
struct Toggle {
    is_active: bool,
    /// Checks everything and answers as usual, but changes nothing.
    #[schema(required = false)]
    sandbox: bool,
}

/// Which event to send an example of.
#[derive(ToSchema)]
#[expect(dead_code, reason = "bodies are read by hand; this only describes one")]
struct Test {
    /// `contact.opt_out`.
    #[schema(pattern = r"^(contact|api_key|user)\.[a-z_]+$")]
    event_type: String,
    /// Checks everything and answers as usual, but changes nothing.
    #[schema(required = false)]
    sandbox: bool,
}

/// Nothing needs to be said.
#[derive(ToSchema)]
#[expect(dead_code, reason = "bodies are read by hand; this only describes one")]
struct Rotation {
    /// Checks everything and answers as usual, but changes nothing.
    #[schema(required = false)]
    sandbox: bool,
}

/// How to delete; there is no sandbox here.
#[derive(ToSchema)]
struct WebhookDeletion {}

fn search() -> QueryParameter {
    let text = format!("Any part; {LONGEST_SEARCH} characters at most.");
    parameter("search", &text, text_schema().max_length(Some(LONGEST_SEARCH)))
}

fn list_query() -> Vec<QueryParameter> {
    let switch = ObjectBuilder::new().schema_type(Type::Boolean);
    let mut all = paged();
    all.extend([search(), parameter("is_active", "Only those that are on, or off.", switch)]);
    all
}

fn events_query() -> Vec<QueryParameter> {
    let mut all = paged();
    all.push(search());
    all
}

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        method: "GET",
        pattern: "/v3/webhooks",
        id: "webhooks.list",
        group: "Webhooks",
        summary: "List webhooks",
        text: "The newest first, in pages.",
        query: list_query,
        body: None,
        success: Success {
            status: 200,
            text: "A page of webhooks.",
            data: Some((shape::<WebhookList<'_>>(), examples::list)),
            may_be_sandbox: false,
        },
        codes: &[Code::RequestInvalid, Code::OutOfRange],
        is_deprecated: false,
    },
    Operation {
        method: "POST",
        pattern: "/v3/webhooks",
        id: "webhooks.create",
        group: "Webhooks",
        summary: "Create a webhook",
        text: "The answer shows the secret that signs deliveries, this once.",
        query: no_query,
        body: Some(Body {
            shape: shape::<NewWebhook>(),
            example: || json!({"display_name": "CRM", "endpoint_url": "https://crm.example.com/hooks/keyward", "event_types": ["contact"]}),
            is_required: true,
        }),
        success: Success {
            status: 201,
            text: "The new webhook with its signing secret.",
            data: Some((shape::<WebhookView<'_>>(), examples::created)),
            may_be_sandbox: true,
        },
        codes: &[Code::QuotaExceeded],
        is_deprecated: false,
    },
    Operation {
        method: "GET",
        pattern: "/v3/webhooks/event-types",
        id: "webhooks.list_event_types",
        group: "Webhooks",
        summary: "List event types",
        text: "The families that a webhook can ask for, and the events in each.",
        query: no_query,
        body: None,
        success: Success {
            status: 200,
            text: "All event types, on one page.",
            data: Some((shape::<EventTypeList>(), examples::event_types)),
            may_be_sandbox: false,
        },
        codes: &[],
        is_deprecated: false,
    },
    Operation {
        method: "GET",
        pattern: "/v3/webhooks/{id}",
        id: "webhooks.retrieve",
        group: "Webhooks",
        summary: "Show a webhook",
        text: "A webhook of another account or of the other environment is not found.",
        query: no_query,
        body: None,
        success: Success {
            status: 200,
            text: "The webhook.",
            data: Some((shape::<WebhookView<'_>>(), examples::one)),
            may_be_sandbox: false,
        },
        codes: &[Code::WebhookNotFound],
        is_deprecated: false,
    },
    Operation {
        method: "PUT",
        pattern: "/v3/webhooks/{id}",
        id: "webhooks.update",
        group: "Webhooks",
        summary: "Change a webhook",
        text: "What is left out stays as it is.",
        query: no_query,
        body: Some(Body {
            shape: shape::<WebhookChange>(),
            example: || json!({"timeout_seconds": 10}),
            is_required: false,
        }),
        success: Success {
            status: 200,
            text: "The webhook as it is now.",
            data: Some((shape::<WebhookView<'_>>(), examples::one)),
            may_be_sandbox: true,
        },
        codes: &[Code::WebhookNotFound],
        is_deprecated: false,
    },
    Operation {
        method: "DELETE",
        pattern: "/v3/webhooks/{id}",
        id: "webhooks.delete",
        group: "Webhooks",
        summary: "Delete a webhook",
        text: "Its events are deleted with it, those that wait as well. There is no sandbox here.",
        query: no_query,
        body: Some(Body {
            shape: shape::<WebhookDeletion>(),
            example: || json!({}),
            is_required: false,
        }),
        success: NO_BODY_LEFT,
        codes: &[Code::WebhookNotFound],
        is_deprecated: false,
    },
    Operation {
        method: "GET",
        pattern: "/v3/webhooks/{id}/events",
        id: "webhooks.list_events",
        group: "Webhooks",
        summary: "List deliveries",
        text: "What was and what is to be sent, the newest first.",
        query: events_query,
        body: None,
        success: Success {
            status: 200,
            text: "A page of events.",
            data: Some((shape::<EventList<'_>>(), examples::events)),
            may_be_sandbox: false,
        },
        codes: &[Code::RequestInvalid, Code::OutOfRange, Code::WebhookNotFound],
        is_deprecated: false,
    },
    Operation {
        method: "PATCH",
        pattern: "/v3/webhooks/{id}/toggle-status",
        id: "webhooks.toggle_status",
        group: "Webhooks",
        summary: "Switch a webhook on or off",
        text: "Switched on, its failures count from 0 again, and what waited for it is sent.",
        query: no_query,
        body: Some(Body {
            shape: shape::<Toggle>(),
            example: || json!({"is_active": true}),
            is_required: true,
        }),
        success: Success {
            status: 200,
            text: "The webhook as it is now.",
            data: Some((shape::<WebhookView<'_>>(), examples::one)),
            may_be_sandbox: true,
        },
        codes: &[Code::WebhookNotFound],
        is_deprecated: false,
    },
    Operation {
        method: "POST",
        pattern: "/v3/webhooks/{id}/rotate-secret",
        id: "webhooks.rotate_secret",
        group: "Webhooks",
        summary: "Rotate the signing secret",
        text: "The new secret signs at once. For 24 hours the old one signs as well, in `x-webhook-signature-previous`, so that a receiver can follow without a gap.",
        query: no_query,
        body: Some(Body { shape: shape::<Rotation>(), example: || json!({}), is_required: false }),
        success: Success {
            status: 200,
            text: "The new signing secret.",
            data: Some((shape::<NewSecret>(), examples::secret)),
            may_be_sandbox: true,
        },
        codes: &[Code::WebhookNotFound],
        is_deprecated: false,
    },
    Operation {
        method: "POST",
        pattern: "/v3/webhooks/{id}/test",
        id: "webhooks.test",
        group: "Webhooks",
        summary: "Send a test event",
        text: "Sends an example once, at once. That a receiver fails is told in the answer, and counts as no failure.",
        query: no_query,
        body: Some(Body {
            shape: shape::<Test>(),
            example: || json!({"event_type": "contact.opt_out"}),
            is_required: true,
        }),
        success: Success {
            status: 200,
            text: "How it went.",
            data: Some((shape::<TestResult>(), examples::tested)),
            may_be_sandbox: true,
        },
        codes: &[Code::WebhookNotFound],
        is_deprecated: false,
    },
];
