//! Puts everything together: start, ready, stop, in order.

pub mod acme;
pub mod certificate;
pub mod control;
pub mod hold;
pub mod lanes;
pub mod listen;
pub mod metrics;
pub mod open;
pub mod openapi;
pub mod pages;
pub mod piles;
pub mod places;
pub mod routes;
pub mod stack;
pub mod streams;
pub mod tls;
pub mod wire;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{Either, Full};
use keyward_core::index::KeyIndex;
use keyward_core::verifier::Verifier;
use keyward_store::{SCHEMA, Store, Trouble, accounts, keys};
use keyward_tower::{Auth, AuthLayer, Door};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tower_layer::Layer as _;

use crate::app::bodies::Bodies;
use crate::app::reach::{self, Follower};
use crate::app::vault::{self, KEY_FILE, Vault};
use crate::app::webhooks::deliver;
use crate::app::{App, AppError, Chance, Clock, Reach, ThreadApp, phone};
use crate::config::Settings;
use crate::mail::Mailer;
use crate::observe::log::{Level, Log};
use crate::observe::meter::Meter;
use crate::observe::spans::Spans;
use crate::outbound::Outbound;
use crate::workers::alerts::{self, AlertWorker};
use crate::workers::records::{self, RecordWriter};
use crate::workers::traces::{self, TraceExporter};
use crate::workers::{self, UsageWriter};
use hold::{Hold, hold};
use lanes::Lanes;
use listen::Voice;
use piles::Piles;
use places::{Connected, ConnectionFigures, Places};
use routes::RouteTable;
use stack::{Around, Dispatch, Inside, RequestLog};
use tls::{SelfSigned, Tls};

/// How long requests in flight may take to finish when the server stops.
pub const GRACE: Duration = Duration::from_secs(30);

/// The last traces are sent within this time or not at all.
const LAST_TRACES: Duration = Duration::from_secs(2);

/// The body of an answer.
pub type Body = Either<Full<Bytes>, Full<Bytes>>;
type TheDoor = Door<Around, RouteTable, RequestLog>;

/// The service that answers requests of one thread, and its door.
#[derive(Clone)]
pub struct Guarded {
    service: Auth<Dispatch, Around, RouteTable, RequestLog>,
    door: Arc<TheDoor>,
    tls: Option<Arc<Tls>>,
    bodies: Arc<Bodies>,
    piles: Arc<Piles>,
}

/// What a server is started with: the settings, and time, chance and log as arguments.
pub struct Start {
    pub settings: Settings,
    pub clock: Clock,
    pub chance: Chance,
    pub log: Log,
}

/// A server that runs.
pub struct Running {
    pub address: SocketAddr,
    pub app: Arc<App>,
    /// Accounts and keys that were there at the start.
    pub found: Found,
    pub metrics: metrics::Place,
    scraping: Option<JoinHandle<()>>,
    usage: Arc<UsageWriter>,
    records: Arc<RecordWriter>,
    alerts: Arc<AlertWorker>,
    traces: Option<Arc<TraceExporter>>,
    tls: Option<Arc<Tls>>,
    is_ready: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
    connected: Connected,
    serving: JoinHandle<bool>,
    working: Vec<JoinHandle<()>>,
    control: JoinHandle<()>,
    log: Log,
    /// Held as long as the server runs.
    _hold: Hold,
}

/// What a start found in the data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub accounts: u64,
    pub keys: u64,
}

