//! Three machines whose `weldr` form a cluster, and a client that keeps asking through their address while the leader
//! is killed, cut off, stopped, moved or restarted. What it lost and for how long is printed.

use std::{
    io::{BufRead, BufReader, Read as _, Write as _},
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use weldr_tests::netns::Claim;

use super::*;

/// The names of the nodes, which are the machines 10.0.0.2 to 10.0.0.4.
const NAMES: [&str; 3] = ["a", "b", "c"];

struct Cluster {
    files: TempDir,
    _origin: Process,
    origin_address: String,
    nodes: Vec<Option<Process>>,
    machines: Vec<Host>,
    client: Host,
    lan: Lan,
    options: Vec<String>,
}

impl Cluster {
    /// Three voters, one of which holds the address and serves through it; `None` without namespaces.
    async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// [`start`](Self::start) with these options for each node.
    async fn start_with(options: &[&str]) -> Option<Self> {
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

    async fn run(&mut self, node: usize) {
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

    async fn ctl(&self, node: usize, args: &[&str]) -> Finished {
        let program = Program::on(&self.machines[node], "weldrctl");
        program.arg("cluster").args(args).run().await
    }

    /// Waits until a leader and two followers are there.
    async fn is_whole(&self) {
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
    async fn holder(&self) -> usize {
        wait::until("a holder of the address", async || {
            let mut holders = 0..self.machines.len();
            holders
                .find(|node| self.machines[*node].has(ip_of(V4)))
                .ok_or("nobody has it")
        })
        .await
    }

    /// Waits until a node other than `old` has the address.
    async fn moves_from(&self, old: usize) -> usize {
        wait::until(format!("the address to leave {}", NAMES[old]), async || {
            let mut others = (0..self.machines.len()).filter(|node| *node != old);
            others
                .find(|node| self.machines[*node].has(ip_of(V4)))
                .ok_or("it is there")
        })
        .await
    }

    /// Clients that use the address, from now on; each has had responses.
    async fn users(&self) -> Vec<Watcher<Used>> {
        let users: Vec<_> = (0..4)
            .map(|_| self.client.record(use_again_and_again))
            .collect();
        more_use(&users).await;
        users
    }

    /// The nodes that have the address, as the status says.
    async fn shown_holders(&self, asked: usize) -> Vec<String> {
        let status = self.ctl(asked, &["status"]).await;
        let lines = status.stdout.lines().filter(|line| line.contains(V4));
        lines
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect()
    }

    /// Begins to record, with some responses from before anything happens.
    async fn observe(&self) -> Observation {
        let machines: Vec<_> = self.machines.iter().collect();
        let observation = Observation {
            sightings: self.lan.watch(&machines, ip_of(V4)),
            claims: self.lan.sniff(ip_of(V4)),
            asked: self.client.record(ask_again_and_again),
        };
        observation.more_responses().await;
        observation
    }

    fn process(&self, node: usize) -> &Process {
        self.nodes[node].as_ref().unwrap()
    }
}

/// Everything that is recorded while an address moves.
struct Observation {
    sightings: Watcher<Sightings>,
    claims: Watcher<Vec<Claim>>,
    asked: Watcher<Asked>,
}

impl Observation {
    async fn more_responses(&self) {
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
    async fn assert_one_at_a_time(self, what: &str, cluster: &Cluster) -> Asked {
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
struct Asked {
    completed: Vec<Instant>,
    failed: Vec<String>,
}

impl Asked {
    fn longest_silence(&self) -> Duration {
        let pairs = self.completed.windows(2);
        pairs
            .map(|pair| pair[1] - pair[0])
            .max()
            .unwrap_or_default()
    }
}

/// Waits until each has had some more responses.
async fn more_use(users: &[Watcher<Used>]) {
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
async fn assert_none_lost(users: Vec<Watcher<Used>>, cluster: &Cluster) {
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
const PATIENCE: Duration = Duration::from_millis(100);

/// One request after the other, each on a connection of its own.
fn ask_again_and_again(asked: &Mutex<Asked>, is_over: &dyn Fn() -> bool) {
    ask(PATIENCE, asked, is_over);
}

fn ask(patience: Duration, asked: &Mutex<Asked>, is_over: &dyn Fn() -> bool) {
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

fn get(patience: Duration) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(ip_of(V4), 8080), patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    Ok(response)
}

/// What clients saw who keep their connections, or wait for one: each failure is a request that was lost.
#[derive(Debug, Clone, Default)]
struct Used {
    responses: u64,
    /// How often a connection was closed, in order, and another one taken.
    connections: u64,
    lost: Vec<String>,
}

/// One POST after the other, which nobody may repeat, on a connection that is kept until a response says otherwise.
fn use_again_and_again(used: &Mutex<Used>, is_over: &dyn Fn() -> bool) {
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
fn connect_and_wait() -> std::io::Result<usize> {
    let address = SocketAddr::new(ip_of(V4), 8080);
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.read_to_end(&mut Vec::new())
}

/// Waits until the client gets a response through the address.
async fn responds(client: &Host) {
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

#[tokio::test]
async fn the_address_leaves_a_leader_that_is_killed() {
    let Some(mut cluster) = Cluster::start().await else {
        return;
    };
    let old = cluster.holder().await;
    let observation = cluster.observe().await;
    cluster.nodes[old].take().unwrap().kill().await;
    cluster.moves_from(old).await;
    observation.assert_one_at_a_time("killed", &cluster).await;
    // And it does not come back with the node.
    let observation = cluster.observe().await;
    cluster.run(old).await;
    cluster.is_whole().await;
    assert!(!cluster.machines[old].has(ip_of(V4)));
    let asked = observation
        .assert_one_at_a_time("back again", &cluster)
        .await;
    assert!(asked.failed.is_empty(), "{asked:?}");
}

/// The lease of this profile is 1.8 s, which would be waited for if the guard did not tell of the death.
#[tokio::test]
async fn the_address_of_a_leader_that_is_killed_is_back_long_before_its_lease_is_over() {
    let Some(mut cluster) = Cluster::start_with(&["--failover", "wan"]).await else {
        return;
    };
    let old = cluster.holder().await;
    let observation = cluster.observe().await;
    cluster.nodes[old].take().unwrap().kill().await;
    cluster.moves_from(old).await;
    let asked = observation.assert_one_at_a_time("killed", &cluster).await;
    let silence = asked.longest_silence();
    let logs: String = cluster
        .nodes
        .iter()
        .flatten()
        .map(Process::stderr)
        .collect();
    assert!(silence < Duration::from_millis(1200), "{silence:?}\n{logs}");
    assert!(
        logs.contains("the process of the leader has died, its guard says"),
        "{logs}"
    );
}

/// Waits until `weldrctl cluster COMMAND` says `text`.
async fn is_said(cluster: &Cluster, at: usize, command: &str, text: &str) -> Finished {
    wait::until(format!("cluster {command} to say {text}"), async || {
        let said = cluster.ctl(at, &[command]).await;
        if said.stdout.contains(text) {
            Ok(said)
        } else {
            Err(format!("{said:#?}"))
        }
    })
    .await
}

#[tokio::test]
async fn an_operator_sees_the_guard_and_the_link_of_an_address() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let holder = cluster.holder().await;
    let well = is_said(&cluster, holder, "check", "all is well: led by").await;
    assert_eq!(well.code(), Some(0), "{well:?}");
    let guards = cluster.nodes[holder].as_ref().unwrap().children();
    kill_child(guards[0]);
    let restarted = "was started again in the last hour (restarts in all: 1)";
    let checked = is_said(&cluster, holder, "check", restarted).await;
    assert_eq!(checked.code(), Some(4), "{checked:?}");
    let status = is_said(&cluster, holder, "status", restarted).await;
    assert_eq!(status.code(), Some(0), "it runs again: {status:?}");

    let cut = (holder + 1) % NAMES.len();
    cluster.lan.connect(&cluster.machines[cut], false);
    let down = is_said(&cluster, cut, "status", "has no link").await;
    assert_eq!(down.stdout.matches("has no link").count(), 1, "{down:?}");
    let json = cluster.ctl(cut, &["status", "--output", "json"]).await;
    assert!(json.stdout.contains(r#""link": "down""#), "{json:?}");
    assert!(json.stdout.contains(r#""guard": "running""#), "{json:?}");
}

#[tokio::test]
async fn the_address_leaves_a_leader_whose_network_is_lost() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let old = cluster.holder().await;
    let observation = cluster.observe().await;
    cluster.lan.isolate(&cluster.machines[old], true);
    cluster.moves_from(old).await;
    assert!(!cluster.machines[old].has(ip_of(V4)));
    cluster.lan.isolate(&cluster.machines[old], false);
    cluster.is_whole().await;
    observation.assert_one_at_a_time("isolated", &cluster).await;
}

/// The established connections to the virtual address in the namespace of this thread.
fn open_connections() -> usize {
    let table = std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap_or_default();
    // 10.0.0.100:8080, and the state.
    let is_open = |line: &&str| line.contains(" 6400000A:1F90 ") && line.contains(" 01 ");
    table.lines().filter(is_open).count()
}

/// Asks for a response that takes `millis`, and tells how the connection ended.
fn ask_slowly(millis: u32) -> (std::io::Result<String>, Duration) {
    let begun = Instant::now();
    let ask = || {
        let address = SocketAddr::new(ip_of(V4), 8080);
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let head = format!("GET /delay/{millis}ms HTTP/1.1\r\nHost: example.com\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    (ask(), begun.elapsed())
}

#[tokio::test]
async fn the_last_holder_keeps_the_address_without_a_quorum_where_that_is_wanted() {
    let options = ["--vip-on-lost-quorum", "keep"];
    let Some(mut cluster) = Cluster::start_with(&options).await else {
        return;
    };
    let holder = cluster.holder().await;
    for node in (0..NAMES.len()).filter(|node| *node != holder) {
        cluster.nodes[node].take().unwrap().kill().await;
    }
    cluster
        .process(holder)
        .logs("the virtual address is kept")
        .await;
    responds(&cluster.client).await;
    assert!(cluster.machines[holder].has(ip_of(V4)));
    // When the others are back, one holds it, with a quorum.
    for node in (0..NAMES.len()).filter(|node| *node != holder) {
        cluster.run(node).await;
    }
    cluster.is_whole().await;
    responds(&cluster.client).await;
}

#[tokio::test]
async fn a_program_is_told_of_each_change_of_the_role() {
    use std::os::unix::fs::PermissionsExt as _;

    let directory = TempDir::new().unwrap();
    let (program, calls) = (
        directory.path().join("program"),
        directory.path().join("calls"),
    );
    // A machine is known by its network namespace.
    let text = format!(
        "#!/bin/sh\necho \"$1 $(ip netns identify $$)\" >> {}\n",
        calls.display()
    );
    std::fs::write(&program, text).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let options = ["--on-role-change", program.to_str().unwrap()];
    let Some(cluster) = Cluster::start_with(&options).await else {
        return;
    };
    let newest = async |node: usize, role: &str| {
        let machine = cluster.machines[node].namespace().name();
        let of_machine = format!(" {machine}");
        wait::until(format!("{role} to be told on {machine}"), async || {
            let told = std::fs::read_to_string(&calls).unwrap_or_default();
            let newest = told.lines().rfind(|line| line.ends_with(&of_machine));
            match newest {
                Some(line) if line.starts_with(role) => Ok(()),
                _ => Err(told),
            }
        })
        .await;
    };
    let old = cluster.holder().await;
    newest(old, "leader").await;
    let new = (old + 1) % NAMES.len();
    let moved = cluster.ctl(old, &["transfer", NAMES[new]]).await;
    assert_eq!(moved.code(), Some(0), "{moved:?}");
    newest(old, "follower").await;
    newest(new, "leader").await;
}

#[tokio::test]
async fn requests_that_last_longer_than_a_move_end_with_it() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let old = cluster.holder().await;
    let new = NAMES[(old + 1) % NAMES.len()];
    let waiting: Vec<_> = (0..6)
        .map(|_| cluster.client.namespace().run(|| ask_slowly(8000)))
        .collect();
    wait::until("six connections", async || {
        let open = cluster.machines[old].namespace().run(open_connections);
        let open = open.join().unwrap();
        if open == 6 { Ok(()) } else { Err(open) }
    })
    .await;
    let moved = cluster.ctl(old, &["transfer", new]).await;
    assert_eq!(moved.code(), Some(0), "{moved:?}");
    for client in waiting {
        let (answer, took) = client.join().unwrap();
        let error = answer.expect_err("the response is not there in time");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "after {took:?}");
        assert!(took < Duration::from_secs(7), "{took:?}");
    }
    responds(&cluster.client).await;
}

#[tokio::test]
async fn the_address_leaves_a_leader_that_is_cut_off() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let old = cluster.holder().await;
    let observation = cluster.observe().await;
    cluster.lan.connect(&cluster.machines[old], false);
    cluster.moves_from(old).await;
    assert!(!cluster.machines[old].has(ip_of(V4)));
    cluster.lan.connect(&cluster.machines[old], true);
    cluster.is_whole().await;
    observation.assert_one_at_a_time("cut off", &cluster).await;
}

#[tokio::test]
async fn the_address_leaves_a_leader_that_is_stopped() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let old = cluster.holder().await;
    let observation = cluster.observe().await;
    cluster.process(old).signal(Signal::STOP);
    cluster.moves_from(old).await;
    cluster.process(old).signal(Signal::CONT);
    cluster.is_whole().await;
    observation.assert_one_at_a_time("stopped", &cluster).await;
}

#[tokio::test]
async fn the_address_moves_with_the_leadership() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let old = cluster.holder().await;
    assert_eq!(cluster.shown_holders(old).await, [NAMES[old]]);
    let users = cluster.users().await;
    let idle = cluster.client.namespace().run(connect_and_wait);
    let observation = cluster.observe().await;
    let new = (old + 1) % NAMES.len();
    let moved = cluster.ctl(old, &["transfer", NAMES[new]]).await;
    assert_eq!(moved.code(), Some(0), "{moved:?}");
    assert_eq!(cluster.moves_from(old).await, new);
    assert_none_lost(users, &cluster).await;
    let ended = idle.join().unwrap();
    assert_eq!(ended.unwrap(), 0, "an idle connection ends, and is not cut");
    observation
        .assert_one_at_a_time("transferred", &cluster)
        .await;
    for asked in 0..NAMES.len() {
        assert_eq!(cluster.shown_holders(asked).await, [NAMES[new]]);
    }
}

#[tokio::test]
async fn the_address_moves_before_a_leader_is_upgraded() {
    let Some(mut cluster) = Cluster::start().await else {
        return;
    };
    let old = cluster.holder().await;
    let users = cluster.users().await;
    let observation = cluster.observe().await;
    let finished = cluster.nodes[old].take().unwrap().terminate().await;
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    cluster.moves_from(old).await;
    cluster.run(old).await;
    cluster.is_whole().await;
    assert_none_lost(users, &cluster).await;
    observation.assert_one_at_a_time("upgraded", &cluster).await;
}

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
    async fn one(&mut self, cluster: &mut Cluster, how: Move) {
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
    let Some(cluster) = Cluster::start().await else {
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
    let Some(mut cluster) = Cluster::start().await else {
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

#[tokio::test]
async fn a_node_that_is_not_ready_gives_the_address_to_one_that_is() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let holder = cluster.holder().await;
    let asked = cluster.client.record(ask_again_and_again);
    let limit = cluster.process(holder).limit_descriptors(5);
    let next = wait::until(
        format!("the address to leave {}", NAMES[holder]),
        async || {
            let mut others = (0..cluster.machines.len()).filter(|node| *node != holder);
            let next = others.find(|node| cluster.machines[*node].has(ip_of(V4)));
            next.ok_or_else(|| cluster.process(holder).stderr())
        },
    )
    .await;
    loses(&cluster.machines[holder], ip_of(V4)).await;
    responds(&cluster.client).await;
    let status = cluster.ctl(next, &["status"]).await.stdout;
    let name = NAMES[holder];
    assert!(
        status.contains(&format!("{name} is not ready: no file descriptor is left")),
        "{status}"
    );
    let log = cluster.process(holder).stderr();
    assert!(log.contains("because this node is not ready"), "{log}");
    cluster.process(holder).limit_descriptors(limit);
    wait::until(format!("{name} to be ready"), async || {
        let status = cluster.ctl(next, &["status"]).await.stdout;
        if status.contains("is not ready") {
            Err(status)
        } else {
            Ok(())
        }
    })
    .await;
    assert!(
        cluster.machines[next].has(ip_of(V4)),
        "it stays where it is"
    );
    drop(asked.finish());
}
