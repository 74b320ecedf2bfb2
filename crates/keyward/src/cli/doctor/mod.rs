//! `keyward doctor`: looks at everything an operator would have to look at, and changes nothing.
//!
//! It works beside a running server and without one. Each finding is one line with a word for how bad it
//! is, and says what to do next.

mod data;
mod settings;
mod tls;

use std::ffi::OsString;
use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::serve::ServeArgs;
use super::{Failure, Shared, output, settings as load_settings};
use crate::app::Clock;
use crate::config::Settings;

#[derive(Args)]
#[command(
    after_help = "Give it the flags that you give 'keyward serve', or the same keyward.toml and variables. Exit code 0: no error was found (there may be warnings); 1: there was one.\n\nExamples:\n  keyward doctor\n  keyward doctor --data-dir /var/lib/keyward --config /etc/keyward.toml\n  keyward doctor --quick --json"
)]
pub(super) struct DoctorArgs {
    /// Leave out what reads the whole database: its integrity and the audit log
    #[arg(long)]
    quick: bool,
    /// So much of the disk should be free: 500M, 10G
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = size)]
    min_free: u64,
    #[command(flatten)]
    serve: ServeArgs,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    Warning,
    Error,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What was found, and what to do.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    state: State,
    finding: String,
    /// Nothing if all is well.
    next: Option<String>,
}

/// Findings so far.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, check: &'static str, finding: impl Into<String>) {
        self.0.push(Finding { check, state: State::Ok, finding: finding.into(), next: None });
    }

    fn warn(&mut self, check: &'static str, finding: impl Into<String>, next: impl Into<String>) {
        let (finding, next) = (finding.into(), Some(next.into()));
        self.0.push(Finding { check, state: State::Warning, finding, next });
    }

    fn fail(&mut self, check: &'static str, finding: impl Into<String>, next: impl Into<String>) {
        let (finding, next) = (finding.into(), Some(next.into()));
        self.0.push(Finding { check, state: State::Error, finding, next });
    }

    fn is_silent_about(&self, check: &'static str) -> bool {
        self.0.iter().all(|found| found.check != check)
    }

    /// What is wrong under a name, or that nothing is.
    fn ok_unless_told(&mut self, check: &'static str, finding: impl Into<String>) {
        if self.is_silent_about(check) {
            self.ok(check, finding);
        }
    }
}

/// `500M`, `10G`, or a number of bytes.
fn size(text: &str) -> Result<u64, String> {
    let expected = || String::from("expected a size, such as 500M or 10G");
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let shift = match unit {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(expected()),
    };
    let number: u64 = number.parse().map_err(|_| expected())?;
    number.checked_mul(1 << shift).ok_or_else(expected)
}

/// A size as people read it.
fn bytes(n_bytes: u64) -> String {
    match n_bytes {
        0..10_240 => format!("{n_bytes} bytes"),
        10_240..10_485_760 => format!("{} KiB", n_bytes >> 10),
        10_485_760..10_737_418_240 => format!("{} MiB", n_bytes >> 20),
        _ => format!("{} GiB", n_bytes >> 30),
    }
}

pub(super) fn run(
    shared: &Shared,
    arguments: DoctorArgs,
    variables: &[OsString],
) -> Result<(), Failure> {
    let DoctorArgs { quick, min_free, serve } = arguments;
    let mut findings = Findings::default();
    let settings = match load_settings(shared, serve.flags()) {
        Ok((settings, explained)) => {
            settings::check(&mut findings, &settings, &explained, variables);
            tls::check(&mut findings, &settings, Clock::system().wall());
            settings
        }
        Err(error) => {
            // The rest is looked at with what is known: the folder may have been named.
            let next = "mend it: 'keyward serve' would not start with it";
            findings.fail("settings", error.to_string(), next);
            let data_dir = shared.data_dir.as_deref().unwrap_or("keyward-data");
            Settings { data_dir: Path::new(data_dir).to_owned(), ..Settings::default() }
        }
    };
    let look = data::Look { folder: &settings.data_dir, is_quick: quick, min_free };
    data::check(&mut findings, &look, Clock::system().wall())?;
    let count = |state| findings.0.iter().filter(|found| found.state == state).count();
    let (n_errors, n_warnings) = (count(State::Error), count(State::Warning));
    if shared.json {
        output::json(&findings.0)?;
    } else {
        let row = |found: &Finding| {
            let next = found.next.as_ref().map(|next| format!(". Next: {next}"));
            let text = format!("{}{}", found.finding, next.unwrap_or_default());
            vec![found.state.word().to_owned(), found.check.to_owned(), text.replace('\n', " ")]
        };
        let rows: Vec<_> = findings.0.iter().map(row).collect();
        output::data(&output::table(&["STATE", "CHECK", "FINDING"], &rows))?;
    }
    if n_errors > 0 {
        return Err(Failure::Refused(format!(
            "{n_errors} errors and {n_warnings} warnings: see what is to be done at each"
        )));
    }
    output::note(&format!("No error, {n_warnings} warnings."));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit_or_are_bytes() {
        assert_eq!(size("500M"), Ok(500 << 20));
        assert_eq!(size("12"), Ok(12));
        for wrong in ["", "G", "1.5G", "10GB", "99999999999T", "-1"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            (bytes(10), bytes(1 << 20), bytes(1 << 40)),
            ("10 bytes".into(), "1024 KiB".into(), "1024 GiB".into())
        );
    }
}
