//! One machine takes an address and drops it.

use std::time::Duration;

use super::*;

#[tokio::test]
async fn a_client_reaches_the_address_of_the_leader() {
    let Some(stage) = Stage::set() else { return };
    let mut driver = Driver::start(&stage.a, &[V4, V6]).await;
    for address in [V4, V6] {
        assert!(!stage.a.has(ip_of(address)), "it does not lead yet");
    }
    driver.leads_for(LONG).await;
    for address in [V4, V6] {
        driver.says(address, "holding").await;
        reaches(&stage.client, ip_of(address)).await;
        believes(&stage.client, ip_of(address), stage.a.mac()).await;
    }
    driver.hears("follow").await;
    for address in [V4, V6] {
        driver.says(address, "this node does not lead").await;
        assert!(!stage.a.has(ip_of(address)));
    }
}

#[tokio::test]
async fn it_is_announced_in_every_way_neighbours_listen_for() {
    let Some(stage) = Stage::set() else { return };
    for (address, kinds) in [(V4, &[1, 2][..]), (V6, &[136])] {
        let sniffer = stage.client.sniff(ip_of(address));
        let mut driver = Driver::start(&stage.a, &[address]).await;
        driver.leads_for(LONG).await;
        for &kind in kinds {
            wait::until(format!("five announcements of kind {kind}"), async || {
                let claims = sniffer.so_far();
                let of_kind = claims
                    .iter()
                    .filter(|claim| claim.kind == kind && claim.to_all);
                if of_kind.count() >= 5 {
                    Ok(())
                } else {
                    Err(format!("{claims:?}"))
                }
            })
            .await;
        }
        let claims = sniffer.finish();
        assert!(
            claims.iter().all(|claim| claim.mac == stage.a.mac()),
            "{claims:?}"
        );
    }
}

#[tokio::test]
async fn it_is_gone_before_a_lease_ends_that_nobody_renews() {
    let Some(stage) = Stage::set() else { return };
    for address in [V4, V6] {
        let watcher = stage.lan.watch(&[&stage.a, &stage.b], ip_of(address));
        let mut driver = Driver::start(&stage.a, &[address]).await;
        let lease = Duration::from_millis(2500);
        driver.leads_for(lease).await;
        driver.says(address, "holding").await;
        let granted = std::time::Instant::now();
        sees(&watcher, 0).await;
        driver
            .says(address, "this node's lease was not renewed")
            .await;
        let sightings = watcher.finish();
        let seen_last = sightings.last[0].expect("it was there");
        assert!(
            seen_last < granted + lease,
            "{sightings:?}, granted {granted:?}"
        );
    }
}

#[tokio::test]
async fn it_stays_while_the_lease_is_renewed() {
    let Some(stage) = Stage::set() else { return };
    let mut driver = Driver::start(&stage.a, &[V4]).await;
    driver.leads_for(Duration::from_secs(2)).await;
    driver.says(V4, "holding").await;
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        driver.leads_for(Duration::from_secs(2)).await;
        assert!(stage.a.has(ip_of(V4)));
    }
    assert_eq!(
        driver.process.stderr().matches("virtual address").count(),
        1,
        "taken once"
    );
}

#[tokio::test]
async fn it_goes_with_the_data_path_and_comes_back_with_it() {
    let Some(stage) = Stage::set() else { return };
    let mut driver = Driver::start(&stage.a, &[V4]).await;
    driver.leads_for(LONG).await;
    driver.says(V4, "holding").await;
    driver.hears("fail").await;
    driver
        .says(V4, "this node's data path does not serve")
        .await;
    assert!(!stage.a.has(ip_of(V4)));
    driver.hears("serve").await;
    driver.says(V4, "holding").await;
    reaches(&stage.client, ip_of(V4)).await;
}

