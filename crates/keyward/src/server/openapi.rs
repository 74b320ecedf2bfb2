//! The description of the API: OpenAPI 3.1, from the table of routes, the wire types and the
//! catalogue of codes.
//!
//! What a route asks for and may refuse with is read off the table, so that it cannot drift; words
//! and examples come from `v3/description`, and a test proves that each route has them. Made once;
//! this server's address and that of the error pages are put in for each reader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use keyward_core::account::RateClass;
use keyward_tower::{Access, Code, envelope};
use serde_json::{Value, json};
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::info::InfoBuilder;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, ParameterBuilder, ParameterIn,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, SchemaType, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    Components, ComponentsBuilder, Content, ContentBuilder, Deprecated, OpenApi, OpenApiBuilder,
    Paths, Ref, RefOr, Required, Response, Schema, Server,
};

use super::routes::{ENDPOINTS, Endpoint};
use crate::v3::description::{GROUPS, OPERATIONS, Operation as Words, Shape};

/// Stands for this server's address until a reader asks.
const BASE: &str = "{base}";
/// Stands for the address of the error pages.
const DOCS_URL: &str = "{docs_url}";
const JSON: &str = "application/json";
const EXAMPLE_ID: &str = "018cc251-f400-7101-8101-010101010101";

/// The three that look after a server, and what each answers with.
const HEALTH: [(&str, &str, &str, u16, &str); 3] = [
    ("/healthcheck", "health.check", "Check, with a word", 200, "The server answers."),
    ("/health/live", "health.live", "Check that it lives", 204, "The server answers."),
    (
        "/health/ready",
        "health.ready",
        "Check that it is ready",
        204,
        "The keys are loaded and the store answers.",
    ),
];

/// Each with a sentence, a sample, and whether it is a number.
const HEADERS: [(&str, &str, &str, bool); 11] = [
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
    ("X-Profile-Id", "The profile that the request acted for.", EXAMPLE_ID, false),
];

static DESCRIPTION: LazyLock<OpenApi> = LazyLock::new(describe);
static TEXT: LazyLock<String> =
    LazyLock::new(|| serde_json::to_string(&*DESCRIPTION).unwrap_or_default());

/// The description, with [`BASE`] where this server's address belongs.
pub fn description() -> &'static OpenApi {
    &DESCRIPTION
}

/// The description as JSON.
///
/// `base` is this server's address as the reader sees it, `docs_url` what error answers point at.
#[must_use]
pub fn text(base: &str, docs_url: &str) -> String {
    TEXT.replace(BASE, &envelope::json_text(base)).replace(DOCS_URL, &envelope::json_text(docs_url))
}

/// What operations share.
#[derive(Default)]
struct Used {
    codes: BTreeSet<Code>,
    responses: BTreeMap<String, RefOr<Response>>,
}

fn describe() -> OpenApi {
    let mut paths = Paths::new();
    let mut used = Used::default();
    for endpoint in ENDPOINTS {
        let methods = match endpoint.method {
            "POST" => HttpMethod::Post,
            "PUT" => HttpMethod::Put,
            "PATCH" => HttpMethod::Patch,
            "DELETE" => HttpMethod::Delete,
            _ => HttpMethod::Get,
        };
        let Some(operation) = operation_of(endpoint, &mut used) else { continue };
        paths.add_path_operation(endpoint.pattern, vec![methods], operation);
    }
    let text = "Each request below /v3 carries a key in the header x-api-key. GET answers HEAD as \
                well. Unknown members of a body are ignored.";
    let tags =
        GROUPS.into_iter().chain([("Health", "For whoever looks after the server. No key.")]);
    OpenApiBuilder::new()
        .info(InfoBuilder::new().title("Keyward").version("v3").description(Some(text)).build())
        .servers(Some([Server::new(BASE)]))
        .tags(Some(
            tags.map(|(name, text)| TagBuilder::new().name(name).description(Some(text)).build()),
        ))
        .paths(paths)
        .components(Some(components(used)))
        .build()
}

fn operation_of(endpoint: &Endpoint, used: &mut Used) -> Option<Operation> {
    let mut codes = BTreeSet::from(OF_HTTP);
    let health = HEALTH.iter().find(|(pattern, ..)| *pattern == endpoint.pattern);
    let operation = if let Some((_, id, summary, status, text)) = health {
        if *id == "health.ready" {
            codes.insert(Code::InternalUnavailable);
        }
        let mut answer = ResponseBuilder::new().description(*text);
        if *status == 200 {
            let word = ObjectBuilder::new().schema_type(Type::String);
            answer = answer.content("text/plain", Content::new(Some(word)));
        }
        OperationBuilder::new()
            .tag("Health")
            .operation_id(Some(*id))
            .summary(Some(*summary))
            .securities(Some(Vec::<SecurityRequirement>::new()))
            .response(status.to_string(), with_headers(answer, &ALWAYS))
    } else {
        let words = OPERATIONS
            .iter()
            .find(|words| (words.method, words.pattern) == (endpoint.method, endpoint.pattern))?;
        codes.extend(codes_of(endpoint, words));
        guarded(endpoint, words)
    };
    let operation = refusals(&codes).fold(operation, |operation, (status, name, codes)| {
        used.responses.entry(name.clone()).or_insert_with(|| refusal(status, &codes).into());
        operation.response(status.to_string(), Ref::from_response_name(name))
    });
    used.codes.extend(codes);
    Some(operation.build())
}

