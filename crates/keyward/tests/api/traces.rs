//! Traces: what a collector is sent, and that nobody waits for it.

use serde_json::Value;

use crate::metrics::{scrape, with_metrics};
use crate::receiver::{Behave, Receiver};
use crate::support::TestServer;

async fn start(receiver: &Receiver) -> TestServer {
    let collector = receiver.url();
    TestServer::start_with(|settings| {
        with_metrics(settings);
        settings.otlp_endpoint = Some(collector.parse().expect("it is an address"));
    })
    .await
}

fn spans(message: &Value) -> Vec<Value> {
    message["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().expect("a list").clone()
}

fn attribute<'a>(of: &'a Value, key: &str) -> Option<&'a str> {
    let all = of["attributes"].as_array().expect("a list");
    let value = &all.iter().find(|attribute| attribute["key"] == key)?["value"];
    value["stringValue"].as_str().or_else(|| value["intValue"].as_str())
}

#[tokio::test]
async fn an_answered_request_is_a_span_of_its_callers_trace() {
    let mut receiver = Receiver::start().await;
    let server = start(&receiver).await;
    let key = server.key().await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let path = "/v3/contacts?search=secret-query";
    let first = server.get(path).key(&key).header("traceparent", parent);
    let first = first.header("tracestate", "vendor=secret-state").send().await;
    let unsampled = parent.replace("-01", "-00");
    server.get("/v3/me").key(&key).header("traceparent", unsampled).send().await;
    server.get("/v3/me").send().await;
    // Whichever turn takes them, that of the server or this one: what waits is sent whole.
    let mut found = vec![];
    while found.len() < 2 {
        server.running().export_traces().await.expect("the collector takes them");
        let received = receiver.next().await;
        assert_eq!(received.line, format!("POST {} HTTP/1.1", receiver.path));
        assert_eq!(received.header("content-type"), Some("application/json"));
        for secret in [&key.clear, &key.id.to_string(), "secret-", "127.0.0.1"] {
            assert!(!received.body.contains(secret), "{secret} is in {}", received.body);
        }
        let message = received.json();
        let resource = &message["resourceSpans"][0]["resource"];
        assert_eq!(attribute(resource, "service.name"), Some("keyward"));
        found.extend(spans(&message));
    }
    let [of_caller, of_its_own] = found.as_slice() else { panic!("two are kept: {found:?}") };
    assert_eq!(of_caller["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(of_caller["parentSpanId"], "00f067aa0ba902b7");
    assert_eq!(of_caller["name"], "GET /v3/contacts");
    assert_eq!(of_caller["kind"], 2);
    assert_eq!(of_caller["startTimeUnixNano"], "1704067200000000000");
    assert_eq!(attribute(of_caller, "http.request.method"), Some("GET"));
    assert_eq!(attribute(of_caller, "http.route"), Some("/v3/contacts"));
    assert_eq!(attribute(of_caller, "http.response.status_code"), Some("200"));
    assert_eq!(attribute(of_caller, "keyward.request_id"), first.header("x-request-id"));
    assert_eq!(of_its_own["parentSpanId"], Value::Null);
    assert_eq!(attribute(of_its_own, "keyward.code"), Some("AUTH_001"));
    assert_eq!(attribute(of_its_own, "keyward.reason"), Some("key_missing"));
    let length = |span: &Value, id: &str| span[id].as_str().map(str::len);
    for span in &found {
        assert_eq!((length(span, "traceId"), length(span, "spanId")), (Some(32), Some(16)));
    }
    assert_ne!(of_caller["spanId"], of_its_own["spanId"]);
}

#[tokio::test]
async fn what_a_collector_does_not_take_is_dropped_and_counted_and_nobody_waits_for_it() {
    let mut receiver = Receiver::start().await;
    receiver.will([Behave::Status(503), Behave::Hang]);
    let server = start(&receiver).await;
    server.get("/v3/me").send().await;
    let figures = async || {
        let scrape = scrape(&server).await;
        let dropped = scrape.of("keyward_spans_dropped_total{reason=\"not_taken\"}");
        [scrape.of("keyward_spans_exported_total"), dropped]
    };
    // The server's own turn may have taken it.
    let exported = server.running().export_traces().await;
    receiver.next().await;
    while figures().await != [0.0, 1.0] {
        tokio::task::yield_now().await;
    }
    assert!(exported.is_ok() || exported == Err(String::from("it answers 503")), "{exported:?}");
    // The collector says nothing more: requests are answered all the same.
    server.get("/v3/me").send().await;
    let waiting = server.running().export_traces();
    tokio::select! {
        result = waiting => panic!("it hangs: {result:?}"),
        _ = receiver.next() => {}
    }
    assert_eq!(server.get("/v3/me").send().await.status, 401);
}
