//! Sends answered requests to whoever collects traces: OTLP over HTTP, in its JSON encoding.
//!
//! Nobody waits for it, and nothing is tried twice: what the collector does not take within ten seconds
//! is dropped and counted. The format is written here, for it is one object; the libraries that write it
//! would bring a second way to run things in the background.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use keyward_core::account::Environment;
use keyward_tower::TraceId;
use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};
use url::Url;

use super::stopped;
use crate::app::{Chance, Clock};
use crate::observe::log::{Level, Log};
use crate::observe::spans::{Span, Spans, WAITING};
use crate::outbound::{Outbound, is_success};

const EXPORT_EVERY: Duration = Duration::from_secs(1);
const WITHIN: Duration = Duration::from_secs(10);
/// Requests in one message, about 300 KB.
const AT_ONCE: usize = 512;

/// OTLP's numbers for the side that answers, and for a failure of it.
const KIND_SERVER: u8 = 2;
const STATUS_ERROR: u8 = 2;

/// Sends spans to one collector.
pub struct TraceExporter {
    spans: Spans,
    chance: Chance,
    outbound: Outbound,
    /// With `/v1/traces` at its end.
    url: Url,
    /// Held for a whole turn; the room that the next spans get.
    batch: Mutex<Vec<Span>>,
}

impl TraceExporter {
    #[must_use]
    pub fn new(spans: Spans, chance: Chance, url: Url) -> Self {
        let batch = Mutex::new(Vec::with_capacity(WAITING));
        Self { spans, chance, outbound: Outbound::anywhere(), url, batch }
    }

    /// Sends what waits.
    ///
    /// # Errors
    /// If the collector does not take it: it is dropped.
    pub async fn export(&self) -> Result<(), String> {
        let mut batch = self.batch.lock().await;
        self.spans.drain(&mut batch);
        let mut rest = batch.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(AT_ONCE.min(rest.len()));
            if let Err(error) = self.send(now).await {
                self.spans.sent(rest.len(), false);
                return Err(error);
            }
            self.spans.sent(now.len(), true);
            rest = later;
        }
        Ok(())
    }

    async fn send(&self, spans: &[Span]) -> Result<(), String> {
        let body = Bytes::from(self.message(spans).to_string());
        let posted =
            self.outbound.post(&self.url, Environment::Production, vec![], body, WITHIN).await?;
        if is_success(posted.status) {
            Ok(())
        } else {
            Err(format!("it answers {}", posted.status))
        }
    }

    /// An `ExportTraceServiceRequest`.
    fn message(&self, spans: &[Span]) -> Value {
        let spans: Vec<Value> = spans.iter().map(|span| self.told(span)).collect();
        let version = env!("CARGO_PKG_VERSION");
        let resource = [text("service.name", "keyward"), text("service.version", version)];
        json!({
            "resourceSpans": [{
                "resource": { "attributes": resource },
                "scopeSpans": [{
                    "scope": { "name": "keyward", "version": version },
                    "spans": spans,
                }],
            }],
        })
    }

    fn told(&self, span: &Span) -> Value {
        let (mut trace, mut id) = ([0; 16], [0; 8]);
        self.chance.fill(&mut trace);
        self.chance.fill(&mut id);
        let trace = span.parent.map_or(TraceId::from_bytes(trace), |parent| parent.trace);
        let began = u64::try_from(span.at.0).unwrap_or(0).saturating_mul(1_000_000);
        let ended = began.saturating_add(span.micros.saturating_mul(1000));
        let mut attributes = vec![
            text("http.request.method", span.method),
            text("http.route", span.route),
            json!({
                "key": "http.response.status_code",
                "value": { "intValue": span.status.to_string() },
            }),
            text("keyward.request_id", str::from_utf8(&span.request_id).unwrap_or_default()),
        ];
        attributes.extend(span.code.map(|code| text("keyward.code", code)));
        attributes.extend(span.reason.map(|reason| text("keyward.reason", reason)));
        let mut told = json!({
            "traceId": digits(trace.as_bytes()),
            "spanId": digits(&id),
            "name": format!("{} {}", span.method, span.route),
            "kind": KIND_SERVER,
            "startTimeUnixNano": began.to_string(),
            "endTimeUnixNano": ended.to_string(),
            "attributes": attributes,
        });
        if let Some(parent) = span.parent {
            told["parentSpanId"] = digits(&parent.parent).into();
        }
        if span.status >= 500 {
            told["status"] = json!({ "code": STATUS_ERROR });
        }
        told
    }
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Exports until told to stop.
pub async fn export_traces(
    exporter: Arc<TraceExporter>,
    clock: Clock,
    log: Log,
    mut stop: watch::Receiver<bool>,
) {
    let mut is_failing = false;
    while !stopped(&mut stop, EXPORT_EVERY).await {
        let result = tokio::select! {
            result = exporter.export() => result,
            // A collector that does not answer must not hold up the end of the server.
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match &result {
            Err(error) if !is_failing => {
                let message = format!("traces are not taken, they are dropped: {error}");
                log.say(clock.wall(), Level::Error, &message);
            }
            Ok(()) if is_failing => log.say(clock.wall(), Level::Info, "traces are taken again"),
            _ => {}
        }
        is_failing = result.is_err();
    }
}