impl Running {
    /// Starts a server. When this returns it is ready and listens.
    ///
    /// # Errors
    /// If the data folder cannot be used or is held by another server, or the address cannot be
    /// listened on.
    pub async fn start(start: Start) -> anyhow::Result<Self> {
        let Start { settings, clock, chance, log } = start;
        let tls = Tls::from_settings(&settings, clock.wall())?.map(Arc::new);
        let data_dir = settings.data_dir.clone();
        let (store, hold) = tokio::task::spawn_blocking(move || open_data(&data_dir)).await??;
        let found = store
            .read(|tx| {
                Ok::<_, keyward_store::StoreError>(Found {
                    accounts: accounts::count(tx)?,
                    keys: keys::count(tx)?,
                })
            })
            .await?;
        let room = usize::try_from(found.keys).unwrap_or(0);
        let verifier = Arc::new(Verifier::new(
            KeyIndex::with_capacity(room),
            settings.limits(),
            settings.rate_limit_unauthenticated,
        ));
        let loading = (store.clone(), Arc::clone(&verifier));
        let reached =
            tokio::task::spawn_blocking(move || reach::load(&loading.0, &loading.1)).await??;
        tokio::task::spawn_blocking(phone::warm_up).await?;
        let mut app = App::new(
            store,
            clock.clone(),
            chance.clone(),
            Reach::Here(Follower::new(Arc::clone(&verifier), reached)),
            Outbound::from_settings(&settings)?,
            &settings,
        );
        app.mailer = Mailer::from_settings(&settings)?;
        let vault = Vault::new(&settings.data_dir);
        let sealed = app.store.read(move |tx| vault::try_all(tx, SCHEMA, &vault)).await?;
        if sealed.there > 0 {
            app.vault = Vault::of_sealed(&settings.data_dir);
        }
        if sealed.opened < sealed.there {
            let message = format!(
                "{KEY_FILE} in the data folder is missing or another one: {} of {} sealed secrets stay \
                 closed, so webhooks do not sign and second factors do not work; put back the copy \
                 that is kept apart from the backups",
                sealed.there - sealed.opened,
                sealed.there
            );
            log.say(clock.wall(), Level::Error, &message);
        }
        let app = Arc::new(app);
        match deliver::recover(&app).await {
            // It is made up for as soon as something can be written, before anything is delivered.
            Ok(()) | Err(AppError::Unavailable(_)) => {}
            Err(error) => return Err(error.into()),
        }
        workers::clock::compare(&app, &log).await?;
        let newest = app.store.read(|tx| keyward_store::newest_row(tx, SCHEMA)).await?;
        app.forgetting.begin(app.clock.now(), newest.map(|(_, at)| at));
        let listener = listen::bind(settings.listen).with_context(|| {
            format!(
                "cannot listen on {}: choose another address or port with --listen",
                settings.listen
            )
        })?;
        let address = listener.local_addr()?;
        let scraped = metrics::listen(settings.metrics_listen).await?;
        let control = match control::open(&settings.data_dir) {
            Ok(listener) => tokio::spawn(control::serve(listener, Arc::clone(&app))),
            Err(error) if Trouble::of_io(&error).is_some() => {
                let data_dir = settings.data_dir.clone();
                tokio::spawn(control::serve_when_made(data_dir, Arc::clone(&app)))
            }
            Err(error) => {
                return Err(error).with_context(|| {
                    format!("cannot make the socket {} in the data folder", reach::SOCKET)
                });
            }
        };
        let meter = Meter::default();
        let spans = Spans::new(settings.otlp_endpoint.is_some());
        let traces = settings
            .otlp_endpoint
            .clone()
            .map(|url| Arc::new(TraceExporter::new(spans.clone(), app.chance.clone(), url)));
        let is_ready = Arc::new(AtomicBool::new(true));
        // Each thread gets one of its own, so that no reference is counted by two of them.
        let guarded = {
            let (app, clock, log) = (Arc::clone(&app), clock.clone(), log.clone());
            let (meter, spans) = (meter.clone(), spans.clone());
            let (settings, tls, is_ready) = (settings.clone(), tls.clone(), Arc::clone(&is_ready));
            move || {
                let door = Arc::new(Door {
                    verifier: Arc::clone(&verifier),
                    surroundings: Around { clock: clock.clone(), chance: chance.clone() },
                    routes: RouteTable,
                    observer: RequestLog {
                        log: log.clone(),
                        records: app.records.clone(),
                        meter: meter.clone(),
                        spans: spans.clone(),
                    },
                    docs_url: settings.docs_url.clone(),
                    trusted_proxies: settings.trusted_proxies.clone(),
                });
                let dispatch = Dispatch(Arc::new(Inside {
                    app: Arc::clone(&app),
                    thread_app: Arc::new(ThreadApp(Arc::clone(&app))),
                    is_ready: Arc::clone(&is_ready),
                    max_body_bytes: settings.max_body_bytes,
                    docs_url: settings.docs_url.as_str().into(),
                    trusted_proxies: settings.trusted_proxies.as_slice().into(),
                }));
                let service = AuthLayer::new(Arc::clone(&door)).layer(dispatch);
                let bodies = Arc::clone(&app.bodies);
                let piles = Arc::new(Piles::new(listen::AT_ONCE));
                Guarded { service, door, tls: tls.clone(), bodies, piles }
            }
        };
        let (stop, stopping) = watch::channel(false);
        let usage = Arc::new(UsageWriter::new(Arc::clone(&app)));
        let records = Arc::new(RecordWriter::new(Arc::clone(&app)));
        let alerts = Arc::new(AlertWorker::new(Arc::clone(&app)));
        let mut working = vec![
            tokio::spawn(alerts::watch_alerts(Arc::clone(&alerts), log.clone(), stopping.clone())),
            tokio::spawn(records::write_records(
                Arc::clone(&records),
                log.clone(),
                stopping.clone(),
            )),
            tokio::spawn(workers::flush_usage(Arc::clone(&usage), log.clone(), stopping.clone())),
            tokio::spawn(workers::webhooks::deliver(
                Arc::clone(&app),
                log.clone(),
                stopping.clone(),
            )),
            tokio::spawn(workers::disk::watch_disk(
                Arc::clone(&app),
                log.clone(),
                stopping.clone(),
            )),
            tokio::spawn(workers::follow(Arc::clone(&app), log.clone(), stopping.clone())),
            tokio::spawn(workers::clock::watch(Arc::clone(&app), log.clone(), stopping.clone())),
        ];
        if let Some(tls) = &tls {
            let (tls, clock, chance) = (Arc::clone(tls), app.clock.clone(), app.chance.clone());
            let stop = stopping.clone();
            working.push(tokio::spawn(tls::follow(tls, clock, chance, log.clone(), stop)));
        }
        if let Some(traces) = &traces {
            let (traces, clock) = (Arc::clone(traces), app.clock.clone());
            let stop = stopping.clone();
            working.push(tokio::spawn(traces::export_traces(traces, clock, log.clone(), stop)));
        }
        let serve = move |work| listen::serve_lane(work, &guarded(), GRACE);
        let lanes = Lanes::start(settings.serving_threads(), serve)
            .context("the system starts no more threads: ask for fewer with --threads")?;
        let places =
            Places::new(settings.connections_per_address, settings.trusted_proxies.clone());
        let voice = Voice::new(log.clone(), app.clock.clone());
        let connected = places.count();
        let serving = tokio::spawn(listen::serve(listener, lanes, places, voice, stopping));
        let sources = metrics::Sources {
            app: Arc::clone(&app),
            meter,
            log: log.clone(),
            spans,
            usage: Arc::clone(&usage),
            tls: tls.clone(),
            connections: connected.clone(),
            started_at: app.clock.wall(),
        };
        let (metrics, scraping) = metrics::spawn(scraped, sources)?;
        Ok(Self {
            address,
            app,
            found,
            metrics,
            scraping,
            usage,
            records,
            alerts,
            traces,
            tls,
            is_ready,
            stop,
            connected,
            serving,
            working,
            control,
            log,
            _hold: hold,
        })
    }

