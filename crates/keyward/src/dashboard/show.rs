//! How times, numbers and words are written on pages.

use std::borrow::Borrow;

use keyward_core::permission::PermissionSet;
use keyward_core::secret::hide_keys;
use keyward_core::time::{DAY_MILLIS, UnixMillis};

/// A time: in UTC as it is written here, in the reader's zone when the script has run.
pub(super) fn time(at: UnixMillis) -> String {
    let exact = crate::when(at);
    let readable = exact.replace('T', " ");
    let short = readable.get(..16).unwrap_or(&readable);
    format!("<time datetime=\"{exact}\" title=\"{exact}\">{short} UTC</time>")
}

/// A day: the date alone.
pub(super) fn day(at: UnixMillis) -> String {
    let exact = crate::when(at);
    let date = exact.get(..10).unwrap_or(&exact);
    format!("<time datetime=\"{exact}\" title=\"{exact}\" data-day>{date}</time>")
}

/// How long ago, or in how long: `3 days ago`.
pub(super) fn ago(at: UnixMillis, now: UnixMillis) -> String {
    let exact = crate::when(at);
    let words = distance(at.0 - now.0);
    format!("<time datetime=\"{exact}\" title=\"{exact}\" data-ago>{words}</time>")
}

fn distance(millis: i64) -> String {
    let seconds = (millis / 1000).unsigned_abs();
    let (n, unit) = match seconds {
        0..60 => return String::from(if millis > 0 { "in under a minute" } else { "just now" }),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let plural = if n == 1 { "" } else { "s" };
    if millis > 0 { format!("in {n} {unit}{plural}") } else { format!("{n} {unit}{plural} ago") }
}

/// What was typed, as a page repeats it: a key that was pasted into a wrong field is not shown.
pub(super) fn typed(text: &str) -> String {
    hide_keys(text).into_owned()
}

/// `12,345`.
pub(super) fn number(n: impl Borrow<u64>) -> String {
    let digits = n.borrow().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 key`, `2 keys`.
pub(super) fn count(n: u64, one: &str, more: &str) -> String {
    format!("{} {}", number(n), if n == 1 { one } else { more })
}

/// `Full access`, `Read only`, or how many of how many.
pub(super) fn permissions(permissions: PermissionSet) -> String {
    if permissions == PermissionSet::FULL {
        String::from("Full access")
    } else if permissions == PermissionSet::READ_ONLY {
        String::from("Read only")
    } else {
        match permissions.iter().count() {
            0 => String::from("None"),
            n => format!("Custom ({n})"),
        }
    }
}

/// When a day begins, in UTC.
pub(super) fn midnight(day: jiff::civil::Date) -> Option<UnixMillis> {
    let begin = jiff::tz::TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).ok()?;
    Some(UnixMillis(begin.as_millisecond()))
}

/// Whole days from one time to another.
pub(super) const fn days(from: UnixMillis, to: UnixMillis) -> i64 {
    (to.0 - from.0) / DAY_MILLIS
}

/// The start of a browser's name for itself that tells people something.
pub(super) fn device(agent: &str) -> String {
    let browser = [
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("HeadlessChrome/", "Chrome (headless)"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
        ("curl/", "curl"),
    ];
    let system = [
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Android", "Android"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("Linux", "Linux"),
    ];
    let find = |names: &[(&str, &'static str)]| {
        names.iter().find(|(part, _)| agent.contains(part)).map(|(_, name)| *name)
    };
    match (find(&browser), find(&system)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(browser), None) => browser.to_owned(),
        (None, Some(system)) => format!("A program on {system}"),
        (None, None) if agent.is_empty() => String::from("Unknown device"),
        (None, None) => agent.chars().take(40).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let texts = [0, 7, 999, 1000, 12_345, 1_234_567].map(|n: u64| number(n));
        assert_eq!(texts, ["0", "7", "999", "1,000", "12,345", "1,234,567"]);
        assert_eq!(count(1, "key", "keys"), "1 key");
        assert_eq!(count(1200, "key", "keys"), "1,200 keys");
    }

    #[test]
    fn distances_are_in_words() {
        let check = |seconds: i64, expected: &str| assert_eq!(distance(seconds * 1000), expected);
        check(0, "just now");
        check(-59, "just now");
        check(30, "in under a minute");
        check(-60, "1 minute ago");
        check(7200, "in 2 hours");
        check(-86_400 * 90, "90 days ago");
    }

    #[test]
    fn devices_are_told_by_what_people_call_them() {
        let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0";
        assert_eq!(device(firefox), "Firefox on Linux");
        assert_eq!(device("curl/8.5.0"), "curl");
        assert_eq!(device(""), "Unknown device");
        assert_eq!(device("<script>alert(1)</script>"), "<script>alert(1)</script>");
    }
}
