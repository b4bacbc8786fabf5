//! Three machines whose `weldr` form a cluster, and clients that keep asking through their address.

use std::{
    io::{BufRead, BufReader, Read as _, Write as _},
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use weldr_tests::netns::Claim;

use super::super::*;

/// The names of the nodes, which are the machines 10.0.0.2 to 10.0.0.4.
pub(super) const NAMES: [&str; 3] = ["a", "b", "c"];

pub(super) struct Cluster {
    pub(super) files: TempDir,
    _origin: Process,
    origin_address: String,
    pub(super) nodes: Vec<Option<Process>>,
    pub(super) machines: Vec<Host>,
    pub(super) client: Host,
    pub(super) lan: Lan,
    options: Vec<String>,
}

impl Cluster {
    /// Three voters, one of which holds the address and serves through it; `None` without namespaces.
    pub(super) async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// [`start`](Self::start) with these options for each node.
    pub(super) async fn start_with(options: &[&str]) -> Option<Self> {
        let lan = Lan::new()?;
        let client = lan.host(1);
        let machines = vec![lan.host(2), lan.host(3), lan.host(4)];
        let mut origin = Program::on(&client, "test-server")
            .arg("10.0.0.1:0")
            .start();
        let origin_address = origin.logged_address("listening").await.to_string();
        let files = TempDir::new().unwrap();
        std::fs::write(files.path().join("secret"), "open sesame, open sesame").unwrap();
        let mut cluster = Self {
            files,
            _origin: origin,
            origin_address,
            nodes: vec![None, None, None],
            machines,
            client,
            lan,
            options: options.iter().map(|&option| option.to_owned()).collect(),
        };
        for node in 0..NAMES.len() {
            cluster.run(node).await;
        }
        cluster.is_whole().await;
        responds(&cluster.client).await;
        Some(cluster)
    }

    pub(super) async fn run(&mut self, node: usize) {
        let machine = &self.machines[node];
        let address = |node: usize| format!("10.0.0.{}:8688", node + 2);
        let files = self.files.path();
        let mut program = Program::on(machine, "weldr")
            .args(["--listen", "0.0.0.0:8080", "--management", "127.0.0.1:8687"])
            .args(["--workers", "1", "--server", &self.origin_address])
            .args([
                "--node-name",
                NAMES[node],
                "--cluster",
                &address(node),
                "--cluster-insecure",
            ])
            .args(["--vip", V4, "--vip-interface", Host::INTERFACE])
            .args([Path::new("--cluster-secret-file"), &files.join("secret")])
            .args([Path::new("--data-dir"), &files.join(NAMES[node])])
            .args(&self.options);
        program = match node {
            0 => program.arg("--found-cluster"),
            _ => program.args(["--join", &address(0)]),
        };
        let process = program.start();
        process.logs("management listening").await;
        self.nodes[node] = Some(process);
    }

    pub(super) async fn ctl(&self, node: usize, args: &[&str]) -> Finished {
        let program = Program::on(&self.machines[node], "weldrctl");
        program.arg("cluster").args(args).run().await
    }

    /// Waits until a leader and two followers are there.
    pub(super) async fn is_whole(&self) {
        let running = self.nodes.iter().position(Option::is_some).unwrap();
        wait::until("three nodes that vote", async || {
            let status = self.ctl(running, &["status"]).await;
            let count = |role: &str| status.stdout.matches(role).count();
            // The leader is in its row and in the verdict.
            if status.stdout.contains("quorum, led by") && count(" follower ") == 2 {
                Ok(())
            } else {
                Err(format!("{status:#?}"))
            }
        })
        .await;
        // A node that was started again gives no vote for the length of a lease, unless it has heard from a leader.
        for process in self.nodes.iter().flatten() {
            wait::until("a node to know the leader", async || {
                let log = process.stderr();
                let knows = log.contains("another node leads") || log.contains("this node leads");
                if knows { Ok(()) } else { Err(log) }
            })
            .await;
        }
    }

    /// The node that has the address, once one has.
    pub(super) async fn holder(&self) -> usize {
        wait::until("a holder of the address", async || {
            let mut holders = 0..self.machines.len();
            holders
                .find(|node| self.machines[*node].has(ip_of(V4)))
                .ok_or("nobody has it")
        })
        .await
    }

    /// Waits until a node other than `old` has the address.
    pub(super) async fn moves_from(&self, old: usize) -> usize {
        wait::until(format!("the address to leave {}", NAMES[old]), async || {
            let mut others = (0..self.machines.len()).filter(|node| *node != old);
            others
                .find(|node| self.machines[*node].has(ip_of(V4)))
                .ok_or("it is there")
        })
        .await
    }

    /// Clients that use the address, from now on; each has had responses.
    pub(super) async fn users(&self) -> Vec<Watcher<Used>> {
        let users: Vec<_> = (0..4)
            .map(|_| self.client.record(use_again_and_again))
            .collect();
        more_use(&users).await;
        users
    }

    /// The nodes that have the address, as the status says.
    pub(super) async fn shown_holders(&self, asked: usize) -> Vec<String> {
        let status = self.ctl(asked, &["status"]).await;
        let lines = status.stdout.lines().filter(|line| line.contains(V4));
        lines
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect()
    }

    /// Begins to record, with some responses from before anything happens.
    pub(super) async fn observe(&self) -> Observation {
        let machines: Vec<_> = self.machines.iter().collect();
        let observation = Observation {
            sightings: self.lan.watch(&machines, ip_of(V4)),
            claims: self.lan.sniff(ip_of(V4)),
            asked: self.client.record(ask_again_and_again),
        };
        observation.more_responses().await;
        observation
    }

    pub(super) fn process(&self, node: usize) -> &Process {
        self.nodes[node].as_ref().unwrap()
    }
}

/// Everything that is recorded while an address moves.
pub(super) struct Observation {
    sightings: Watcher<Sightings>,
    claims: Watcher<Vec<Claim>>,
    asked: Watcher<Asked>,
}

impl Observation {
    pub(super) async fn more_responses(&self) {
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
    /// kernels nor on the wire; and tells what the client saw.
    pub(super) async fn assert_one_at_a_time(self, what: &str, cluster: &Cluster) -> Asked {
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
        assert_eq!(sightings.overlaps, 0, "{sightings:?}\n{logs}");
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
        println!(
            "{what}: {} responses, {} failures, longest time without a response {:?}; {:?}",
            asked.completed.len(),
            asked.failed.len(),
            asked.longest_silence(),
            asked.failed
        );
        asked
    }
}

/// What a client saw that asked again and again.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    pub(super) completed: Vec<Instant>,
    pub(super) failed: Vec<String>,
}

impl Asked {
    pub(super) fn longest_silence(&self) -> Duration {
        let pairs = self.completed.windows(2);
        pairs
            .map(|pair| pair[1] - pair[0])
            .max()
            .unwrap_or_default()
    }
}

/// Waits until each has had some more responses.
pub(super) async fn more_use(users: &[Watcher<Used>]) {
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
pub(super) async fn assert_none_lost(users: Vec<Watcher<Used>>, cluster: &Cluster) {
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
        println!(
            "{} responses on {} connections",
            used.responses, used.connections
        );
    }
}

/// How long the client waits for a connection, and for a response, before it asks anew.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);

/// One request after the other, each on a connection of its own.
pub(super) fn ask_again_and_again(asked: &Mutex<Asked>, is_over: &dyn Fn() -> bool) {
    ask(PATIENCE, asked, is_over);
}

pub(super) fn ask(patience: Duration, asked: &Mutex<Asked>, is_over: &dyn Fn() -> bool) {
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

pub(super) fn get(patience: Duration) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(ip_of(V4), 8080), patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    Ok(response)
}

/// What clients saw who keep their connections, or wait for one: each failure is a request that was lost.
#[derive(Debug, Clone, Default)]
pub(super) struct Used {
    pub(super) responses: u64,
    /// How often a connection was closed, in order, and another one taken.
    pub(super) connections: u64,
    pub(super) lost: Vec<String>,
}

/// One POST after the other, which nobody may repeat, on a connection that is kept until a response says otherwise.
pub(super) fn use_again_and_again(used: &Mutex<Used>, is_over: &dyn Fn() -> bool) {
    while !is_over() {
        let result = use_one(used, is_over);
        let mut used = used.lock().unwrap_or_else(PoisonError::into_inner);
        used.connections += 1;
        if let Err(error) = result {
            used.lost.push(error.to_string());
        }
    }
}

pub(super) fn use_one(used: &Mutex<Used>, is_over: &dyn Fn() -> bool) -> std::io::Result<()> {
    let address = SocketAddr::new(ip_of(V4), 8080);
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
pub(super) fn rewrite_response(reader: &mut impl BufRead) -> std::io::Result<bool> {
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
pub(super) fn connect_and_wait() -> std::io::Result<usize> {
    let address = SocketAddr::new(ip_of(V4), 8080);
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.read_to_end(&mut Vec::new())
}

/// Waits until the client gets a response through the address.
pub(super) async fn responds(client: &Host) {
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
