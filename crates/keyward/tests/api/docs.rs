//! What readers and programs are told about the API is what the API does.

use std::collections::BTreeSet;

use keyward::config::Settings;
use keyward_core::permission::PermissionSet;
use keyward_tower::Code;
use serde_json::{Value, json};

use crate::support::{KeyOf, Reply, TestKey, TestServer};

const PAGES: [&str; 11] = [
    "/docs",
    "/docs/authentication",
    "/docs/rate-limits",
    "/docs/errors",
    "/docs/reference",
    "/docs/reference/account",
    "/docs/reference/contacts",
    "/docs/reference/users",
    "/docs/reference/webhooks",
    "/docs/reference/api-keys",
    "/docs/reference/health",
];

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

async fn description(server: &TestServer) -> Value {
    server.get("/openapi.json").send().await.json()
}

/// Enough requests for these tests in one window.
fn generous(settings: &mut Settings) {
    settings.rate_limit_standard = 10_000;
    settings.rate_limit_sensitive = 10_000;
    settings.rate_limit_webhook_test = 10_000;
}

/// Each `(path, method, operation)` that asks for a key.
fn operations(description: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = description["paths"].as_object().expect("paths");
    let all = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().expect("an item").iter();
        methods.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    });
    all.filter(|(path, ..)| path.starts_with("/v3/")).collect()
}

fn resolved<'a>(description: &'a Value, value: &'a Value) -> &'a Value {
    let place = value["$ref"].as_str().and_then(|place| place.strip_prefix('#'));
    place.map_or(value, |place| description.pointer(place).expect("it leads somewhere"))
}

