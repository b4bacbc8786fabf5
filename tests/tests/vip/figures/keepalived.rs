//! keepalived as a contender: as Debian installs it, with adverts every 0.2 s. On each machine it tracks a file that says when the
//! proxy has ended: keepalived learns that by inotify at once, as it would by `track_process`, which does not work in a network
//! namespace because the kernel tells of processes in the first one only.

use std::fs;

use tempfile::TempDir;
use weldr_tests::process::{installed, kill_if_running};

use super::*;

/// Three machines with keepalived and a proxy.
pub(super) struct Keepalived {
    files: TempDir,
    machines: Vec<Host>,
    client: Host,
    lan: Lan,
    proxies: Vec<Option<Process>>,
    daemons: Vec<Option<Process>>,
}

impl Keepalived {
    /// Starts them; `None`, after saying so, without namespaces or keepalived.
    pub(super) async fn start() -> Option<Self> {
        if installed("keepalived").is_none() {
            weldr_tests::complain!("SKIPPED, it needs keepalived (apt-get install keepalived)");
            return None;
        }
        let lan = Lan::new()?;
        let client = lan.host(1);
        let mut contender = Self {
            files: TempDir::new().unwrap(),
            machines: vec![lan.host(2), lan.host(3), lan.host(4)],
            client,
            lan,
            proxies: vec![None, None, None],
            daemons: vec![None, None, None],
        };
        for machine in 0..contender.machines.len() {
            contender.run_proxy(machine).await;
            contender.run_daemon(machine);
        }
        responds(&contender.client).await;
        Some(contender)
    }

    /// Starts a proxy: a server that closes each connection as Weldr would, with a shell that says when it has ended.
    async fn run_proxy(&mut self, machine: usize) {
        let track = self.file(machine, "track");
        fs::write(&track, "0").unwrap();
        let server = binary("test-server");
        let script = format!(
            "{} 0.0.0.0:8080; echo 254 > {}",
            server.display(),
            track.display()
        );
        let process = Program::installed_on(&self.machines[machine], "sh");
        let process = process.args(["-c", &script]).start();
        wait::until("a proxy to listen", async || {
            let log = process.stdout() + &process.stderr();
            if log.contains("listening") {
                Ok(())
            } else {
                Err(log)
            }
        })
        .await;
        self.proxies[machine] = Some(process);
    }

    fn run_daemon(&mut self, machine: usize) {
        let config = format!(
            "global_defs {{\n vrrp_version 3\n}}\n\
             vrrp_track_file proxy {{\n file {}\n weight -1\n}}\n\
             vrrp_instance address {{\n state BACKUP\n nopreempt\n interface {}\n virtual_router_id 51\n \
             priority {}\n advert_int 0.2\n virtual_ipaddress {{\n {ADDRESS}\n }}\n track_file {{\n proxy\n }}\n}}\n",
            self.file(machine, "track").display(),
            Host::INTERFACE,
            150 - machine,
        );
        let file = self.file(machine, "conf");
        fs::write(&file, config).unwrap();
        let pids = ["pid", "vrrp"].map(|name| self.file(machine, name));
        let program = Program::installed_on(&self.machines[machine], "keepalived")
            .args(["-n", "-l", "-P", "-f"])
            .arg(&file)
            .arg("-p")
            .arg(&pids[0])
            .arg("-r")
            .arg(&pids[1]);
        self.daemons[machine] = Some(program.start());
    }

    fn file(&self, machine: usize, name: &str) -> std::path::PathBuf {
        self.files.path().join(format!("{machine}.{name}"))
    }

    /// Sends a signal to keepalived with its children, of which one holds the address, and to the proxy: with Weldr, both are one
    /// process.
    fn signal(&self, machine: usize, signal: Signal) {
        for process in [&self.daemons[machine], &self.proxies[machine]] {
            let process = process.as_ref().unwrap();
            process.signal(signal);
            for child in process.children() {
                signal_child(child, signal);
            }
        }
    }
}

/// A process that ends leaves its children behind: the servers that the shells started.
impl Drop for Keepalived {
    fn drop(&mut self) {
        for proxy in self.proxies.iter().flatten() {
            for server in proxy.children() {
                kill_if_running(server);
            }
        }
    }
}

impl Contender for Keepalived {
    const NAME: &str = "keepalived";

    fn machines(&self) -> &[Host] {
        &self.machines
    }

    fn client(&self) -> &Host {
        &self.client
    }

    fn lan(&self) -> &Lan {
        &self.lan
    }

    async fn disturb(&mut self, how: Move, holder: usize) {
        match how {
            Move::Kill => {
                let proxy = self.proxies[holder].take().unwrap();
                for server in proxy.children() {
                    kill_child(server);
                }
                proxy.finished().await;
            }
            Move::Link => self.lan.connect(&self.machines[holder], false),
            Move::Isolate => self.lan.isolate(&self.machines[holder], true),
            Move::Stop => self.signal(holder, Signal::STOP),
            Move::Planned => {
                let daemon = self.daemons[holder].take().unwrap();
                daemon.terminate().await;
            }
        }
    }

    async fn repair(&mut self, how: Move, holder: usize) {
        match how {
            Move::Kill => self.run_proxy(holder).await,
            Move::Link => self.lan.connect(&self.machines[holder], true),
            Move::Isolate => self.lan.isolate(&self.machines[holder], false),
            Move::Stop => self.signal(holder, Signal::CONT),
            Move::Planned => self.run_daemon(holder),
        }
        // Who was away needs some adverts to see that another one is the master, and has no way to say that it has.
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
}
