//! What a `weldr` with nothing to do takes.

use weldr_tests::daemon::{Daemon, TestServer};

/// A node holds 3 MB for itself; each worker of a machine with many cores needs some more.
const ENOUGH: u64 = 16 * 1024 * 1024;

#[tokio::test]
async fn a_node_with_nothing_to_do_holds_little() {
    let server = TestServer::start().await;
    let weldr = Daemon::start().await;
    weldr.add(server.address()).await;
    let held = weldr.process().anonymous();
    assert!(held < ENOUGH, "{held} bytes");
}
