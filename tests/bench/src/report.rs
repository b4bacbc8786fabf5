//! What people read, and what programs read.

use serde::Serialize;
use serde_json::{Value, json};
use tabled::{
    builder::Builder,
    settings::{Alignment, Style, object::Columns},
};

use crate::{
    campaign::Campaign,
    figures::{self, Metric, Rounds},
    machine::Cores,
    results::{Results, Row},
    scenario,
    target::Verdict,
};

const HEADINGS: [&str; 13] = [
    "scenario",
    "proxy",
    "requests/s",
    "CPU µs",
    "user",
    "system",
    "× floor",
    "× best",
    "spread",
    "p50 µs",
    "p99 µs",
    "p99.9 µs",
    "memory",
];

/// A scenario that was run, or why it was not.
#[derive(Debug)]
pub(crate) enum Report {
    /// What it came to, and what that is worth.
    Ran(Results, Vec<Verdict>),
    /// It was skipped.
    Skipped(&'static str, String),
}

impl Report {
    /// Judges what was measured.
    pub(crate) fn of(results: Results, cores: &Cores) -> Self {
        let targets =
            scenario::named(results.scenario).map_or(&[][..], |scenario| scenario.targets);
        let room = cores.have_room_for_two_workers();
        let verdicts = targets
            .iter()
            .filter(|target| target.counts(room))
            .map(|target| target.judge(&results))
            .collect();
        Self::Ran(results, verdicts)
    }
}

/// One table of all scenarios.
pub(crate) fn table(reports: &[Report]) -> String {
    let mut builder = Builder::new();
    builder.push_record(HEADINGS.into_iter().chain(["target"]));
    for report in reports {
        match report {
            Report::Skipped(name, why) => builder.push_record([*name, &format!("skipped: {why}")]),
            Report::Ran(results, verdicts) => {
                for (index, row) in results.rows().iter().enumerate() {
                    builder.push_record(cells(results, row, index == 0, verdicts));
                }
            }
        }
    }
    let mut table = builder.build();
    table.with(Style::psql());
    table.modify(Columns::new(2..HEADINGS.len()), Alignment::right());
    table.to_string()
}

fn cells(results: &Results, row: &Row, is_first: bool, verdicts: &[Verdict]) -> Vec<String> {
    let name = if is_first { results.scenario } else { "" };
    let median = |metric| figures::rounds(&row.samples, metric).map(|rounds| rounds.median);
    let number = |metric, decimals: usize| {
        median(metric).map_or(String::new(), |value| format!("{value:.decimals$}"))
    };
    let ratio = |reference: Option<&Row>| {
        reference
            .and_then(|reference| results.ratio(&row.label, reference, results.metric))
            .map_or(String::new(), |ratio| format!("{:.3}", ratio.median))
    };
    let spread = figures::rounds(&row.samples, results.metric).map_or(String::new(), |rounds| {
        format!("{:.0} %", rounds.spread() * 100.0)
    });
    let memory = median(Metric::IdleConnectionBytes).map_or_else(
        || median(Metric::MemoryBytes).map(|bytes| format!("{:.1} MiB", bytes / 1_048_576.0)),
        |bytes| Some(format!("{bytes:.0} B each")),
    );
    let mut last: Vec<String> = verdicts
        .iter()
        .filter(|verdict| verdict.target.of == row.label)
        .map(Verdict::to_string)
        .collect();
    if row.failures > 0 {
        last.push(format!("{} requests failed", row.failures));
    }
    if let Some(trouble) = &row.trouble {
        // All of it was said when it happened.
        last.extend(trouble.lines().next().map(str::to_owned));
    }
    vec![
        name.to_owned(),
        row.label.clone(),
        number(Metric::RequestsPerSecond, 0),
        number(Metric::CpuMicros, 2),
        number(Metric::UserMicros, 2),
        number(Metric::SystemMicros, 2),
        ratio(results.floor()),
        ratio(results.reference(results.metric)),
        spread,
        number(Metric::P50Micros, 0),
        number(Metric::P99Micros, 0),
        number(Metric::P999Micros, 0),
        memory.unwrap_or_default(),
        last.join("\n"),
    ]
}

/// All figures.
pub(crate) fn json(campaign: &Campaign, reports: &[Report]) -> Value {
    let missing: Vec<&str> = campaign.missing.iter().map(|(name, _)| *name).collect();
    json!({
        "weldr": campaign.weldr_version(),
        "peers": campaign.peers,
        "missing": missing,
        "cores": campaign.cores,
        "rounds": campaign.rounds,
        "seconds": campaign.counted.as_secs(),
        "scenarios": reports.iter().map(scenario_json).collect::<Vec<_>>(),
    })
}

fn scenario_json(report: &Report) -> Value {
    match report {
        Report::Skipped(name, why) => json!({ "name": name, "skipped": why }),
        Report::Ran(results, verdicts) => json!({
            "name": results.scenario,
            "about": scenario::named(results.scenario).map(|scenario| scenario.about),
            "subjects": results.rows().iter().map(|row| row_json(results, row)).collect::<Vec<_>>(),
            "targets": verdicts,
        }),
    }
}

fn row_json(results: &Results, row: &Row) -> Value {
    let metrics: serde_json::Map<String, Value> = row
        .samples
        .first()
        .into_iter()
        .flat_map(|sample| sample.keys())
        .map(|&metric| (key(metric), metric_json(results, row, metric)))
        .collect();
    json!({
        "label": row.label,
        "kind": row.kind,
        "failures": row.failures,
        "trouble": row.trouble,
        "metrics": metrics,
    })
}

/// The name that a metric has as a value is its name as a key too.
fn key(metric: Metric) -> String {
    match json!(metric) {
        Value::String(key) => key,
        other => other.to_string(),
    }
}

#[derive(Serialize)]
struct MetricJson {
    #[serde(flatten)]
    rounds: Option<Rounds>,
    spread: Option<f64>,
    to_floor: Option<Rounds>,
    to_best: Option<Rounds>,
    best: Option<String>,
    samples: Vec<f64>,
}

fn metric_json(results: &Results, row: &Row, metric: Metric) -> Value {
    let to = |reference: &Row| results.ratio(&row.label, reference, metric);
    let best = results.reference(metric);
    let rounds = figures::rounds(&row.samples, metric);
    json!(MetricJson {
        rounds,
        spread: rounds.map(|rounds| rounds.spread()),
        to_floor: results.floor().and_then(to),
        to_best: best.and_then(to),
        best: best.map(|best| best.label.clone()),
        samples: row
            .samples
            .iter()
            .filter_map(|sample| sample.get(&metric).copied())
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::{Report, scenario_json, table};
    use crate::{
        figures::{Metric, Sample},
        machine::Cores,
        results::{Kind, Results, Row},
    };

    fn report() -> Report {
        let row = |kind, label: &str, cpu: f64| Row {
            label: label.to_owned(),
            kind,
            samples: vec![Sample::from([(Metric::CpuMicros, cpu)])],
            failures: 0,
            trouble: None,
        };
        let rows = vec![
            row(Kind::Floor, "floor", 10.0),
            row(Kind::Weldr, "weldr", 12.0),
            row(Kind::Peer, "nginx", 16.0),
        ];
        let cores = Cores {
            proxy: vec![0],
            two_workers: vec![0],
            load: vec![0],
        };
        let results = Results::new("keep-alive-128", Metric::CpuMicros, rows);
        Report::of(results, &cores)
    }

    #[test]
    fn the_table_says_ratios_and_verdicts() {
        let table = table(&[report(), Report::Skipped("access-log", "why".to_owned())]);
        for part in [
            "1.200",
            "0.750",
            "CPU ≤ 1.22 × floor: 1.200 pass",
            "CPU ≤ 0.95 × nginx: 0.750 pass",
            "skipped: why",
        ] {
            assert!(table.contains(part), "{part} is not in\n{table}");
        }
    }

    #[test]
    fn the_json_says_the_same() {
        let json = scenario_json(&report());
        let weldr = &json["subjects"][1]["metrics"]["cpu_micros"];
        assert_eq!(weldr["to_floor"]["median"], 1.2);
        assert_eq!(weldr["to_best"]["median"], 0.75);
        assert_eq!(weldr["best"], "nginx");
        assert_eq!(json["targets"][0]["is_reached"], true);
    }
}
