//! An address moves from one machine to another, and is never on both.

use std::time::{Duration, Instant};

use weldr_tests::netns::{Claim, Sightings};

use super::*;

/// Asserts that both had it, one after the other, and that on the wire nobody claimed it out of turn.
fn assert_in_turn(stage: &Stage, sightings: &Sightings, claims: &[Claim]) {
    assert_eq!(sightings.overlaps, 0, "{sightings:?}");
    let first_of_b = claims.iter().position(|claim| claim.mac == stage.b.mac());
    let (before, after) = claims.split_at(first_of_b.expect("a claim of the second holder"));
    assert!(
        before.iter().any(|claim| claim.mac == stage.a.mac()),
        "{claims:?}"
    );
    assert!(
        after.iter().all(|claim| claim.mac == stage.b.mac()),
        "{claims:?}"
    );
}

/// Lets `driver` take `address` on a lease that nobody renews, and gives when that is over at the latest.
async fn a_short_lease(driver: &mut Driver, address: &str) -> Instant {
    leases(driver, address, Duration::from_millis(2500)).await
}

async fn leases(driver: &mut Driver, address: &str, lease: Duration) -> Instant {
    driver.leads_for(lease).await;
    driver.says(address, "holding").await;
    Instant::now() + lease
}

#[tokio::test]
async fn a_planned_move_is_followed_by_the_neighbours() {
    let Some(stage) = Stage::set() else { return };
    for address in [V4, V6] {
        let ip = ip_of(address);
        let (watcher, sniffer) = (
            stage.lan.watch(&[&stage.a, &stage.b], ip),
            stage.lan.sniff(ip),
        );
        let mut a = Driver::start(&stage.a, &[address]).await;
        let mut b = Driver::start(&stage.b, &[address]).await;
        a.leads_for(LONG).await;
        reaches(&stage.client, ip).await;
        believes(&stage.client, ip, stage.a.mac()).await;
        sees(&watcher, 0).await;

        a.hears("follow").await;
        a.says(address, "this node does not lead").await;
        b.leads_for(LONG).await;
        // The client says nothing: it is told.
        believes(&stage.client, ip, stage.b.mac()).await;
        reaches(&stage.client, ip).await;
        sees(&watcher, 1).await;
        assert_in_turn(&stage, &watcher.finish(), &sniffer.finish());
    }
}

#[tokio::test]
async fn the_next_holder_takes_it_at_the_very_end_of_the_lease() {
    let Some(stage) = Stage::set() else { return };
    for address in [V4, V6] {
        let ip = ip_of(address);
        let (watcher, sniffer) = (
            stage.lan.watch(&[&stage.a, &stage.b], ip),
            stage.lan.sniff(ip),
        );
        let mut a = Driver::start(&stage.a, &[address]).await;
        let mut b = Driver::start(&stage.b, &[address]).await;
        let lease_end = a_short_lease(&mut a, address).await;
        sees(&watcher, 0).await;
        reaches(&stage.client, ip).await;
        // Nobody asks whether the first has dropped it: it is cut off.
        tokio::time::sleep_until(lease_end.into()).await;
        b.leads_for(LONG).await;
        believes(&stage.client, ip, stage.b.mac()).await;
        reaches(&stage.client, ip).await;
        sees(&watcher, 1).await;
        assert_in_turn(&stage, &watcher.finish(), &sniffer.finish());
    }
}

#[tokio::test]
async fn a_node_that_was_stopped_says_nothing_when_it_goes_on() {
    let Some(stage) = Stage::set() else { return };
    let ip = ip_of(V4);
    let (watcher, sniffer) = (
        stage.lan.watch(&[&stage.a, &stage.b], ip),
        stage.lan.sniff(ip),
    );
    let mut a = Driver::start(&stage.a, &[V4]).await;
    let mut b = Driver::start(&stage.b, &[V4]).await;
    let lease_end = a_short_lease(&mut a, V4).await;
    sees(&watcher, 0).await;
    reaches(&stage.client, ip).await;
    // In the middle of its first announcements.
    a.process.signal(Signal::STOP);
    tokio::time::sleep_until(lease_end.into()).await;
    b.leads_for(LONG).await;
    b.says(V4, "holding").await;
    reaches(&stage.client, ip).await;
    a.process.signal(Signal::CONT);
    a.says(V4, "this node's lease was not renewed").await;
    believes(&stage.client, ip, stage.b.mac()).await;
    sees(&watcher, 1).await;
    assert_in_turn(&stage, &watcher.finish(), &sniffer.finish());
}

#[tokio::test]
async fn a_short_lease_of_a_stopped_node_ends_in_time() {
    let Some(stage) = Stage::set() else { return };
    let ip = ip_of(V4);
    let (watcher, sniffer) = (
        stage.lan.watch(&[&stage.a, &stage.b], ip),
        stage.lan.sniff(ip),
    );
    let mut a = Driver::start(&stage.a, &[V4]).await;
    let mut b = Driver::start(&stage.b, &[V4]).await;
    let lease_end = leases(&mut a, V4, Duration::from_millis(600)).await;
    sees(&watcher, 0).await;
    reaches(&stage.client, ip).await;
    a.process.signal(Signal::STOP);
    // As soon as an election can be over; the kernel's shortest lifetime of a second is not.
    tokio::time::sleep_until((lease_end + Duration::from_millis(200)).into()).await;
    assert!(!stage.a.has(ip));
    b.leads_for(LONG).await;
    reaches(&stage.client, ip).await;
    a.process.signal(Signal::CONT);
    a.says(V4, "this node's lease was not renewed").await;
    sees(&watcher, 1).await;
    assert_in_turn(&stage, &watcher.finish(), &sniffer.finish());
}

#[tokio::test]
async fn a_node_that_was_killed_does_not_respond_for_it_any_more() {
    let Some(stage) = Stage::set() else { return };
    let ip = ip_of(V4);
    let (watcher, sniffer) = (
        stage.lan.watch(&[&stage.a, &stage.b], ip),
        stage.lan.sniff(ip),
    );
    let mut a = Driver::start(&stage.a, &[V4]).await;
    let mut b = Driver::start(&stage.b, &[V4]).await;
    let lease_end = a_short_lease(&mut a, V4).await;
    sees(&watcher, 0).await;
    reaches(&stage.client, ip).await;
    a.process.kill().await;
    tokio::time::sleep_until(lease_end.into()).await;
    b.leads_for(LONG).await;
    believes(&stage.client, ip, stage.b.mac()).await;
    reaches(&stage.client, ip).await;

    // It comes back while another one holds the address, and leaves it there.
    let a = Driver::start(&stage.a, &[V4]).await;
    reaches(&stage.client, ip).await;
    drop(a);
    sees(&watcher, 1).await;
    assert_in_turn(&stage, &watcher.finish(), &sniffer.finish());
}
