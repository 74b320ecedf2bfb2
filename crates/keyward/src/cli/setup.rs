//! `keyward setup`: the first account and its owner.

use std::io::Read as _;

use clap::Args;
use serde_json::json;
use zeroize::Zeroizing;

use super::{Context, Failure, output};
use crate::app::accounts::{self, Setup};

#[derive(Args)]
#[command(
    after_help = "Example:\n  echo 'a long passphrase' | keyward setup --account 'Acme' \\\n      --owner-name 'Ada Lovelace' --owner-email ada@example.com --password-stdin"
)]
pub(super) struct SetupArgs {
    /// Name of the account, an organization
    #[arg(long, value_name = "NAME")]
    account: String,
    /// Name of its owner
    #[arg(long, value_name = "NAME")]
    owner_name: String,
    /// E-mail address of its owner
    #[arg(long, value_name = "EMAIL")]
    owner_email: String,
    /// Read the owner's password from stdin: one line, 12 characters or more
    #[arg(long, required = true)]
    password_stdin: bool,
}

/// The longest password that is read.
const PASSWORD_BYTES: u64 = 4096;

pub(super) fn set_up(context: &Context, arguments: SetupArgs) -> Result<(), Failure> {
    let mut password = Zeroizing::new(String::with_capacity(PASSWORD_BYTES as usize));
    std::io::stdin().lock().take(PASSWORD_BYTES).read_to_string(&mut password)?;
    let line = password.lines().next().unwrap_or_default();
    let setup = Setup {
        account: arguments.account,
        owner_name: arguments.owner_name,
        owner_email: arguments.owner_email,
        password: Zeroizing::new(line.to_owned()),
    };
    let (account, _) =
        context.with_new_app(async |app| Ok(accounts::set_up(app, setup, None).await?))?;
    if context.is_json {
        return output::json(&json!({
            "id": account.id.to_string(),
            "name": account.name,
            "type": account.kind.as_str(),
            "created_at": crate::when(account.created_at),
        }));
    }
    output::note(&format!("Account '{}' is made. Issue its first key:", account.name));
    output::note("  keyward keys create --name 'first key' --environment production");
    output::data(&account.id.to_string())
}
