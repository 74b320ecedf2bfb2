//! `keyward backup` and `keyward restore`.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use keyward_store::Store;
use keyward_store::backup::{Note, Step};
use serde_json::{Value, json};

use super::{Context, Failure, output};
use crate::app::Clock;
use crate::app::audit::Verified;
use crate::app::backup::{self, Contents, Refusal, Target};
use crate::app::restore;
use crate::server::hold::{Hold, SERVER_LOCK, hold};

/// Keys that are named one by one.
const MOST_NAMED: usize = 20;

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.0)
    }
}

#[derive(Args)]
#[command(
    after_help = "It works while a server runs, and on a full or read-only disk if FILE is on another. The audit log says that it was made. The file is a SQLite database with a few lines of text at its end that say what it is: tail -n 6 FILE. What is sealed stays sealed: keyward.key, which opens it, is not in the backup. Keep a copy of that file in another place.\n\nExamples:\n  keyward backup /var/backups/keyward-$(date +%F).backup\n  keyward backup --force /var/backups/keyward.backup\n  keyward backup - | ssh vault 'cat > keyward.backup'"
)]
pub(super) struct BackupArgs {
    /// Where to write it; '-' writes it to stdout
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
}

#[derive(Args)]
#[command(
    after_help = "Stop the server first. The whole backup is checked before anything is touched. Afterwards the same keys are let in as when it was made; members sign in again.\n\nExamples:\n  keyward restore /var/backups/keyward.backup\n  keyward restore --data-dir /var/lib/keyward --force /var/backups/keyward.backup\n  keyward restore --check-only /var/backups/keyward.backup"
)]
pub(super) struct RestoreArgs {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Put it in the place of the database that is there, which is kept under another name
    #[arg(long)]
    force: bool,
    /// Check the backup and do nothing else
    #[arg(long)]
    check_only: bool,
    /// Take it although its audit log does not hold
    #[arg(long)]
    accept_audit: bool,
}

/// A bar for each step, if somebody looks.
struct Bar {
    bar: ProgressBar,
    step: Option<Step>,
}

impl Bar {
    fn new() -> Self {
        let bar = if output::is_terminal() {
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10))
        } else {
            ProgressBar::hidden()
        };
        let style = ProgressStyle::with_template("{msg:9} {wide_bar} {percent:>3} %  {eta}");
        // The template is constant; should it ever be wrong, the plain bar does as well.
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        Self { bar: bar.with_style(style), step: None }
    }

    fn show(&mut self, step: Step, done: u64, all: u64) {
        if self.step != Some(step) {
            self.step = Some(step);
            self.bar.set_message(match step {
                Step::Copy => "copying",
                Step::Sum => "checksum",
            });
        }
        self.bar.set_length(all);
        self.bar.set_position(done);
        if done == all {
            self.bar.set_message("checking");
        }
    }
}

fn in_words(contents: &Contents) -> String {
    let audit = match &contents.audit {
        Some(Verified::Holds { n_rows, .. }) => format!(", {n_rows} rows of the audit log"),
        _ => String::new(),
    };
    format!("{} accounts, {} keys{audit}", contents.accounts, contents.keys)
}

