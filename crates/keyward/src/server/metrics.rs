//! `/metrics`: what Prometheus asks for, on a listener of its own.
//!
//! It tells nothing that is secret and nothing of anybody, and yet it is no page for strangers: it is on
//! loopback unless the operator says otherwise. Everything is added up when it is asked for. What the
//! store must be asked is left out when it does not answer within a second, so that the figures come
//! when they are needed most.
//!
//! Bound: 16 connections at once, one request each, 8 KiB of head, 10 s; about 60 KB of text.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use keyward_core::time::UnixMillis;
use keyward_store::meter::{BOUNDS_MICROS, FAULTS, StoreFigures};
use keyward_store::webhooks;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use super::places::Connected;
use super::tls::Tls;
use crate::app::{App, Reach};
use crate::observe::exposition::{self, Exposition};
use crate::observe::log::Log;
use crate::observe::meter::Meter;
use crate::observe::spans::Spans;
use crate::workers::UsageWriter;

const CONNECTIONS: usize = 16;
const WITHIN: Duration = Duration::from_secs(10);
const HEAD_BYTES: usize = 8 * 1024;
/// The store is waited for so long.
const STORE_WITHIN: Duration = Duration::from_secs(1);
/// The default, on which a second server of a machine finds the first.
const USUAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

/// Where the figures come from.
pub struct Sources {
    pub app: Arc<App>,
    pub meter: Meter,
    pub log: Log,
    pub spans: Spans,
    pub usage: Arc<UsageWriter>,
    pub tls: Option<Arc<Tls>>,
    pub connections: Connected,
    pub started_at: UnixMillis,
}

/// Where `/metrics` is, if it was asked for; or why it is nowhere.
pub type Place = Result<Option<SocketAddr>, String>;

/// A listener if one was asked for, or why there is none.
type Listening = Result<Option<TcpListener>, String>;

/// Listens where the settings say. That the usual port is taken is told and stops nobody, for keys are
/// what the server is there for; an address that somebody chose must be free.
///
/// # Errors
/// If that address cannot be listened on.
pub async fn listen(wanted: Option<SocketAddr>) -> anyhow::Result<Listening> {
    match wanted {
        Some(address) => listen_at(address, address == USUAL).await,
        None => Ok(Ok(None)),
    }
}

async fn listen_at(address: SocketAddr, is_usual: bool) -> anyhow::Result<Listening> {
    let what_to_do = "choose another address or port with --metrics-listen, or none with \
                      --metrics-listen off";
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(Ok(Some(listener))),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_usual => Ok(Err(format!(
            "metrics are nowhere, for {address} is taken, perhaps by another server on this \
                 machine: {what_to_do}"
        ))),
        Err(error) => Err(error)
            .with_context(|| format!("cannot listen on {address} for metrics: {what_to_do}")),
    }
}

/// Answers until aborted. Tells where.
///
/// # Errors
/// If the system does not say where it listens.
pub(super) fn spawn(
    listening: Listening,
    sources: Sources,
) -> io::Result<(Place, Option<JoinHandle<()>>)> {
    match listening {
        Ok(Some(listener)) => {
            let address = listener.local_addr()?;
            let scraping = tokio::spawn(serve(listener, Arc::new(sources)));
            Ok((Ok(Some(address)), Some(scraping)))
        }
        Ok(None) => Ok((Ok(None), None)),
        Err(why) => Ok((Err(why), None)),
    }
}

async fn serve(listener: TcpListener, sources: Arc<Sources>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    // Why a set: its connections end with it.
    let mut open = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        while open.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let sources = Arc::clone(&sources);
        open.spawn(async move {
            // A connection that fails concerns its client alone.
            let _ = tokio::time::timeout(WITHIN, answer(stream, sources)).await;
            drop(place);
        });
    }
}

