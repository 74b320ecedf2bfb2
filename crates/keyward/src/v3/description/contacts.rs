//! The words for `/v3/contacts`.

use keyward_tower::Code;
use serde_json::json;
use utoipa::ToSchema;

use super::{
    Body, Deletion, NO_BODY_LEFT, Operation, QueryParameter, Success, no_query, paged, parameter,
    shape, text_schema,
};
use crate::app::contacts::Channel;
use crate::v3::contacts::{ContactList, ContactView, MessageSummary, examples};
use crate::v3::page::LONGEST_SEARCH;

/// A number to remember.
#[derive(ToSchema)]
#[schema(as = NewContact)]
#[expect(dead_code, reason = "bodies are read by hand; this only describes one")]
struct NewContact {
    /// In the international form, E.164: a plus sign, the calling code, the number. Spaces, dashes,
    /// dots and brackets may stand between the digits.
    #[schema(max_length = 64, pattern = r"^\+[-. ()]*[1-9]([-. ()]*[0-9]){1,14}[-. ()]*$")]
    phone_number: String,
    /// Checks everything and answers as usual, but stores nothing.
    #[schema(required = false)]
    sandbox: bool,
}

/// What to change; what is left out or `null` stays as it is.
#[derive(ToSchema)]
#[expect(dead_code, reason = "bodies are read by hand; this only describes one")]
struct ContactChange {
    /// `sms` or `whatsapp`.
    default_channel: Option<String>,
    /// Whether the person behind the number wants no messages.
    opt_out: Option<bool>,
    /// Checks everything and answers as usual, but changes nothing.
    #[schema(required = false)]
    sandbox: bool,
}

fn list_query() -> Vec<QueryParameter> {
    let search = format!(
        "Any part of the number, however it is written; {LONGEST_SEARCH} characters at most."
    );
    let channels = Channel::ALL.map(Channel::as_str);
    let mut all = paged();
    all.extend([
        parameter("search", &search, text_schema().max_length(Some(LONGEST_SEARCH))),
        parameter(
            "channel",
            "Only contacts that can be reached over it.",
            text_schema().enum_values(Some(channels)),
        ),
        parameter(
            "phone",
            "The one contact with this number, in the form E.164. Without one: 404.",
            text_schema().pattern(Some(r"^\+[1-9][0-9]{1,14}$")),
        ),
    ]);
    all
}

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        method: "GET",
        pattern: "/v3/contacts",
        id: "contacts.list",
        group: "Contacts",
        summary: "List contacts",
        text: "The newest first, in pages. A page past the end is empty.",
        query: list_query,
        body: None,
        success: Success {
            status: 200,
            text: "A page of contacts.",
            data: Some((shape::<ContactList<'_>>(), examples::list)),
            may_be_sandbox: false,
        },
        codes: &[
            Code::RequestInvalid,
            Code::PhoneNumberInvalid,
            Code::OutOfRange,
            Code::EnumInvalid,
            Code::ContactNotFound,
        ],
        is_deprecated: false,
    },
    Operation {
        method: "POST",
        pattern: "/v3/contacts",
        id: "contacts.create",
        group: "Contacts",
        summary: "Create a contact",
        text: "Each number can be a contact once in each account and environment, however it is \
               written.",
        query: no_query,
        body: Some(Body {
            shape: shape::<NewContact>(),
            example: || json!({"phone_number": "+14155550123"}),
            is_required: true,
        }),
        success: Success {
            status: 201,
            text: "The new contact.",
            data: Some((shape::<ContactView<'_>>(), examples::one)),
            may_be_sandbox: true,
        },
        codes: &[Code::PhoneNumberInvalid, Code::AlreadyExists],
        is_deprecated: false,
    },
    Operation {
        method: "GET",
        pattern: "/v3/contacts/{id}",
        id: "contacts.retrieve",
        group: "Contacts",
        summary: "Show a contact",
        text: "A contact of another account or of the other environment is not found.",
        query: no_query,
        body: None,
        success: Success {
            status: 200,
            text: "The contact.",
            data: Some((shape::<ContactView<'_>>(), examples::one)),
            may_be_sandbox: false,
        },
        codes: &[Code::ContactNotFound],
        is_deprecated: false,
    },
    Operation {
        method: "PATCH",
        pattern: "/v3/contacts/{id}",
        id: "contacts.update",
        group: "Contacts",
        summary: "Change a contact",
        text: "Setting `default_channel` to `whatsapp` adds it to the available channels.",
        query: no_query,
        body: Some(Body {
            shape: shape::<ContactChange>(),
            example: || json!({"opt_out": true}),
            is_required: false,
        }),
        success: Success {
            status: 200,
            text: "The contact as it is now.",
            data: Some((shape::<ContactView<'_>>(), examples::changed)),
            may_be_sandbox: true,
        },
        codes: &[Code::ContactNotFound],
        is_deprecated: false,
    },
    Operation {
        method: "DELETE",
        pattern: "/v3/contacts/{id}",
        id: "contacts.delete",
        group: "Contacts",
        summary: "Delete a contact",
        text: "Set `opt_out` instead if the person does not want messages any more: a deleted \
               contact can be created again by mistake.",
        query: no_query,
        body: Some(Body { shape: shape::<Deletion>(), example: || json!({}), is_required: false }),
        success: NO_BODY_LEFT,
        codes: &[Code::ContactNotFound],
        is_deprecated: true,
    },
    Operation {
        method: "GET",
        pattern: "/v3/contacts/{id}/message-summary",
        id: "contacts.retrieve_message_summary",
        group: "Contacts",
        summary: "Count the messages of a contact",
        text: "This server sends no messages, so everything is zero.",
        query: no_query,
        body: None,
        success: Success {
            status: 200,
            text: "The counts.",
            data: Some((shape::<MessageSummary>(), examples::message_summary)),
            may_be_sandbox: false,
        },
        codes: &[Code::ContactNotFound],
        is_deprecated: false,
    },
];
