//! `keyward users`: list, invite, reset-password, reset-second-factor, set-role, suspend, resume, remove.

use clap::{Args, Subcommand, ValueEnum};
use keyward_core::id::AccountId;
use keyward_core::role::Role;
use keyward_store::users::User;
use serde_json::json;

use super::{Context, Failure, output};
use crate::app::people::{self, Linked, Member};
use crate::app::{Actor, App, accounts, factors};

#[derive(Subcommand)]
pub(super) enum UsersCommand {
    /// List the members of an account
    #[command(after_help = "Example:\n  keyward users list --account Acme")]
    List {
        #[command(flatten)]
        account: OfAccount,
    },
    /// Invite somebody: prints a link that works once, for 7 days
    #[command(
        after_help = "An account that was made on the command line has no owner: the first one may be invited with --role owner.\n\nExample:\n  keyward users invite --name 'Grace Hopper' --email grace@example.com --role admin"
    )]
    Invite(InviteArgs),
    /// Print a link with which a member sets a new password: works once, for an hour
    #[command(after_help = "Example:\n  keyward users reset-password --email ada@example.com")]
    ResetPassword(MemberArgs),
    /// Take a lost second factor away from a member
    #[command(
        after_help = "The member signs in with the password alone until setting up another one; all sessions end.\n\nExample:\n  keyward users reset-second-factor --email ada@example.com"
    )]
    ResetSecondFactor(MemberArgs),
    /// Give a member another role
    #[command(
        after_help = "Example:\n  keyward users set-role --email grace@example.com --role developer"
    )]
    SetRole(RoleArgs),
    /// Keep a member out until resumed; keys work on
    #[command(after_help = "Example:\n  keyward users suspend --email grace@example.com")]
    Suspend(MemberArgs),
    /// Let a suspended member in again
    #[command(after_help = "Example:\n  keyward users resume --email grace@example.com")]
    Resume(MemberArgs),
    /// Remove a member; the keys that the member made work on
    #[command(after_help = "Example:\n  keyward users remove --email grace@example.com --yes")]
    Remove(RemoveArgs),
}

#[derive(Args)]
pub(super) struct OfAccount {
    /// The account, by identifier or name; not needed if there is one only
    #[arg(long, value_name = "ID|NAME")]
    account: Option<String>,
}

#[derive(Args)]
pub(super) struct MemberArgs {
    /// The member's e-mail address
    #[arg(long)]
    email: String,
    #[command(flatten)]
    account: OfAccount,
}

#[derive(Args)]
pub(super) struct InviteArgs {
    /// Name
    #[arg(long)]
    name: String,
    /// E-mail address
    #[arg(long)]
    email: String,
    /// What the member may do
    #[arg(long, value_enum)]
    role: GivenRole,
    #[command(flatten)]
    account: OfAccount,
}

#[derive(Args)]
pub(super) struct RoleArgs {
    #[command(flatten)]
    member: MemberArgs,
    /// What the member may do
    #[arg(long, value_enum)]
    role: GivenRole,
}

