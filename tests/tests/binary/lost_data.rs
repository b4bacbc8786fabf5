//! A data directory that is taken away from a running node.

use std::{fs, path::Path};

use weldr_tests::{daemon::Daemon, origin::ReservedPort, process::Program, raw, wait};

async fn says(weldr: &Daemon, status: u16, words: &[&str]) {
    wait::until(format!("{status} {words:?}"), async || {
        let readyz = raw::get(weldr.management(), "/readyz").await;
        let has_all = words.iter().all(|word| readyz.text().contains(word));
        if readyz.status == status && has_all {
            Ok(())
        } else {
            Err(readyz)
        }
    })
    .await;
}

/// Starts a node with one server.
async fn with_a_server(server: &ReservedPort) -> Daemon {
    let weldr = Daemon::run(Program::weldr_bare()).await;
    weldr.add_unchecked(server.address()).await;
    says(&weldr, 200, &[]).await;
    weldr
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_removed_or_replaced_is_noticed_and_no_change_is_acknowledged() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 4] = [
        ("removed", |data| {
            fs::remove_file(data.join("weldr.redb")).unwrap();
        }),
        ("removed with its directory", |data| {
            fs::remove_dir_all(data).unwrap();
        }),
        ("replaced", |data| {
            let (database, copy) = (data.join("weldr.redb"), data.join("copy"));
            fs::copy(&database, &copy).unwrap();
            fs::rename(copy, database).unwrap();
        }),
        ("replaced with its directory", |data| {
            fs::rename(data, data.with_extension("old")).unwrap();
            fs::create_dir(data).unwrap();
        }),
    ];
    let servers = [ReservedPort::new(), ReservedPort::new()];
    for (harm, change) in harms {
        let weldr = with_a_server(&servers[0]).await;
        let data = weldr.process().directory().join("weldr-data");
        change(&data);
        // At once, before anybody has looked.
        let address = servers[1].address().to_string();
        let added = weldr.weldrctl(&["add", &address]).run().await;
        assert_ne!(added.code(), Some(0), "{harm}: {added:#?}");
        let refused = added.stderr.contains("could not be written to disk");
        assert!(refused, "{harm}: {added:#?}");
        says(&weldr, 503, &["disk_failed", "weldr.redb"]).await;
        weldr.process().logs("changes are refused").await;
        let finished = weldr.terminate().await;
        assert_eq!(finished.code(), Some(0), "{harm}: {finished:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_moved_away_is_noticed_without_a_change_and_again_when_it_is_back() {
    let servers = [ReservedPort::new(), ReservedPort::new()];
    let weldr = with_a_server(&servers[0]).await;
    let data = weldr.process().directory().join("weldr-data");
    let away = data.with_extension("away");
    fs::rename(&data, &away).unwrap();
    says(&weldr, 503, &["disk_failed", "weldr.redb"]).await;
    fs::rename(&away, &data).unwrap();
    says(&weldr, 200, &[]).await;
    weldr.add_unchecked(servers[1].address()).await;

    let home = weldr.kill().await;
    let again = Daemon::run(Program::weldr_bare().in_directory(home.path())).await;
    for server in &servers {
        assert!(again.server(server.address()).await.is_some());
    }
    assert_eq!(again.terminate().await.code(), Some(0));
}
