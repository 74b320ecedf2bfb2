//! `keyward keys`: create, list, show, disable, enable, revoke, rotate; explain and import beside.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use ipnet::IpNet;
use keyward_core::account::{Account, Environment};
use keyward_core::id::KeyId;
use keyward_core::permission::{Permission, PermissionSet};
use keyward_core::record::{KeyRecord, KeyStatus};
use keyward_core::time::{DAY_MILLIS, UnixMillis};
use keyward_store::keys::KeyFilter;
use serde_json::{Value, json};

use super::{Context, Failure, explain, import, output};
use crate::app::keys::{self, DEFAULT_LIFE_DAYS, Issued, NewKey};
use crate::app::{Actor, App, accounts};
use crate::config;

#[derive(Subcommand)]
pub(super) enum KeysCommand {
    /// Issue a key; it is printed once and kept nowhere
    #[command(
        after_help = "Examples:\n  keyward keys create --name 'billing job' --environment production\n  keyward keys create --name 'ci' --environment test --preset read-only --expires-in 30d\n  keyward keys create --name 'importer' --environment production \\\n      --permission contacts:read --permission contacts:write --allow-ip 203.0.113.0/24\n\n  SENT_API_KEY=$(keyward keys create --name dev --environment test)"
    )]
    Create(CreateArgs),
    /// List keys, newest first
    #[command(after_help = "Example:\n  keyward keys list --environment production --json")]
    List {
        /// Only keys of this account
        #[arg(long, value_name = "ID|NAME")]
        account: Option<String>,
        /// Only keys of this environment
        #[arg(long, value_enum)]
        environment: Option<KeyEnvironment>,
    },
    /// Show one key
    #[command(after_help = "Example:\n  keyward keys show 0190b2c4-7d1a-7c35-9f3e-2b8d5a6c7e10")]
    Show {
        /// Identifier of the key, not the key itself
        #[arg(value_name = "ID", value_parser = key_id)]
        id: KeyId,
    },
    /// Switch a key off; 'enable' switches it on again
    #[command(after_help = "Example:\n  keyward keys disable 0190b2c4-7d1a-7c35-9f3e-2b8d5a6c7e10")]
    Disable {
        /// Identifier of the key, not the key itself
        #[arg(value_name = "ID", value_parser = key_id)]
        id: KeyId,
    },
    /// Switch a disabled key on again
    #[command(after_help = "Example:\n  keyward keys enable 0190b2c4-7d1a-7c35-9f3e-2b8d5a6c7e10")]
    Enable {
        /// Identifier of the key, not the key itself
        #[arg(value_name = "ID", value_parser = key_id)]
        id: KeyId,
    },
    /// End a key for good; this cannot be undone
    #[command(after_help = "Example:\n  keyward keys revoke 0190b2c4-7d1a-7c35-9f3e-2b8d5a6c7e10")]
    Revoke {
        /// Identifier of the key, not the key itself
        #[arg(value_name = "ID", value_parser = key_id)]
        id: KeyId,
    },
    /// Replace a key: issue a successor and let the old one work a while longer
    #[command(
        after_help = "The successor has the same settings and is printed once.\n\nExamples:\n  keyward keys rotate 0190b2c4-7d1a-7c35-9f3e-2b8d5a6c7e10\n  keyward keys rotate 0190b2c4-7d1a-7c35-9f3e-2b8d5a6c7e10 --grace 0s"
    )]
    Rotate {
        /// Identifier of the key, not the key itself
        #[arg(value_name = "ID", value_parser = key_id)]
        id: KeyId,
        /// How long the old key still works: 24h, 30m, 0s for not at all
        #[arg(long, default_value = "24h", value_parser = output::duration)]
        grace: i64,
    },
    /// Say why a key works or does not
    #[command(
        after_help = "The key is read from stdin, so that it is in no command line and no history.\n\nExample:\n  printf %s \"$SENT_API_KEY\" | keyward keys explain --key-stdin"
    )]
    Explain {
        /// Read the key from stdin
        #[arg(long, required = true)]
        key_stdin: bool,
    },
    /// Take over keys that are in use elsewhere, from a CSV file: all of them or none
    #[command(
        after_help = "Columns: key (a UUID) or sha256 (hexadecimal digest of the 16 bytes of the key, so that\nclear keys need not travel), name, environment; and if you like account (a name or an\nidentifier; unknown names are made), permissions (full, read-only, or names separated by\nspaces; nothing means full), expires_at (2027-01-31T00:00:00Z; nothing means never).\n\nExample:\n  keyward keys import keys.csv --account Acme"
    )]
    Import {
        /// The file; '-' for stdin
        #[arg(value_name = "FILE.csv")]
        file: PathBuf,
        /// Account of the rows that name none [default: the only one there is]
        #[arg(long, value_name = "ID|NAME")]
        account: Option<String>,
    },
}

