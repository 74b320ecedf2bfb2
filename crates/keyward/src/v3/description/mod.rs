//! What the description of the API tells of each operation, beside what the table of routes knows:
//! words, examples, and the errors beyond those of the door.
//!
//! Answers are described by the wire types and their examples made from them, so neither can show a
//! field that no answer has. Bodies are read by hand, so theirs are types that nobody makes; a test
//! sends each of their members to the real server.

mod api_keys;
mod contacts;
mod users;
mod webhooks;

use std::borrow::Cow;

use keyward_tower::Code;
use serde_json::{Value, json};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::me::{self, Me};
use super::page::{DEFAULT_PAGE_SIZE, LARGEST_PAGE};

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

fn parameter(name: &'static str, text: &str, schema: ObjectBuilder) -> QueryParameter {
    QueryParameter { name, text: text.to_owned(), schema: schema.into() }
}

/// `page` and `page_size`, which every list has.
fn paged() -> Vec<QueryParameter> {
    let whole = || ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
    let size = format!("How many a page holds, {LARGEST_PAGE} at most.");
    let schema = whole().maximum(Some(LARGEST_PAGE)).default(Some(json!(DEFAULT_PAGE_SIZE)));
    vec![
        parameter("page", "Which page, counted from 1.", whole().default(Some(json!(1)))),
        parameter("page_size", &size, schema),
    ]
}

fn text_schema() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// The groups in the order of the reference: their names, where their pages are, and what they are about.
pub const GROUPS: [(&str, &str, &str); 5] = [
    ("Account", "account", "Whose key it is and what it may do."),
    (
        "Contacts",
        "contacts",
        "The phone numbers of an account. A test key sees test contacts alone, and a production key \
         production contacts.",
    ),
    (
        "Users",
        "users",
        "The members of an account, who use the dashboard, but for its owner. A test key sees members of \
         test data, who get no mail and cannot sign in.",
    ),
    (
        "Webhooks",
        "webhooks",
        "Where an account hears what happens. Those made with a test key hear of test data alone. Each \
         delivery is signed: see the examples in the README.",
    ),
    (
        "API keys",
        "api-keys",
        "Keys that manage keys, for scripts. None gives another more than it has itself: no \
         permission that it lacks, no longer life, no wider addresses, not the other environment.",
    ),
];

const NO_BODY_LEFT: Success = Success {
    status: 204,
    text: "It is deleted. The answer has no body.",
    data: None,
    may_be_sandbox: true,
};

/// All operations below `/v3/`.
pub fn operations() -> impl Iterator<Item = &'static Operation> {
    [ACCOUNT, contacts::OPERATIONS, users::OPERATIONS, webhooks::OPERATIONS, api_keys::OPERATIONS]
        .into_iter()
        .flatten()
}

const ACCOUNT: &[Operation] = &[Operation {
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
}];
