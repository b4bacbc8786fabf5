//! The address is moved by a program of the operator's.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use weldr_tests::cluster::TestCluster;

use super::*;

/// A hook that writes its arguments down and does what `body` says.
struct Script {
    directory: TempDir,
}

impl Script {
    fn new(body: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let (hook, calls) = (
            directory.path().join("hook"),
            directory.path().join("calls"),
        );
        let text = format!(
            "#!/bin/sh\necho \"$@\" >> {}\ncd {}\n{body}\n",
            calls.display(),
            directory.path().display()
        );
        fs::write(&hook, text).unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
        Self { directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("hook")
    }

    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.directory.path().join("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    async fn is_called(&self, expected: &[&str]) {
        wait::until(format!("the calls {expected:?}"), async || {
            let calls = self.calls();
            if calls == expected {
                Ok(())
            } else {
                Err(format!("{calls:?}"))
            }
        })
        .await;
    }
}

/// The room with a hook, without privileges or namespaces.
async fn driver(hook: &Path) -> Driver {
    let program = Program::new("vip-driver").with_input();
    let process = program.args(["eth0", V4, "--hook"]).arg(hook).start();
    process.prints("ready").await;
    Driver { process }
}

#[tokio::test]
async fn it_is_told_what_to_do() {
    let script = Script::new("");
    let mut driver = driver(&script.path()).await;
    script.is_called(&["release 10.0.0.100/24 eth0"]).await;
    driver.leads_for(LONG).await;
    driver.says(V4, "holding").await;
    driver.hears("follow").await;
    driver.says(V4, "this node does not lead").await;
    let expected = [
        "release 10.0.0.100/24 eth0",
        "acquire 10.0.0.100/24 eth0",
        "release 10.0.0.100/24 eth0",
    ];
    script.is_called(&expected).await;
    driver.process.logs("hook ended").await;
}

#[tokio::test]
async fn it_is_tried_again_when_it_fails() {
    let script = Script::new("[ $1 = release ] || [ -e tried ] || { touch tried; exit 3; }");
    let mut driver = driver(&script.path()).await;
    driver.leads_for(LONG).await;
    driver.process.logs("exit status: 3").await;
    driver.says(V4, "holding").await;
    let expected = [
        "release 10.0.0.100/24 eth0",
        "acquire 10.0.0.100/24 eth0",
        "acquire 10.0.0.100/24 eth0",
    ];
    script.is_called(&expected).await;
}

#[tokio::test]
async fn it_is_ended_with_all_that_it_started_when_the_lease_is_lost() {
    let script = Script::new("[ $1 = release ] || { sleep 1000 & echo $! > sleeper; wait; }");
    let mut driver = driver(&script.path()).await;
    driver.leads_for(LONG).await;
    let sleeper = wait::until("the hook to run", async || {
        let pid = fs::read_to_string(script.directory.path().join("sleeper")).unwrap_or_default();
        pid.trim().parse::<u32>().map_err(|_| format!("{pid:?}"))
    })
    .await;
    driver.hears("follow").await;
    driver.process.logs("virtual address dropped").await;
    wait::until("the sleeper to end", async || {
        let state = fs::read_to_string(format!("/proc/{sleeper}/stat")).unwrap_or_default();
        if state.is_empty() || state.contains(") Z") {
            Ok(())
        } else {
            Err(state)
        }
    })
    .await;
    assert_eq!(script.calls().last().unwrap(), "release 10.0.0.100/24 eth0");
}

#[tokio::test]
async fn it_releases_the_address_of_a_node_that_was_killed() {
    let script = Script::new("");
    let mut driver = driver(&script.path()).await;
    driver.leads_for(LONG).await;
    driver.says(V4, "holding").await;
    driver.process.kill().await;
    let expected = [
        "release 10.0.0.100/24 eth0",
        "acquire 10.0.0.100/24 eth0",
        "release 10.0.0.100/24 eth0",
    ];
    script.is_called(&expected).await;
}

#[tokio::test]
async fn what_is_no_program_is_refused() {
    let script = Script::new("");
    fs::set_permissions(script.path(), fs::Permissions::from_mode(0o644)).unwrap();
    for hook in [script.path(), script.directory.path().join("nothing")] {
        let driver = Program::new("vip-driver").args(["eth0", V4, "--hook"]);
        let finished = driver.arg(&hook).run().await;
        assert_eq!(finished.code(), Some(1), "{finished:?}");
        assert!(
            finished.stderr.contains("is not a program that can be run"),
            "{finished:?}"
        );
    }
}

#[tokio::test]
async fn it_can_do_what_weldr_would() {
    let Some(stage) = Stage::set() else { return };
    let script = Script::new(
        "case $1 in\nacquire) ip address replace $2 dev $3;;\n\
         release) ip address show dev $3 | grep -q \"inet $2\" || exit 0; ip address delete $2 dev $3;;\nesac",
    );
    stage.a.add_address(V4);
    let hook = script.path();
    let mut driver = Driver::start_with(&stage.a, &[V4], &["--hook", hook.to_str().unwrap()]).await;
    assert!(!stage.a.has(ip_of(V4)), "what was left behind is released");
    driver.leads_for(LONG).await;
    reaches(&stage.client, ip_of(V4)).await;
    driver.stop().await.expect_success();
    assert!(!stage.a.has(ip_of(V4)));
}

/// Longer than an address may take that the kernel drops.
#[tokio::test(flavor = "multi_thread")]
async fn a_planned_hand_over_waits_for_a_release_that_takes_its_time() {
    let script = Script::new("[ $1 = acquire ] || [ ! -e slow ] || sleep 3");
    let hook = script.path();
    let hook = hook.to_str().unwrap();
    let [vip, listen] = [["--vip", V4], ["--listen", "0.0.0.0:0"]];
    let moved = ["--vip-interface", "lo", "--vip-hook", hook];
    let options = [&vip[..], &listen, &moved].concat();
    let cluster = TestCluster::start_with(3, &options).await;
    let leader = cluster.leader().await;
    let acquired = |calls: usize| {
        let script = &script;
        async move {
            wait::until(format!("{calls} acquired"), async || {
                let made = script.calls();
                let acquired = made.iter().filter(|call| call.starts_with("acquire"));
                if acquired.count() == calls {
                    Ok(())
                } else {
                    Err(format!("{made:?}"))
                }
            })
            .await;
        }
    };
    acquired(1).await;
    fs::write(script.directory.path().join("slow"), "").unwrap();
    let next = &cluster.nodes[(leader + 1) % 3].name;
    let transfer = cluster
        .weldrctl(leader)
        .args(["--timeout", "20s", "cluster", "transfer", next]);
    let told = transfer.run().await.expect_success();
    assert!(told.contains(&format!("quorum, led by {next};")), "{told}");
    acquired(2).await;
}
