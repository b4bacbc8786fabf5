//! The text formats of Prometheus: its own (0.0.4), and `OpenMetrics` 1.0. Pure.

use std::{
    fmt::{self, Write as _},
    time::Duration,
};

use crate::stats::Latency;

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's own.
    Prometheus,
    /// `OpenMetrics`.
    OpenMetrics,
}

impl Format {
    /// The format for a reader with this `Accept`: `OpenMetrics` only if it asks for it.
    pub fn accepted(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Prometheus,
        }
    }

    /// The `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only grows. Its name ends with `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How many values are below each of some bounds.
    Histogram,
}

/// The end of the name of a counter.
const TOTAL: &str = "_total";

/// The upper bounds of the buckets of latencies, in seconds as they are written, and in microseconds.
const BOUNDS: [(&str, u64); 14] = [
    ("0.001", 1_000),
    ("0.0025", 2_500),
    ("0.005", 5_000),
    ("0.01", 10_000),
    ("0.025", 25_000),
    ("0.05", 50_000),
    ("0.1", 100_000),
    ("0.25", 250_000),
    ("0.5", 500_000),
    ("1.0", 1_000_000),
    ("2.5", 2_500_000),
    ("5.0", 5_000_000),
    ("10.0", 10_000_000),
    ("30.0", 30_000_000),
];

/// A text that is being written.
#[derive(Debug)]
pub(super) struct Exposition {
    text: String,
    format: Format,
}

/// One metric, whose samples must be written together.
#[derive(Debug)]
pub(super) struct Family<'e> {
    text: &'e mut String,
    name: &'static str,
}

// Writing to a string cannot fail.
impl Exposition {
    pub(super) fn new(format: Format) -> Self {
        Self {
            text: String::new(),
            format,
        }
    }

    /// Begins the metric `name`, whose meaning is the sentence `help`.
    pub(super) fn family(
        &mut self,
        name: &'static str,
        kind: Kind,
        help: &'static str,
    ) -> Family<'_> {
        debug_assert_eq!(name.ends_with(TOTAL), kind == Kind::Counter, "{name}");
        // In OpenMetrics, the end is of the samples and not of the metric.
        let family = match self.format {
            Format::OpenMetrics => name.strip_suffix(TOTAL).unwrap_or(name),
            Format::Prometheus => name,
        };
        let word = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(self.text, "# HELP {family} {help}\n# TYPE {family} {word}");
        Family {
            text: &mut self.text,
            name,
        }
    }

    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

impl Family<'_> {
    /// One sample, with the values of its labels.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl fmt::Display) {
        self.line("", labels, None, value);
    }

    /// The samples of a histogram of latencies. A latency within an eighth below a bound may be counted above it.
    pub(super) fn latency(&mut self, labels: &[(&str, &str)], latency: &Latency) {
        let mut buckets = latency.buckets().peekable();
        let mut below = 0;
        for (bound, micros) in BOUNDS {
            let bound_at = Duration::from_micros(micros);
            while let Some((_, count)) = buckets.next_if(|(end, _)| *end <= bound_at) {
                below += count;
            }
            self.line("_bucket", labels, Some(("le", bound)), below);
        }
        self.line("_bucket", labels, Some(("le", "+Inf")), latency.count);
        self.line("_sum", labels, None, latency.sum().as_secs_f64());
        self.line("_count", labels, None, latency.count);
    }

    fn line(
        &mut self,
        suffix: &str,
        labels: &[(&str, &str)],
        bound: Option<(&str, &str)>,
        value: impl fmt::Display,
    ) {
        let _ = write!(self.text, "{}{suffix}", self.name);
        let mut separator = '{';
        for (name, value) in labels.iter().copied().chain(bound) {
            let _ = write!(self.text, "{separator}{name}=\"{}\"", Escaped(value));
            separator = ',';
        }
        let end = if separator == ',' { "}" } else { "" };
        let _ = writeln!(self.text, "{end} {value}");
    }
}

/// The value of a label.
struct Escaped<'v>(&'v str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::stats::Histogram;

    use super::*;

    fn written(format: Format) -> String {
        let mut exposition = Exposition::new(format);
        let mut requests = exposition.family("weldr_requests_total", Kind::Counter, "Requests.");
        requests.sample(&[("listener", "a\"b\\c\nd"), ("code", "2xx")], 7_u64);
        exposition
            .family("weldr_ready", Kind::Gauge, "Readiness.")
            .sample(&[], 1);
        exposition.finish()
    }

    #[test]
    fn both_formats_are_as_their_specifications_want_them() {
        let samples = "weldr_requests_total{listener=\"a\\\"b\\\\c\\nd\",code=\"2xx\"} 7\n";
        let ready = "# HELP weldr_ready Readiness.\n# TYPE weldr_ready gauge\nweldr_ready 1\n";
        assert_eq!(
            written(Format::Prometheus),
            format!(
                "# HELP weldr_requests_total Requests.\n# TYPE weldr_requests_total counter\n{samples}{ready}"
            )
        );
        assert_eq!(
            written(Format::OpenMetrics),
            format!(
                "# HELP weldr_requests Requests.\n# TYPE weldr_requests counter\n{samples}{ready}# EOF\n"
            )
        );
    }

    #[test]
    fn a_histogram_is_cumulative_and_has_all_values() {
        let histogram = Histogram::default();
        for micros in [10, 900, 1_100, 7_000_000, 60_000_000] {
            histogram.record(Duration::from_micros(micros));
        }
        let mut latency = Latency::default();
        latency.add(&histogram);
        let mut exposition = Exposition::new(Format::Prometheus);
        exposition
            .family("weldr_seconds", Kind::Histogram, "Latency.")
            .latency(&[("pool", "a")], &latency);
        let text = exposition.finish();
        for line in [
            "weldr_seconds_bucket{pool=\"a\",le=\"0.001\"} 2",
            "weldr_seconds_bucket{pool=\"a\",le=\"0.0025\"} 3",
            "weldr_seconds_bucket{pool=\"a\",le=\"5.0\"} 3",
            "weldr_seconds_bucket{pool=\"a\",le=\"10.0\"} 4",
            "weldr_seconds_bucket{pool=\"a\",le=\"+Inf\"} 5",
            "weldr_seconds_sum{pool=\"a\"} 67.00201",
            "weldr_seconds_count{pool=\"a\"} 5",
        ] {
            assert!(
                text.lines().any(|written| written == line),
                "{line}: {text}"
            );
        }
    }

    #[test]
    fn openmetrics_is_written_only_for_who_asks_for_it() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
        assert_eq!(Format::accepted(Some(prometheus)), Format::OpenMetrics);
        for other in [None, Some("*/*"), Some("text/html")] {
            assert_eq!(Format::accepted(other), Format::Prometheus);
        }
    }
}
