//! Clients of a virtual address, which record what they see.

use std::{
    io::{BufRead, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    address_cluster::{AddressCluster, ip},
    netns::{Claim, Host, Sightings, Watcher},
    process::Process,
    wait,
};

/// Everything that is recorded while an address moves.
#[derive(Debug)]
pub struct Observation {
    /// Which machines had the address.
    pub sightings: Watcher<Sightings>,
    /// Which machines claimed it on the wire.
    pub claims: Watcher<Vec<Claim>>,
    /// What a client saw.
    pub asked: Watcher<Asked>,
}

impl Observation {
    /// Waits for some more responses.
    pub async fn more_responses(&self) {
        let completed = self.asked.so_far().completed.len();
        wait::until("more responses", async || {
            let asked = self.asked.so_far();
            if asked.completed.len() > completed + 20 {
                Ok(())
            } else {
                Err(format!("{asked:?}"))
            }
        })
        .await;
    }

    /// Ends it after some more responses; asserts that there were never two holders, neither by the tables of the
    /// kernels nor on the wire; and gives what the client saw.
    pub async fn assert_one_at_a_time(self, what: &str, cluster: &AddressCluster) -> Asked {
        self.more_responses().await;
        let asked = self.asked.finish();
        let sightings = self.sightings.finish();
        let logs: Vec<_> = cluster
            .nodes
            .iter()
            .flatten()
            .map(Process::stderr)
            .collect();
        let logs = logs.join("\n");
        assert_eq!(sightings.overlaps, 0, "{what}: {sightings:?}\n{logs}");
        let mut claimants: Vec<_> = self.claims.finish().iter().map(|claim| claim.mac).collect();
        claimants.dedup();
        let moves = claimants.len();
        claimants.sort_unstable();
        claimants.dedup();
        assert_eq!(
            moves,
            claimants.len(),
            "who lost it claims it again: {claimants:?}\n{logs}"
        );
        asked
    }
}

/// What a client saw that asked again and again.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// When responses were complete.
    pub completed: Vec<Instant>,
    /// What was not a response with status 200.
    pub failed: Vec<String>,
}

impl Asked {
    /// The longest time between two responses.
    pub fn longest_silence(&self) -> Duration {
        let pairs = self.completed.windows(2);
        pairs
            .map(|pair| pair[1] - pair[0])
            .max()
            .unwrap_or_default()
    }
}

/// Waits until each has had some more responses.
pub async fn more_use(users: &[Watcher<Used>]) {
    for user in users {
        let before = user.so_far().responses;
        wait::until("more responses on kept connections", async || {
            let used = user.so_far();
            if used.responses > before + 20 {
                Ok(())
            } else {
                Err(format!("{used:?}"))
            }
        })
        .await;
    }
}

/// Ends them after some more responses, and asserts that they lost no request and were told to move.
pub async fn assert_none_lost(users: Vec<Watcher<Used>>, cluster: &AddressCluster) {
    more_use(&users).await;
    for user in users {
        let used = user.finish();
        let logs = || cluster.nodes.iter().flatten().map(Process::stderr);
        assert!(
            used.lost.is_empty(),
            "{used:?}\n{}",
            logs().collect::<String>()
        );
        assert!(used.connections > 1, "{used:?}");
    }
}

/// How long the client waits for a connection, and for a response, before it asks anew.
pub const PATIENCE: Duration = Duration::from_millis(100);

/// One request after the other, each on a connection of its own.
pub fn ask_again_and_again(asked: &Mutex<Asked>, is_over: &dyn Fn() -> bool) {
    ask(PATIENCE, asked, is_over);
}

/// [`ask_again_and_again`] with another patience.
pub fn ask(patience: Duration, asked: &Mutex<Asked>, is_over: &dyn Fn() -> bool) {
    while !is_over() {
        let response = get(patience);
        let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
        match response {
            Ok(response) if response.starts_with("HTTP/1.1 200") => {
                asked.completed.push(Instant::now());
            }
            Ok(response) => asked.failed.push(response),
            Err(error) => asked.failed.push(error.to_string()),
        }
    }
}

/// One request, on a connection of its own.
pub fn get(patience: Duration) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(ip(), 8080), patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    Ok(response)
}

/// What clients saw who keep their connections, or wait for one: each failure is a request that was lost.
#[derive(Debug, Clone, Default)]
pub struct Used {
    /// How many there were.
    pub responses: u64,
    /// How often a connection was closed, in order, and another one taken.
    pub connections: u64,
    /// Requests without a response.
    pub lost: Vec<String>,
}

/// One POST after the other, which nobody may repeat, on a connection that is kept until a response says otherwise.
pub fn use_again_and_again(used: &Mutex<Used>, is_over: &dyn Fn() -> bool) {
    while !is_over() {
        let result = use_one(used, is_over);
        let mut used = used.lock().unwrap_or_else(PoisonError::into_inner);
        used.connections += 1;
        if let Err(error) = result {
            used.lost.push(error.to_string());
        }
    }
}

fn use_one(used: &Mutex<Used>, is_over: &dyn Fn() -> bool) -> std::io::Result<()> {
    let address = SocketAddr::new(ip(), 8080);
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(&stream);
    while !is_over() {
        (&stream)
            .write_all(b"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 2\r\n\r\nhi")?;
        let closes = rewrite_response(&mut reader)?;
        used.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .responses += 1;
        if closes {
            return Ok(());
        }
    }
    Ok(())
}

/// Reads a whole response; says whether it ends the connection.
fn rewrite_response(reader: &mut impl BufRead) -> std::io::Result<bool> {
    let (mut length, mut closes, mut line) = (0, false, String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let field = line.trim_end().to_ascii_lowercase();
        match field.split_once(": ") {
            Some(("content-length", value)) => length = value.parse().unwrap(),
            Some(("connection", value)) => closes |= value.contains("close"),
            _ if field.is_empty() => break,
            _ => assert!(!field.starts_with("http/1.1 5"), "{field}"),
        }
    }
    reader.read_exact(&mut vec![0; length])?;
    Ok(closes)
}

/// A connection that nothing is asked on: how many bytes come before it ends.
pub fn connect_and_wait() -> std::io::Result<usize> {
    let address = SocketAddr::new(ip(), 8080);
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.read_to_end(&mut Vec::new())
}

/// Waits until the client gets a response through the address.
pub async fn responds(client: &Host) {
    wait::until("a response through the address", async || {
        let response = client
            .namespace()
            .run(|| get(Duration::from_secs(1)))
            .join()
            .unwrap();
        match response {
            Ok(response) if response.starts_with("HTTP/1.1 200") => Ok(()),
            Ok(response) => Err(response),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
}