fn value(note: &Note, contents: &Contents) -> Value {
    let (rows, head) = match &contents.audit {
        Some(Verified::Holds { n_rows, head, .. }) => (json!(n_rows), json!(hex(head))),
        _ => (Value::Null, Value::Null),
    };
    json!({
        "made": note.made,
        "program": note.program,
        "schema": note.schema,
        "database_bytes": note.database_bytes,
        "sha256": note.sha256,
        "accounts": contents.accounts,
        "keys": contents.keys,
        "audit_rows": rows,
        "audit_head": head,
        "audit_fault": contents.audit_fault(),
        "sealed": contents.sealed.there,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn back_up(context: &Context, arguments: &BackupArgs) -> Result<(), Failure> {
    let data_dir = &context.settings.data_dir;
    let is_stdout = arguments.file == Path::new("-");
    if is_stdout && (context.is_json || std::io::stdout().is_terminal()) {
        return Err(Failure::Usage(String::from(
            "'-' writes the backup to stdout: send it to a program or a file, without --json",
        )));
    }
    if !Store::is_there(data_dir) {
        return Err(super::no_data(data_dir));
    }
    let target = if is_stdout {
        Target::Stdout
    } else {
        Target::File { path: &arguments.file, is_forced: arguments.force }
    };
    let mut bar = Bar::new();
    let at = Clock::system().wall();
    let made = backup::make(data_dir, target, at, &mut |step, done, all| bar.show(step, done, all));
    bar.bar.finish_and_clear();
    let made = made?;
    let key_file = backup::key_file(data_dir);
    let name = if is_stdout { "stdout".to_owned() } else { arguments.file.display().to_string() };
    output::note(&format!(
        "Backup of {}: {}.\nWritten to {name}: {} bytes, schema {}, SHA-256 {}.",
        data_dir.display(),
        in_words(&made.contents),
        made.file_bytes,
        made.note.schema,
        made.note.sha256
    ));
    output::note(&key_file_note(&key_file, &made.contents));
    if let Some(why) = &made.not_logged {
        output::note(&format!(
            "Warning: the audit log of the database has no row of this backup ({why}): note elsewhere who \
             has it."
        ));
    }
    if let Some(fault) = made.contents.audit_fault() {
        output::note(&format!(
            "Warning: {fault}. The backup holds the log as it is; find out who could write the database \
             ('keyward audit verify'). 'keyward restore' will ask for --accept-audit."
        ));
    }
    if context.is_json {
        let mut told = value(&made.note, &made.contents);
        told["file"] = json!(name);
        told["not_logged"] = json!(made.not_logged);
        told["file_bytes"] = json!(made.file_bytes);
        told["key_file"] = json!(key_file.display().to_string());
        return output::json(&told);
    }
    Ok(())
}

fn key_file_note(key_file: &Path, contents: &Contents) -> String {
    let (path, n_sealed) = (key_file.display(), contents.sealed.there);
    if !key_file.exists() && n_sealed == 0 {
        return String::from(
            "Nothing is sealed in it yet. The settings, and the files they name, are not in it.",
        );
    }
    let missing = if contents.sealed.opened < n_sealed {
        format!(
            "\nWarning: {path} opens {} of them only; find the right file before you need it.",
            contents.sealed.opened
        )
    } else {
        String::new()
    };
    format!(
        "Not in it: {path}, without which {n_sealed} sealed secrets of webhooks and second factors stay \
         closed. Keep a copy of that file in another place than the backups. The settings, and the files \
         they name, are not in it either.{missing}"
    )
}

pub(super) fn restore(context: &Context, arguments: &RestoreArgs) -> Result<(), Failure> {
    let data_dir = &context.settings.data_dir;
    // First what is told at once. A folder that is not there is not made before all is checked.
    let mut held = None;
    if !arguments.check_only {
        if data_dir.join(SERVER_LOCK).exists() {
            held = Some(take_hold(data_dir)?);
        }
        restore::check_folder(data_dir, arguments.force)?;
    }
    let mut bar = Bar::new();
    let mut show = |step, done, all| bar.show(step, done, all);
    let checked = restore::check(&arguments.file, data_dir, arguments.accept_audit, &mut show);
    bar.bar.finish_and_clear();
    let checked = checked?;
    let told = value(&checked.note, &checked.contents);
    let (note, contents) = (&checked.note, &checked.contents);
    if arguments.check_only {
        output::note(&format!(
            "{} is a good backup, made {} by {}, schema {}: {}. Nothing was touched.",
            arguments.file.display(),
            note.made,
            note.program,
            note.schema,
            in_words(contents)
        ));
        return if context.is_json { output::json(&told) } else { Ok(()) };
    }
    keyward_store::create_folder(data_dir).map_err(|error| {
        Failure::Refused(format!("the data folder {} cannot be used: {error}", data_dir.display()))
    })?;
    if held.is_none() {
        held = Some(take_hold(data_dir)?);
    }
    let mut bar = Bar::new();
    let at = Clock::system().wall();
    let mut show = |step, done, all| bar.show(step, done, all);
    let restored = restore::restore(&checked, data_dir, at, &mut show);
    bar.bar.finish_and_clear();
    let restored = restored?;
    drop(held);
    output::note(&format!(
        "Restored into {}: {}, as they were {}.",
        data_dir.display(),
        in_words(contents),
        note.made
    ));
    if let Some(kept) = &restored.kept {
        output::note(&format!(
            "What was there is kept as {}; delete it when it is not needed any more.",
            kept.display()
        ));
    }
    if restored.ended_sessions > 0 {
        output::note(&format!(
            "{} sessions have ended: members sign in again.",
            restored.ended_sessions
        ));
    }
    let n_revived = restored.revived.len();
    if n_revived > 0 {
        output::note(&format!(
            "Warning: {n_revived} keys were revoked, disabled or replaced after this backup was made, \
             and are good again. End them anew, unless that is what you want:"
        ));
        for (id, name) in restored.revived.iter().take(MOST_NAMED) {
            output::note(&format!("  keyward keys revoke {id}   # {name}"));
        }
        if n_revived > MOST_NAMED {
            output::note("  … and more: --json names all of them");
        }
    }
    let key_file = backup::key_file(data_dir);
    let (path, sealed) = (key_file.display(), restored.sealed);
    output::note(&if sealed.there == 0 {
        String::from("Nothing in it is sealed, so keyward.key is not needed.")
    } else if sealed.opened == sealed.there {
        format!("{path} is there and opens all {} sealed secrets.", sealed.there)
    } else if key_file.exists() {
        format!(
            "Warning: {path} opens {} of {} sealed secrets: it is not the file that belongs to this \
             backup. Put the right one there before you start the server, or webhooks cannot sign and \
             second factors do not work.",
            sealed.opened, sealed.there
        )
    } else {
        format!(
            "Still needed: {path}, which opens {} sealed secrets. Put the copy that you kept there \
             before you start the server, or webhooks cannot sign and second factors do not work.",
            sealed.there
        )
    });
    output::note("Next: 'keyward doctor', then start the server.");
    if context.is_json {
        let mut told = told;
        told["kept"] = json!(restored.kept.map(|kept| kept.display().to_string()));
        told["ended_sessions"] = json!(restored.ended_sessions);
        told["revived_keys"] =
            restored.revived.iter().map(|(id, _)| json!(id.to_string())).collect();
        told["key_file"] = json!({
            "path": path.to_string(),
            "is_there": key_file.exists(),
            "opens": sealed.opened,
        });
        return output::json(&told);
    }
    Ok(())
}

fn take_hold(data_dir: &Path) -> Result<Hold, Failure> {
    hold(data_dir).map_err(|error| {
        Failure::Refused(format!("nothing can be restored while it is in use: {error:#}"))
    })
}
