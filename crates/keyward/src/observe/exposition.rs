//! Figures as text that Prometheus reads (its text format, version 0.0.4).
//!
//! Names and labels are constants of this program, so nothing has to be escaped; a value that could
//! come from a stranger has no place here.

use std::fmt::{Display, Write as _};

/// What the text is, for its reader.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A label and its value.
pub type Label = (&'static str, &'static str);

/// The text in the making.
#[derive(Default)]
pub struct Exposition(String);

/// One metric of it: its name, and lines as they are added.
pub struct Metric<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Exposition {
    /// A number that only grows while the server runs.
    pub fn counter(&mut self, name: &'static str, help: &'static str) -> Metric<'_> {
        self.metric(name, "counter", help)
    }

    /// A number that goes up and down.
    pub fn gauge(&mut self, name: &'static str, help: &'static str) -> Metric<'_> {
        self.metric(name, "gauge", help)
    }

    /// How many there were up to each bound.
    pub fn histogram(&mut self, name: &'static str, help: &'static str) -> Metric<'_> {
        self.metric(name, "histogram", help)
    }

    fn metric(&mut self, name: &'static str, kind: &str, help: &'static str) -> Metric<'_> {
        debug_assert!(!help.contains(['\n', '\\']), "{name}");
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Metric { text: &mut self.0, name }
    }

    #[must_use]
    pub fn into_text(self) -> String {
        self.0
    }
}

impl Metric<'_> {
    /// One line. A label without a value is left out.
    pub fn put(&mut self, labels: &[Label], value: impl Display) -> &mut Self {
        self.line("", labels, None, value)
    }

    /// The lines of a histogram: counts by bucket, each without those before it, and the sum.
    pub fn put_histogram(
        &mut self,
        labels: &[Label],
        bounds_micros: &[u64],
        counts: &[u64],
        sum_micros: u64,
    ) -> &mut Self {
        let mut total = 0;
        for (bucket, count) in counts.iter().enumerate() {
            total += count;
            let bound = bounds_micros.get(bucket).map_or(f64::INFINITY, |micros| seconds(*micros));
            self.line("_bucket", labels, Some(bound), total);
        }
        self.line("_sum", labels, None, seconds(sum_micros));
        self.line("_count", labels, None, total)
    }

    fn line(
        &mut self,
        suffix: &str,
        labels: &[Label],
        bound: Option<f64>,
        value: impl Display,
    ) -> &mut Self {
        let _ = write!(self.text, "{}{suffix}", self.name);
        let mut before = '{';
        for (label, text) in labels.iter().filter(|(_, text)| !text.is_empty()) {
            let _ = write!(self.text, "{before}{label}=\"{text}\"");
            before = ',';
        }
        if let Some(bound) = bound {
            let bound = if bound.is_finite() { bound.to_string() } else { String::from("+Inf") };
            let _ = write!(self.text, "{before}le=\"{bound}\"");
            before = ',';
        }
        let end = if before == '{' { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {value}");
        self
    }
}

/// Microseconds as seconds. A sum stays exact for 285 years.
#[must_use]
pub fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_has_a_head_and_its_lines() {
        let mut text = Exposition::default();
        text.counter("a_total", "What is counted.").put(&[("area", "me"), ("code", "")], 1);
        text.gauge("b", "What goes up and down.").put(&[], 2);
        let bounds = [50, 2_500_000];
        text.histogram("c_seconds", "How long.")
            .put_histogram(&[("job", "read")], &bounds, &[1, 0, 2], 3_000_001)
            .put_histogram(&[], &bounds[..1], &[0, 0], 0);
        let expected = "\
# HELP a_total What is counted.
# TYPE a_total counter
a_total{area=\"me\"} 1
# HELP b What goes up and down.
# TYPE b gauge
b 2
# HELP c_seconds How long.
# TYPE c_seconds histogram
c_seconds_bucket{job=\"read\",le=\"0.00005\"} 1
c_seconds_bucket{job=\"read\",le=\"2.5\"} 1
c_seconds_bucket{job=\"read\",le=\"+Inf\"} 3
c_seconds_sum{job=\"read\"} 3.000001
c_seconds_count{job=\"read\"} 3
c_seconds_bucket{le=\"0.00005\"} 0
c_seconds_bucket{le=\"+Inf\"} 0
c_seconds_sum 0
c_seconds_count 0
";
        assert_eq!(text.into_text(), expected);
    }
}