#[derive(Args)]
pub(super) struct CreateArgs {
    /// What the key is for
    #[arg(long)]
    name: String,
    /// Production or test data
    #[arg(long, value_enum)]
    environment: KeyEnvironment,
    /// What the key may do; give it again for more [default: everything]
    #[arg(long, value_name = "P", conflicts_with = "preset", value_parser = permission)]
    permission: Vec<Permission>,
    /// What the key may do, in one word
    #[arg(long, value_enum)]
    preset: Option<Preset>,
    /// How long it is good for: 90d, 24h [default: 90d]
    #[arg(long, value_name = "TIME", conflicts_with = "never_expires", value_parser = output::duration)]
    expires_in: Option<i64>,
    /// Good until it is revoked
    #[arg(long)]
    never_expires: bool,
    /// Network it may be used from; give it again for more [default: any]
    #[arg(long, value_name = "CIDR", value_parser = config::network)]
    allow_ip: Vec<IpNet>,
    /// The account [default: the only one there is]
    #[arg(long, value_name = "ID|NAME")]
    account: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum KeyEnvironment {
    Production,
    Test,
}

impl From<KeyEnvironment> for Environment {
    fn from(environment: KeyEnvironment) -> Self {
        match environment {
            KeyEnvironment::Production => Self::Production,
            KeyEnvironment::Test => Self::Test,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Preset {
    Full,
    ReadOnly,
}

fn key_id(text: &str) -> Result<KeyId, String> {
    text.parse().map_err(|_| {
        String::from("expected the identifier of a key, 36 characters: see 'keyward keys list'")
    })
}

fn permission(text: &str) -> Result<Permission, String> {
    text.parse().map_err(|error: keyward_core::permission::UnknownPermission| error.to_string())
}

pub(super) fn run(context: &Context, command: KeysCommand) -> Result<(), Failure> {
    let actor = Actor::Operator;
    context.with_app(async |app| match command {
        KeysCommand::Create(arguments) => create(context, app, arguments).await,
        KeysCommand::List { account, environment } => {
            let account = match &account {
                Some(account) => Some(accounts::find(app, account).await?.id),
                None => None,
            };
            let filter = KeyFilter { account, environment: environment.map(Into::into) };
            list(context, app, &keys::list(app, filter).await?)
        }
        KeysCommand::Show { id } => {
            let key = keys::find(app, id).await?;
            show(context, app, &key).await
        }
        KeysCommand::Disable { id } => {
            told(context, app, &keys::disable(app, &actor, id).await?, "is disabled")
        }
        KeysCommand::Enable { id } => {
            told(context, app, &keys::enable(app, &actor, id).await?, "is enabled")
        }
        KeysCommand::Revoke { id } => {
            told(context, app, &keys::revoke(app, &actor, id).await?, "is revoked")
        }
        KeysCommand::Rotate { id, grace } => {
            let (issued, old) = keys::rotate(app, &actor, id, grace).await?;
            if !context.is_json {
                let until = old.rotated.as_ref().map_or(UnixMillis(0), |rotation| rotation.until);
                let works = if grace == 0 {
                    String::from("no longer works")
                } else {
                    format!("works until {}", crate::when(until))
                };
                output::note(&format!("The old key …{} {works}.", old.hint.as_str()));
            }
            hand_over(context, &issued)
        }
        KeysCommand::Explain { key_stdin: _ } => explain::explain(context, app).await,
        KeysCommand::Import { file, account } => {
            import::import(context, app, &file, account.as_deref()).await
        }
    })
}

/// The account that was named, or the only one there is.
pub(super) async fn account_for(app: &App, named: Option<&str>) -> Result<Account, Failure> {
    if let Some(named) = named {
        return Ok(accounts::find(app, named).await?);
    }
    let mut all = accounts::list(app).await?;
    match (all.pop(), all.len()) {
        (Some(only), 0) => Ok(only),
        (None, _) => Err(Failure::Refused(String::from(
            "there is no account yet: make the first one with 'keyward setup'",
        ))),
        (Some(_), _) => Err(Failure::Usage(String::from(
            "there are several accounts: say which with --account ('keyward accounts list')",
        ))),
    }
}

async fn create(context: &Context, app: &App, arguments: CreateArgs) -> Result<(), Failure> {
    let account = account_for(app, arguments.account.as_deref()).await?;
    let permissions = match (arguments.preset, arguments.permission.as_slice()) {
        (Some(Preset::ReadOnly), _) => PermissionSet::READ_ONLY,
        (Some(Preset::Full), _) | (None, []) => PermissionSet::FULL,
        (None, permissions) => permissions.iter().copied().collect(),
    };
    let life = arguments.expires_in.unwrap_or(DEFAULT_LIFE_DAYS * DAY_MILLIS);
    let expires_at = (!arguments.never_expires).then(|| app.clock.wall() + life);
    let new = NewKey {
        account: account.id,
        name: arguments.name,
        environment: arguments.environment.into(),
        permissions,
        networks: arguments.allow_ip,
        expires_at,
    };
    let issued = keys::issue(app, &Actor::Operator, new).await?;
    hand_over(context, &issued)
}

/// Prints a key, the only time that it is ever shown.
fn hand_over(context: &Context, issued: &Issued) -> Result<(), Failure> {
    let Issued { key, record } = issued;
    let clear = key.reveal();
    if context.is_json {
        return output::json(&json!({
            "id": record.id.to_string(),
            "key": *clear,
            "name": record.name,
            "environment": record.environment.as_str(),
            "permissions": permissions(record),
            "expires_at": record.expires_at.map(crate::when),
            "created_at": crate::when(record.created.at),
        }));
    }
    let expires = match record.expires_at {
        Some(at) => format!("expires {}", crate::when(at)),
        None => String::from("never expires: rotate it every 90 days"),
    };
    output::note(&format!(
        "Key '{}' ({}, id {}), {expires}.\nThis is the only time it is shown. Keep it out of version \
         control:",
        record.name, record.environment, record.id
    ));
    output::data(&clear)
}

fn permissions(key: &KeyRecord) -> Vec<&'static str> {
    key.permissions.iter().map(Permission::as_str).collect()
}

/// `full`, `read-only`, or the names.
pub(super) fn permissions_text(key: &KeyRecord) -> String {
    match key.permissions {
        PermissionSet::FULL => String::from("full"),
        PermissionSet::READ_ONLY => String::from("read-only"),
        _ if key.permissions.iter().next().is_none() => String::from("none"),
        _ => permissions(key).join(" "),
    }
}

fn view(key: &KeyRecord, now: UnixMillis) -> Value {
    json!({
        "id": key.id.to_string(),
        "account_id": key.account.to_string(),
        "name": key.name,
        "environment": key.environment.as_str(),
        "hint": key.hint.as_str(),
        "status": key.status(now).as_str(),
        "permissions": permissions(key),
        "allowed_networks": key.networks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "created_at": crate::when(key.created.at),
        "created_by": key.created.by,
        "expires_at": key.expires_at.map(crate::when),
        "disabled_at": key.disabled.as_ref().map(|mark| crate::when(mark.at)),
        "disabled_by": key.disabled.as_ref().map(|mark| &mark.by),
        "revoked_at": key.revoked.as_ref().map(|mark| crate::when(mark.at)),
        "revoked_by": key.revoked.as_ref().map(|mark| &mark.by),
        "rotated_at": key.rotated.as_ref().map(|rotation| crate::when(rotation.mark.at)),
        "successor_id": key.rotated.as_ref().map(|rotation| rotation.successor.to_string()),
        "grace_ends_at": key.rotated.as_ref().map(|rotation| crate::when(rotation.until)),
        "last_used_at": key.last_used.as_ref().map(|last| crate::when(last.at)),
        "last_used_from": key.last_used.as_ref().map(|last| last.address.to_string()),
        "last_used_by": key.last_used.as_ref().map(|last| &last.client),
    })
}

fn told(context: &Context, app: &App, key: &KeyRecord, what: &str) -> Result<(), Failure> {
    if context.is_json {
        return output::json(&view(key, app.clock.wall()));
    }
    output::note(&format!("Key '{}' (…{}) {what}, and in force.", key.name, key.hint.as_str()));
    Ok(())
}

fn list(context: &Context, app: &App, keys: &[KeyRecord]) -> Result<(), Failure> {
    let now = app.clock.wall();
    if context.is_json {
        return output::json(&keys.iter().map(|key| view(key, now)).collect::<Vec<_>>());
    }
    if keys.is_empty() {
        output::note("There is no key yet. Issue the first one: keyward keys create --help");
        return Ok(());
    }
    let row = |key: &KeyRecord| {
        vec![
            key.id.to_string(),
            format!("…{}", key.hint.as_str()),
            key.environment.to_string(),
            status_text(key.status(now)),
            key.expires_at.map_or_else(|| String::from("never"), |at| output::relative(at, now)),
            key.last_used
                .as_ref()
                .map_or_else(|| String::from("never"), |last| output::relative(last.at, now)),
            key.name.clone(),
        ]
    };
    let rows: Vec<_> = keys.iter().map(row).collect();
    let header = ["ID", "HINT", "ENVIRONMENT", "STATUS", "EXPIRES", "LAST USED", "NAME"];
    output::data(&output::table(&header, &rows))
}

/// `rotating until …`, `revoked`.
fn status_text(status: KeyStatus) -> String {
    match status {
        KeyStatus::Rotating { until } => format!("rotating until {}", crate::when(until)),
        other => other.as_str().to_owned(),
    }
}

async fn show(context: &Context, app: &App, key: &KeyRecord) -> Result<(), Failure> {
    let now = app.clock.wall();
    if context.is_json {
        return output::json(&view(key, now));
    }
    let account = accounts::find(app, &key.account.to_string()).await?;
    output::data(&explain::lines(key, &account, now, key.last_used.as_ref()).join("\n"))
}
