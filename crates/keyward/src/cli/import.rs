//! `keyward keys import`.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::{Context, Failure, keys, output};
use crate::app::import::{self, Imported, Progress};
use crate::app::{Actor, App};

pub(super) async fn import(
    context: &Context,
    app: &App,
    path: &Path,
    account: Option<&str>,
) -> Result<(), Failure> {
    let (file, size): (Box<dyn Read>, u64) = if path == Path::new("-") {
        (Box::new(io::stdin().lock()), 0)
    } else {
        let file = File::open(path)
            .map_err(|error| Failure::Refused(format!("{}: {error}", path.display())))?;
        let size = file.metadata()?.len();
        (Box::new(BufReader::with_capacity(1 << 20, file)), size)
    };
    // Only rows without an account need one; whether there are any is found out on reading.
    let default = match account {
        Some(_) => Some(keys::account_for(app, account).await?),
        None => keys::account_for(app, None).await.ok(),
    };
    let bar = progress_bar(size);
    let told = bar.clone();
    let on_progress = move |progress| match progress {
        Progress::Read(bytes) => told.set_position(bytes),
        Progress::Written(n_written, total) => {
            if told.message() != "writing" {
                told.set_message("writing");
                told.set_length(total as u64);
            }
            told.set_position(n_written as u64);
        }
    };
    let imported = import::import(app, &Actor::Operator, file, default, on_progress).await;
    bar.finish_and_clear();
    match imported? {
        Imported::Done { keys, new_accounts } => {
            if context.is_json {
                return output::json(&json!({"imported": keys, "new_accounts": new_accounts}));
            }
            for name in &new_accounts {
                output::note(&format!("Account '{name}' is made."));
            }
            output::note(&format!("{keys} keys are imported and in force."));
            if path != Path::new("-") {
                output::note("If the file holds keys in clear, delete it now.");
            }
            Ok(())
        }
        Imported::Refused(faults) => {
            let n_faults = faults.len();
            if context.is_json {
                let fault = |f: &import::Fault| json!({"line": f.line, "reason": f.reason});
                output::json(&json!({
                    "imported": 0, "faults": faults.iter().map(fault).collect::<Vec<_>>(),
                }))?;
            } else {
                let lines: Vec<_> =
                    faults.iter().map(|f| format!("line {}: {}", f.line, f.reason)).collect();
                output::note(&lines.join("\n"));
            }
            Err(Failure::Refused(format!(
                "{n_faults} rows cannot be imported, so none was: mend or remove them and try again"
            )))
        }
    }
}

fn progress_bar(size: u64) -> ProgressBar {
    if !output::is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(size), ProgressDrawTarget::stderr_with_hz(10));
    let style = ProgressStyle::with_template("{msg:8} {wide_bar} {percent:>3} %  {eta}");
    // The template is constant; should it ever be wrong, the plain bar does as well.
    let bar = bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message("reading");
    bar
}
