//! The procedures of `weldr-server/docs/cluster.md`: the commands are run as they stand in the page, on machines made of network
//! namespaces. Each test says so when it is skipped.

mod losses;
mod operation;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use weldr_tests::{
    document::Page,
    process::{Process, Program},
    site::{Machine, Site},
    wait,
};

/// The virtual address of the page.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100));
/// The server of the page.
const SERVER: &str = "10.0.0.21:8000";

/// The headings whose commands a test runs.
const FOLLOWED: [&str; 13] = [
    "Trying it on one machine",
    "Configuration",
    "Start",
    "Use",
    "Checking a cluster",
    "A node",
    "A machine",
    "A lost majority",
    "Removing nodes",
    "Upgrades and restarts",
    "Backups",
    "Two machines and a witness",
    "Keys, secrets and certificates",
];

#[test]
fn a_test_runs_all_commands_of_the_page() {
    let page = Page::open("weldr-server/docs/cluster.md");
    assert_eq!(page.headings_with_commands(), FOLLOWED);
}

/// The machines of the page, a client, and the procedures.
struct Guide {
    site: Site,
    page: Page,
    _server: Process,
}

impl Guide {
    /// The machines before anything is done, and the server that will be added; `None` without namespaces.
    fn open() -> Option<Self> {
        let machines = [("a", 1), ("b", 2), ("c", 3), ("client", 21)];
        let site = Site::new(&machines)?;
        let server = Program::on(site.machine("client").host(), "test-server");
        Some(Self {
            _server: server.arg(SERVER).start(),
            page: Page::open("weldr-server/docs/cluster.md"),
            site,
        })
    }

    /// The machines after the section about three machines; `None` without namespaces.
    async fn three_machines() -> Option<Self> {
        let mut guide = Self::open()?;
        guide.follow("Three machines").await;
        Some(guide)
    }

    /// Runs the commands of a section, each block on its machines; gives what they printed.
    async fn follow(&mut self, heading: &str) -> String {
        let mut printed = String::new();
        for block in self.page.commands(heading) {
            assert!(
                !block.on.is_empty(),
                "{heading:?}: on which machine? {block:?}"
            );
            for name in &block.on {
                printed += &self.site.at(name).run(&block.commands).await;
            }
        }
        printed
    }

    /// Runs a command that is not in the page.
    async fn run(&mut self, machine: &str, command: &str) -> String {
        self.site.at(machine).run(command).await
    }

    /// Waits until `weldrctl cluster status` at a machine prints all of `parts`, and none of `absent`.
    async fn status_has(&mut self, machine: &str, parts: &[&str], absent: &[&str]) {
        let machine = self.site.at(machine);
        wait::until(format!("{parts:?} and not {absent:?}"), async || {
            let status = machine.run("weldrctl cluster status || true").await;
            let has = |part: &&str| status.contains(*part);
            if parts.iter().all(has) && !absent.iter().any(has) {
                Ok(())
            } else {
                Err(status)
            }
        })
        .await;
    }

    /// The machines that have the virtual address.
    fn holders(&self) -> Vec<&'static str> {
        let machines = ["a", "b", "c"].into_iter();
        machines
            .filter(|name| self.site.machine(name).host().has(ADDRESS))
            .collect()
    }

    /// Waits until a request of the client through the virtual address is responded to.
    async fn serves(&mut self) {
        let client = self.site.at("client");
        wait::until("a response through the virtual address", async || {
            let get = "curl -s -m 2 http://10.0.0.100:8080/ || true";
            let response = client.run(get).await;
            if response.contains("Hello") {
                Ok(())
            } else {
                Err(response)
            }
        })
        .await;
    }

    /// Whether something accepts connections on a machine at `port`.
    fn accepts(&self, machine: &str, port: u16) -> bool {
        let numbers = [("a", 1), ("b", 2), ("c", 3)];
        let found = numbers.iter().find(|(name, _)| *name == machine);
        let address = Ipv4Addr::new(10, 0, 0, found.unwrap().1);
        let connect = move || {
            let address = SocketAddr::from((address, port));
            TcpStream::connect_timeout(&address, Duration::from_secs(5)).is_ok()
        };
        let client = self.site.machine("client").host();
        client.namespace().run(connect).join().unwrap()
    }
}