#[tokio::test]
async fn it_goes_at_the_end_of_the_node() {
    let Some(stage) = Stage::set() else { return };
    let mut driver = Driver::start(&stage.a, &[V4, V6]).await;
    driver.leads_for(LONG).await;
    driver.says(V4, "holding").await;
    driver.says(V6, "holding").await;
    let stdout = driver.stop().await.expect_success();
    assert!(!stage.a.has(ip_of(V4)) && !stage.a.has(ip_of(V6)));
    assert!(
        stdout.ends_with(&format!("{V4} this node stops\n{V6} this node stops\n")),
        "{stdout}"
    );
}

#[tokio::test]
async fn what_was_left_behind_is_removed_at_the_start_whatever_its_prefix() {
    let Some(stage) = Stage::set() else { return };
    stage.a.add_address("10.0.0.100/32");
    stage.a.add_address("fd00::100/64");
    let _driver = Driver::start(&stage.a, &[V4, V6]).await;
    assert!(!stage.a.has(ip_of(V4)) && !stage.a.has(ip_of(V6)));
    assert!(
        stage.a.has(ip_of("10.0.0.2")) && stage.a.has(ip_of("fd00::2")),
        "and nothing else"
    );
}

#[tokio::test]
async fn the_kernel_takes_it_from_a_node_that_was_killed_with_its_guard() {
    let Some(stage) = Stage::set() else { return };
    let mut driver = Driver::start_with(&stage.a, &[V4, V6], &["--unguarded"]).await;
    driver.leads_for(Duration::from_secs(3)).await;
    driver.says(V4, "holding").await;
    driver.says(V6, "holding").await;
    driver.process.kill().await;
    loses(&stage.a, ip_of(V4)).await;
    loses(&stage.a, ip_of(V6)).await;
    let routes = stage
        .a
        .namespace()
        .ip(&["-6", "route", "show", "fd00::/64"]);
    assert!(
        !routes.contains("expires"),
        "the network does not go with it: {routes}"
    );
}

#[tokio::test]
async fn the_guard_takes_it_from_a_node_that_was_killed() {
    let Some(stage) = Stage::set() else { return };
    let mut driver = Driver::start(&stage.a, &[V4, V6]).await;
    // The kernel would wait for minutes.
    driver.leads_for(LONG).await;
    driver.says(V4, "holding").await;
    driver.says(V6, "holding").await;
    driver.process.kill().await;
    loses(&stage.a, ip_of(V4)).await;
    loses(&stage.a, ip_of(V6)).await;
}

#[tokio::test]
async fn an_address_is_given_up_while_the_interface_has_no_link() {
    let Some(stage) = Stage::set() else { return };
    let mut driver = Driver::start(&stage.a, &[V4]).await;
    driver.leads_for(LONG).await;
    driver.says(V4, "holding").await;
    stage.lan.connect(&stage.a, false);
    driver.says(V4, "the interface has no link").await;
    assert!(!stage.a.has(ip_of(V4)));
    driver.process.logs("has no link: they are given up").await;
    stage.lan.connect(&stage.a, true);
    driver.says(V4, "holding").await;
    reaches(&stage.client, ip_of(V4)).await;
    // The interface itself is taken down, which removes IPv6 addresses and keeps IPv4 addresses.
    stage
        .a
        .namespace()
        .ip(&["link", "set", Host::INTERFACE, "down"]);
    driver.says(V4, "the interface has no link").await;
    stage
        .a
        .namespace()
        .ip(&["link", "set", Host::INTERFACE, "up"]);
    driver.says(V4, "holding").await;
    reaches(&stage.client, ip_of(V4)).await;
}

