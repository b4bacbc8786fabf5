//! Clients that write and read at all nodes, and a record of what they were told.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use fastrand::Rng;
use tokio::time::{self, Instant};
use tonic::Status;
use weldr_proto::v1::{
    AddServerRequest, AdminState, GetServerRequest, HealthCheck, HttpCheck, Server,
    UpdateServerRequest, health_check::Type,
};

use crate::{
    account::{self, Account},
    linearizable::{Action, Call},
    node::{self, connect},
};

/// How long a client that moves from node to node waits for a response, by chance: who does not wait knows less.
const PATIENCE: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(8),
];
/// One that stays at a node asks anew, so that the time without an acknowledged write is that of the cluster.
const IMPATIENCE: [Duration; 1] = [Duration::from_millis(400)];

/// What a client was told of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It was acknowledged, or a read returned.
    Ok,
    /// Nothing happened.
    Refused,
    /// It may or may not have happened, or may yet.
    Unknown,
}

impl account::Fate for Fate {
    const ALL: &'static [Self] = &[Self::Ok, Self::Refused, Self::Unknown];
    const CALLS: &'static str = "calls";
}

/// What all clients share.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// A clock that gives each moment once.
    now: AtomicU64,
    /// The last value that was used: none is written twice.
    value: AtomicU32,
    over: AtomicBool,
    book: Mutex<Book>,
}

/// What the clients were told.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) account: Account<Fate>,
    /// What was called of each register.
    pub(super) registers: Vec<Vec<Call>>,
    /// Servers that were added, with what became of that.
    pub(super) added: Vec<(String, Fate)>,
    /// When writes were acknowledged.
    pub(super) acknowledged: Vec<Instant>,
}

impl Record {
    pub(super) fn of(registers: usize) -> Arc<Self> {
        let book = Book {
            registers: vec![Vec::new(); registers],
            ..Book::default()
        };
        let book = Mutex::new(book);
        Arc::new(Self {
            book,
            ..Self::default()
        })
    }

    fn tick(&self) -> u64 {
        self.now.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn next_value(&self) -> u32 {
        self.value.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the clients, and who else looks, that the run is over.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// All that was recorded.
    pub(super) fn take(&self) -> Book {
        std::mem::take(&mut *self.book())
    }

    /// Reads a register to its end in the history.
    pub(super) async fn read(
        &self,
        client: &mut node::Client,
        register: usize,
        patience: Duration,
    ) -> Result<(), Status> {
        let begun = self.tick();
        let request = GetServerRequest {
            address: address_of(register),
            ..GetServerRequest::default()
        };
        let response = in_time(patience, client.get_server(request)).await?;
        let value = value_of(&response.server.unwrap_or_default());
        let call = Call {
            action: Action::Read(value),
            begun,
            completed: Some(self.tick()),
        };
        self.book().registers[register].push(call);
        Ok(())
    }
}

/// The server whose check is a register.
pub(super) fn address_of(register: usize) -> String {
    format!("127.0.0.1:{}", register + 1)
}

/// What a register holds: the path of its server's check is a number. 0 before the first write.
fn value_of(server: &Server) -> u32 {
    let check = server.check.as_ref().and_then(|check| check.r#type.clone());
    match check {
        Some(Type::Http(HttpCheck { path, .. })) => {
            let number = path.strip_prefix('/').and_then(|path| path.parse().ok());
            number.unwrap_or_else(|| panic!("no client writes {path}"))
        }
        _ => 0,
    }
}

fn holding(value: u32) -> HealthCheck {
    let http = HttpCheck {
        path: format!("/{value}"),
        ..HttpCheck::default()
    };
    HealthCheck {
        r#type: Some(Type::Http(http)),
        ..HealthCheck::default()
    }
}

/// A client that goes on until the run is over.
pub(super) struct Client {
    nodes: Vec<node::Client>,
    patience: &'static [Duration],
    rng: Rng,
    record: Arc<Record>,
}

impl Client {
    /// One that asks any of these nodes.
    pub(super) fn roaming(nodes: &[SocketAddr], rng: Rng, record: Arc<Record>) -> Self {
        Self {
            nodes: nodes.iter().map(|node| connect(*node)).collect(),
            patience: &PATIENCE,
            rng,
            record,
        }
    }

    /// One that asks this node and does not wait for long.
    pub(super) fn staying(node: SocketAddr, rng: Rng, record: Arc<Record>) -> Self {
        Self {
            nodes: vec![connect(node)],
            patience: &IMPATIENCE,
            rng,
            record,
        }
    }

    pub(super) async fn work(mut self) {
        while !self.record.is_over() {
            let registers = self.record.book().registers.len();
            let register = self.rng.usize(..registers);
            match self.rng.u8(..100) {
                0..48 => self.read(register).await,
                48..97 => self.write(register).await,
                _ => self.add().await,
            }
            time::sleep(Duration::from_millis(self.rng.u64(5..60))).await;
        }
    }

    fn any_node(&mut self) -> (node::Client, Duration) {
        let node = self.nodes[self.rng.usize(..self.nodes.len())].clone();
        (node, self.patience[self.rng.usize(..self.patience.len())])
    }

    async fn read(&mut self, register: usize) {
        let (mut node, patience) = self.any_node();
        let read = self.record.read(&mut node, register, patience).await;
        // Without a response, a read has seen nothing.
        let fate = if read.is_ok() {
            Fate::Ok
        } else {
            Fate::Refused
        };
        self.record.book().account.book("read", fate);
    }

    async fn write(&mut self, register: usize) {
        let (mut node, patience) = self.any_node();
        let value = self.record.next_value();
        let begun = self.record.tick();
        let request = UpdateServerRequest {
            address: address_of(register),
            check: Some(holding(value)),
            ..UpdateServerRequest::default()
        };
        let written = in_time(patience, node.update_server(request)).await;
        let fate = self.settle("write", &written);
        let call = Call {
            action: Action::Write(value),
            begun,
            completed: (fate == Fate::Ok).then(|| self.record.tick()),
        };
        if fate != Fate::Refused {
            self.record.book().registers[register].push(call);
        }
    }

    /// Adds a server that nobody removes.
    async fn add(&mut self) {
        let (mut node, patience) = self.any_node();
        let [_, a, b, c] = self.record.next_value().to_be_bytes();
        let address = format!("127.{}.{b}.{c}:65000", 100 + a);
        let request = AddServerRequest {
            address: address.clone(),
            // It is never connected to.
            admin_state: AdminState::Maintenance.into(),
            ..AddServerRequest::default()
        };
        let added = in_time(patience, node.add_server(request)).await;
        let fate = self.settle("add", &added);
        self.record.book().added.push((address, fate));
    }

    fn settle<T>(&self, kind: &'static str, written: &Result<T, Status>) -> Fate {
        let fate = match written {
            Ok(_) => Fate::Ok,
            Err(status) => fate_of(status),
        };
        let mut book = self.record.book();
        book.account.book(kind, fate);
        if fate == Fate::Ok {
            book.acknowledged.push(Instant::now());
        }
        fate
    }
}

async fn in_time<T>(
    patience: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Status> {
    match time::timeout(patience, call).await {
        Ok(response) => response.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded("the client did not wait")),
    }
}

/// A write is refused when the response says that nothing changed, or it was never sent. If that is not true, a read
/// shows it.
fn fate_of(status: &Status) -> Fate {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return Fate::Refused;
        }
        source = error.source();
    }
    let message = status.message().to_lowercase();
    if message.contains("nothing changed") {
        Fate::Refused
    } else {
        Fate::Unknown
    }
}