/// Whether a value is what a schema says, no member more or less.
fn check(description: &Value, schema: &Value, value: &Value, place: &str) {
    let schema = resolved(description, schema);
    if let Some(choices) = schema["oneOf"].as_array() {
        let is_null = |choice: &&Value| (choice["type"] == "null") == value.is_null();
        let choice = choices.iter().find(is_null).unwrap_or_else(|| panic!("{place}: {value}"));
        return check(description, choice, value, place);
    }
    if schema["type"].is_null() {
        // Anything: what it holds is told elsewhere.
        return;
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds = &schema["type"];
    let is_allowed = kinds == kind || kinds.as_array().is_some_and(|k| k.contains(&json!(kind)));
    assert!(is_allowed, "{place} is {kind}, not {kinds}");
    if let Some(values) = schema["enum"].as_array() {
        assert!(values.contains(value), "{place}: {value}");
    }
    if let Some(members) = value.as_object() {
        for name in schema["required"].as_array().into_iter().flatten() {
            assert!(members.contains_key(name.as_str().expect("a name")), "{place} lacks {name}");
        }
        for (name, member) in members {
            let known = schema["properties"].get(name).or(schema.get("additionalProperties"));
            let known = known.unwrap_or_else(|| panic!("{place}.{name} is not described"));
            check(description, known, member, &format!("{place}.{name}"));
        }
    }
    for item in value.as_array().into_iter().flatten() {
        check(description, &schema["items"], item, &format!("{place}[]"));
    }
}

/// Holds an answer against what the operation says of its status.
fn check_reply(description: &Value, operation: &Value, reply: &Reply) {
    let status = reply.status.to_string();
    let answer = operation["responses"].get(&status);
    let answer = answer.unwrap_or_else(|| panic!("{status} is not described: {reply:?}"));
    let answer = resolved(description, answer);
    let told = answer["headers"].as_object().expect("headers");
    let told: BTreeSet<String> = told.keys().map(|name| name.to_lowercase()).collect();
    let ours = |name: &&String| name.starts_with("x-") || ["retry-after"].contains(&name.as_str());
    let sent: BTreeSet<String> =
        reply.headers.iter().map(|(name, _)| name).filter(ours).cloned().collect();
    assert!(sent.is_subset(&told), "{sent:?} of {told:?}");
    let content = &answer["content"]["application/json"];
    if reply.body.is_empty() {
        assert!(content.is_null(), "{reply:?}");
        return;
    }
    check(description, &content["schema"], &reply.json(), &status);
    if reply.status >= 400 {
        assert!(content["examples"].get(reply.code()).is_some(), "{reply:?}");
    } else {
        check(description, &content["schema"], &content["example"], "example");
    }
}

#[tokio::test]
async fn every_document_is_served_under_a_strict_policy_and_with_this_servers_address() {
    let server = TestServer::start().await;
    for path in PAGES {
        let host = "keys.example.com:8443";
        let whole = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let page = server.raw(whole.as_bytes()).await;
        assert_eq!(page.status, 200, "{path}");
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"), "{path}");
        assert_eq!(page.header("content-security-policy"), Some(POLICY), "{path}");
        assert!(page.body.contains(&format!("http://{host}")), "{path}");
        assert!(page.body.len() < 100_000, "{path}: {} bytes", page.body.len());
        for inline in ["<style", " style=", " onclick=", "javascript:", "//cdn", "{base}"] {
            assert!(!page.body.contains(inline), "{path} has {inline}");
        }
        let scripts = page.body.matches("<script").count();
        assert_eq!(scripts, page.body.matches("<script type=\"module\" src=\"/").count(), "{path}");
    }
}

#[tokio::test]
async fn every_link_of_the_documents_leads_somewhere_on_this_server() {
    let server = TestServer::start().await;
    let mut seen = BTreeSet::new();
    let mut left: Vec<String> = vec![String::from("/docs"), String::from("/")];
    while let Some(path) = left.pop() {
        let reply = server.get(&path).send().await;
        assert!(matches!(reply.status, 200 | 303), "{path}: {}", reply.status);
        for attribute in ["href=\"", "src=\""] {
            for target in reply.body.split(attribute).skip(1) {
                let target = target.split('"').next().expect("it ends");
                let (page, anchor) = target.split_once('#').unwrap_or((target, ""));
                let page = if page.is_empty() { &path } else { page };
                assert!(page.starts_with('/'), "{path} leads away: {target}");
                if !anchor.is_empty() {
                    let there = server.get(page).send().await.body;
                    assert!(there.contains(&format!("id=\"{anchor}\"")), "{path}: {target}");
                }
                if seen.insert(page.to_owned()) {
                    left.push(page.to_owned());
                }
            }
        }
    }
    assert!(PAGES.iter().all(|page| seen.contains(*page)), "{seen:?}");
    assert!(seen.contains("/docs/try.js") && seen.contains("/openapi.json"), "{seen:?}");
}

#[tokio::test]
async fn every_code_that_the_documents_mention_exists() {
    let server = TestServer::start().await;
    let mut n_codes = 0;
    for path in PAGES.into_iter().chain(["/openapi.json"]) {
        let body = server.get(path).send().await.body;
        let words =
            body.split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
        for word in words {
            let is_code = word.split_once('_').is_some_and(|(family, number)| {
                family.len() > 3 && number.len() == 3 && number.bytes().all(|b| b.is_ascii_digit())
            });
            if is_code {
                assert!(Code::from_text(word).is_some(), "{path} mentions {word}");
                n_codes += 1;
            }
        }
    }
    assert!(n_codes > 100, "{n_codes}");
}

#[tokio::test]
async fn the_description_has_every_route_below_v3_and_names_this_server() {
    let server = TestServer::start_with(|settings| {
        settings.docs_url = String::from("https://docs.example/\"e");
    })
    .await;
    let reply = server.get("/openapi.json").send().await;
    let description = reply.json();
    assert_eq!(description["openapi"], "3.1.0");
    assert_eq!(description["servers"][0]["url"], "http://localhost");
    let paths: Vec<&String> = description["paths"].as_object().expect("paths").keys().collect();
    let mut routes: Vec<&str> = keyward::server::routes::ENDPOINTS
        .iter()
        .map(|endpoint| endpoint.pattern)
        .filter(|pattern| pattern.starts_with("/v3/") || pattern.contains("health"))
        .collect();
    routes.sort_unstable();
    routes.dedup();
    assert_eq!(paths, routes);
    let example = "/components/examples/AUTH_001/value/error/doc_url";
    let doc_url = description.pointer(example).and_then(Value::as_str);
    assert_eq!(doc_url, Some("https://docs.example/\"e/AUTH_001"));
}

#[tokio::test]
async fn every_operation_answers_as_it_is_described() {
    let server = TestServer::start_with(generous).await;
    let all = KeyOf { permissions: PermissionSet::ALL, ..server.usual() };
    let key = server.issue(all).await;
    let description = description(&server).await;
    let contact = r#"{"phone_number":"+14155550123"}"#;
    let hook =
        r#"{"display_name":"a","endpoint_url":"https://a.example/","event_types":["contact"]}"#;
    let made = async |path: &str, body: &str| {
        let made = server.post(path, body).key(&key).send().await;
        assert_eq!(made.status, 201, "{made:?}");
        made.json()["data"]["id"].as_str().expect("an id").to_owned()
    };
    let user = r#"{"email":"bob@example.com","name":"Bob","role":"developer"}"#;
    let ids = [
        ("/v3/contacts", made("/v3/contacts", contact).await),
        ("/v3/users", made("/v3/users", user).await),
        ("/v3/webhooks", made("/v3/webhooks", hook).await),
        ("/v3/api-keys", made("/v3/api-keys", r#"{"name":"a","permissions":[]}"#).await),
    ];
    // That deleting knows no sandbox is why there is another one.
    let to_delete = made("/v3/webhooks", hook).await;
    for (path, method, operation) in operations(&description) {
        let example = &operation["requestBody"]["content"]["application/json"]["example"];
        // The contact is there already, and must stay for the others.
        let mut body = example.clone();
        if method == "post" || method == "delete" {
            body["sandbox"] = json!(true);
        }
        let known = ids.iter().find(|(place, _)| path.starts_with(place));
        let mut id = known.map_or("", |(_, id)| id.as_str());
        if (path, method) == ("/v3/webhooks/{id}", "delete") {
            id = &to_delete;
        }
        let path = path.replace("{id}", id);
        let call = |key: Option<&TestKey>| {
            let call = server.call(&method.to_uppercase(), &path);
            let call = if example.is_null() { call } else { call.json(&body.to_string()) };
            if let Some(key) = key { call.key(key) } else { call }
        };
        let reply = call(Some(&key)).send().await;
        assert!(reply.status < 300, "{method} {path}: {reply:?}");
        check_reply(&description, operation, &reply);
        let refused = call(None).send().await;
        assert_eq!(refused.verdict(), "401 AUTH_001");
        check_reply(&description, operation, &refused);
        if id.is_empty() || !path.contains(id) {
            continue;
        }
        let missing = path.replace(id, "00000000-0000-4000-8000-000000000000");
        let missing = server.call(&method.to_uppercase(), &missing).key(&key).send().await;
        check_reply(&description, operation, &missing);
    }
    let taken = server.post("/v3/contacts", contact).key(&key).send().await;
    check_reply(&description, &description["paths"]["/v3/contacts"]["post"], &taken);
    assert_eq!(taken.code(), "RESOURCE_007");
}

#[tokio::test]
async fn every_member_and_parameter_that_is_described_is_read() {
    let server = TestServer::start_with(generous).await;
    let all = KeyOf { permissions: PermissionSet::ALL, ..server.usual() };
    let key = server.issue(all).await;
    let description = description(&server).await;
    let id = "00000000-0000-4000-8000-000000000000";
    for (path, method, operation) in operations(&description) {
        let path = path.replace("{id}", id);
        let body = &operation["requestBody"]["content"]["application/json"]["schema"];
        let properties = &resolved(&description, body)["properties"];
        if let Some(properties) = properties.as_object().filter(|members| !members.is_empty()) {
            let wrong = |schema: &Value| {
                let is_text = schema["type"].to_string().contains("string");
                if is_text { json!([]) } else { json!("wrong") }
            };
            let wrong: serde_json::Map<_, _> =
                properties.iter().map(|(name, schema)| (name.clone(), wrong(schema))).collect();
            let call = server.call(&method.to_uppercase(), &path).key(&key);
            let reply = call.json(&Value::from(wrong).to_string()).send().await;
            check_reply(&description, operation, &reply);
            let details = reply.json()["error"]["details"].clone();
            let named: Vec<&String> = details.as_object().expect("details").keys().collect();
            let mut known: Vec<&String> = properties.keys().collect();
            known.sort_unstable();
            assert_eq!(named, known, "{method} {path}");
        }
        for parameter in operation["parameters"].as_array().expect("parameters") {
            let name = parameter["name"].as_str().expect("a name");
            let bad = "not-right".repeat(30);
            let call = match parameter["in"].as_str() {
                Some("query") => {
                    server.call(&method.to_uppercase(), &format!("{path}?{name}={bad}"))
                }
                Some("header") => server.call(&method.to_uppercase(), &path).header(name, &bad),
                _ => server.call(&method.to_uppercase(), &path.replace(id, &bad)),
            };
            let reply = call.key(&key).send().await;
            assert_eq!(reply.status, 400, "{method} {path} does not look at {name}");
            check_reply(&description, operation, &reply);
        }
    }
}

#[tokio::test]
async fn the_permission_that_is_described_is_the_one_that_is_asked_for() {
    let server = TestServer::start_with(generous).await;
    let description = description(&server).await;
    for (path, method, operation) in operations(&description) {
        let asked = &operation["security"][0]["ApiKey"];
        let asked: Vec<&str> =
            asked.as_array().expect("a list").iter().filter_map(Value::as_str).collect();
        let permissions = asked.iter().map(|name| name.parse().expect("a permission")).collect();
        let enough = server.issue(KeyOf { permissions, ..server.usual() }).await;
        let nothing = std::iter::empty().collect();
        let little = server.issue(KeyOf { permissions: nothing, ..server.usual() }).await;
        let path = path.replace("{id}", "7");
        let call = async |key: &TestKey| {
            server.call(&method.to_uppercase(), &path).key(key).send().await.status
        };
        assert_ne!(call(&enough).await, 403, "{method} {path}");
        assert_eq!(call(&little).await == 403, !asked.is_empty(), "{method} {path}");
    }
}
