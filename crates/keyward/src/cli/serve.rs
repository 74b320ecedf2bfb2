//! `keyward serve`: run until told to stop.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{Context, Failure, output};
use crate::app::{AppError, Chance, Clock, accounts};
use crate::config::Flags;
use crate::observe::log::{Level, Log};
use crate::server::places::CONNECTIONS;
use crate::server::tls::{self, SelfSigned};
use crate::server::{Found, Running, Start};

/// The settings as flags. Each is a variable and a name in the file as well.
#[derive(Args)]
#[command(
    after_help = "Every option is also a variable (KEYWARD_LISTEN) and a name in keyward.toml (listen = \"…\").\nA flag beats a variable beats the file; 'keyward config' shows who won.\n\nExamples:\n  keyward serve\n  keyward serve --listen 127.0.0.1:9000 --data-dir /var/lib/keyward\n  keyward serve --rate-limit-standard 1000 --log-format json\n  keyward serve --listen 0.0.0.0:443 --tls-cert chain.pem --tls-key key.pem\n  keyward serve --listen 0.0.0.0:443 --acme-domains keys.example.com --acme-agree-tos\n  keyward serve --listen 127.0.0.1:8443 --tls-self-signed\n  keyward serve --listen 10.0.0.5:8080 --trusted-proxy 10.0.0.1"
)]
pub(super) struct ServeArgs {
    /// Address and port to listen on [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// Certificate for HTTPS (PEM), with those between it and its root; read again when it changes
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<String>,
    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
    /// HTTPS with a certificate of its own making, to try it out
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tls_self_signed: Option<String>,
    /// Names for which a certificate is ordered by ACME and renewed, such as keys.example.com
    #[arg(long, alias = "acme-domain", value_name = "NAME,…")]
    acme_domains: Option<String>,
    /// The terms of service of the certificate authority are agreed to; needed with --acme-domains
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    acme_agree_tos: Option<String>,
    /// Address at which the certificate authority may write about the certificates
    #[arg(long, value_name = "ADDRESS")]
    acme_email: Option<String>,
    /// ACME server [default: https://acme-v02.api.letsencrypt.org/directory]
    #[arg(long, value_name = "URL")]
    acme_directory: Option<String>,
    /// File of certificates (PEM) by which the ACME server is trusted, beside the system's
    #[arg(long, value_name = "FILE")]
    acme_ca_file: Option<String>,
    /// Plain HTTP on an address that other machines reach is meant: keys travel in clear
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    insecure_http: Option<String>,
    /// Address and port of /metrics, for Prometheus; off for none [default: 127.0.0.1:9464]
    #[arg(long, value_name = "ADDR:PORT")]
    metrics_listen: Option<String>,
    /// Collector of traces (OpenTelemetry, OTLP over HTTP), such as http://127.0.0.1:4318
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// Threads that serve requests [default: one for each processor]
    #[arg(long, value_name = "N")]
    threads: Option<String>,
    /// Standard requests a minute, for each account and environment [default: 200]
    #[arg(long, value_name = "N")]
    rate_limit_standard: Option<String>,
    /// Sensitive requests a minute, for each account and environment [default: 10]
    #[arg(long, value_name = "N")]
    rate_limit_sensitive: Option<String>,
    /// Webhook tests a minute, for each account and environment [default: 60]
    #[arg(long, value_name = "N")]
    rate_limit_webhook_test: Option<String>,
    /// Requests a minute without a good key, for each client address [default: 60]
    #[arg(long, value_name = "N")]
    rate_limit_unauthenticated: Option<String>,
    /// Address at which people reach the dashboard, such as https://keys.example.com
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Recent requests that are remembered at most; 0 remembers none [default: 1000000]
    #[arg(long, value_name = "N")]
    request_records: Option<String>,
    /// Days for which recent requests are remembered [default: 7]
    #[arg(long, value_name = "N")]
    request_days: Option<String>,
    /// Where error pages are [default: https://docs.sent.dm/errors]
    #[arg(long, value_name = "URL")]
    docs_url: Option<String>,
    /// Networks of proxies in front, whose X-Forwarded-For and -Proto are believed, separated by commas
    #[arg(long, alias = "trusted-proxy", value_name = "CIDR,…")]
    trusted_proxies: Option<String>,
    /// Webhooks that an account may have [default: 50]
    #[arg(long, value_name = "N")]
    webhook_limit: Option<String>,
    /// Webhooks over plain HTTP: never, test-loopback or always [default: test-loopback]
    #[arg(long, value_name = "RULE")]
    webhook_http: Option<String>,
    /// Private networks that webhooks may go to, separated by commas
    #[arg(long, value_name = "CIDR,…")]
    webhook_networks: Option<String>,
    /// File of certificates (PEM) that webhooks trust beside the system's
    #[arg(long, value_name = "FILE")]
    webhook_ca_file: Option<String>,
    /// Hours for which a replaced signing secret signs as well [default: 24]
    #[arg(long, value_name = "N")]
    webhook_secret_grace_hours: Option<String>,
    /// Days for which events of webhooks are kept [default: 30]
    #[arg(long, value_name = "N")]
    webhook_event_days: Option<String>,
    /// Answers kept for Idempotency-Key, for each account [default: 100000]
    #[arg(long, value_name = "N")]
    idempotency_limit: Option<String>,
    /// Largest request body in bytes [default: 1048576]
    #[arg(long, value_name = "N")]
    max_body_bytes: Option<String>,
    /// Connections that one client address may have, unless it is a trusted proxy [default: 4096]
    #[arg(long, value_name = "N")]
    connections_per_address: Option<String>,
    /// Log lines: readable, json, or off for no line a request [default: readable]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Mail server: smtps://user@host or smtp://user@host:587 [default: none, no mail is sent]
    #[arg(long, value_name = "URL")]
    smtp_url: Option<String>,
    /// Sender of mail, such as 'Keyward <keyward@example.com>'
    #[arg(long, value_name = "SENDER")]
    smtp_from: Option<String>,
    /// File with the password of the mail server's user
    #[arg(long, value_name = "FILE")]
    smtp_password_file: Option<String>,
}

