//! The words for `/v3/api-keys`.

use keyward_store::key_list::ListStatus;
use keyward_tower::Code;
use serde_json::json;
use utoipa::ToSchema;

use super::{
    Body, Deletion, NO_BODY_LEFT, Operation, QueryParameter, Success, no_query, paged, parameter,
    shape, text_schema,
};
use crate::v3::api_keys::{KeyList, KeyView, examples};
use crate::v3::page::LONGEST_SEARCH;

/// A key to issue.
#[derive(ToSchema)]
#[expect(dead_code, reason = "bodies are read by hand; this only describes one")]
struct NewApiKey {
    /// For people; it need not be unique.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// Each of them one that the calling key has.
    permissions: Vec<String>,
    /// Networks or addresses that it may be used from; those of the calling key unless they are told.
    #[schema(required = false, max_items = 100)]
    allowed_addresses: Option<Vec<String>>,
    /// When it ends; `null`: never. 90 days, or as long as the calling key, unless it is told.
    #[schema(required = false, format = DateTime)]
    expires_at: Option<String>,
    /// Checks everything and answers as usual, but changes nothing.
    #[schema(required = false)]
    sandbox: bool,
}

/// What to change; what is left out stays as it is.
#[derive(ToSchema)]
#[expect(dead_code, reason = "bodies are read by hand; this only describes one")]
struct ApiKeyChange {
    /// For people; it need not be unique.
    #[schema(required = false, min_length = 1, max_length = 100)]
    name: Option<String>,
    /// Each of them one that the calling key has.
    #[schema(required = false)]
    permissions: Option<Vec<String>>,
    /// Networks or addresses that it may be used from; those of the calling key unless they are told.
    #[schema(required = false, max_items = 100)]
    allowed_addresses: Option<Vec<String>>,
    /// When it ends; `null`: never. 90 days, or as long as the calling key, unless it is told.
    #[schema(required = false, format = DateTime)]
    expires_at: Option<String>,
    /// Checks everything and answers as usual, but changes nothing.
    #[schema(required = false)]
    sandbox: bool,
}

/// How long the old key works on.
#[derive(ToSchema)]
#[expect(dead_code, reason = "bodies are read by hand; this only describes one")]
struct ApiKeyRotation {
    /// Up to a year; a day unless it is told.
    #[schema(required = false, minimum = 0, maximum = 31536000)]
    grace_seconds: Option<u32>,
    /// Checks everything and answers as usual, but changes nothing.
    #[schema(required = false)]
    sandbox: bool,
}

/// Nothing needs to be said.
#[derive(ToSchema)]
#[expect(dead_code, reason = "bodies are read by hand; this only describes one")]
struct Switch {
    /// Checks everything and answers as usual, but changes nothing.
    #[schema(required = false)]
    sandbox: bool,
}

