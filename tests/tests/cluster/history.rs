//! Clients that write and read at once, at all nodes, while nodes are killed, stopped and cut off: what they saw
//! could have happened one call after another.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time;
use tonic::Code;
use weldr_proto::v1::{GetServerRequest, UpdateServerRequest};
use weldr_tests::{
    cluster::TestCluster,
    node::{Client, connect},
    process::Signal,
    wait,
};

use super::linearizable::{Action, Call, is_linearizable};

const SERVER: &str = "127.0.0.1:1001";
const CLIENTS: u32 = 4;
/// How long a client waits for an answer, and how many calls it makes: the search holds 128 in all.
const PATIENCE: Duration = Duration::from_secs(6);
const CALLS: u32 = 30;

/// A clock that gives each moment once.
#[derive(Debug, Default)]
struct Recorder {
    now: AtomicU64,
    calls: Mutex<Vec<Call>>,
}

impl Recorder {
    fn tick(&self) -> u64 {
        self.now.fetch_add(1, Ordering::SeqCst) + 1
    }
}

async fn write(client: &mut Client, weight: u32) -> Result<(), tonic::Status> {
    let request = UpdateServerRequest {
        address: SERVER.to_owned(),
        weight: Some(weight),
        ..UpdateServerRequest::default()
    };
    client.update_server(request).await.map(drop)
}

async fn read(client: &mut Client) -> Result<u32, tonic::Status> {
    let request = GetServerRequest {
        address: SERVER.to_owned(),
        ..GetServerRequest::default()
    };
    let answer = client.get_server(request).await?;
    Ok(answer.into_inner().server.expect("a server").weight)
}

/// One client: writes values that no other writes, and reads. It moves on when a node is gone.
async fn client(number: u32, nodes: Vec<std::net::SocketAddr>, recorder: Arc<Recorder>) {
    let mut random = fastrand::Rng::with_seed(u64::from(number));
    for step in 0..CALLS {
        let mut client = connect(nodes[random.usize(..nodes.len())]);
        let begun = recorder.tick();
        let (action, answered) = if random.bool() {
            let weight = 2 + number * CALLS + step;
            let written = time::timeout(PATIENCE, write(&mut client, weight)).await;
            match written {
                Ok(Ok(())) => (Action::Write(weight), Some(recorder.tick())),
                // Says that nothing was written: if that is not true, a read will show it.
                Ok(Err(status)) if status.message().contains("nothing changed") => continue,
                Ok(Err(_)) | Err(_) => (Action::Write(weight), None),
            }
        } else {
            match time::timeout(PATIENCE, read(&mut client)).await {
                Ok(Ok(weight)) => (Action::Read(weight), Some(recorder.tick())),
                Ok(Err(_)) | Err(_) => continue,
            }
        };
        recorder.calls.lock().unwrap().push(Call {
            action,
            begun,
            answered,
        });
        time::sleep(Duration::from_millis(random.u64(5..60))).await;
    }
}

/// Harms the cluster until it is told to end; all is well when it returns.
async fn chaos(cluster: &mut TestCluster, seed: u64, over: &AtomicBool) -> Vec<String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut done = Vec::new();
    while !over.load(Ordering::SeqCst) {
        let victim = if random.bool() {
            cluster.leader_now().await
        } else {
            None
        };
        let victim = victim.unwrap_or_else(|| random.usize(..cluster.nodes.len()));
        let pause = Duration::from_millis(random.u64(300..1500));
        match random.u8(..4) {
            0 => {
                done.push(format!("stopped {victim}"));
                cluster.signal(victim, Signal::STOP);
                time::sleep(pause).await;
                cluster.signal(victim, Signal::CONT);
            }
            1 => {
                done.push(format!("cut off {victim}"));
                cluster.isolate(victim);
                time::sleep(pause).await;
                cluster.heal();
            }
            2 => {
                let other = (victim + 1) % cluster.nodes.len();
                done.push(format!("cut {other} to {victim}"));
                cluster.cut_one_way(other, victim);
                time::sleep(pause).await;
                cluster.heal();
            }
            _ => {
                // Its clients are sent to a port where nobody listens for a while.
                done.push(format!("killed {victim}"));
                cluster.kill(victim).await;
                time::sleep(pause / 2).await;
                cluster.run(victim).await;
            }
        }
        time::sleep(Duration::from_millis(random.u64(200..800))).await;
    }
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_see_under_faults_is_linearizable() {
    let seed = std::env::var("WELDR_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    let mut cluster = TestCluster::start_pinned(5).await;
    cluster.add(0, 1001).await.unwrap();
    let recorder = Arc::<Recorder>::default();
    let nodes: Vec<_> = (0..5).map(|index| cluster.management(index)).collect();
    let over = Arc::new(AtomicBool::new(false));
    let clients = (0..CLIENTS)
        .map(|number| tokio::spawn(client(number, nodes.clone(), Arc::clone(&recorder))));
    let clients: Vec<_> = clients.collect();
    let told = Arc::clone(&over);
    let watch = tokio::spawn(async move {
        for client in clients {
            client.await.unwrap();
        }
        told.store(true, Ordering::SeqCst);
    });
    let faults = chaos(&mut cluster, seed, &over).await;
    watch.await.unwrap();
    // Everything that was written, or not, is decided by the end.
    let last = wait::until("a read after all of it", async || {
        read(&mut cluster.client(0))
            .await
            .map_err(|error| error.to_string())
    })
    .await;
    let mut calls = std::mem::take(&mut *recorder.calls.lock().unwrap());
    let end = recorder.tick();
    calls.push(Call {
        action: Action::Read(last),
        begun: end,
        answered: Some(recorder.tick()),
    });
    let answered = calls.iter().filter(|call| call.answered.is_some()).count();
    eprintln!(
        "seed {seed}: {} calls, {answered} answered; {}",
        calls.len(),
        faults.join(", ")
    );
    assert!(
        answered > 20,
        "seed {seed}: only {answered} calls were answered"
    );
    assert!(
        is_linearizable(&calls, 1),
        "seed {seed}: {faults:?}\n{calls:#?}"
    );
    let settled = cluster.ports(4, false).await;
    assert!(settled.is_ok() || settled.unwrap_err().code() == Code::Unavailable);
}
