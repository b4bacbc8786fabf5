//! What is left of the pool when a node is gone and comes back.

use std::{fs, net::SocketAddr, path::Path};

use tokio::task::JoinSet;
use weldr_proto::v1::{
    AddServerRequest, GetPoolRequest, HealthState, ListServersRequest, RemoveServerRequest,
};
use weldr_tests::{
    daemon::{Daemon, QUICK_CHECKS},
    node::Client,
    origin::Origin,
    process::Program,
    raw, wait,
};

/// Writers at a time; each waits for a response before it writes again.
const WRITERS: u16 = 4;

fn weldr_in(directory: &Path) -> Program {
    Program::weldr_bare()
        .args(QUICK_CHECKS)
        .in_directory(directory)
}

async fn listed(client: &mut Client) -> (u64, Vec<SocketAddr>) {
    let list = client.list_servers(ListServersRequest::default()).await;
    let list = list.unwrap().into_inner();
    let addresses = list.servers.iter().map(|server| server.address.parse());
    (list.revision, addresses.map(Result::unwrap).collect())
}

/// Adds and removes servers of its own until the node is gone, and says what was acknowledged last.
async fn write_until_it_dies(mut client: Client, writer: u16) -> Acknowledged {
    let mut seen = Acknowledged::default();
    for port in 1.. {
        let address: SocketAddr = ([127, 1, 0, writer.to_le_bytes()[0]], port).into();
        let add = AddServerRequest {
            address: address.to_string(),
            ..Default::default()
        };
        seen.in_doubt = Some(address);
        let Ok(added) = client.add_server(add).await else {
            break;
        };
        seen.revision = added.into_inner().revision;
        if port % 3 != 0 {
            seen.there.push(address);
            continue;
        }
        let remove = RemoveServerRequest {
            address: address.to_string(),
            deadline: Some(prost_types::Duration::default()),
            ..Default::default()
        };
        let Ok(removed) = client.remove_server(remove).await else {
            break;
        };
        seen.revision = removed.into_inner().revision;
        seen.gone.push(address);
    }
    seen
}

/// What one writer knows.
#[derive(Debug, Default)]
struct Acknowledged {
    revision: u64,
    there: Vec<SocketAddr>,
    gone: Vec<SocketAddr>,
    /// The address of a call that was not completed.
    in_doubt: Option<SocketAddr>,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_kill_9() {
    let home = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let weldr = Daemon::run(weldr_in(home.path())).await;
        let first = round * WRITERS;
        let mut writers = JoinSet::new();
        for writer in first..first + WRITERS {
            writers.spawn(write_until_it_dies(weldr.client(), writer));
        }
        let mut client = weldr.client();
        let begun = listed(&mut client).await.0;
        wait::until("some writes", async || match listed(&mut client).await.0 {
            enough if enough >= begun + 60 => Ok(()),
            few => Err(few),
        })
        .await;
        weldr.kill().await;
        let acknowledged = wait::bounded("the writers to end", writers.join_all()).await;

        let weldr = Daemon::run(weldr_in(home.path())).await;
        let (revision, there) = listed(&mut weldr.client()).await;
        for writer in &acknowledged {
            assert!(revision >= writer.revision, "{revision}, {writer:?}");
            for address in &writer.there {
                assert!(there.contains(address), "{address} of {writer:?}");
            }
            for address in &writer.gone {
                assert!(!there.contains(address), "{address} of {writer:?}");
            }
        }
        let known = |address: &SocketAddr| {
            let SocketAddr::V4(v4) = address else {
                return false;
            };
            let writer = u16::from(v4.ip().octets()[3]);
            writer < first
                || acknowledged.iter().any(|writer| {
                    writer.there.contains(address) || writer.in_doubt == Some(*address)
                })
        };
        assert!(there.iter().all(known), "{there:?} of {acknowledged:?}");
        assert_eq!(weldr.terminate().await.code(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_survive_and_servers_receive_requests_again() {
    let origin = Origin::saying("still here");
    let address = origin.address();
    let home = tempfile::tempdir().unwrap();
    let weldr = Daemon::run(weldr_in(home.path())).await;
    weldr.add(address).await;
    weldr
        .ctl(&["set", &address.to_string(), "--weight", "7"])
        .await;
    weldr.ctl(&["pool", "set", "--fail-open", "false"]).await;
    let before = listed(&mut weldr.client()).await;
    weldr.kill().await;

    let weldr = Daemon::run(weldr_in(home.path())).await;
    assert_eq!(listed(&mut weldr.client()).await, before);
    let server = weldr.reaches(address, HealthState::Healthy).await;
    assert_eq!(server.weight, 7);
    let pool = weldr.client().get_pool(GetPoolRequest::default()).await;
    let settings = pool.unwrap().into_inner().pool.unwrap().settings.unwrap();
    assert_eq!(settings.fail_open, Some(false));
    assert_eq!(raw::get(weldr.proxy(), "/").await.text(), "still here");
    assert_eq!(weldr.terminate().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_an_ephemeral_pool() {
    let home = tempfile::tempdir().unwrap();
    let weldr = Daemon::run(Program::weldr().in_directory(home.path())).await;
    weldr.add_unchecked("127.0.0.1:1".parse().unwrap()).await;
    assert_eq!(weldr.terminate().await.code(), Some(0));
    let files: Vec<_> = fs::read_dir(home.path()).unwrap().collect();
    assert!(files.is_empty(), "{files:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_reported_and_left_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let weldr = Daemon::run(weldr_in(home.path())).await;
    weldr.add_unchecked("127.0.0.1:1".parse().unwrap()).await;
    assert_eq!(weldr.terminate().await.code(), Some(0));
    let files = fs::read_dir(home.path().join("weldr-data")).unwrap();
    let file = files
        .map(|entry| entry.unwrap().path())
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    let mut damaged = fs::read(&file).unwrap();
    for byte in damaged.iter_mut().skip(4096) {
        *byte = !*byte;
    }
    fs::write(&file, &damaged).unwrap();

    let finished = weldr_in(home.path()).run().await;
    assert_eq!(finished.code(), Some(1), "{finished:#?}");
    let sentence = finished.stderr.trim_end();
    assert!(sentence.contains("weldr-data"), "{sentence}");
    assert!(!sentence.contains("panicked"), "{sentence}");
    assert!(!sentence.contains('\n'), "not one sentence: {sentence}");
    assert_eq!(fs::read(&file).unwrap(), damaged, "the evidence is kept");
}
