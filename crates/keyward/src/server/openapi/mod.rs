//! The description of the API: OpenAPI 3.1, from the table of routes, the wire types and the
//! catalogue of codes.
//!
//! What a route asks for and may refuse with is read off the table, so that it cannot drift; words
//! and examples come from `v3/description`, and a test proves that each route has them. Made once;
//! this server's address and that of the error pages are put in for each reader.

mod components;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use components::{
    ALWAYS, OF_HTTP, Used, WITH_A_KEY, components, content, enveloped, reference, refusal,
    success_example, with_headers,
};
use keyward_core::account::RateClass;
use keyward_tower::{Access, Code, envelope};
use utoipa::openapi::info::InfoBuilder;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, ParameterBuilder, ParameterIn,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{Content, Deprecated, OpenApi, OpenApiBuilder, Paths, Ref, Required, Server};

use super::routes::{ENDPOINTS, Endpoint};
use crate::v3::description::{GROUPS, Operation as Words, QueryParameter, operations};

/// Stands for this server's address until a reader asks.
const BASE: &str = "{base}";
/// Stands for the address of the error pages.
const DOCS_URL: &str = "{docs_url}";
const JSON: &str = "application/json";
const EXAMPLE_ID: &str = "018cc251-f400-7101-8101-010101010101";

/// Their group: its name, where its page is, and what it is about.
const HEALTH_GROUP: (&str, &str, &str) =
    ("Health", "health", "For whoever looks after the server. No key.");

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

static DESCRIPTION: LazyLock<OpenApi> = LazyLock::new(describe);
static TEXT: LazyLock<String> =
    LazyLock::new(|| serde_json::to_string(&*DESCRIPTION).unwrap_or_default());

/// The description, with [`BASE`] where this server's address belongs.
pub fn description() -> &'static OpenApi {
    &DESCRIPTION
}

/// The groups of operations: the name of each, and the last part of where its page is.
pub fn groups() -> impl Iterator<Item = (&'static str, &'static str)> {
    GROUPS.into_iter().chain([HEALTH_GROUP]).map(|(name, place, _)| (name, place))
}

/// The description as JSON.
///
/// `base` is this server's address as the reader sees it, `docs_url` what error answers point at.
#[must_use]
pub fn text(base: &str, docs_url: &str) -> String {
    TEXT.replace(BASE, &envelope::json_text(base)).replace(DOCS_URL, &envelope::json_text(docs_url))
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
    let text = "Each request below `/v3` carries a key in the header `x-api-key`. Where there is \
                `GET`, there is `HEAD` as well. Unknown members of a body are ignored.";
    let tags = GROUPS.into_iter().chain([HEALTH_GROUP]);
    OpenApiBuilder::new()
        .info(InfoBuilder::new().title("Keyward").version("v3").description(Some(text)).build())
        .servers(Some([Server::new(BASE)]))
        .tags(Some(
            tags.map(|(name, _, text)| {
                TagBuilder::new().name(name).description(Some(text)).build()
            }),
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
        let words = operations()
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
            Code::IdempotencyConflict,
            Code::QuotaExceeded,
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
    operation = parameters_of(endpoint, words)
        .into_iter()
        .fold(operation, |operation, parameter| operation.parameter(parameter));
    if let Some(body) = &words.body {
        let required = if body.is_required { Required::True } else { Required::False };
        let content = content(reference(body.shape), (body.example)());
        let body = RequestBodyBuilder::new().content(JSON, content).required(Some(required));
        operation = operation.request_body(Some(body.build()));
    }
    let success = &words.success;
    let mut answer = ResponseBuilder::new().description(success.text);
    if let Some((shape, example)) = success.data {
        answer = answer.content(JSON, content(enveloped(shape), success_example(&example())));
    }
    let sandbox: &[&str] = if success.may_be_sandbox { &["X-Sandbox"] } else { &[] };
    let replayed: &[&str] =
        if words.body.is_some() { &["Idempotent-Replayed", "X-Original-Request-Id"] } else { &[] };
    let headers = [&ALWAYS[..], &WITH_A_KEY, sandbox, replayed].concat();
    operation.response(success.status.to_string(), with_headers(answer, &headers))
}

fn parameters_of(endpoint: &Endpoint, words: &Words) -> Vec<ParameterBuilder> {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let uuid = || text().format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)));
    let of = |name: &str, place: ParameterIn, text: &str| {
        ParameterBuilder::new().name(name).parameter_in(place).description(Some(text))
    };
    let mut parameters = vec![];
    if endpoint.pattern.contains("{id}") {
        let id = of("id", ParameterIn::Path, "The identifier, as the API returned it.");
        let schema = uuid().examples([EXAMPLE_ID]);
        parameters.push(id.required(Required::True).schema(Some(schema)));
    }
    for QueryParameter { name, text, schema } in (words.query)() {
        parameters.push(of(name, ParameterIn::Query, &text).schema(Some(schema)));
    }
    let profile = "Acts for a profile of the key's organization.";
    parameters.push(of("x-profile-id", ParameterIn::Header, profile).schema(Some(uuid())));
    if words.body.is_some() {
        let key = "Letters, digits, underscores and hyphens. Sent again with the same one within 24 \
                   hours, the change is not made again: the first answer is repeated.";
        let key = of("Idempotency-Key", ParameterIn::Header, key);
        let schema = text().min_length(Some(1)).max_length(Some(255));
        parameters.push(key.schema(Some(schema.pattern(Some("^[A-Za-z0-9_-]+$")))));
    }
    parameters
}

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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

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
        assert_eq!(operations().count(), n_words, "words for a route that is not there");
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
