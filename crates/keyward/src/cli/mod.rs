//! The command line: its tree, what all commands share, and exit codes.
//!
//! 0: done. 1: refused or failed. 2: wrong usage. Data goes to stdout, everything else to stderr; an
//! error says what to do next.

mod accounts;
mod audit;
mod backup;
mod config;
mod doctor;
mod explain;
mod import;
mod keys;
mod output;
mod serve;
mod setup;
mod users;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use keyward_store::{Glance, SCHEMA, Store};

use crate::app::{App, AppError, Chance, Clock, Reach};
use crate::config::{ConfigError, Explained, Flags, Settings, load};
use crate::outbound::Outbound;
use crate::server::hold::hold;

/// Keyward: the API-key door in front of an HTTP API.
///
/// Issue keys, send them as x-api-key, and every request is identified, checked, counted, limited
/// and answered in the contract of the Sent API v3.
#[derive(Parser)]
#[command(
    name = "keyward",
    version,
    after_help = "First steps:\n  keyward serve\n  echo 'a long passphrase' | keyward setup --account 'Acme' \\\n      --owner-name 'Ada Lovelace' --owner-email ada@example.com --password-stdin\n  keyward keys create --name 'billing job' --environment production"
)]
struct Cli {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Args)]
struct Shared {
    /// File with settings [default: keyward.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE", env = "KEYWARD_CONFIG")]
    config: Option<PathBuf>,
    /// Folder of the database [default: keyward-data]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
    /// Print JSON, for scripts
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    Serve(serve::ServeArgs),
    /// Make the first account and its owner
    Setup(setup::SetupArgs),
    /// List, make and change accounts
    #[command(subcommand)]
    Accounts(accounts::AccountsCommand),
    /// Issue, change and explain keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// List, invite and change members
    #[command(subcommand)]
    Users(users::UsersCommand),
    /// Verify, list and export the audit log
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Write the database to a file, while a server runs or not
    Backup(backup::BackupArgs),
    /// Put a backup in the place of the database
    Restore(backup::RestoreArgs),
    /// Look at files, database, clock, certificate, disk and settings, and say what to do
    Doctor(doctor::DoctorArgs),
    /// Show the settings in force and where each came from
    Config(serve::ServeArgs),
}

/// Why a command was not carried out.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Exit code 1.
    Refused(String),
    /// Exit code 2.
    Usage(String),
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        match &error {
            AppError::Invalid(_) => Self::Usage(error.to_string()),
            AppError::NotFound(resource) => {
                let list = match resource {
                    crate::app::Resource::Account => "keyward accounts list",
                    crate::app::Resource::User => "keyward users list",
                    _ => "keyward keys list",
                };
                Self::Refused(format!("{error}: see what there is with '{list}'"))
            }
            _ => Self::Refused(error.to_string()),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Refused(format!("{error:#}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Refused(error.to_string())
    }
}

/// The settings that are in force for this command, and who set them.
fn settings(shared: &Shared, mut flags: Flags) -> Result<(Settings, Vec<Explained>), ConfigError> {
    if let Some(data_dir) = &shared.data_dir {
        flags.insert("data_dir", data_dir.clone());
    }
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    let variable = |name: &str| std::env::var(name).ok();
    load(&flags, variable, shared.config.as_deref())
}

/// What a command is carried out with.
pub(crate) struct Context {
    pub(crate) settings: Settings,
    pub(crate) explained: Vec<Explained>,
    pub(crate) is_json: bool,
}

impl Context {
    fn new(shared: &Shared, flags: Flags) -> Result<Self, Failure> {
        let (settings, explained) = settings(shared, flags)?;
        Ok(Self { settings, explained, is_json: shared.json })
    }

    /// Runs something on the store of the data folder, whether a server runs on it or not.
    ///
    /// The folder must be there: one that was mistyped is not made.
    pub(crate) fn with_app<T>(
        &self,
        run: impl AsyncFnOnce(&App) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let folder = &self.settings.data_dir;
        if !Store::is_there(folder) {
            return Err(no_data(folder));
        }
        self.with_new_app(run)
    }

    /// The same for a command that may be the first one on a folder.
    pub(crate) fn with_new_app<T>(
        &self,
        run: impl AsyncFnOnce(&App) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let folder = &self.settings.data_dir;
        let app = App::new(
            open(folder)?,
            Clock::system(),
            Chance::System,
            Reach::elsewhere(folder),
            Outbound::from_settings(&self.settings)?,
            &self.settings,
        );
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(&app))
    }
}

fn no_data(folder: &Path) -> Failure {
    Failure::Refused(format!(
        "there is no data in {}: name the right folder with --data-dir, or begin with 'keyward setup'",
        folder.display()
    ))
}

fn open(folder: &Path) -> Result<Store, Failure> {
    let found = Glance::live(folder).and_then(|glance| glance.schema());
    // Why: a server of an older program would go on in tables that it does not know.
    let _held = match found {
        Ok(schema) if (1..SCHEMA).contains(&schema) => Some(hold(folder).map_err(|error| {
            Failure::Refused(format!(
                "a server of an older version runs on this database of version {schema}: stop it, and \
                 start the new one, which keeps a copy and brings it to version {SCHEMA} ({error:#})"
            ))
        })?),
        _ => None,
    };
    Store::open(folder)
        .map_err(|error| Failure::Refused(format!("the data folder {}: {error}", folder.display())))
}

/// Carries out what the command line says.
#[must_use]
pub fn run() -> ExitCode {
    serve::keep_secrets_out_of_dumps();
    serve::let_large_files_fail();
    let cli = Cli::parse();
    match carry_out(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Refused(message)) => {
            output::note(&format!("error: {message}"));
            ExitCode::from(1)
        }
        Err(Failure::Usage(message)) => {
            output::note(&format!("error: {message}\n\nFor more, add --help."));
            ExitCode::from(2)
        }
    }
}

fn carry_out(cli: Cli) -> Result<(), Failure> {
    let Cli { shared, command } = cli;
    match command {
        Command::Serve(arguments) => serve::serve(Context::new(&shared, arguments.flags())?),
        Command::Config(arguments) => config::show(&Context::new(&shared, arguments.flags())?),
        Command::Setup(arguments) => {
            setup::set_up(&Context::new(&shared, Flags::new())?, arguments)
        }
        Command::Accounts(command) => accounts::run(&Context::new(&shared, Flags::new())?, command),
        Command::Users(command) => users::run(&Context::new(&shared, Flags::new())?, command),
        Command::Audit(command) => audit::run(&Context::new(&shared, Flags::new())?, command),
        Command::Backup(arguments) => {
            backup::back_up(&Context::new(&shared, Flags::new())?, &arguments)
        }
        Command::Restore(arguments) => {
            backup::restore(&Context::new(&shared, Flags::new())?, &arguments)
        }
        Command::Doctor(arguments) => {
            let variables: Vec<_> = std::env::vars_os().map(|(name, _)| name).collect();
            doctor::run(&shared, arguments, &variables)
        }
        Command::Keys(command) => keys::run(&Context::new(&shared, Flags::new())?, command),
    }
}