/// All that an operation below `/v3` may refuse with. Contract 2 and 3.
fn codes_of(endpoint: &Endpoint, words: &Words) -> BTreeSet<Code> {
    let mut codes: BTreeSet<Code> = words.codes.iter().copied().collect();
    codes.extend([
        Code::NotAuthenticated,
        Code::KeyInvalid,
        Code::RateLimited,
        // The permission, or x-profile-id with a key that is no organization's.
        Code::PermissionMissing,
        Code::UuidInvalid,
        Code::CustomerNotFound,
        Code::InternalUnexpected,
        Code::DatabaseFailed,
        Code::InternalUnavailable,
    ]);
    if let Access::Guarded { is_account_exempt: false, .. } = endpoint.access {
        codes.extend([Code::AccountNotActive, Code::AccountNotVerified, Code::AccountHasNoChannel]);
    }
    if words.body.is_some() {
        codes.extend([
            Code::RequestInvalid,
            Code::IdempotencyKeyInvalid,
            Code::MediaTypeUnsupported,
            Code::BodyTooLarge,
            Code::TimedOut,
        ]);
    }
    codes
}

fn guarded(endpoint: &Endpoint, words: &Words) -> OperationBuilder {
    let permission = endpoint.permission.map(|permission| permission.as_str());
    let needs = match permission {
        Some(permission) => format!("Needs the permission `{permission}`."),
        None => String::from("Needs a key, but no permission."),
    };
    let pool = match endpoint.access {
        Access::Guarded { class: RateClass::Standard, .. } => "the standard limit",
        Access::Guarded { class: RateClass::Sensitive, .. } => "the limit of sensitive operations",
        Access::Guarded { class: RateClass::WebhookTest, .. } => "the limit of webhook tests",
        Access::Open => "no limit",
    };
    let mut operation = OperationBuilder::new()
        .tag(words.group)
        .operation_id(Some(words.id))
        .summary(Some(words.summary))
        .description(Some(format!("{} {needs} Spends one of {pool}.", words.text)))
        .security(SecurityRequirement::new("ApiKey", permission));
    if words.is_deprecated {
        operation = operation.deprecated(Some(Deprecated::True));
    }
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let uuid = || text().format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)));
    if endpoint.pattern.contains("{id}") {
        operation = operation.parameter(
            ParameterBuilder::new()
                .name("id")
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .description(Some("The identifier, as the API returned it."))
                .schema(Some(uuid().examples([EXAMPLE_ID]))),
        );
    }
    for parameter in (words.query)() {
        operation = operation.parameter(
            ParameterBuilder::new()
                .name(parameter.name)
                .parameter_in(ParameterIn::Query)
                .description(Some(parameter.text))
                .schema(Some(parameter.schema)),
        );
    }
    operation = operation.parameter(
        ParameterBuilder::new()
            .name("x-profile-id")
            .parameter_in(ParameterIn::Header)
            .description(Some("Acts for a profile of the key's organization."))
            .schema(Some(uuid())),
    );
    if let Some(body) = &words.body {
        let key = text().min_length(Some(1)).max_length(Some(255));
        operation = operation
            .parameter(
                ParameterBuilder::new()
                    .name("Idempotency-Key")
                    .parameter_in(ParameterIn::Header)
                    .description(Some(
                        "Letters, digits, underscores and hyphens. Its form is checked; answers are not kept yet.",
                    ))
                    .schema(Some(key.pattern(Some("^[A-Za-z0-9_-]+$")))),
            )
            .request_body(Some(
                RequestBodyBuilder::new()
                    .content(JSON, content(reference(body.shape), (body.example)()))
                    .required(Some(if body.is_required { Required::True } else { Required::False }))
                    .build(),
            ));
    }
    let success = &words.success;
    let mut answer = ResponseBuilder::new().description(success.text);
    if let Some((shape, example)) = success.data {
        answer = answer.content(JSON, content(enveloped(shape), success_example(&example())));
    }
    let sandbox: &[&str] = if success.may_be_sandbox { &["X-Sandbox"] } else { &[] };
    let headers = [&ALWAYS[..], &WITH_A_KEY, sandbox].concat();
    operation.response(success.status.to_string(), with_headers(answer, &headers))
}

