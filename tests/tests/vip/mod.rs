//! Virtual addresses on machines made of network namespaces. Each test says so when it is skipped.

mod chaos;
mod cluster;
mod conflict;
mod figures;
mod hand_over;
mod holding;
mod hook;
mod node;

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

use weldr_tests::{
    netns::{Host, Lan, Mac, Sightings, Watcher},
    process::{Finished, Process, Program, Signal, binary, kill_child, signal_child},
    wait,
};

const V4: &str = "10.0.0.100/24";
const V6: &str = "fd00::100/64";

/// A lease that lasts as long as a test.
const LONG: Duration = Duration::from_mins(5);

fn ip_of(address: &str) -> IpAddr {
    address.split('/').next().unwrap().parse().unwrap()
}

/// The room of the virtual addresses, in a process of its own on a machine of its own.
struct Driver {
    process: Process,
}

impl Driver {
    /// Looks after `addresses` on `host`, and does not lead yet.
    async fn start(host: &Host, addresses: &[&str]) -> Self {
        Self::start_with(host, addresses, &[]).await
    }

    async fn start_with(host: &Host, addresses: &[&str], options: &[&str]) -> Self {
        let process = Self::program(host, addresses).args(options).start();
        process.prints("ready").await;
        Self { process }
    }

    fn program(host: &Host, addresses: &[&str]) -> Program {
        let program = Program::on(host, "vip-driver").with_input();
        program.arg(Host::INTERFACE).args(addresses)
    }

    async fn leads_for(&mut self, lease: Duration) {
        self.process
            .tell(&format!("lead {}", lease.as_millis()))
            .await;
    }

    async fn hears(&mut self, line: &str) {
        self.process.tell(line).await;
    }

    /// Waits until the newest word on `address` is `standing`.
    async fn says(&self, address: &str, standing: &str) {
        let expected = format!("{address} {standing}");
        wait::until(&expected, async || {
            let stdout = self.process.stdout();
            let newest = stdout.lines().rfind(|line| line.starts_with(address));
            match newest {
                Some(line) if line.starts_with(&expected) => Ok(()),
                _ => Err(format!("{stdout}{}", self.process.stderr())),
            }
        })
        .await;
    }

    /// Ends it as a node ends that is told to stop.
    async fn stop(self) -> Finished {
        self.process.end_of_input().finished().await
    }
}

/// Waits until `watcher` has seen the address on its first or second machine.
async fn sees(watcher: &Watcher<Sightings>, machine: usize) {
    wait::until(
        format!("machine {machine} to be seen with the address"),
        async || {
            let sightings = watcher.so_far();
            let last = sightings.last.get(machine).copied().flatten();
            last.ok_or_else(|| format!("{sightings:?}"))
        },
    )
    .await;
}

async fn loses(host: &Host, ip: IpAddr) {
    wait::until(
        format!("{} to lose {ip}", host.namespace().name()),
        async || {
            if host.has(ip) {
                Err("it is there")
            } else {
                Ok(())
            }
        },
    )
    .await;
}

/// Waits until `client` reaches whoever has `ip`: somebody responds, though nobody listens.
async fn reaches(client: &Host, ip: IpAddr) {
    wait::until(format!("{ip} to respond"), async || {
        let connect =
            move || TcpStream::connect_timeout(&SocketAddr::new(ip, 9), Duration::from_secs(1));
        match client.namespace().run(connect).join().unwrap() {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
            Err(error) => Err(error),
        }
    })
    .await;
}

/// Waits until `client` believes that `ip` is at `mac`, without a word of its own.
async fn believes(client: &Host, ip: IpAddr, mac: Mac) {
    wait::until(format!("{ip} to be at {mac:?}"), async || {
        let neighbour = client.neighbour(ip);
        if neighbour == Some(mac) {
            Ok(())
        } else {
            Err(format!("{neighbour:?}"))
        }
    })
    .await;
}

/// A client, and two machines that take turns.
struct Stage {
    lan: Lan,
    client: Host,
    a: Host,
    b: Host,
}

impl Stage {
    fn set() -> Option<Self> {
        let lan = Lan::new()?;
        let (client, a, b) = (lan.host(1), lan.host(2), lan.host(3));
        Some(Self { lan, client, a, b })
    }
}