#[derive(Args)]
pub(super) struct RemoveArgs {
    #[command(flatten)]
    member: MemberArgs,
    /// Do it: it cannot be undone
    #[arg(long)]
    yes: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum GivenRole {
    Owner,
    Admin,
    Developer,
    Billing,
}

impl From<GivenRole> for Role {
    fn from(role: GivenRole) -> Self {
        match role {
            GivenRole::Owner => Self::Owner,
            GivenRole::Admin => Self::Admin,
            GivenRole::Developer => Self::Developer,
            GivenRole::Billing => Self::Billing,
        }
    }
}

/// The account that is named, or the only one there is.
pub(super) async fn account_of(app: &App, named: Option<&str>) -> Result<AccountId, Failure> {
    if let Some(name) = named {
        return Ok(accounts::find(app, name).await?.id);
    }
    let all = accounts::list(app).await?;
    match all.as_slice() {
        [only] => Ok(only.id),
        [] => Err(Failure::Refused(String::from(
            "there is no account yet: make the first one with 'keyward setup'",
        ))),
        _ => Err(Failure::Usage(String::from(
            "there are several accounts: name one with --account, see 'keyward accounts list'",
        ))),
    }
}

async fn member(app: &App, arguments: &MemberArgs) -> Result<User, Failure> {
    let account = match &arguments.account.account {
        Some(name) => Some(accounts::find(app, name).await?.id),
        None => None,
    };
    Ok(people::find_by_email(app, &arguments.email, account).await?)
}

fn base(context: &Context) -> String {
    let listen = context.settings.listen;
    context.settings.public_url.clone().unwrap_or_else(|| format!("http://{listen}"))
}

fn linked(context: &Context, linked: &Linked, kind: &str, what: &str) -> Result<(), Failure> {
    let url = format!("{}/{kind}/{}", base(context), linked.token.reveal());
    let ends_at = crate::when(linked.ends_at);
    if context.is_json {
        return output::json(&json!({
            "id": linked.user.id.to_string(),
            "email": linked.user.email,
            "url": url,
            "ends_at": ends_at,
        }));
    }
    output::note(&format!("{what} The link works once and ends at {ends_at}:"));
    output::data(&url)
}

fn done(context: &Context, user: &User, what: &str) -> Result<(), Failure> {
    if context.is_json {
        return output::json(&json!({
            "id": user.id.to_string(),
            "name": user.name,
            "email": user.email,
            "role": user.role.as_str(),
            "status": user.status.as_str(),
        }));
    }
    output::note(&format!("{} ({}) {what}.", user.name, user.email));
    Ok(())
}

fn list(context: &Context, members: &[Member]) -> Result<(), Failure> {
    if context.is_json {
        let view = |member: &Member| {
            let user = &member.user;
            json!({
                "id": user.id.to_string(),
                "name": user.name,
                "email": user.email,
                "role": user.role.as_str(),
                "status": user.status.as_str(),
                "second_factor": user.totp.is_some(),
                "working_keys": member.n_keys,
                "invitation_ends_at": member.invitation_ends.map(crate::when),
                "last_seen_at": member.seen_at.map(crate::when),
            })
        };
        return output::json(&members.iter().map(view).collect::<Vec<_>>());
    }
    if members.is_empty() {
        output::note("There is no member yet. Invite the first one: keyward users invite --help");
        return Ok(());
    }
    let row = |member: &Member| {
        let user = &member.user;
        vec![
            user.email.clone(),
            user.role.to_string(),
            user.status.to_string(),
            String::from(if user.totp.is_some() { "yes" } else { "no" }),
            member.n_keys.to_string(),
            user.name.clone(),
        ]
    };
    let rows: Vec<_> = members.iter().map(row).collect();
    let header = ["EMAIL", "ROLE", "STATUS", "SECOND FACTOR", "KEYS", "NAME"];
    output::data(&output::table(&header, &rows))
}

pub(super) fn run(context: &Context, command: UsersCommand) -> Result<(), Failure> {
    let operator = Actor::Operator;
    context.with_app(async |app| match command {
        UsersCommand::List { account } => {
            let account = account_of(app, account.account.as_deref()).await?;
            list(context, &people::list(app, account).await?)
        }
        UsersCommand::Invite(arguments) => {
            let account = account_of(app, arguments.account.account.as_deref()).await?;
            let InviteArgs { name, email, role, .. } = arguments;
            let invited =
                people::invite(app, &operator, account, &name, &email, role.into()).await?;
            let what = format!("{} is invited.", invited.user.email);
            linked(context, &invited, "invitations", &what)
        }
        UsersCommand::ResetPassword(arguments) => {
            let user = member(app, &arguments).await?;
            let link = people::reset_link(app, &operator, user.id).await?;
            linked(context, &link, "reset", "Hand this over to nobody else.")
        }
        UsersCommand::ResetSecondFactor(arguments) => {
            let user = member(app, &arguments).await?;
            factors::take_away(app, &operator, user.id).await?;
            done(context, &user, "has no second factor any more and is signed out everywhere")
        }
        UsersCommand::SetRole(RoleArgs { member: arguments, role }) => {
            let user = member(app, &arguments).await?;
            let user =
                people::change_role(app, &operator, user.account, user.id, role.into()).await?;
            done(context, &user, &format!("is {} now", user.role))
        }
        UsersCommand::Suspend(arguments) => {
            let user = member(app, &arguments).await?;
            let user = people::suspend(app, &operator, user.account, user.id).await?;
            done(context, &user, "is suspended and signed out everywhere")
        }
        UsersCommand::Resume(arguments) => {
            let user = member(app, &arguments).await?;
            let user = people::resume(app, &operator, user.account, user.id).await?;
            done(context, &user, "can sign in again")
        }
        UsersCommand::Remove(RemoveArgs { member: arguments, yes }) => {
            let user = member(app, &arguments).await?;
            if !yes {
                return Err(Failure::Usage(format!(
                    "removing {} cannot be undone: add --yes to do it",
                    user.email
                )));
            }
            let user = people::remove(app, &operator, user.account, user.id).await?;
            done(context, &user, "is removed; the keys that they made work on")
        }
    })
}
