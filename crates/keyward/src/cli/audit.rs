//! `keyward audit`: verify, list, export.

use std::io::Write as _;

use clap::{Args, Subcommand, ValueEnum};
use keyward_core::chain::{Entry, LinkHash};
use keyward_store::audit::AuditFilter;
use serde_json::json;

use super::{Context, Failure, output};
use crate::app::audit::{self, Verified};
use crate::app::{App, accounts};

#[derive(Subcommand)]
pub(super) enum AuditCommand {
    /// Check every row of the audit log: that none was changed, removed or put in
    #[command(
        after_help = "Each row carries the hash of the one before. Keep the hash of the last row that this prints, somewhere else; with --expect it is checked that the log still passes through it, which even a log that was written anew from the start could not do.\n\nExamples:\n  keyward audit verify\n  keyward audit verify --expect 3f1a…"
    )]
    Verify {
        /// The hash that an earlier check printed
        #[arg(long, value_name = "HASH")]
        expect: Option<String>,
    },
    /// List rows, newest first
    #[command(
        after_help = "Examples:\n  keyward audit list --limit 20\n  keyward audit list --account Acme --action key"
    )]
    List {
        #[command(flatten)]
        filter: FilterArgs,
        /// So many rows at most
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
    },
    /// Write all rows that match to stdout, newest first
    #[command(after_help = "Example:\n  keyward audit export --format csv > audit.csv")]
    Export {
        #[command(flatten)]
        filter: FilterArgs,
        /// CSV with a head line, or JSON with one object a line
        #[arg(long, value_enum, default_value_t = Format::Csv)]
        format: Format,
    },
}

#[derive(Args)]
pub(super) struct FilterArgs {
    /// Only of this account, by identifier or name
    #[arg(long, value_name = "ID|NAME")]
    account: Option<String>,
    /// Only what begins like this: key, or key.revoked
    #[arg(long)]
    action: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Csv,
    Json,
}

fn hash(text: &str) -> Result<LinkHash, Failure> {
    let digest = keyward_core::digest::KeyDigest::from_hex(text.trim());
    let wrong = || Failure::Usage(String::from("--expect: expected 64 hexadecimal digits"));
    digest.map(|digest| *digest.as_bytes()).ok_or_else(wrong)
}

fn hex(hash: &LinkHash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn filter(app: &App, arguments: FilterArgs, most: u32) -> Result<AuditFilter, Failure> {
    let account = match arguments.account {
        Some(name) => Some(accounts::find(app, &name).await?.id),
        None => None,
    };
    Ok(AuditFilter { account, action: arguments.action, most, ..AuditFilter::default() })
}

fn verified(context: &Context, found: &Verified) -> Result<(), Failure> {
    let restore = "compare with a backup, and find out who could write the database";
    match found {
        Verified::Holds { n_rows, head, passes_expected } => {
            if *passes_expected == Some(false) {
                return Err(Failure::Refused(format!(
                    "the log holds, but does not pass through the expected hash: it was written \
                     anew; {restore}"
                )));
            }
            if context.is_json {
                return output::json(&json!({ "rows": n_rows, "head": hex(head) }));
            }
            output::note(&format!(
                "The audit log holds: {n_rows} rows, none changed or removed. Keep the hash of the \
                 last row somewhere else, for --expect:"
            ));
            output::data(&hex(head))
        }
        broken => {
            let fault = broken.fault().unwrap_or_default();
            Err(Failure::Refused(format!("{fault}: {restore}")))
        }
    }
}

fn rows(context: &Context, entries: &[Entry]) -> Result<(), Failure> {
    if context.is_json {
        let values: Vec<_> = entries.iter().map(audit::json_value).collect();
        return output::json(&values);
    }
    let row = |entry: &Entry| {
        vec![
            entry.number.to_string(),
            crate::when(entry.at),
            entry.name.clone(),
            entry.action.clone(),
            entry.label.clone(),
        ]
    };
    let rows: Vec<_> = entries.iter().map(row).collect();
    output::data(&output::table(&["ROW", "AT", "WHO", "WHAT", "TO"], &rows))
}

async fn export(app: &App, mut filter: AuditFilter, format: Format) -> Result<(), Failure> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if format == Format::Csv {
        out.write_all(audit::CSV_HEAD.as_bytes())?;
    }
    loop {
        let entries = audit::list(app, filter.clone()).await?;
        for entry in &entries {
            let line = match format {
                Format::Csv => audit::csv_row(entry),
                Format::Json => audit::json_row(entry),
            };
            out.write_all(line.as_bytes())?;
        }
        match entries.last() {
            Some(last) => filter.before = Some(last.number),
            None => break,
        }
    }
    Ok(out.flush()?)
}

pub(super) fn run(context: &Context, command: AuditCommand) -> Result<(), Failure> {
    context.with_app(async |app| match command {
        AuditCommand::Verify { expect } => {
            let expected = expect.as_deref().map(hash).transpose()?;
            verified(context, &audit::verify(app, expected).await?)
        }
        AuditCommand::List { filter: arguments, limit } => {
            let filter = filter(app, arguments, limit.clamp(1, 10_000)).await?;
            rows(context, &audit::list(app, filter).await?)
        }
        AuditCommand::Export { filter: arguments, format } => {
            let filter = filter(app, arguments, 1000).await?;
            export(app, filter, format).await
        }
    })
}
