//! A process with few descriptors and more clients than it can hold.

use weldr_tests::{daemon::Daemon, load::Load, origin::Origin, process::Program, raw::get};

const DESCRIPTORS: u64 = 64;
const CLIENTS: usize = 150;

#[tokio::test]
async fn more_clients_than_descriptors_are_served_in_turn_and_management_is_reachable() {
    let origin = Origin::saying("hi");
    let program = Program::weldr_with_descriptors(DESCRIPTORS).args(["--workers", "2"]);
    let weldr = Daemon::run(program).await;
    weldr.add(origin.address()).await;
    let load = Load::start(weldr.proxy(), CLIENTS, "/");
    load.passes(100).await;
    for _ in 0..10 {
        let ready = get(weldr.management(), "/readyz").await;
        assert_eq!(ready.status, 200, "{ready}");
        let list = weldr.ctl(&["list"]).await;
        assert!(list.contains(&origin.address().to_string()), "{list}");
        load.passes(100).await;
    }
    load.stop().await.assert_none_failed();
    let log = weldr.process().stderr();
    let warnings = log.lines().filter(|line| line.contains("WARN"));
    let warnings: Vec<_> = warnings.collect();
    assert!(
        warnings.len() < 10,
        "{} warnings: {warnings:#?}",
        warnings.len()
    );
}
