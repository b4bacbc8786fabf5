//! `http-table`: runs the tables of HTTP/1.1 cases against Weldr and other proxies, side by side.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a harness fails by panicking"
)]

use std::process::ExitCode;

use clap::Parser;
use weldr_tests::{
    complain,
    conformance::{
        Bench, case,
        peers::{Peer, PeerError},
        recorder::Recorder,
        report::{self, Verdict},
        requests, responses,
    },
    say,
};

/// Run the tables of HTTP/1.1 cases against Weldr and, side by side, other proxies.
#[derive(Debug, Parser)]
struct Args {
    /// Another proxy to judge, if it is installed (haproxy, nginx); repeatable
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    against: Vec<String>,

    /// Judge only the cases whose table or name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,

    /// How often to start each proxy and judge it: a case counts as passed when it passed each time
    #[arg(long, value_name = "N", default_value_t = 1)]
    runs: usize,

    /// Print each case that any of them fails, not just the counts
    #[arg(long)]
    cases: bool,

    /// Print the failures of this proxy in full
    #[arg(long, value_name = "NAME")]
    failures_of: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let mut judged = Vec::new();
    for name in std::iter::once("weldr").chain(args.against.iter().map(String::as_str)) {
        match judge_often(name, &args).await {
            Ok(verdicts) => judged.push((name.to_owned(), verdicts)),
            Err(why) => complain!("{name} is left out: {why}"),
        }
    }
    print(&judged, args.cases);
    for (name, verdicts) in &judged {
        if args.failures_of.as_ref() == Some(name) {
            say!("\n{name}\n{}", report::summary(verdicts));
        }
    }
    let (_, of_weldr) = &judged[0];
    ExitCode::from(u8::from(!of_weldr.iter().all(Verdict::passed)))
}

/// A proxy may do with a case now this and now that: what it does not do each time, it does not do.
async fn judge_often(name: &str, args: &Args) -> Result<Vec<Verdict>, PeerError> {
    let mut verdicts = Vec::new();
    for run in 0..args.runs.max(1) {
        let origin = Recorder::start().await;
        let peer = Peer::start(name, origin.address()).await?;
        let again = judge(&peer, &origin, &args.only).await;
        if run == 0 {
            verdicts = again;
            continue;
        }
        for (verdict, again) in verdicts.iter_mut().zip(again) {
            if verdict.passed() != again.passed() {
                complain!("{name} varies: {}: {}", verdict.table, verdict.name);
            }
            if verdict.passed() {
                *verdict = again;
            }
        }
    }
    Ok(verdicts)
}

async fn judge(peer: &Peer, origin: &Recorder, only: &str) -> Vec<Verdict> {
    let bench = Bench {
        proxy: peer.address,
        origin,
        measure: peer.measure,
    };
    let wanted = |table: &str, name: &str| table.contains(only) || name.contains(only);
    let mut verdicts = Vec::new();
    for (table, cases) in case::requests() {
        for case in cases.iter().filter(|case| wanted(table, &case.name)) {
            verdicts.push(requests::run(&bench, table, case, verdicts.len()).await);
        }
    }
    for (table, cases) in case::responses() {
        for case in cases.iter().filter(|case| wanted(table, &case.name)) {
            verdicts.push(responses::run(&bench, table, case, verdicts.len()).await);
        }
    }
    verdicts
}

fn print(judged: &[(String, Vec<Verdict>)], each: bool) {
    let (_, first) = &judged[0];
    if each {
        let names = judged.iter().map(|(name, _)| format!("{name:<9}"));
        let names = names.collect::<Vec<_>>().concat();
        say!("{names}case");
        for (index, case) in first.iter().enumerate() {
            if judged.iter().all(|(_, verdicts)| verdicts[index].passed()) {
                continue;
            }
            let mark = |verdicts: &[Verdict]| format!("{:<9}", mark(&verdicts[index]));
            let marks = judged.iter().map(|(_, verdicts)| mark(verdicts));
            let marks = marks.collect::<Vec<_>>().concat();
            say!("{marks}{}: {} [{}]", case.table, case.name, case.rule);
        }
        say!("");
    }
    say!(
        "{:<12}{:>16}{:>24}",
        "",
        "by the RFCs",
        "by Weldr's own rules"
    );
    for (name, verdicts) in judged {
        let count = |own: bool| {
            let cases = verdicts
                .iter()
                .filter(|verdict| verdict.is_of_weldr_only() == own);
            let (passed, failed): (Vec<_>, Vec<_>) = cases.partition(|verdict| verdict.passed());
            format!("{} of {}", passed.len(), passed.len() + failed.len())
        };
        say!("{name:<12}{:>16}{:>24}", count(false), count(true));
    }
}

fn mark(verdict: &Verdict) -> &'static str {
    match (verdict.passed(), verdict.is_of_weldr_only()) {
        (true, _) => "pass",
        (false, false) => "FAIL",
        (false, true) => "fail",
    }
}