    /// Whether and where the certificate is one of our own making.
    #[must_use]
    pub fn self_signed(&self) -> Option<&SelfSigned> {
        self.tls.as_ref().and_then(|tls| tls.self_signed())
    }

    /// Connections at the moment.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connected.len()
    }

    /// The same, and what became of those that came.
    #[must_use]
    pub fn connection_figures(&self) -> ConnectionFigures {
        self.connected.figures()
    }

    /// Returns when nobody is connected any more.
    pub async fn none_left(&self) {
        self.connected.none_left().await;
    }

    /// Writes down all usage that was counted so far.
    ///
    /// # Errors
    /// If the store cannot write.
    pub async fn flush_usage(&self) -> Result<(), keyward_store::StoreError> {
        self.usage.flush().await
    }

    /// Raises, ends and mails alerts as of now.
    ///
    /// # Errors
    /// If the store does not answer or cannot write.
    pub async fn check_alerts(&self) -> Result<(), AppError> {
        self.alerts.check().await
    }

    /// Takes over another certificate if its files changed: true if it did.
    ///
    /// # Errors
    /// If they changed and cannot be used; the last good one stays.
    pub fn look_for_certificate(&self) -> anyhow::Result<bool> {
        self.tls.as_ref().map_or(Ok(false), |tls| tls.look())
    }

    /// Orders a certificate by ACME if one is due, and waits for what comes of it: true if another one is in
    /// force.
    pub async fn renew_certificate(&self) -> bool {
        let Some(tls) = &self.tls else { return false };
        tls.renew(&self.app.clock, &self.app.chance, &self.log).await
    }

    /// Writes down all requests that were answered so far, and forgets what is too old or too much.
    ///
    /// # Errors
    /// If the store cannot write.
    pub async fn flush_records(&self) -> Result<(), keyward_store::StoreError> {
        self.records.flush().await
    }

    /// Sends all requests that were answered so far to whoever collects traces.
    ///
    /// # Errors
    /// If they are not taken: they are dropped.
    pub async fn export_traces(&self) -> Result<(), String> {
        match &self.traces {
            Some(traces) => traces.export().await,
            None => Ok(()),
        }
    }

    /// Stops: no new connections, requests in flight finish, usage is written.
    ///
    /// # Errors
    /// If usage could not be written, or a part of the server had panicked.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.is_ready.store(false, Ordering::Release);
        self.stop.send_replace(true);
        let is_finished = self.serving.await.context("the listener panicked")?;
        if !is_finished {
            let message = format!("requests were cut off after {} s", GRACE.as_secs());
            self.log.say(self.app.clock.wall(), Level::Warn, &message);
        }
        for worker in self.working {
            worker.await.context("a worker panicked")?;
        }
        self.control.abort();
        if let Some(scraping) = self.scraping {
            // Its port is free when this returns.
            scraping.abort();
            let _ = scraping.await;
        }
        // Why no error: nothing that is promised is lost with them.
        if let Err(error) = self.records.write().await {
            let message = format!("the last requests could not be remembered: {error}");
            self.log.say(self.app.clock.wall(), Level::Warn, &message);
        }
        if let Some(traces) = &self.traces {
            // The same holds for them, and a collector that does not answer is not waited for.
            let _ = tokio::time::timeout(LAST_TRACES, traces.export()).await;
        }
        self.usage.flush().await.context("the last usage could not be written")?;
        Ok(())
    }
}

/// Opens the data folder and takes hold of it.
fn open_data(data_dir: &Path) -> anyhow::Result<(Store, Hold)> {
    keyward_store::create_folder(data_dir)
        .with_context(|| format!("the data folder {} cannot be used", data_dir.display()))?;
    let hold = hold(data_dir)?;
    let options = keyward_store::Options { stays: true, ..keyward_store::Options::default() };
    let store = Store::open_with(data_dir, options)
        .with_context(|| format!("the database in {} cannot be opened", data_dir.display()))?;
    Ok((store, hold))
}
