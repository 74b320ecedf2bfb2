//! `keyward accounts`: list, show, create, suspend, activate, set-limit.

use clap::{Args, Subcommand, ValueEnum};
use keyward_core::account::{Account, AccountKind, AccountState, RateClass};
use serde_json::{Value, json};

use super::{Context, Failure, output};
use crate::app::Actor;
use crate::app::accounts::{self, NewAccount};

#[derive(Subcommand)]
pub(super) enum AccountsCommand {
    /// List all accounts
    #[command(after_help = "Example:\n  keyward accounts list --json")]
    List,
    /// Show one account
    #[command(after_help = "Example:\n  keyward accounts show Acme")]
    Show {
        /// Identifier or name
        #[arg(value_name = "ID|NAME")]
        account: String,
    },
    /// Make an account
    #[command(
        after_help = "Examples:\n  keyward accounts create --name 'Acme Labs'\n  keyward accounts create --name 'Acme Shop' --type profile --organization Acme"
    )]
    Create(CreateArgs),
    /// Refuse all requests with an account's keys, until it is activated
    #[command(
        after_help = "Keys are answered 403 AUTH_005; GET /v3/me still works, so that a key can be looked at.\n\nExample:\n  keyward accounts suspend Acme"
    )]
    Suspend {
        /// Identifier or name
        #[arg(value_name = "ID|NAME")]
        account: String,
        /// What is told to callers: suspended 403 AUTH_005, verification AUTH_006, channel AUTH_007
        #[arg(long, value_enum, default_value_t = Reason::Suspended)]
        reason: Reason,
    },
    /// Let an account's keys be used again
    #[command(after_help = "Example:\n  keyward accounts activate Acme")]
    Activate {
        /// Identifier or name
        #[arg(value_name = "ID|NAME")]
        account: String,
    },
    /// Give an account its own limit
    #[command(
        after_help = "Examples:\n  keyward accounts set-limit Acme --class standard --per-minute 1000\n  keyward accounts set-limit Acme --class standard --default"
    )]
    SetLimit(SetLimitArgs),
}

#[derive(Args)]
pub(super) struct CreateArgs {
    /// Name, unique among accounts
    #[arg(long)]
    name: String,
    /// Kind of account
    #[arg(long = "type", value_enum, default_value_t = Kind::Organization)]
    kind: Kind,
    /// The organization that a profile belongs to
    #[arg(long, value_name = "ID|NAME", required_if_eq("kind", "profile"))]
    organization: Option<String>,
    /// E-mail address
    #[arg(long)]
    email: Option<String>,
    /// Description
    #[arg(long)]
    description: Option<String>,
}