/// Answered before there is a route.
const OF_HTTP: [Code; 3] = [Code::HeadTooLarge, Code::UrlTooLong, Code::RequestMalformed];
const ALWAYS: [&str; 3] = ["X-Request-Id", "X-Response-Time", "X-API-Version"];
const WITH_A_KEY: [&str; 4] =
    ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "X-Profile-Id"];

/// The codes by status, and under which name each answer stands among the components: `401` of two
/// operations is one if it may be the same codes.
fn refusals(codes: &BTreeSet<Code>) -> impl Iterator<Item = (u16, String, Vec<Code>)> {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes {
        by_status.entry(code.status().as_u16()).or_default().push(*code);
    }
    by_status.into_iter().map(|(status, codes)| {
        let name = codes.iter().map(|code| code.as_str()).collect::<Vec<_>>().join(".");
        (status, name, codes)
    })
}

/// An answer of this status, with an example for each code.
fn refusal(status: u16, codes: &[Code]) -> Response {
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

fn with_headers(answer: ResponseBuilder, names: &[&str]) -> ResponseBuilder {
    names.iter().fold(answer, |answer, name| {
        answer.header_ref(*name, Ref::new(format!("#/components/headers/{name}")))
    })
}

fn content(schema: RefOr<Schema>, example: Value) -> Content {
    ContentBuilder::new().schema(Some(schema)).example(Some(example)).build()
}

fn reference(shape: Shape) -> RefOr<Schema> {
    Ref::from_schema_name((shape.name)()).into()
}

fn success_example(data: &Value) -> Value {
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
fn enveloped(shape: Shape) -> RefOr<Schema> {
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

fn components(used: Used) -> Components {
    let scheme = ApiKeyValue::with_description(
        "x-api-key",
        "A key is a UUID of 36 characters. A test key and a production key look alike.",
    );
    let mut components = ComponentsBuilder::new()
        .security_scheme("ApiKey", SecurityScheme::ApiKey(ApiKey::Header(scheme)))
        .schema("Error", error_schema())
        .schema("Meta", meta_schema());
    for words in OPERATIONS {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_of_the_api_has_its_entry_and_each_entry_its_route() {
        let is_described =
            |pattern: &str| pattern.starts_with("/v3/") || pattern.contains("health");
        let routes: BTreeSet<(String, String)> = ENDPOINTS
            .iter()
            .filter(|endpoint| is_described(endpoint.pattern))
            .map(|endpoint| (endpoint.pattern.to_owned(), endpoint.method.to_lowercase()))
            .collect();
        let value: Value = serde_json::from_str(&text("http://a", "http://e")).expect("JSON");
        let paths = value["paths"].as_object().expect("paths");
        let entries: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, item)| {
                let methods = item.as_object().expect("an item").keys();
                methods.map(move |method| (path.clone(), method.clone()))
            })
            .collect();
        assert_eq!(entries, routes);
        let n_words = routes.iter().filter(|(path, _)| path.starts_with("/v3/")).count();
        assert_eq!(OPERATIONS.len(), n_words, "words for a route that is not there");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let text = text("http://a", "http://e");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        let places = text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next());
        let places: BTreeSet<&str> = places.collect();
        assert!(places.len() > 30, "{places:?}");
        for place in places {
            assert!(value.pointer(place).is_some(), "{place}");
        }
        assert!(!text.contains(BASE) && !text.contains(DOCS_URL));
    }

    #[test]
    fn an_operation_tells_of_every_code_that_its_route_may_refuse_with() {
        let value: Value = serde_json::from_str(&text("http://a", "http://e")).expect("JSON");
        let codes = |path: &str, method: &str| -> BTreeSet<String> {
            let answers = value["paths"][path][method]["responses"].as_object().expect("answers");
            let answers = answers.values().map(|answer| {
                let place = answer["$ref"].as_str().and_then(|place| place.strip_prefix('#'));
                place.and_then(|place| value.pointer(place)).unwrap_or(answer)
            });
            let examples =
                answers.filter_map(|answer| answer["content"][JSON]["examples"].as_object());
            examples.flat_map(|examples| examples.keys().cloned()).collect()
        };
        let me = codes("/v3/me", "get");
        assert!(me.contains("AUTH_001") && me.contains("BUSINESS_002"), "{me:?}");
        assert!(!me.contains("AUTH_005") && !me.contains("REQUEST_004"), "{me:?}");
        let create = codes("/v3/contacts", "post");
        for code in ["AUTH_004", "AUTH_005", "VALIDATION_002", "RESOURCE_007", "REQUEST_003"] {
            assert!(create.contains(code), "{code}");
        }
        for code in me.union(&create) {
            let known = Code::from_text(code).expect("it is in the catalogue");
            let place = format!("/components/examples/{code}/value/error/message");
            assert_eq!(value.pointer(&place), Some(&json!(known.message())));
        }
    }
}
