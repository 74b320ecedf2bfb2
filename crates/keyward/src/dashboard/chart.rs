//! Charts, drawn here as SVG: bars of requests over time, and a small line of bars in a table.
//!
//! Geometry goes into attributes, colours come from the style sheet, so the page needs no inline
//! style. Each bar has a title; the numbers stand in a table beside it.

use std::fmt::Write as _;

use keyward_core::time::{HOUR_MILLIS, UnixMillis};
use keyward_core::usage::Outcome;
use keyward_store::usage::{HourSum, is_refusal};

use super::show::number;

/// What became of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) ok: u64,
    /// Let in, and answered 4xx or 5xx.
    pub(super) error: u64,
    pub(super) refused: u64,
    pub(super) limited: u64,
}

impl Split {
    pub(super) fn add(&mut self, outcome: Outcome, requests: u64) {
        let part = match outcome {
            Outcome::Ok => &mut self.ok,
            Outcome::Limited => &mut self.limited,
            outcome if is_refusal(outcome) => &mut self.refused,
            _ => &mut self.error,
        };
        *part += requests;
    }

    pub(super) const fn total(&self) -> u64 {
        self.ok + self.error + self.refused + self.limited
    }
}

/// One bar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bar {
    pub(super) from: UnixMillis,
    pub(super) split: Split,
}

/// How far back a chart goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    Day,
    Week,
    Month,
}

impl Span {
    pub(super) const ALL: [Self; 3] = [Self::Day, Self::Week, Self::Month];

    pub(super) fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|span| span.as_str() == text)
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "24h",
            Self::Week => "7d",
            Self::Month => "30d",
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Day => "24 hours",
            Self::Week => "7 days",
            Self::Month => "30 days",
        }
    }

    const fn hours_a_bar(self) -> i64 {
        match self {
            Self::Day => 1,
            Self::Week => 6,
            Self::Month => 24,
        }
    }

    const fn bars(self) -> i64 {
        match self {
            Self::Day => 24,
            Self::Week => 28,
            Self::Month => 30,
        }
    }

    /// The first hour that the chart shows, a whole number of bars before the next one begins.
    pub(super) const fn first_hour(self, now: UnixMillis) -> i64 {
        let last = now.hours().div_euclid(self.hours_a_bar()) * self.hours_a_bar();
        last - (self.bars() - 1) * self.hours_a_bar()
    }

    /// Sums hours up to bars; hours without requests give empty bars.
    pub(super) fn bars_of(self, sums: &[HourSum], now: UnixMillis) -> Vec<Bar> {
        let from = self.first_hour(now);
        let bar = |at: i64| Bar {
            from: UnixMillis((from + at * self.hours_a_bar()) * HOUR_MILLIS),
            split: Split::default(),
        };
        let mut bars: Vec<Bar> = (0..self.bars()).map(bar).collect();
        for sum in sums {
            let at = (sum.hour - from).div_euclid(self.hours_a_bar());
            let bar = usize::try_from(at).ok().and_then(|at| bars.get_mut(at));
            if let Some(bar) = bar {
                bar.split.add(sum.outcome, sum.requests);
            }
        }
        bars
    }

    /// What a bar is called.
    pub(super) fn label(self, from: UnixMillis) -> String {
        let exact = crate::when(from);
        let part = |range: std::ops::Range<usize>| exact.get(range).unwrap_or_default();
        match self {
            Self::Day => format!("{} UTC", part(11..16)),
            Self::Week => format!("{} {} UTC", part(5..10), part(11..16)),
            Self::Month => part(0..10).to_owned(),
        }
    }
}

const WIDTH: u64 = 720;
const HEIGHT: u64 = 180;
const LEFT: u64 = 44;
const BOTTOM: u64 = 22;
const TOP: u64 = 10;

/// The next number that is easy to read: 1, 2 or 5 and zeros.
fn ceiling(n: u64) -> u64 {
    let mut step = 1;
    loop {
        for factor in [1, 2, 5] {
            if step * factor >= n {
                return step * factor;
            }
        }
        step *= 10;
    }
}

