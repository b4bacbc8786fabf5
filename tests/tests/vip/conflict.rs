//! Another machine has the address too.

use super::*;

/// A driver on the first machine that holds `address`, which the second one has got as well.
async fn contested(stage: &Stage, address: &str) -> Driver {
    stage.b.add_address(address);
    let mut driver = Driver::start(&stage.a, &[address]).await;
    driver.leads_for(LONG).await;
    driver.says(address, "holding").await;
    driver
        .process
        .logs("another machine has the virtual address too")
        .await;
    driver.process.logs("02:00:00:00:00:03").await;
    driver
}

#[tokio::test]
async fn another_machine_with_the_address_is_noticed_and_the_address_defended() {
    let Some(stage) = Stage::set() else { return };
    for address in [V4, V6] {
        let ip = ip_of(address);
        let driver = contested(&stage, address).await;
        // A frame of the other machine that the client believes.
        let flushed = ["neighbour", "flush", "dev", Host::INTERFACE];
        stage.client.namespace().ip(&flushed);
        believes_in_the_end(&stage, ip).await;
        assert!(stage.a.has(ip), "it keeps the address");
        let remove = ["address", "delete", address, "dev", Host::INTERFACE];
        stage.b.namespace().ip(&remove);
        driver
            .process
            .logs("no other machine has the virtual address any more")
            .await;
        driver.stop().await;
    }
}

/// Waits until the client reaches the address, and until it sends to the first machine: the second one may have responded first.
async fn believes_in_the_end(stage: &Stage, ip: IpAddr) {
    reaches(&stage.client, ip).await;
    believes(&stage.client, ip, stage.a.mac()).await;
}

/// One interface of a machine answers for the addresses of another: that is no other machine.
#[tokio::test]
async fn a_machine_with_two_interfaces_is_in_no_conflict_with_itself() {
    let Some(stage) = Stage::set() else { return };
    stage.a.second_interface(&stage.lan);
    let mut driver = Driver::start(&stage.a, &[V4]).await;
    driver.leads_for(LONG).await;
    driver.says(V4, "holding").await;
    reaches(&stage.client, ip_of(V4)).await;
    driver.hears("follow").await;
    driver.says(V4, "this node does not lead").await;
    let log = driver.process.stderr();
    assert!(!log.contains("another machine"), "{log}");
}
