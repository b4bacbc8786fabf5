//! A short run of chaos behind an address: the binary `chaos --address` goes on for longer.

use std::time::Duration;

use weldr_tests::chaos::{self, Fate, Settings};

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_makes_two_holders_or_two_clusters_or_loses_a_write() {
    let run = chaos::address::run(Settings {
        duration: Duration::from_secs(20),
        seed: 1,
        nodes: 3,
    });
    let Some(report) = run.await else {
        return;
    };
    println!("{report}");
    assert!(report.problems.is_empty(), "{report}");
    assert!(report.account.of(Fate::Ok) > 10, "{report}");
    assert!(report.faults.len() > 1, "{report}");
}
