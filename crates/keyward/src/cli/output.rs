//! What is written where: data on stdout, everything else on stderr.

use std::io::{self, IsTerminal as _, Write as _};

use keyward_core::time::UnixMillis;
use serde::Serialize;

use super::Failure;

/// Writes data.
///
/// # Errors
/// If nobody reads it any more.
pub(super) fn data(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out
        .write_all(text.as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
    {
        // Whoever read it has enough, as with `| head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Writes data as JSON.
///
/// # Errors
/// If nobody reads it any more.
pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Failure::Refused(e.to_string()))?;
    data(&text)
}

/// Tells the person at the terminal something.
pub(super) fn note(text: &str) {
    // If stderr is closed there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

pub(super) fn is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// A table with aligned columns; the last one is not padded.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([header[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> =
            cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(&mut header.iter().copied())];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

/// `in 3 days`, `2 hours ago`.
pub(super) fn relative(at: UnixMillis, now: UnixMillis) -> String {
    let distance = at - now;
    let seconds = distance.unsigned_abs() / 1000;
    let (amount, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => ((seconds + 1800) / 3600, "hour"),
        _ => ((seconds + 43_200) / 86_400, "day"),
    };
    let plural = if amount == 1 { "" } else { "s" };
    if distance >= 0 {
        format!("in {amount} {unit}{plural}")
    } else {
        format!("{amount} {unit}{plural} ago")
    }
}

/// `90d`, `24h`, `15m`, `30s` or `0`, in milliseconds.
///
/// # Errors
/// A sentence about what is expected.
pub(super) fn duration(text: &str) -> Result<i64, String> {
    let expected = || String::from("expected a number and a unit, such as 90d, 24h, 15m or 30s");
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: i64 = number.parse().map_err(|_| expected())?;
    let unit = match unit {
        "d" => 86_400_000,
        "h" => 3_600_000,
        "m" => 60_000,
        "s" => 1000,
        "" if number == 0 => 0,
        _ => return Err(expected()),
    };
    number.checked_mul(unit).filter(|millis| *millis <= 100 * 365 * 86_400_000).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("90d"), Ok(7_776_000_000));
        assert_eq!(duration("24h"), Ok(86_400_000));
        assert_eq!(duration("0s"), Ok(0));
        assert_eq!(duration("0"), Ok(0));
        for wrong in ["", "90", "d", "-1d", "1.5h", "1w", "99999999999999999999d", "36501d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn distances_are_told_in_words() {
        let now = UnixMillis(0);
        assert_eq!(relative(UnixMillis(90 * 86_400_000), now), "in 90 days");
        assert_eq!(relative(UnixMillis(90 * 86_400_000 - 1500), now), "in 90 days");
        assert_eq!(relative(UnixMillis(-3_600_000), now), "1 hour ago");
    }

    #[test]
    fn a_table_is_aligned() {
        let rows = [vec![String::from("é"), String::from("x")], vec!["ab".into(), "y".into()]];
        assert_eq!(table(&["A", "B"], &rows), "A   B\né   x\nab  y");
    }
}
