//! Not tests: figures of how long an address is away when it moves, of Weldr and of keepalived beside it. They are right only on
//! a machine that does nothing else.

mod keepalived;
mod rolling;
mod weldr;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use weldr_tests::{address_clients::*, address_cluster::*};

use super::*;

/// How an address is made to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    /// SIGKILL of the proxy that has it, which is started again.
    Kill,
    /// The link of its machine goes down, and up.
    Link,
    /// The network of its machine is lost, and comes back. The link stays up.
    Isolate,
    /// SIGSTOP of the process that holds the address, which goes on later.
    Stop,
    /// An order.
    Planned,
}

const MOVES: [Move; 5] = [
    Move::Kill,
    Move::Link,
    Move::Isolate,
    Move::Stop,
    Move::Planned,
];

/// Machines of which one has the address, with a proxy on each.
trait Contender {
    const NAME: &str;

    fn machines(&self) -> &[Host];
    fn client(&self) -> &Host;
    fn lan(&self) -> &Lan;
    /// Lets the address leave the machine `holder`.
    async fn disturb(&mut self, how: Move, holder: usize);
    /// Repairs what [`disturb`](Self::disturb) did, and returns when all machines can take the address.
    async fn repair(&mut self, how: Move, holder: usize);

    /// The machine with the address, once there is one other than `not`.
    async fn holder(&self, not: Option<usize>) -> usize {
        let machines = 0..self.machines().len();
        wait::until("a holder of the address", async || {
            let mut others = machines.clone().filter(|machine| Some(*machine) != not);
            let has = |machine: &usize| self.machines()[*machine].has(ip());
            others.find(has).ok_or("nobody has it")
        })
        .await
    }
}

/// How often each is done: `WELDR_RUNS`, by default 20.
fn runs() -> usize {
    let runs = std::env::var("WELDR_RUNS").ok();
    runs.map_or(20, |runs| runs.parse().expect("a number"))
}

/// What a client noticed of moves.
#[derive(Debug, Default)]
struct Noticed {
    silences: Vec<Duration>,
    failed: Vec<usize>,
    /// Requests on kept connections, in planned moves.
    lost: usize,
    /// In how many moves two machines had the address at once.
    two_holders: usize,
}

impl Noticed {
    /// A row of the table.
    fn row(mut self, name: &str, how: Move) -> String {
        self.silences.sort_unstable();
        self.failed.sort_unstable();
        let runs = self.silences.len();
        let [median, worst] = [runs / 2, runs - 1].map(|nth| self.silences[nth].as_millis());
        let lost = match how {
            Move::Planned => self.lost.to_string(),
            _ => "-".to_owned(),
        };
        format!(
            "| {how:?} | {name} | {runs} | {median} | {worst} | {} | {lost} | {} |",
            self.failed[runs / 2],
            self.two_holders
        )
    }

    /// Lets the address move once.
    async fn one(&mut self, contender: &mut impl Contender, how: Move) {
        let old = contender.holder(None).await;
        let users: Vec<_> = match how {
            Move::Planned => (0..4)
                .map(|_| contender.client().record(use_again_and_again))
                .collect(),
            // It takes requests with it.
            _ => Vec::new(),
        };
        more_use(&users).await;
        let machines: Vec<_> = contender.machines().iter().collect();
        let sightings = contender.lan().watch(&machines, ip());
        let asked = contender.client().record(|asked, is_over| {
            ask(Duration::from_millis(20), asked, is_over);
        });
        responses(&asked, 20).await;
        contender.disturb(how, old).await;
        contender.holder(Some(old)).await;
        responses(&asked, 5).await;
        contender.repair(how, old).await;
        more_use(&users).await;
        let asked = asked.finish();
        self.silences.push(asked.longest_silence());
        self.failed.push(asked.failed.len());
        self.two_holders += usize::from(sightings.finish().overlaps > 0);
        let lost = users.into_iter().map(|user| user.finish().lost.len());
        self.lost += lost.sum::<usize>();
    }
}

/// Waits for so many more responses.
async fn responses(asked: &Watcher<Asked>, more: usize) {
    let before = asked.so_far().completed.len();
    let limit = Duration::from_mins(1);
    wait::until_within(limit, "more responses", async || {
        let completed = asked.so_far().completed.len();
        if completed >= before + more {
            Ok(())
        } else {
            Err(completed)
        }
    })
    .await;
}

/// The rows of one contender, in the order of [`MOVES`].
async fn rows<C: Contender>(contender: &mut C) -> Vec<String> {
    let mut rows = Vec::new();
    for how in MOVES {
        let mut noticed = Noticed::default();
        for _ in 0..runs() {
            noticed.one(contender, how).await;
        }
        rows.push(noticed.row(C::NAME, how));
    }
    rows
}

/// Prints a table of what a client notices when an address moves, `WELDR_RUNS` times each (20), with Weldr and with keepalived.
#[tokio::test]
#[ignore = "figures, which take some minutes"]
async fn side_by_side_with_keepalived() {
    let Some(mut cluster) = AddressCluster::start().await else {
        return;
    };
    let ours = rows(&mut cluster).await;
    drop(cluster);
    let theirs = match keepalived::Keepalived::start().await {
        Some(mut machines) => rows(&mut machines).await,
        None => vec![String::new(); ours.len()],
    };
    println!(
        "| what | with | runs | median ms without a response | worst | failed requests (median) | lost on kept connections | \
         runs with two holders |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for row in ours
        .iter()
        .zip(&theirs)
        .flat_map(|(ours, theirs)| [ours, theirs])
    {
        println!("{row}");
    }
}

/// Prints how many elections there are while all cores are busy for `WELDR_BUSY_SECONDS`, by default 10 minutes.
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
