//! What the operations of the description share: schemas, headers, refusals, examples.

use std::collections::{BTreeMap, BTreeSet};

use keyward_tower::Code;
use serde_json::{Value, json};
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, SchemaType, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa::openapi::{
    Components, ComponentsBuilder, Content, ContentBuilder, Ref, RefOr, Response, Schema,
};

use super::{DOCS_URL, EXAMPLE_ID, JSON};
use crate::v3::description::{Shape, operations};

/// Each with a sentence, a sample, and whether it is a number.
const HEADERS: [(&str, &str, &str, bool); 13] = [
    (
        "X-Request-Id",
        "Names the request; the log of the server has it too.",
        "req_b9ln7IPEQIItkJ2yWQjj",
        false,
    ),
    ("X-Response-Time", "How long the server took, in whole milliseconds.", "12ms", false),
    ("X-API-Version", "Always v3.", "v3", false),
    ("X-RateLimit-Limit", "How many requests a minute the account may make.", "200", true),
    ("X-RateLimit-Remaining", "How many of them are left.", "199", true),
    (
        "X-RateLimit-Reset",
        "From which second on all are free again, as a Unix time.",
        "1704067260",
        true,
    ),
    ("Retry-After", "How many seconds to wait, from 1 to 60.", "42", true),
    (
        "WWW-Authenticate",
        "Which header a key is expected in.",
        "ApiKey realm=\"v3\", header=\"x-api-key\"",
        false,
    ),
    ("X-Should-Retry", "false: sending it again will not help.", "false", false),
    ("X-Sandbox", "true: nothing was written.", "true", false),
    ("Idempotent-Replayed", "true: this is the answer to an earlier request.", "true", false),
    (
        "X-Original-Request-Id",
        "The earlier request, whose answer this is.",
        "req_b9ln7IPEQIItkJ2yWQjj",
        false,
    ),
    ("X-Profile-Id", "The profile that the request acted for.", EXAMPLE_ID, false),
];

/// Answered before there is a route.
pub(super) const OF_HTTP: [Code; 3] =
    [Code::HeadTooLarge, Code::UrlTooLong, Code::RequestMalformed];
pub(super) const ALWAYS: [&str; 3] = ["X-Request-Id", "X-Response-Time", "X-API-Version"];
pub(super) const WITH_A_KEY: [&str; 4] =
    ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "X-Profile-Id"];

/// What operations share.
#[derive(Default)]
pub(super) struct Used {
    pub(super) codes: BTreeSet<Code>,
    pub(super) responses: BTreeMap<String, RefOr<Response>>,
}

pub(super) fn with_headers(answer: ResponseBuilder, names: &[&str]) -> ResponseBuilder {
    names.iter().fold(answer, |answer, name| {
        answer.header_ref(*name, Ref::new(format!("#/components/headers/{name}")))
    })
}

/// An answer of this status, with an example for each code.
pub(super) fn refusal(status: u16, codes: &[Code]) -> Response {
    let lines = codes.iter().map(|code| format!("{}: {}", code.as_str(), code.message()));
    let examples = codes.iter().map(|code| {
        let place = format!("#/components/examples/{}", code.as_str());
        (code.as_str(), RefOr::Ref(Ref::new(place)))
    });
    let body = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Error")))
        .examples_from_iter(examples)
        .build();
    let more: &[&str] = match status {
        401 => &["WWW-Authenticate"],
        409 => &["X-Should-Retry"],
        429 => &["Retry-After"],
        _ => &[],
    };
    // What HTTP alone refuses has no key, and so no limit.
    let is_past_the_door = status != 401 && codes.iter().any(|code| !OF_HTTP.contains(code));
    let known: &[&str] = if is_past_the_door { &WITH_A_KEY } else { &[] };
    let answer = ResponseBuilder::new()
        .description(lines.collect::<Vec<_>>().join("\n\n"))
        .content(JSON, body);
    with_headers(answer, &[&ALWAYS[..], known, more].concat()).build()
}

pub(super) fn content(schema: RefOr<Schema>, example: Value) -> Content {
    ContentBuilder::new().schema(Some(schema)).example(Some(example)).build()
}

