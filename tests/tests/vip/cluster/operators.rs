//! What an operator sees and is told of an address in a cluster.

use tempfile::TempDir;

use weldr_tests::{address_clients::*, address_cluster::*};

use super::super::*;

/// Waits until `weldrctl cluster COMMAND` says `text`.
async fn is_said(cluster: &AddressCluster, at: usize, command: &str, text: &str) -> Finished {
    wait::until(format!("cluster {command} to say {text}"), async || {
        let said = cluster.ctl(at, &[command]).await;
        if said.stdout.contains(text) {
            Ok(said)
        } else {
            Err(format!("{said:#?}"))
        }
    })
    .await
}

#[tokio::test]
async fn an_operator_sees_the_guard_and_the_link_of_an_address() {
    let Some(cluster) = AddressCluster::start().await else {
        return;
    };
    let holder = cluster.holder().await;
    let well = is_said(&cluster, holder, "check", "all is well: led by").await;
    assert_eq!(well.code(), Some(0), "{well:?}");
    let guards = cluster.nodes[holder].as_ref().unwrap().children();
    kill_child(guards[0]);
    let restarted = "was started again in the last hour (restarts in all: 1)";
    let checked = is_said(&cluster, holder, "check", restarted).await;
    assert_eq!(checked.code(), Some(4), "{checked:?}");
    let status = is_said(&cluster, holder, "status", restarted).await;
    assert_eq!(status.code(), Some(0), "it runs again: {status:?}");

    let cut = (holder + 1) % NAMES.len();
    cluster.lan.connect(&cluster.machines[cut], false);
    let down = is_said(&cluster, cut, "status", "has no link").await;
    assert_eq!(down.stdout.matches("has no link").count(), 1, "{down:?}");
    let json = cluster.ctl(cut, &["status", "--output", "json"]).await;
    assert!(json.stdout.contains(r#""link": "down""#), "{json:?}");
    assert!(json.stdout.contains(r#""guard": "running""#), "{json:?}");
}

#[tokio::test]
async fn a_program_is_told_of_each_change_of_the_role() {
    use std::os::unix::fs::PermissionsExt as _;

    let directory = TempDir::new().unwrap();
    let (program, calls) = (
        directory.path().join("program"),
        directory.path().join("calls"),
    );
    // A machine is known by its network namespace.
    let text = format!(
        "#!/bin/sh\necho \"$1 $(ip netns identify $$)\" >> {}\n",
        calls.display()
    );
    std::fs::write(&program, text).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let options = ["--on-role-change", program.to_str().unwrap()];
    let Some(cluster) = AddressCluster::start_with(&options).await else {
        return;
    };
    let newest = async |node: usize, role: &str| {
        let machine = cluster.machines[node].namespace().name();
        let of_machine = format!(" {machine}");
        wait::until(format!("{role} to be told on {machine}"), async || {
            let told = std::fs::read_to_string(&calls).unwrap_or_default();
            let newest = told.lines().rfind(|line| line.ends_with(&of_machine));
            match newest {
                Some(line) if line.starts_with(role) => Ok(()),
                _ => Err(told),
            }
        })
        .await;
    };
    let old = cluster.holder().await;
    newest(old, "leader").await;
    let new = (old + 1) % NAMES.len();
    let moved = cluster.ctl(old, &["transfer", NAMES[new]]).await;
    assert_eq!(moved.code(), Some(0), "{moved:?}");
    newest(old, "follower").await;
    newest(new, "leader").await;
}

/// The one that is told to be preferred takes the address back when it has been ready for its delay, and no request is lost.
#[tokio::test]
async fn the_preferred_node_takes_the_address_back_after_its_delay() {
    let Some(mut cluster) = AddressCluster::start_with(&["--vip-preempt-delay", "2s"]).await else {
        return;
    };
    let old = cluster.holder().await;
    let preferred = (old + 1) % NAMES.len();
    cluster.nodes[preferred].take().unwrap().terminate().await;
    cluster
        .run_with(preferred, &["--vip-priority", "100"])
        .await;
    let users = cluster.users().await;
    let observation = cluster.observe().await;
    assert_eq!(cluster.moves_from(old).await, preferred);
    assert_none_lost(users, &cluster).await;
    observation
        .assert_one_at_a_time("preferred", &cluster)
        .await;
    cluster
        .process(old)
        .logs("to a node that is preferred as the holder")
        .await;
    // Where an operator sends it, it stays as long, and not longer.
    let moved = cluster.ctl(preferred, &["transfer", NAMES[old]]).await;
    assert_eq!(moved.code(), Some(0), "{moved:?}");
    assert_eq!(cluster.moves_from(preferred).await, old);
    assert_eq!(cluster.moves_from(old).await, preferred);
}

#[tokio::test]
async fn an_operator_is_told_of_another_machine_with_the_address() {
    let Some(cluster) = AddressCluster::start().await else {
        return;
    };
    let holder = cluster.holder().await;
    let other = cluster.lan.host(9);
    other.add_address(ADDRESS);
    let next = (holder + 1) % NAMES.len();
    let moved = cluster.ctl(holder, &["transfer", NAMES[next]]).await;
    assert_eq!(moved.code(), Some(0), "{moved:?}");
    let said = "another machine, 02:00:00:00:00:09, has the virtual address 10.0.0.100/24";
    let checked = is_said(&cluster, holder, "check", said).await;
    assert_eq!(checked.code(), Some(4), "{checked:?}");
    let status = is_said(&cluster, holder, "status", said).await;
    assert_eq!(status.code(), Some(4), "{status:?}");
    assert!(cluster.machines[next].has(ip()), "it keeps the address");
}