impl ServeArgs {
    pub(super) fn flags(self) -> Flags {
        let flags = [
            ("listen", self.listen),
            ("tls_cert", self.tls_cert),
            ("tls_key", self.tls_key),
            ("tls_self_signed", self.tls_self_signed),
            ("acme_domains", self.acme_domains),
            ("acme_agree_tos", self.acme_agree_tos),
            ("acme_email", self.acme_email),
            ("acme_directory", self.acme_directory),
            ("acme_ca_file", self.acme_ca_file),
            ("insecure_http", self.insecure_http),
            ("metrics_listen", self.metrics_listen),
            ("otlp_endpoint", self.otlp_endpoint),
            ("threads", self.threads),
            ("rate_limit_standard", self.rate_limit_standard),
            ("rate_limit_sensitive", self.rate_limit_sensitive),
            ("rate_limit_webhook_test", self.rate_limit_webhook_test),
            ("rate_limit_unauthenticated", self.rate_limit_unauthenticated),
            ("public_url", self.public_url),
            ("docs_url", self.docs_url),
            ("request_records", self.request_records),
            ("request_days", self.request_days),
            ("trusted_proxies", self.trusted_proxies),
            ("webhook_limit", self.webhook_limit),
            ("webhook_http", self.webhook_http),
            ("webhook_networks", self.webhook_networks),
            ("webhook_ca_file", self.webhook_ca_file),
            ("webhook_secret_grace_hours", self.webhook_secret_grace_hours),
            ("webhook_event_days", self.webhook_event_days),
            ("idempotency_limit", self.idempotency_limit),
            ("max_body_bytes", self.max_body_bytes),
            ("connections_per_address", self.connections_per_address),
            ("log_format", self.log_format),
            ("smtp_url", self.smtp_url),
            ("smtp_from", self.smtp_from),
            ("smtp_password_file", self.smtp_password_file),
        ];
        flags.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// A key is in memory for the moment in which it is hashed or shown: no dump of this process may
/// be written, and no other process may look into it.
pub(super) fn keep_secrets_out_of_dumps() {
    // Where the system does not know how, there is nothing to be done about it.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
}

/// A write beyond a size limit must fail like one on a full disk, not end the process.
pub(super) fn let_large_files_fail() {
    const SIGXFSZ: i32 = 25;
    // Where it cannot be, such a write ends the process, and what is half written is undone.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
}

/// Each connection is a file to the system, and the limit that a shell sets is a few of them: as many as
/// may be are asked for. Gives how many there are now, if the system tells.
fn raise_file_limit() -> Option<u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        // Where it is refused, what there is will have to do; the number tells.
        let _ = setrlimit(Resource::Nofile, limit);
    }
    getrlimit(Resource::Nofile).current
}

/// Files that are open beside connections: the database, the log, mails and webhooks on their way.
const OTHER_FILES: u64 = 512;

/// What to say where there are fewer files than connections.
fn too_few_files(n_files: Option<u64>) -> Option<String> {
    let wanted = u64::from(CONNECTIONS) + OTHER_FILES;
    let n_files = n_files.filter(|n_files| *n_files < wanted)?;
    Some(format!(
        "this process may open {n_files} files, which is fewer than the {CONNECTIONS} connections that it \
         serves at once: raise the limit to {wanted} (ulimit -n, or LimitNOFILE= of a systemd unit)"
    ))
}