#[tokio::test]
async fn a_guard_that_dies_is_replaced_and_the_next_one_does_its_work() {
    let Some(stage) = Stage::set() else { return };
    let mut driver = Driver::start(&stage.a, &[V4]).await;
    driver.leads_for(LONG).await;
    driver.says(V4, "holding").await;
    let guard = driver.process.children();
    assert_eq!(guard.len(), 1, "{guard:?}");
    kill_child(guard[0]);
    driver
        .process
        .logs("has ended or does not answer, and is started again")
        .await;
    driver.process.logs("runs again").await;
    assert_ne!(driver.process.children(), guard);
    assert!(stage.a.has(ip_of(V4)), "the address stays");
    driver.process.kill().await;
    loses(&stage.a, ip_of(V4)).await;
}

#[tokio::test]
async fn a_guard_that_is_stopped_is_replaced_and_the_next_one_does_its_work() {
    let Some(stage) = Stage::set() else { return };
    let mut driver = Driver::start(&stage.a, &[V4]).await;
    driver.leads_for(LONG).await;
    driver.says(V4, "holding").await;
    let guard = driver.process.children();
    signal_child(guard[0], Signal::STOP);
    driver.process.logs("no answer within 1s").await;
    driver.process.logs("runs again").await;
    assert_ne!(driver.process.children(), guard);
    assert!(stage.a.has(ip_of(V4)), "the address stays");
    driver.process.kill().await;
    loses(&stage.a, ip_of(V4)).await;
}

/// A container that is frozen: neither the node nor its guard does anything, and the kernel removes the address.
#[tokio::test]
async fn a_node_that_is_stopped_with_its_guard_loses_the_address_and_claims_it_no_more() {
    let Some(stage) = Stage::set() else { return };
    let ip = ip_of(V4);
    let sniffer = stage.lan.sniff(ip);
    let mut a = Driver::start(&stage.a, &[V4]).await;
    let mut b = Driver::start(&stage.b, &[V4]).await;
    let lease = Duration::from_millis(2500);
    a.leads_for(lease).await;
    a.says(V4, "holding").await;
    let lease_end = tokio::time::Instant::now() + lease;
    reaches(&stage.client, ip).await;
    let guard = a.process.children()[0];
    signal_child(guard, Signal::STOP);
    a.process.suspend().await;
    loses(&stage.a, ip).await;
    tokio::time::sleep_until(lease_end).await;
    b.leads_for(LONG).await;
    b.says(V4, "holding").await;
    believes(&stage.client, ip, stage.b.mac()).await;
    a.process.signal(Signal::CONT);
    signal_child(guard, Signal::CONT);
    a.says(V4, "this node's lease was not renewed").await;
    assert!(!stage.a.has(ip));
    reaches(&stage.client, ip).await;
    believes(&stage.client, ip, stage.b.mac()).await;
    let claims = sniffer.finish();
    let first_of_b = claims.iter().position(|claim| claim.mac == stage.b.mac());
    let after = &claims[first_of_b.unwrap()..];
    assert!(
        after.iter().all(|claim| claim.mac == stage.b.mac()),
        "{claims:?}"
    );
}

#[tokio::test]
async fn an_address_is_given_up_while_no_guard_can_be_started() {
    let Some(stage) = Stage::set() else { return };
    let files = tempfile::TempDir::new().unwrap();
    let program = files.path().join("guard");
    std::fs::copy(binary("vip-driver"), &program).unwrap();
    let mut driver =
        Driver::start_with(&stage.a, &[V4], &["--guard", program.to_str().unwrap()]).await;
    driver.leads_for(LONG).await;
    driver.says(V4, "holding").await;
    let hidden = files.path().join("hidden");
    std::fs::rename(&program, &hidden).unwrap();
    kill_child(driver.process.children()[0]);
    driver
        .says(V4, "the guard of the addresses cannot be started")
        .await;
    assert!(!stage.a.has(ip_of(V4)));
    std::fs::rename(&hidden, &program).unwrap();
    driver.says(V4, "holding").await;
    driver.process.logs("runs again").await;
}