pub(super) fn reference(shape: Shape) -> RefOr<Schema> {
    Ref::from_schema_name((shape.name)()).into()
}

pub(super) fn success_example(data: &Value) -> Value {
    json!({"success": true, "data": data, "error": null, "meta": meta_example()})
}

fn meta_example() -> Value {
    json!({
        "request_id": "req_b9ln7IPEQIItkJ2yWQjj",
        "timestamp": "2024-01-01T00:00:00Z",
        "version": "v3",
    })
}

/// The envelope of a success. Contract 1.
pub(super) fn enveloped(shape: Shape) -> RefOr<Schema> {
    let null = || ObjectBuilder::new().schema_type(Type::Null);
    let success = ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([true]));
    whole(
        ObjectBuilder::new()
            .property("success", success)
            .property("data", reference(shape))
            .property("error", null())
            .property("meta", Ref::from_schema_name("Meta"))
            .into(),
    )
}

/// The guide's error body. Contract 1.
fn error_schema() -> RefOr<Schema> {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let uri = || text().format(Some(SchemaFormat::Custom(String::from("uri"))));
    let codes = Code::ALL.iter().map(|code| code.as_str());
    let sentences = text().to_array_builder();
    let details = ObjectBuilder::new()
        .description(Some("Sentences by field, where fields are at fault."))
        .additional_properties(Some(RefOr::T(Schema::Array(sentences.build()))));
    let error = ObjectBuilder::new()
        .property("code", text().enum_values(Some(codes)))
        .property("message", text())
        .property("doc_url", uri().description(Some("What it means and what to do.")))
        .property("details", details)
        .required("code")
        .required("message")
        .required("doc_url");
    let success = ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([false]));
    whole(
        ObjectBuilder::new()
            .property("success", success)
            .property("error", error)
            .property("meta", Ref::from_schema_name("Meta"))
            .into(),
    )
}

fn meta_schema() -> RefOr<Schema> {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let time = text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
    whole(
        ObjectBuilder::new()
            .property("request_id", text().description(Some("The same as X-Request-Id.")))
            .property("timestamp", time)
            .property("version", text().enum_values(Some(["v3"])))
            .into(),
    )
}

/// Every key of an answer is always written. Contract 1.
fn whole(schema: RefOr<Schema>) -> RefOr<Schema> {
    let RefOr::T(Schema::Object(mut object)) = schema else { return schema };
    object.required = object.properties.keys().cloned().collect();
    RefOr::T(Schema::Object(object))
}

pub(super) fn components(used: Used) -> Components {
    let scheme = ApiKeyValue::with_description(
        "x-api-key",
        "A key is a UUID of 36 characters. A test key and a production key look alike.",
    );
    let mut components = ComponentsBuilder::new()
        .security_scheme("ApiKey", SecurityScheme::ApiKey(ApiKey::Header(scheme)))
        .schema("Error", error_schema())
        .schema("Meta", meta_schema());
    for words in operations() {
        if let Some((shape, _)) = words.success.data {
            let mut schemas = vec![((shape.name)().into_owned(), (shape.schema)())];
            (shape.others)(&mut schemas);
            for (name, schema) in schemas {
                components = components.schema(name, whole(schema));
            }
        }
        if let Some(body) = &words.body {
            components = components.schema((body.shape.name)(), (body.shape.schema)());
        }
    }
    for (name, text, example, is_number) in HEADERS {
        let (kind, example) = if is_number {
            (Type::Integer, example.parse::<u64>().map_or(Value::Null, Value::from))
        } else {
            (Type::String, json!(example))
        };
        let schema = ObjectBuilder::new().schema_type(SchemaType::new(kind));
        let header = HeaderBuilder::new().description(Some(text)).schema(Some(schema));
        components = components.header(name, header.example(Some(example)).build());
    }
    for code in used.codes {
        let value = json!({
            "success": false,
            "error": {
                "code": code.as_str(),
                "message": code.message(),
                "doc_url": format!("{DOCS_URL}/{}", code.as_str()),
            },
            "meta": meta_example(),
        });
        let example = ExampleBuilder::new().summary(code.message()).value(Some(value));
        components = components.example(code.as_str(), example.build());
    }
    let mut components = components.build();
    components.responses = used.responses;
    components
}
