//! A short run of chaos: the binary `chaos` goes on for longer.

use std::time::Duration;

use weldr_tests::chaos::{self, Fate, Settings};

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_see_under_faults_is_linearizable() {
    let report = chaos::run(Settings {
        duration: Duration::from_secs(15),
        seed: 1,
        nodes: 5,
    });
    let report = report.await;
    println!("{report}");
    assert!(report.problems.is_empty(), "{report}");
    // Little, for a machine that is busy; usually it is fifty times as much.
    assert!(report.account.of(Fate::Ok) > 10, "{report}");
    assert!(report.faults.kinds().len() > 1, "{report}");
}
