//! What operators look at: the status, `cluster check` and scheduled backups, of real processes.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::Value;
use weldr_tests::{
    cluster::TestCluster,
    daemon::Daemon,
    process::{Finished, Program},
    small_disk::{self, DISK},
    wait,
};

/// Waits until `weldrctl cluster COMMAND` at a node ends with `code` and says all of `parts`; gives what it printed.
async fn says(
    cluster: &TestCluster,
    at: usize,
    command: &str,
    code: i32,
    parts: &[&str],
) -> String {
    wait::until(format!("cluster {command} to say {parts:?}"), async || {
        let said: Finished = cluster.weldrctl(at).args(["cluster", command]).run().await;
        let has_all = parts.iter().all(|part| said.stdout.contains(part));
        if has_all && said.code() == Some(code) {
            Ok(said.stdout)
        } else {
            Err(format!("{said:?}"))
        }
    })
    .await
}

async fn json(cluster: &TestCluster, at: usize, command: &str) -> Value {
    let program = cluster.weldrctl(at).args(["cluster", command]);
    let said = program.args(["--output", "json"]).run().await;
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_that_all_is_well_and_which_nodes_are_not() {
    let mut cluster = TestCluster::start_direct(3).await;
    cluster.add(0, 1001).await.unwrap();
    let well = [
        "all is well: led by",
        "3 of 3 voters respond; 1 may be lost",
    ];
    says(&cluster, 1, "check", 0, &well).await;
    let table = says(&cluster, 1, "status", 0, &["3 of 3 voters respond"]).await;
    for column in ["CONTACT", "DISK"] {
        assert!(table.contains(column), "{table}");
    }
    let status = json(&cluster, 1, "status").await;
    for node in status["nodes"].as_array().unwrap() {
        assert_eq!(node["disk"]["state"], "ok", "{node}");
        assert_eq!(node["failover"], "normal", "{node}");
        assert_eq!(node["votes"], true, "{node}");
        let offset = node["clock_offset_seconds"].as_f64().unwrap();
        assert!(offset.abs() < 1.0, "they have one clock: {node}");
    }
    cluster.kill(2).await;
    let dead = [
        "problem: c (127.0.0.13:",
        "does not respond, last heard from",
        "weldrctl cluster remove c",
        "warning: no more voters may be lost, because 1 of 3 do not respond",
    ];
    says(&cluster, 0, "check", 4, &dead).await;
    let spare = [
        "2 of 3 voters respond; none more may be lost",
        "no response",
    ];
    says(&cluster, 0, "status", 4, &spare).await;
    let found = json(&cluster, 0, "check").await;
    assert_eq!(found["findings"][0]["code"], "silent", "{found}");
    assert_eq!(found["findings"][0]["node"], "c", "{found}");
    let silence = |status: &Value| status["nodes"][2]["last_contact_seconds"].as_f64();
    let first = silence(&json(&cluster, 0, "status").await).unwrap();
    wait::until("a longer silence", async || {
        let now = silence(&json(&cluster, 0, "status").await);
        now.filter(|now| *now > first)
            .map(drop)
            .ok_or(format!("{now:?}"))
    })
    .await;

    cluster.kill(1).await;
    let lost = ["1 of 3 voters responds: a majority of 2 needs one of b, c"];
    says(&cluster, 0, "status", 1, &lost).await;
    let lost = ["problem: there is no quorum, so nothing can be changed, because 1 of 3 voters"];
    says(&cluster, 0, "check", 1, &lost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_names_a_node_that_is_not_ready_and_what_differs() {
    let mut cluster = TestCluster::start_direct(3).await;
    cluster.terminate(2).await;
    let other = cluster.program(2).args(["--failover", "fast"]);
    let removed = cluster.weldrctl(0).args(["cluster", "remove", "b"]);
    let mut other = other.start();
    other.logged_address("cluster listening").await;
    let differs = ["the nodes have different fail-over profiles (fast at c; normal at a, b)"];
    says(&cluster, 0, "check", 4, &differs).await;
    removed.run().await.expect_success();
    // Node b is not a member any more, and so it is asked itself.
    let removed = ["problem: b is not ready:", "start it with --join"];
    says(&cluster, 1, "check", 4, &removed).await;
    other.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_of_a_single_node_advises_to_have_more() {
    let weldr = Daemon::start().await;
    let said = weldr.weldrctl(&["cluster", "check"]).run().await;
    assert_eq!(said.code(), Some(4), "{said:?}");
    assert!(
        said.stdout.starts_with("warning: only one node votes"),
        "{said:?}"
    );
    let status = weldr.ctl(&["cluster", "status"]).await;
    assert!(status.contains(" memory "), "{status}");
}

/// The names of the files in a directory, in order.
fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// Waits until the directory has so many files; gives their names.
async fn has_files(directory: &Path, count: usize) -> Vec<String> {
    wait::until(format!("{count} backups"), async || {
        let names = names(directory);
        // The last one may be about to get its name.
        if names.len() == count && names.iter().all(|name| !name.starts_with('.')) {
            Ok(names)
        } else {
            Err(format!("{names:?}"))
        }
    })
    .await
}

/// Changes that set every field of a pool and of a server, and remove one.
const CHANGES: [&str; 11] = [
    "add 127.0.0.1:1001 --weight 7",
    "add 127.0.0.1:1002 --check-type http --check-path /well",
    "add 127.0.0.1:1003",
    "drain 127.0.0.1:1001",
    "maintenance 127.0.0.1:1002",
    "remove 127.0.0.1:1003",
    "pool set --balancing least-requests --fail-open false",
    "pool set --drain-deadline 7s --check-interval 3s",
    "pool set --deregister-after 1h --strict-responses true",
    "set 127.0.0.1:1002 --check-expect 204 --check-host b.example",
    "set 127.0.0.1:1002 --check-port 99 --healthy-threshold 9",
];

async fn ctl_json(daemon: &Daemon, command: &str) -> Value {
    let args: Vec<&str> = command.split(' ').chain(["--output", "json"]).collect();
    let program = daemon.weldrctl(&args).run().await;
    serde_json::from_str(&program.stdout).unwrap_or_else(|error| panic!("{error}: {program:?}"))
}

/// What operators want of the pool.
async fn wanted_of(daemon: &Daemon) -> Vec<Value> {
    let mut wanted = Vec::new();
    let list = ctl_json(daemon, "list").await;
    for server in list["servers"].as_array().unwrap() {
        let parts = ["address", "weight", "admin_state", "check"];
        wanted.extend(parts.map(|part| server[part].clone()));
    }
    let pool = ctl_json(daemon, "pool get").await;
    wanted.push(pool["settings"].clone());
    wanted
}

/// A file that a node wrote by itself makes another cluster the same, in every setting.
#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_backup_holds_the_desired_state_and_is_restored() {
    let files = tempfile::tempdir().unwrap();
    let backups = files.path().join("backups");
    let program = || {
        let data = files.path().join("data");
        let program = Program::weldr_bare().arg("--data-dir").arg(data);
        program.arg("--backup-dir").arg(&backups)
    };
    let weldr = Daemon::run(program()).await;
    has_files(&backups, 1).await;
    for change in CHANGES {
        weldr.ctl(&change.split(' ').collect::<Vec<_>>()).await;
    }
    assert_eq!(weldr.terminate().await.code(), Some(0));

    // A start writes one at once, because there were changes since the last one.
    let weldr = Daemon::run(program()).await;
    let written = has_files(&backups, 2).await;
    let newest = backups.join(written.last().unwrap());
    let mode = fs::metadata(&newest).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = fs::read_to_string(&newest).unwrap();
    assert!(!text.contains("127.0.0.1:1003"), "it was removed: {text}");

    let other = Daemon::start().await;
    other.ctl(&["add", "127.0.0.1:1009"]).await;
    let path = newest.to_str().unwrap();
    other.ctl(&["cluster", "restore", path]).await;
    let wanted = wanted_of(&weldr).await;
    wait::until("the state of the backup", async || {
        let restored = wanted_of(&other).await;
        if restored == wanted {
            Ok(())
        } else {
            Err(format!("{restored:?} instead of {wanted:?}"))
        }
    })
    .await;
    let status = ctl_json(&weldr, "cluster status").await;
    let backup = &status["nodes"][0]["backups"];
    assert_eq!(backup["revision"], status["revision"], "{status}");
    assert_eq!(backup["failure"], Value::Null, "{status}");
    assert_eq!(weldr.terminate().await.code(), Some(0));
}

/// Each node backs up what it has, also without a quorum.
#[tokio::test(flavor = "multi_thread")]
async fn a_survivor_without_a_quorum_has_and_makes_backups() {
    let mut cluster = TestCluster::start_direct(3).await;
    cluster.add(0, 1001).await.unwrap();
    cluster.has_voters(3).await;
    cluster.kill(0).await;
    cluster.kill(1).await;
    cluster.terminate(2).await;
    let backups = cluster.file("backups");
    let survivor = cluster.program(2).arg("--backup-dir").arg(&backups).start();
    let written = has_files(&backups, 1).await;
    assert!(written[0].ends_with("-c.json"), "{written:?}");
    let text = fs::read_to_string(backups.join(&written[0])).unwrap();
    assert!(text.contains("127.0.0.1:1001"), "{text}");
    survivor.kill().await;
}

/// The node goes on, and the log, the status and the check give the cause.
async fn is_told(weldr: Daemon, cause: &str) {
    weldr
        .process()
        .logs("no backup is made; trying again")
        .await;
    weldr.process().logs(cause).await;
    for command in ["status", "check"] {
        let said = weldr.weldrctl(&["cluster", command]).run().await;
        assert_eq!(said.code(), Some(4), "{said:?}");
        assert!(said.stdout.contains(cause), "{said:?}");
    }
    weldr.ctl(&["add", "127.0.0.1:1001"]).await;
    let finished = weldr.terminate().await;
    assert_eq!(finished.code(), Some(0));
    let warnings = finished.stderr.matches("no backup is made").count();
    assert_eq!(warnings, 1, "{finished:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_no_node_and_is_told() {
    // There is room for the directory and for nothing in it.
    let Some(program) = small_disk::program("weldr", ",nr_inodes=2") else {
        return;
    };
    let program = program
        .args(["--listen", "127.0.0.1:0", "--management", "127.0.0.1:0"])
        .args(["--ephemeral", "--backup-dir", &format!("{DISK}/backups")]);
    let full = Daemon::run(program).await;
    is_told(full, "cannot be written: No space left on device").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_made_is_told() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("file");
    fs::write(&file, "").unwrap();
    let program = Program::weldr()
        .arg("--backup-dir")
        .arg(file.join("backups"));
    let weldr = Daemon::run(program).await;
    is_told(weldr, "cannot be created: Not a directory").await;
}
