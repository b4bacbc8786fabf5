//! Not tests: figures of how long an address is away when it moves.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use weldr_tests::{address_clients::*, address_cluster::*};

use super::super::*;

/// How often each is done for the figures.
const RUNS: usize = 20;

/// How an address is made to move.
#[derive(Debug, Clone, Copy)]
enum Move {
    /// `cluster transfer`.
    Transfer,
    /// SIGTERM of the leader, which is started again.
    Terminate,
    /// SIGKILL of the leader, which is started again.
    Kill,
    /// SIGSTOP of the leader, which goes on later.
    Stop,
    /// The network of the leader is lost, and comes back.
    Isolate,
}

/// What clients noticed of moves.
#[derive(Debug, Default)]
struct Noticed {
    silences: Vec<Duration>,
    /// Of requests on kept connections.
    lost: Vec<String>,
}

impl Noticed {
    /// A row of the table.
    fn row(mut self, how: Move) -> String {
        self.silences.sort_unstable();
        let runs = self.silences.len();
        let [median, worst] = [runs / 2, runs - 1].map(|nth| self.silences[nth].as_millis());
        let lost = match how {
            Move::Kill | Move::Stop | Move::Isolate => "not counted".to_owned(),
            Move::Transfer | Move::Terminate => self.lost.len().to_string(),
        };
        format!("| {how:?} | {runs} | {lost} | {median} | {worst} |")
    }

    /// Lets the address move once, and the cluster become whole.
    async fn one(&mut self, cluster: &mut AddressCluster, how: Move) {
        let old = cluster.holder().await;
        let users = match how {
            // It takes requests with it.
            Move::Kill | Move::Stop | Move::Isolate => Vec::new(),
            Move::Transfer | Move::Terminate => cluster.users().await,
        };
        let asked = cluster.client.record(|asked, is_over| {
            ask(Duration::from_millis(20), asked, is_over);
        });
        wait::until("a response before", async || {
            let completed = asked.so_far().completed.len();
            if completed > 20 {
                Ok(())
            } else {
                Err(completed)
            }
        })
        .await;
        match how {
            Move::Transfer => {
                let new = NAMES[(old + 1) % NAMES.len()];
                let told = cluster.ctl(old, &["transfer", new]).await;
                assert_eq!(told.code(), Some(0), "{told:?}");
            }
            Move::Terminate => {
                let finished = cluster.nodes[old].take().unwrap().terminate().await;
                assert_eq!(finished.code(), Some(0), "{finished:?}");
            }
            Move::Kill => {
                cluster.nodes[old].take().unwrap().kill().await;
            }
            Move::Stop => cluster.process(old).signal(Signal::STOP),
            Move::Isolate => cluster.lan.isolate(&cluster.machines[old], true),
        }
        cluster.moves_from(old).await;
        let before = asked.so_far().completed.len();
        wait::until("responses again", async || {
            let completed = asked.so_far().completed.len();
            if completed > before + 5 {
                Ok(())
            } else {
                Err(completed)
            }
        })
        .await;
        match how {
            Move::Stop => cluster.process(old).signal(Signal::CONT),
            Move::Isolate => cluster.lan.isolate(&cluster.machines[old], false),
            _ if cluster.nodes[old].is_none() => cluster.run(old).await,
            _ => {}
        }
        cluster.is_whole().await;
        more_use(&users).await;
        self.silences.push(asked.finish().longest_silence());
        let lost = users.into_iter().flat_map(|user| user.finish().lost);
        self.lost.extend(lost);
    }
}

/// Not a test: prints how many elections there are while all cores are busy for `WELDR_BUSY_SECONDS`, by default 10
/// minutes.
#[tokio::test]
#[ignore = "figures, which take some minutes"]
async fn elections_on_busy_machines() {
    let Some(cluster) = AddressCluster::start().await else {
        return;
    };
    let seconds = std::env::var("WELDR_BUSY_SECONDS").ok();
    let seconds = seconds.map_or(600, |seconds| seconds.parse().unwrap());
    let (over, cores) = (AtomicBool::new(false), thread::available_parallelism());
    let roles = || -> usize {
        let logs = cluster.nodes.iter().flatten().map(Process::stderr);
        logs.map(|log| log.matches(" leads ").count()).sum()
    };
    let before = roles();
    let asked = cluster.client.record(ask_again_and_again);
    thread::scope(|scope| {
        for _ in 0..cores.unwrap().get() * 2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        thread::sleep(Duration::from_secs(seconds));
        over.store(true, Ordering::Relaxed);
    });
    let asked = asked.finish();
    println!(
        "{seconds} s: {} changes of the leader, {} answers, {} failures, longest time without an answer {:?}",
        roles() - before,
        asked.completed.len(),
        asked.failed.len(),
        asked.longest_silence()
    );
}

/// Not a test: prints a table of what a client notices of a leader that hands over, stops or is killed.
#[tokio::test]
#[ignore = "figures, which take some minutes"]
async fn figures() {
    let Some(mut cluster) = AddressCluster::start().await else {
        return;
    };
    println!("| what | runs | requests lost | median ms without a response | worst |");
    println!("|---|---|---|---|---|");
    let all = [
        Move::Kill,
        Move::Isolate,
        Move::Stop,
        Move::Transfer,
        Move::Terminate,
    ];
    for how in all {
        let mut noticed = Noticed::default();
        for _ in 0..RUNS {
            noticed.one(&mut cluster, how).await;
        }
        println!("{}", noticed.row(how));
    }
}
