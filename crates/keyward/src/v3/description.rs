//! What the description of the API tells of each operation, beside what the table of routes knows:
//! words, examples, and the errors beyond those of the door.
//!
//! Answers are described by the wire types and their examples made from them, so neither can show a
//! field that no answer has. Bodies are read by hand, so theirs are types that nobody makes; a test
//! sends each of their members to the real server.

use std::borrow::Cow;

use keyward_tower::Code;
use serde_json::{Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::contacts::{ContactList, ContactView, LONGEST_SEARCH, MessageSummary, examples};
use super::me::{self, Me};
use super::page::{DEFAULT_PAGE_SIZE, LARGEST_PAGE};
use crate::app::contacts::Channel;

/// One method of one path, in words.
pub struct Operation {
    pub method: &'static str,
    pub pattern: &'static str,
    /// What the official clients call it.
    pub id: &'static str,
    pub group: &'static str,
    pub summary: &'static str,
    pub text: &'static str,
    pub query: fn() -> Vec<QueryParameter>,
    pub body: Option<Body>,
    pub success: Success,
    /// Those that are its own; the door's are known from the route.
    pub codes: &'static [Code],
    /// There is something better.
    pub is_deprecated: bool,
}

/// A value of the query string. None is required.
pub struct QueryParameter {
    pub name: &'static str,
    pub text: String,
    pub schema: RefOr<Schema>,
}

/// A JSON object that can be sent.
pub struct Body {
    pub shape: Shape,
    pub example: fn() -> Value,
    pub is_required: bool,
}

/// What it is answered with if all goes well.
pub struct Success {
    pub status: u16,
    pub text: &'static str,
    /// The `data` of the envelope; none for an answer without a body.
    pub data: Option<(Shape, fn() -> Value)>,
    /// With `"sandbox": true` it says so in a header.
    pub may_be_sandbox: bool,
}

/// A wire type, as its schema.
#[derive(Clone, Copy)]
pub struct Shape {
    pub name: fn() -> Cow<'static, str>,
    pub schema: fn() -> RefOr<Schema>,
    /// Those that it refers to.
    pub others: fn(&mut Vec<(String, RefOr<Schema>)>),
}

const fn shape<T: ToSchema>() -> Shape {
    Shape { name: T::name, schema: <T as PartialSchema>::schema, others: T::schemas }
}

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

/// How to delete.
#[derive(ToSchema)]
#[expect(dead_code, reason = "bodies are read by hand; this only describes one")]
struct Deletion {
    /// Checks everything and answers as usual, but deletes nothing.
    #[schema(required = false)]
    sandbox: bool,
}

fn no_query() -> Vec<QueryParameter> {
    vec![]
}

fn list_query() -> Vec<QueryParameter> {
    use utoipa::openapi::schema::{ObjectBuilder, Type};

    let whole = || ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let of = |name, text: &str, schema: ObjectBuilder| QueryParameter {
        name,
        text: text.to_owned(),
        schema: schema.into(),
    };
    vec![
        of("page", "Which page, counted from 1.", whole().default(Some(json!(1)))),
        of(
            "page_size",
            &format!("How many contacts a page holds, {LARGEST_PAGE} at most."),
            whole().maximum(Some(LARGEST_PAGE)).default(Some(json!(DEFAULT_PAGE_SIZE))),
        ),
        of(
            "search",
            &format!(
                "Any part of the number, however it is written; {LONGEST_SEARCH} characters at most."
            ),
            text().max_length(Some(LONGEST_SEARCH)),
        ),
        of(
            "channel",
            "Only contacts that can be reached over it.",
            text().enum_values(Some(Channel::ALL.map(Channel::as_str))),
        ),
        of(
            "phone",
            "The one contact with this number, in the form E.164. Without one: 404.",
            text().pattern(Some(r"^\+[1-9][0-9]{1,14}$")),
        ),
    ]
}

/// The groups in the order of the reference.
pub const GROUPS: [(&str, &str); 2] = [
    ("Account", "Whose key it is and what it may do."),
    (
        "Contacts",
        "The phone numbers of an account. A test key sees test contacts alone, and a production key \
         production contacts.",
    ),
];

const NO_BODY_LEFT: Success = Success {
    status: 204,
    text: "It is deleted. The answer has no body.",
    data: None,
    may_be_sandbox: true,
};

/// All operations below `/v3/`.
pub const OPERATIONS: &[Operation] = &[
    Operation {
        method: "GET",
        pattern: "/v3/me",
        id: "me.retrieve",
        group: "Account",
        summary: "Show whose key this is",
        text: "The account, and what the key may do: the quickest way to see whether a key works. \
               It is answered for an account that may not be used, too.",
        query: no_query,
        body: None,
        success: Success {
            status: 200,
            text: "The account and the key.",
            data: Some((shape::<Me<'_>>(), me::example)),
            may_be_sandbox: false,
        },
        codes: &[],
        is_deprecated: false,
    },
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