async fn answer(stream: TcpStream, sources: Arc<Sources>) -> hyper::Result<()> {
    let service = service_fn(move |request: Request<Incoming>| {
        let sources = Arc::clone(&sources);
        async move {
            let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
            Ok::<_, Infallible>(match (request.uri().path(), is_read) {
                ("/metrics", true) => {
                    text(StatusCode::OK, exposition::CONTENT_TYPE, sources.text().await)
                }
                ("/metrics", false) => {
                    let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "ask with GET\n");
                    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
                    answer
                }
                _ => plain(StatusCode::NOT_FOUND, "the figures are at /metrics\n"),
            })
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(WITHIN)
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

fn text(status: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn plain(status: StatusCode, what: &str) -> Response<Full<Bytes>> {
    text(status, "text/plain; charset=utf-8", what.to_owned())
}

impl Sources {
    /// All figures as of now.
    async fn text(&self) -> String {
        let mut text = Exposition::default();
        self.write_process(&mut text);
        self.meter.write(&mut text);
        self.write_connections(&mut text);
        if let Reach::Here(follower) = &self.app.reach {
            let index = follower.verifier.index();
            text.gauge("keyward_keys_loaded", "Keys in memory, whatever their status.")
                .put(&[], index.len());
            text.gauge("keyward_accounts_loaded", "Accounts in memory, whatever their state.")
                .put(&[], index.n_accounts());
        }
        write_store(&mut text, &self.app.store.figures());
        self.write_queues(&mut text);
        self.write_deliveries(&mut text).await;
        text.into_text()
    }

    fn write_process(&self, text: &mut Exposition) {
        text.gauge("keyward_build_info", "Always 1; the version is in its label.")
            .put(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        text.gauge("process_start_time_seconds", "When the server started, in seconds since 1970.")
            .put(&[], self.started_at.0 as f64 / 1e3);
        if let Some(bytes) = resident_bytes() {
            text.gauge("process_resident_memory_bytes", "Memory that the server has in use.")
                .put(&[], bytes);
        }
    }

    fn write_connections(&self, text: &mut Exposition) {
        let connections = self.connections.figures();
        text.gauge("keyward_connections_open", "Connections of clients that are open.")
            .put(&[], connections.open);
        text.counter("keyward_connections_accepted_total", "Connections that were accepted.")
            .put(&[], connections.accepted);
        let refused = "Connections that were closed at once (reason address: theirs has as many as one \
                       may have), or later to make room for others (reason room).";
        text.counter("keyward_connections_refused_total", refused)
            .put(&[("reason", "address")], connections.refused)
            .put(&[("reason", "room")], connections.ended);
        if let Some(life) = self.tls.as_ref().and_then(|tls| tls.validity()) {
            text.gauge(
                "keyward_tls_certificate_not_before_timestamp_seconds",
                "From when on the TLS certificate in force is good, in seconds since 1970.",
            )
            .put(&[], life.begins_at.seconds());
            text.gauge(
                "keyward_tls_certificate_not_after_timestamp_seconds",
                "Until when the TLS certificate in force is good, in seconds since 1970.",
            )
            .put(&[], life.ends_at.seconds());
        }
    }

    fn write_queues(&self, text: &mut Exposition) {
        let [refused, passed] = self.app.records.waiting();
        text.gauge(
            "keyward_records_waiting",
            "Requests that wait to be remembered; 16384 of each kind at most.",
        )
        .put(&[("kind", "refused")], refused)
        .put(&[("kind", "passed")], passed);
        let dropped = self.app.records.dropped();
        text.counter(
            "keyward_records_dropped_total",
            "Requests that were not remembered because too many waited.",
        )
        .put(&[("kind", "refused")], dropped.refused)
        .put(&[("kind", "passed")], dropped.passed);
        let log = self.log.figures();
        text.gauge(
            "keyward_log_waiting_bytes",
            "Log lines that wait to be written; 4 MiB at most.",
        )
        .put(&[], log.waiting_bytes);
        text.counter(
            "keyward_log_lines_dropped_total",
            "Log lines that were dropped because too many waited.",
        )
        .put(&[], log.dropped);
        let spans = self.spans.figures();
        text.counter("keyward_spans_exported_total", "Requests that were sent as traces.")
            .put(&[], spans.exported);
        text.counter(
            "keyward_spans_dropped_total",
            "Requests missing in traces: too many waited, or the collector did not take them.",
        )
        .put(&[("reason", "full")], spans.dropped)
        .put(&[("reason", "not_taken")], spans.failed);
        text.counter(
            "keyward_usage_requests_dropped_total",
            "Requests missing in the usage of keys because it could not be written for long.",
        )
        .put(&[], self.usage.dropped());
    }

    async fn write_deliveries(&self, text: &mut Exposition) {
        let asked = self.app.store.read(webhooks::waiting_in_all);
        if let Ok(Ok(waiting)) = tokio::time::timeout(STORE_WITHIN, asked).await {
            text.gauge("keyward_deliveries_waiting", "Events that wait for webhooks.")
                .put(&[], waiting);
        }
        text.gauge("keyward_deliveries_in_flight", "Events on their way; 256 at most.")
            .put(&[], self.app.deliveries.in_flight());
        let [delivered, again, failed] = self.app.deliveries.ended();
        text.counter(
            "keyward_delivery_attempts_total",
            "Attempts to deliver an event, without those asked for by hand.",
        )
        .put(&[("outcome", "delivered")], delivered)
        .put(&[("outcome", "tried_again")], again)
        .put(&[("outcome", "failed")], failed);
    }
}

fn write_store(text: &mut Exposition, figures: &StoreFigures) {
    let jobs = [("read", &figures.reads), ("write", &figures.writes)];
    let mut metric = text.histogram(
        "keyward_store_job_duration_seconds",
        "Time from asking the store to its answer; a write is durable by then.",
    );
    for (kind, figures) in jobs {
        let took = &figures.took;
        metric.put_histogram(&[("kind", kind)], &BOUNDS_MICROS, &took.counts, took.sum_micros);
    }
    let mut metric =
        text.gauge("keyward_store_jobs_waiting", "Jobs that wait for the store; 1024 at most.");
    for (kind, figures) in jobs {
        metric.put(&[("kind", kind)], figures.waiting);
    }
    let mut metric = text.counter(
        "keyward_store_jobs_refused_total",
        "Jobs that the store refused because too many waited.",
    );
    for (kind, figures) in jobs {
        metric.put(&[("kind", kind)], figures.refused);
    }
    let mut metric =
        text.counter("keyward_store_failed_commits_total", "Commits that failed, by reason.");
    for (reason, n) in FAULTS.into_iter().zip(figures.failed_commits) {
        metric.put(&[("reason", reason)], n);
    }
    text.gauge(
        "keyward_store_writable",
        "0 from a commit that failed to the next one that wrote something, otherwise 1.",
    )
    .put(&[], u8::from(figures.is_writable));
}

/// Where the system tells it.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[tokio::test]
    async fn the_usual_port_stops_nobody_when_it_is_taken_and_a_chosen_one_does() {
        assert_eq!(Settings::default().metrics_listen, Some(USUAL));
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = taken.local_addr().expect("it is bound");
        let Ok(Err(told)) = listen_at(address, true).await else {
            panic!("it is told and no error");
        };
        let Err(error) = listen_at(address, false).await else { panic!("it is taken") };
        for text in [told, format!("{error:#}")] {
            assert!(text.contains(&address.to_string()), "{text}");
            assert!(text.contains("--metrics-listen off"), "{text}");
        }
        drop(taken);
        assert!(matches!(listen_at(address, true).await, Ok(Ok(Some(_)))));
        assert!(matches!(listen(None).await, Ok(Ok(None))));
    }
}