fn list_query() -> Vec<QueryParameter> {
    let words: Vec<&str> = ListStatus::ALL.iter().map(|status| status.as_str()).collect();
    let mut all = paged();
    all.extend([
        parameter("status", "Only keys in this state.", text_schema().enum_values(Some(words))),
        parameter(
            "search",
            "Part of the name, or the last four characters.",
            text_schema().max_length(Some(LONGEST_SEARCH)),
        ),
    ]);
    all
}

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        method: "GET",
        pattern: "/v3/api-keys",
        id: "api_keys.list",
        group: "API keys",
        summary: "List keys",
        text: "The newest first, in pages; those of the environment of the calling key.",
        query: list_query,
        body: None,
        success: Success {
            status: 200,
            text: "A page of keys.",
            data: Some((shape::<KeyList<'_>>(), examples::list)),
            may_be_sandbox: false,
        },
        codes: &[Code::RequestInvalid, Code::OutOfRange, Code::EnumInvalid],
        is_deprecated: false,
    },
    Operation {
        method: "POST",
        pattern: "/v3/api-keys",
        id: "api_keys.create",
        group: "API keys",
        summary: "Issue a key",
        text: "The answer shows the key, this once.",
        query: no_query,
        body: Some(Body {
            shape: shape::<NewApiKey>(),
            example: || json!({"name": "importer", "permissions": ["contacts:read", "contacts:write"]}),
            is_required: true,
        }),
        success: Success {
            status: 201,
            text: "The new key.",
            data: Some((shape::<KeyView<'_>>(), examples::issued)),
            may_be_sandbox: true,
        },
        codes: &[],
        is_deprecated: false,
    },
    Operation {
        method: "DELETE",
        pattern: "/v3/api-keys/self",
        id: "api_keys.revoke_self",
        group: "API keys",
        summary: "Revoke the calling key",
        text: "For good and at once, with no permission: whoever finds a key can burn it. The account is alerted.",
        query: no_query,
        body: Some(Body { shape: shape::<Deletion>(), example: || json!({}), is_required: false }),
        success: NO_BODY_LEFT,
        codes: &[],
        is_deprecated: false,
    },
    Operation {
        method: "GET",
        pattern: "/v3/api-keys/{id}",
        id: "api_keys.retrieve",
        group: "API keys",
        summary: "Show a key",
        text: "By its id, not by the key itself. A key of another account or of the other environment is not found.",
        query: no_query,
        body: None,
        success: Success {
            status: 200,
            text: "The key.",
            data: Some((shape::<KeyView<'_>>(), examples::one)),
            may_be_sandbox: false,
        },
        codes: &[Code::KeyNotFound],
        is_deprecated: false,
    },
    Operation {
        method: "PATCH",
        pattern: "/v3/api-keys/{id}",
        id: "api_keys.update",
        group: "API keys",
        summary: "Change a key",
        text: "What is left out stays as it is. What comes of it may not exceed the calling key.",
        query: no_query,
        body: Some(Body {
            shape: shape::<ApiKeyChange>(),
            example: || json!({"name": "importer 2"}),
            is_required: false,
        }),
        success: Success {
            status: 200,
            text: "The key as it is now.",
            data: Some((shape::<KeyView<'_>>(), examples::one)),
            may_be_sandbox: true,
        },
        codes: &[Code::KeyNotFound],
        is_deprecated: false,
    },
    Operation {
        method: "DELETE",
        pattern: "/v3/api-keys/{id}",
        id: "api_keys.revoke",
        group: "API keys",
        summary: "Revoke a key",
        text: "For good and at once. It stays in the list as revoked.",
        query: no_query,
        body: Some(Body { shape: shape::<Deletion>(), example: || json!({}), is_required: false }),
        success: NO_BODY_LEFT,
        codes: &[Code::KeyNotFound],
        is_deprecated: false,
    },
    Operation {
        method: "POST",
        pattern: "/v3/api-keys/{id}/rotate",
        id: "api_keys.rotate",
        group: "API keys",
        summary: "Rotate a key",
        text: "Issues a successor with the same settings and shows it, this once. The old key works on for its grace period.",
        query: no_query,
        body: Some(Body {
            shape: shape::<ApiKeyRotation>(),
            example: || json!({"grace_seconds": 86400}),
            is_required: false,
        }),
        success: Success {
            status: 200,
            text: "The successor.",
            data: Some((shape::<KeyView<'_>>(), examples::issued)),
            may_be_sandbox: true,
        },
        codes: &[Code::KeyNotFound],
        is_deprecated: false,
    },
    Operation {
        method: "POST",
        pattern: "/v3/api-keys/{id}/disable",
        id: "api_keys.disable",
        group: "API keys",
        summary: "Disable a key",
        text: "It is refused at once, until it is enabled again.",
        query: no_query,
        body: Some(Body { shape: shape::<Switch>(), example: || json!({}), is_required: false }),
        success: Success {
            status: 200,
            text: "The key as it is now.",
            data: Some((shape::<KeyView<'_>>(), examples::disabled)),
            may_be_sandbox: true,
        },
        codes: &[Code::KeyNotFound],
        is_deprecated: false,
    },
    Operation {
        method: "POST",
        pattern: "/v3/api-keys/{id}/enable",
        id: "api_keys.enable",
        group: "API keys",
        summary: "Enable a key",
        text: "A disabled key works again.",
        query: no_query,
        body: Some(Body { shape: shape::<Switch>(), example: || json!({}), is_required: false }),
        success: Success {
            status: 200,
            text: "The key as it is now.",
            data: Some((shape::<KeyView<'_>>(), examples::one)),
            may_be_sandbox: true,
        },
        codes: &[Code::KeyNotFound],
        is_deprecated: false,
    },
];
