//! A stop while the disk does not respond.

use weldr_proto::v1::AddServerRequest;
use weldr_tests::{
    daemon::Daemon, machine_faults::MachineFaults, origin::Origin, process::Program, wait,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_disk_that_does_not_respond() {
    let home = tempfile::tempdir().unwrap();
    let Some(faults) = MachineFaults::new(&home.path().join("faults")) else {
        return;
    };
    let program = Program::weldr_bare()
        .args(["--shutdown-timeout", "200ms"])
        .in_directory(home.path());
    let weldr = Daemon::run(faults.on(program)).await;
    let (kept, pending) = (Origin::saying("hi"), Origin::saying("hi"));
    weldr.add(kept.address()).await;

    faults.freeze_disk(true);
    let mut client = weldr.client();
    let request = AddServerRequest {
        address: pending.address().to_string(),
        ..Default::default()
    };
    let change = tokio::spawn(async move { client.add_server(request).await });
    wait::until("a sync to begin", async || {
        faults.waits_for_disk().then_some(()).ok_or("none")
    })
    .await;
    // Bounded by less than the disk takes, which is for ever.
    let finished = weldr.terminate().await;
    assert_eq!(finished.code(), Some(0), "{finished:#?}");
    assert!(finished.stderr.contains("the disk"), "{finished:#?}");
    let answer = change.await.unwrap();
    assert!(answer.is_err(), "nothing was acknowledged: {answer:?}");

    faults.freeze_disk(false);
    let again = Daemon::run(Program::weldr_bare().in_directory(home.path())).await;
    assert!(again.server(kept.address()).await.is_some());
    assert_eq!(again.terminate().await.code(), Some(0));
}