pub(super) fn serve(context: Context) -> Result<(), Failure> {
    let settings = context.settings;
    let n_files = raise_file_limit();
    // For what is done beside requests, which have threads of their own.
    let threads = settings.serving_threads().min(2);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let (log, writer) = Log::start(settings.log_format, Box::new(std::io::stderr()));
    let clock = Clock::system();
    tell_where_it_panics(log.clone(), clock.clone());
    let data_dir = settings.data_dir.clone();
    let public_url = settings.public_url.clone();
    let url = {
        let settings = settings.clone();
        move |address| tls::url(&settings, address)
    };
    let is_open_http = settings.is_open_http();
    let result: anyhow::Result<()> = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let start =
            Start { settings, clock: clock.clone(), chance: Chance::System, log: log.clone() };
        let server = Running::start(start).await?;
        let say = |level, text: &str| log.say(clock.wall(), level, text);
        say(
            Level::Info,
            &format!("listening on {} with data in {}", url(server.address), data_dir.display()),
        );
        match server.self_signed() {
            Some(SelfSigned::Kept(file)) => say(
                Level::Warn,
                &format!(
                    "nobody vouches for its certificate: clients trust it with curl --cacert {}",
                    file.display()
                ),
            ),
            Some(SelfSigned::InMemory) => say(Level::Warn, NOT_KEPT),
            None => {}
        }
        if is_open_http {
            say(Level::Warn, OPEN_HTTP);
        }
        match server.found {
            Found { accounts: 0, .. } => {
                say(Level::Info, &first_step(&data_dir));
                let link = match accounts::setup_link(&server.app).await {
                    Err(AppError::Unavailable(why)) => {
                        let why = format!("no link for the first account could be made: {why}");
                        say(Level::Warn, &why);
                        None
                    }
                    other => other?,
                };
                if let Some((token, ends_at)) = link {
                    let base = public_url.unwrap_or_else(|| url(server.address));
                    // The one secret that the log ever holds: it is how the owner gets in, works once,
                    // and is dead as soon as there is an account.
                    say(
                        Level::Info,
                        &format!(
                            "or open {base}/setup/{} in a browser; the link works once, until {}",
                            token.reveal(),
                            crate::when(ends_at)
                        ),
                    );
                }
            }
            Found { accounts, keys } => {
                say(Level::Info, &format!("{accounts} accounts, {keys} keys"));
            }
        }
        match &server.metrics {
            Ok(None) => {}
            Ok(Some(address)) => {
                say(Level::Info, &format!("metrics are on http://{address}/metrics"));
                if !address.ip().is_loopback() {
                    say(Level::Warn, OPEN_METRICS);
                }
            }
            Err(why) => say(Level::Warn, why),
        }
        if let Some(text) = too_few_files(n_files) {
            say(Level::Warn, &text);
        }
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        say(Level::Info, "stopping: requests in flight finish, no new ones are taken");
        server.stop().await?;
        say(Level::Info, "stopped");
        Ok(())
    });
    drop(runtime);
    if !writer.finish(LAST_WORDS) {
        // Its thread holds stderr, and whoever writes there from now on would wait with it.
        std::process::exit(i32::from(result.is_err()));
    }
    result.map_err(Failure::from)
}

/// How long the end waits for whoever reads the log: a pipe that is full and read by nobody must not keep a
/// supervisor from starting the next server.
const LAST_WORDS: Duration = Duration::from_secs(3);

const NOT_KEPT: &str = "its certificate is one of its own making and could not be kept in the data folder: it is \
                        good until this server stops, and the next start makes another";

const OPEN_HTTP: &str = "other machines reach this server over plain HTTP: keys and whatever is sent can be \
                         read on their way. Give it a certificate with --tls-cert and --tls-key, or have it order \
                         one with --acme-domains";

const OPEN_METRICS: &str = "that address is not of this machine alone: whoever reaches it reads, without a \
                            password, how much is asked for and refused";

fn first_step(data_dir: &std::path::Path) -> String {
    let data_dir = if data_dir == std::path::Path::new("keyward-data") {
        String::new()
    } else {
        format!(" --data-dir '{}'", data_dir.display())
    };
    format!(
        "there is no account yet; make the first one in another terminal: echo 'choose a long \
         passphrase' | {}{data_dir} setup --account 'My company' --owner-name 'Your name' \
         --owner-email you@example.com --password-stdin",
        program()
    )
}

/// How this program was called, so that the command can be pasted.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| String::from("keyward"))
}

/// A panic's own words may hold what a request brought; they are logged where they are caught, with keys
/// hidden, and here its place alone. Through the log, so that nobody who serves waits for who reads stderr;
/// the main thread serves nobody, and the log may not outlive it.
fn tell_where_it_panics(log: Log, clock: Clock) {
    std::panic::set_hook(Box::new(move |panic| {
        if let Some(place) = panic.location() {
            let text = format!("a panic at {}:{}", place.file(), place.line());
            if std::thread::current().name() == Some("main") {
                output::note(&format!("error: {text}"));
            } else {
                log.say(clock.wall(), Level::Error, &text);
            }
        }
    }));
}