#[tokio::test]
async fn it_is_kept_without_a_lease_where_that_is_wanted() {
    let Some(stage) = Stage::set() else { return };
    let mut driver = Driver::start_with(&stage.a, &[V4], &["--keep"]).await;
    let watcher = stage.lan.watch(&[&stage.a], ip_of(V4));
    driver.leads_for(Duration::from_millis(600)).await;
    driver.says(V4, "holding").await;
    driver.process.logs("the virtual address is kept").await;
    // Longer than the kernel and the guard would keep it by themselves.
    let kept_until = std::time::Instant::now() + Duration::from_secs(5);
    wait::until("the address to be there for long", async || {
        let seen = watcher.so_far().last[0];
        seen.filter(|seen| *seen > kept_until).ok_or("not yet")
    })
    .await;
    assert!(!driver.process.stderr().contains("virtual address dropped"));
    // An address that has to be given up for another reason does not come back without a lease.
    driver.hears("fail").await;
    driver
        .says(V4, "this node's data path does not serve")
        .await;
    driver.hears("serve").await;
    driver.says(V4, "this node's lease was not renewed").await;
    driver.leads_for(Duration::from_millis(600)).await;
    driver.says(V4, "holding").await;
    driver.hears("follow").await;
    driver.says(V4, "this node does not lead").await;
    assert!(!stage.a.has(ip_of(V4)));
}

#[tokio::test]
async fn an_address_that_somebody_removes_comes_back() {
    let Some(stage) = Stage::set() else { return };
    let mut driver = Driver::start(&stage.a, &[V4]).await;
    driver.leads_for(LONG).await;
    driver.says(V4, "holding").await;
    stage
        .a
        .namespace()
        .ip(&["address", "delete", V4, "dev", Host::INTERFACE]);
    wait::until("the address to come back", async || {
        driver.leads_for(LONG).await;
        if stage.a.has(ip_of(V4)) {
            Ok(())
        } else {
            Err("it is not there")
        }
    })
    .await;
    driver.process.logs("was missing, and is added again").await;
}

#[tokio::test]
async fn a_network_of_its_own_is_reached_too() {
    let Some(stage) = Stage::set() else { return };
    // No other address of this network is on the machine that leads.
    let (v4, v6) = ("192.0.2.100/24", "2001:db8::100/64");
    stage.client.add_address("192.0.2.1/24");
    stage.client.add_address("2001:db8::1/64");
    let mut driver = Driver::start(&stage.a, &[v4, v6]).await;
    driver.leads_for(LONG).await;
    reaches(&stage.client, ip_of(v4)).await;
    reaches(&stage.client, ip_of(v6)).await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_at_the_start_in_a_sentence() {
    let Some(stage) = Stage::set() else { return };
    let machine = stage.a.namespace();
    machine.ip(&[
        "link", "add", "other", "type", "veth", "peer", "name", "peer",
    ]);
    machine.ip(&["address", "add", "10.9.9.9/24", "dev", "other"]);
    for (interface, address, sentence) in [
        ("eth7", V4, "no such network interface"),
        ("other", V4, "network interface is down"),
        (
            Host::INTERFACE,
            "10.9.9.9/24",
            "the network interface other has this address already",
        ),
    ] {
        let finished = Program::on(&stage.a, "vip-driver")
            .args([interface, address])
            .run()
            .await;
        assert_eq!(finished.code(), Some(1), "{finished:?}");
        assert!(finished.stderr.contains(sentence), "{finished:?}");
    }
}

#[tokio::test]
async fn without_the_privileges_it_says_which_it_lacks() {
    let Some(stage) = Stage::set() else { return };
    for capability in ["net_admin", "net_raw"] {
        let driver = Program::on_without(&stage.a, capability, "vip-driver");
        let finished = driver.args([Host::INTERFACE, V4]).run().await;
        assert_eq!(finished.code(), Some(1), "{finished:?}");
        let lack = format!("this process lacks CAP_{}", capability.to_uppercase());
        assert!(finished.stderr.contains(&lack), "{finished:?}");
    }
}