/// A chart of bars, stacked: answered, answered with an error, refused, limited.
pub(super) fn bars(span: Span, bars: &[Bar]) -> String {
    let most = ceiling(bars.iter().map(|bar| bar.split.total()).max().unwrap_or(0).max(4));
    let plot = HEIGHT - TOP - BOTTOM;
    let n_bars = u64::try_from(bars.len()).unwrap_or(1).max(1);
    let pitch = (WIDTH - LEFT) / n_bars;
    let mut svg = format!(
        "<div class=\"plot\"><svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Requests, \
         {} ending now. The numbers are in the table below.\">",
        span.name()
    );
    for part in [0, 1, 2] {
        let y = TOP + plot - plot * part / 2;
        let _ = write!(
            svg,
            "<line class=\"axis\" x1=\"{LEFT}\" y1=\"{y}\" x2=\"{WIDTH}\" y2=\"{y}\"/><text \
             x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            LEFT - 6,
            y + 4,
            number(most * part / 2)
        );
    }
    let every = (n_bars / 6).max(1);
    for (at, bar) in (0_u64..).zip(bars) {
        let x = LEFT + at * pitch + 1;
        let width = pitch.saturating_sub(2).max(1);
        let split = bar.split;
        if split.total() > 0 {
            let _ = write!(
                svg,
                "<g><title>{}: {} answered, {} errors, {} refused, {} limited</title>",
                span.label(bar.from),
                number(split.ok),
                number(split.error),
                number(split.refused),
                number(split.limited)
            );
            let mut below = 0;
            for (class, n) in [
                ("ok", split.ok),
                ("error", split.error),
                ("refused", split.refused),
                ("limited", split.limited),
            ] {
                let (from, to) = (plot * below / most, plot * (below + n) / most);
                below += n;
                // What is there is seen, however small.
                let height = if n > 0 { (to - from).max(1) } else { 0 };
                if height > 0 {
                    let y = (TOP + plot).saturating_sub(from + height);
                    let _ = write!(
                        svg,
                        "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" \
                         height=\"{height}\"/>"
                    );
                }
            }
            svg.push_str("</g>");
        }
        if at.is_multiple_of(every) {
            let label = span.label(bar.from);
            let label = label.trim_end_matches(" UTC");
            let label = if span == Span::Day {
                label
            } else {
                label.get(label.len().saturating_sub(5)..).unwrap_or(label)
            };
            let label = if span == Span::Week {
                crate::when(bar.from).get(5..10).unwrap_or_default().to_owned()
            } else {
                label.to_owned()
            };
            let _ = write!(svg, "<text x=\"{x}\" y=\"{}\">{label}</text>", HEIGHT - 6);
        }
    }
    svg.push_str("</svg></div>");
    svg
}

/// A small line of 24 bars, an hour each.
pub(super) fn spark(sums: &[HourSum], now: UnixMillis) -> String {
    let bars = Span::Day.bars_of(sums, now);
    let total: u64 = bars.iter().map(|bar| bar.split.total()).sum();
    let most = bars.iter().map(|bar| bar.split.total()).max().unwrap_or(0).max(1);
    let mut svg = format!(
        "<svg class=\"spark chart\" viewBox=\"0 0 96 24\" role=\"img\" aria-label=\"{} in 24 hours\">\
         <title>{} in 24 hours</title>",
        super::show::count(total, "request", "requests"),
        super::show::count(total, "request", "requests"),
    );
    for (at, bar) in (0_u64..).zip(&bars) {
        let n = bar.split.total();
        if n == 0 {
            continue;
        }
        let height = (n * 22 / most).max(2);
        let not_ok = n - bar.split.ok;
        let class = if not_ok * 2 > n { "refused" } else { "ok" };
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"3\" height=\"{height}\"/>",
            at * 4,
            24 - height
        );
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_704_067_200_000 + 90_000);

    #[test]
    fn every_hour_falls_into_one_bar_and_none_is_lost() {
        for span in Span::ALL {
            let from = span.first_hour(NOW);
            let sums: Vec<HourSum> = (from..=NOW.hours())
                .map(|hour| HourSum { hour, outcome: Outcome::Ok, requests: 1 })
                .collect();
            let bars = span.bars_of(&sums, NOW);
            let total: u64 = bars.iter().map(|bar| bar.split.total()).sum();
            assert_eq!(total, u64::try_from(sums.len()).expect("few"), "{span:?}");
            assert!(bars.last().is_some_and(|bar| bar.split.ok > 0), "{span:?}");
            assert!(bars.first().is_some_and(|bar| bar.split.ok > 0), "{span:?}");
        }
    }

    #[test]
    fn the_scale_ends_at_a_number_that_is_easy_to_read() {
        let ends = [0, 1, 3, 7, 10, 11, 99, 501].map(ceiling);
        assert_eq!(ends, [1, 1, 5, 10, 10, 20, 100, 1000]);
    }

    #[test]
    fn bars_stay_inside_the_picture() {
        let sums = [Outcome::Ok, Outcome::Limited, Outcome::Revoked, Outcome::Failed]
            .map(|outcome| HourSum { hour: NOW.hours(), outcome, requests: 3333 });
        let svg = bars(Span::Day, &Span::Day.bars_of(&sums, NOW));
        for rect in svg.split("<rect ").skip(1) {
            let value = |name: &str| {
                let (_, rest) = rect.split_once(&format!(" {name}=\"")).expect(name);
                rest.split('"').next().and_then(|n| n.parse::<u64>().ok()).expect(name)
            };
            assert!(value("y") + value("height") <= HEIGHT - BOTTOM, "{rect}");
            assert!(value("x") + value("width") <= WIDTH, "{rect}");
        }
        assert_eq!(svg.matches("<rect ").count(), 4);
    }
}
