//! Many requests of mixed kinds, by clients and to servers that misbehave at random, each of them accounted for.

mod clients;
mod servers;

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use fastrand::Rng;
use futures_util::future::join_all;

use crate::{
    account,
    process::{Process, Program},
    wait,
};
use clients::Visitor;

/// What became of a request, as its client saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// A whole response of a server, the one that was meant.
    Responded,
    /// The begin of a response, visibly not all of it.
    Truncated,
    /// A response of the proxy that says what failed.
    Refused,
    /// The client went away before the end.
    Aborted,
    /// It stood behind one whose response ended the connection.
    Behind,
    /// The connection closed without a word.
    Lost,
    /// Something else than the response that was meant.
    Wrong,
}

impl account::Fate for Fate {
    const ALL: &'static [Self] = &[
        Self::Responded,
        Self::Truncated,
        Self::Refused,
        Self::Aborted,
        Self::Behind,
        Self::Lost,
        Self::Wrong,
    ];
    const CALLS: &'static str = "sent";
}

/// How many requests of each kind had which fate.
#[derive(Debug, Default, Clone)]
pub struct Account {
    fates: account::Account<Fate>,
    /// What was wrong or lost, for the first few.
    pub notes: Vec<String>,
}

impl Account {
    fn book(&mut self, kind: &'static str, fate: Fate) {
        self.fates.book(kind, fate);
    }

    fn note(&mut self, note: String) {
        if self.notes.len() < 10 {
            self.notes.push(note);
        }
    }

    /// How many had this fate.
    pub fn of(&self, fate: Fate) -> usize {
        self.fates.of(fate)
    }

    /// All that were sent.
    pub fn sent(&self) -> usize {
        self.fates.calls()
    }

    fn add(&mut self, other: Self) {
        self.fates.add(other.fates);
        other.notes.into_iter().for_each(|note| self.note(note));
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fates.fmt(f)
    }
}

/// What a run found.
#[derive(Debug)]
pub struct Report {
    /// What became of each request.
    pub account: Account,
    /// Files and sockets that the proxy had open before, and after.
    pub open_files: (usize, usize),
    /// Memory that it held after the first of the requests, and after the last, in bytes.
    pub resident: (u64, u64),
}

/// How far memory may be from where it began: what an allocator keeps, not what grows with requests.
pub const MOST_GROWTH: u64 = 24 << 20;

impl Report {
    /// What must not be.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for fate in [Fate::Lost, Fate::Wrong] {
            if self.account.of(fate) > 0 {
                problems.push(format!(
                    "{} are {fate:?}: {:#?}",
                    self.account.of(fate),
                    self.account.notes
                ));
            }
        }
        if self.open_files.1 > self.open_files.0 {
            problems.push(format!("open files: {:?}", self.open_files));
        }
        if self.resident.1 > self.resident.0 + MOST_GROWTH {
            problems.push(format!("memory: {:?}", self.resident));
        }
        problems
    }
}

/// Sends `requests` from `seed` by `clients` at once through a proxy of its own.
pub async fn run(requests: usize, clients: usize, seed: u64) -> Report {
    let servers: Vec<_> = (0..3).map(|index| servers::fickle(seed + index)).collect();
    let mut weldr = start(
        &servers
            .iter()
            .map(crate::origin::Origin::address)
            .collect::<Vec<_>>(),
    );
    let proxy = weldr.proxy_address().await;
    for server in &servers {
        weldr.logs(&server.address().to_string()).await;
    }
    let files_before = at_rest(&weldr).await;
    let mut account = send(proxy, requests / 4, clients, seed).await;
    back_at(files_before, &weldr).await;
    let resident_before = weldr.resident();
    account.add(send(proxy, requests - requests / 4, clients, seed + 1).await);
    let files_after = back_at(files_before, &weldr).await;
    let resident = (resident_before, weldr.resident());
    weldr.terminate().await;
    Report {
        account,
        open_files: (files_before, files_after),
        resident,
    }
}

fn start(servers: &[SocketAddr]) -> Process {
    let servers: Vec<_> = servers.iter().map(ToString::to_string).collect();
    Program::weldr()
        .args(["--server", &servers.join(",")])
        .args([
            "--response-header-timeout",
            "300ms",
            "--stream-idle-timeout",
            "300ms",
        ])
        .args(["--server-idle-timeout", "1s", "--client-idle-timeout", "1s"])
        // They misbehave by design: all of them stay in the pool.
        .args(["--unhealthy-threshold", "100", "--check-interval", "1h"])
        .start()
}

/// Waits until the number of open files stays the same, and says how many there are.
async fn at_rest(weldr: &Process) -> usize {
    const LOOKS: usize = 10;
    let (mut last, mut same) = (0, 0);
    wait::until("open files to stay the same", async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = weldr.open_files();
        same = if now == last { same + 1 } else { 0 };
        last = now;
        if same >= LOOKS { Ok(now) } else { Err(now) }
    })
    .await
}

/// Waits until no more than `most` files are open, and says how many are.
async fn back_at(most: usize, weldr: &Process) -> usize {
    let patience = tokio::time::timeout(wait::LIMIT, async {
        while weldr.open_files() > most {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    // A number that is too high says it.
    let _out_of_patience = patience.await;
    weldr.open_files()
}

async fn send(proxy: SocketAddr, requests: usize, clients: usize, seed: u64) -> Account {
    let left = Arc::new(AtomicUsize::new(requests));
    let account = Arc::new(Mutex::new(Account::default()));
    let visits = (0..clients).map(|client| {
        let (left, account) = (Arc::clone(&left), Arc::clone(&account));
        let rng = Rng::with_seed(seed << 16 | client as u64);
        tokio::spawn(async move {
            let mut visitor = Visitor::new(proxy, rng);
            while left
                .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1))
                .is_ok()
            {
                // A visit may be of several requests.
                let more = visitor.visit().await - 1;
                let _ended =
                    left.fetch_update(Relaxed, Relaxed, |left| Some(left.saturating_sub(more)));
            }
            let mut account = account.lock().unwrap_or_else(PoisonError::into_inner);
            account.add(visitor.account);
        })
    });
    for visit in join_all(visits).await {
        visit.expect("a client panicked");
    }
    account
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}