#[derive(Args)]
pub(super) struct SetLimitArgs {
    /// Identifier or name
    #[arg(value_name = "ID|NAME")]
    account: String,
    /// Which pool of requests
    #[arg(long, value_enum)]
    class: Class,
    /// Requests a minute
    #[arg(long, value_name = "N", required_unless_present = "default")]
    per_minute: Option<u32>,
    /// Go back to the server's setting
    #[arg(long, conflicts_with = "per_minute")]
    default: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Reason {
    Suspended,
    Verification,
    Channel,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Kind {
    Organization,
    User,
    Profile,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Class {
    Standard,
    Sensitive,
    WebhookTest,
}

pub(super) fn run(context: &Context, command: AccountsCommand) -> Result<(), Failure> {
    context.with_app(async |app| {
        let find = async |account: &str| accounts::find(app, account).await;
        let account = match command {
            AccountsCommand::List => return list(context, &accounts::list(app).await?),
            AccountsCommand::Show { account } => {
                return show(context, &find(&account).await?);
            }
            AccountsCommand::Create(arguments) => {
                let organization = match &arguments.organization {
                    Some(organization) => Some(find(organization).await?.id),
                    None => None,
                };
                let new = NewAccount {
                    name: arguments.name,
                    kind: match arguments.kind {
                        Kind::Organization => AccountKind::Organization,
                        Kind::User => AccountKind::User,
                        Kind::Profile => AccountKind::Profile,
                    },
                    organization,
                    email: arguments.email,
                    description: arguments.description,
                };
                accounts::create(app, &Actor::Operator, new).await?
            }
            AccountsCommand::Suspend { account, reason } => {
                let state = match reason {
                    Reason::Suspended => AccountState::Suspended,
                    Reason::Verification => AccountState::VerificationPending,
                    Reason::Channel => AccountState::ChannelPending,
                };
                accounts::set_state(app, &Actor::Operator, find(&account).await?.id, state).await?
            }
            AccountsCommand::Activate { account } => {
                let id = find(&account).await?.id;
                accounts::set_state(app, &Actor::Operator, id, AccountState::Active).await?
            }
            AccountsCommand::SetLimit(arguments) => {
                let class = match arguments.class {
                    Class::Standard => RateClass::Standard,
                    Class::Sensitive => RateClass::Sensitive,
                    Class::WebhookTest => RateClass::WebhookTest,
                };
                let id = find(&arguments.account).await?.id;
                accounts::set_limit(app, &Actor::Operator, id, class, arguments.per_minute).await?
            }
        };
        if context.is_json {
            return output::json(&view(&account));
        }
        output::note(&format!("Account '{}' is {}.", account.name, account.state));
        output::data(&account.id.to_string())
    })
}

fn view(account: &Account) -> Value {
    json!({
        "id": account.id.to_string(),
        "name": account.name,
        "type": account.kind.as_str(),
        "organization_id": account.organization.map(|id| id.to_string()),
        "state": account.state.as_str(),
        "email": account.email,
        "description": account.description,
        "limits": {
            "standard": account.limits.standard,
            "sensitive": account.limits.sensitive,
            "webhook_test": account.limits.webhook_test,
        },
        "created_at": crate::when(account.created_at),
    })
}

fn list(context: &Context, accounts: &[Account]) -> Result<(), Failure> {
    if context.is_json {
        return output::json(&accounts.iter().map(view).collect::<Vec<_>>());
    }
    if accounts.is_empty() {
        output::note("There is no account yet. Make the first one: keyward setup --help");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = accounts
        .iter()
        .map(|account| {
            vec![
                account.id.to_string(),
                account.kind.to_string(),
                account.state.to_string(),
                crate::when(account.created_at),
                account.name.clone(),
            ]
        })
        .collect();
    output::data(&output::table(&["ID", "TYPE", "STATE", "CREATED", "NAME"], &rows))
}

fn show(context: &Context, account: &Account) -> Result<(), Failure> {
    if context.is_json {
        return output::json(&view(account));
    }
    let limit = |own: Option<u32>, setting: u32| match own {
        Some(own) => format!("{own} a minute"),
        None => format!("{setting} a minute (the server's setting)"),
    };
    let settings = &context.settings;
    let lines = [
        ("id", account.id.to_string()),
        ("name", account.name.clone()),
        ("type", account.kind.to_string()),
        ("organization", account.organization.map(|id| id.to_string()).unwrap_or_default()),
        ("state", account.state.to_string()),
        ("email", account.email.clone().unwrap_or_default()),
        ("description", account.description.clone().unwrap_or_default()),
        ("standard", limit(account.limits.standard, settings.rate_limit_standard)),
        ("sensitive", limit(account.limits.sensitive, settings.rate_limit_sensitive)),
        ("webhook test", limit(account.limits.webhook_test, settings.rate_limit_webhook_test)),
        ("created", crate::when(account.created_at)),
    ];
    let lines = lines.iter().filter(|(_, value)| !value.is_empty());
    let lines: Vec<String> = lines.map(|(name, value)| format!("{name:14}{value}")).collect();
    output::data(&lines.join("\n"))
}
