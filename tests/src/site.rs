//! Machines on a switch on which an operator types commands: each has a home directory and a shell.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    netns::{Host, Lan},
    process::{Process, Program, binary, installed, kill_if_running},
    wait,
};

/// How long the commands of one block may take.
const LIMIT: Duration = Duration::from_mins(1);

/// `scp [-r] FROM ADDRESS:TO` for machines whose home directories are beside each other.
const SCP: &str = "#!/bin/sh -e\n[ \"$1\" = -r ] && shift\ncp -r \"$1\" \"$(dirname \"$HOME\")/${2%%:*}/${2#*:}\"\n";

/// Some machines, by name.
#[derive(Debug)]
pub struct Site {
    machines: Vec<Machine>,
    _files: TempDir,
    lan: Lan,
}

/// A machine with a shell.
#[derive(Debug)]
pub struct Machine {
    name: String,
    host: Host,
    home: PathBuf,
    path: String,
    shell: Process,
    blocks: usize,
}

impl Site {
    /// The machines with these names and numbers: see [`Lan::host`]. `None`, after saying so, when there are no namespaces or
    /// one of the programs that the commands need is not installed.
    pub fn new(machines: &[(&str, u8)]) -> Option<Self> {
        let lan = Lan::new()?;
        if let Some(missing) = ["openssl", "curl"]
            .iter()
            .find(|name| installed(name).is_none())
        {
            let _ = writeln!(io::stderr(), "SKIPPED, it needs {missing}");
            return None;
        }
        let files = TempDir::with_prefix("weldr-site-").expect("a temporary directory");
        let programs = files.path().join("bin");
        fs::create_dir(&programs).expect("a directory");
        let scp = programs.join("scp");
        fs::write(&scp, SCP).expect("a file");
        fs::set_permissions(&scp, fs::Permissions::from_mode(0o755)).expect("permissions");
        let built = binary("weldr");
        let built = built.parent().expect("a file is in a directory");
        let usual = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{}:{usual}", programs.display(), built.display());
        let machine = |&(name, number): &(&str, u8)| {
            let home = files.path().join(format!("10.0.0.{number}"));
            fs::create_dir(&home).expect("a directory");
            let host = lan.host(number);
            let shell = shell(&host, &home, &path);
            Machine {
                name: name.to_owned(),
                host,
                home,
                path: path.clone(),
                shell,
                blocks: 0,
            }
        };
        let machines = machines.iter().map(machine).collect();
        Some(Self {
            machines,
            _files: files,
            lan,
        })
    }

    /// The machine with this name.
    pub fn machine(&self, name: &str) -> &Machine {
        let machine = self.machines.iter().find(|machine| machine.name == name);
        machine.unwrap_or_else(|| panic!("no machine {name}"))
    }

    /// The machine with this name, to type commands on.
    pub fn at(&mut self, name: &str) -> &mut Machine {
        let mut machines = self.machines.iter_mut();
        let machine = machines.find(|machine| machine.name == name);
        machine.unwrap_or_else(|| panic!("no machine {name}"))
    }

    /// The machine loses its power, its disk and its connection.
    pub fn lose(&mut self, name: &str) {
        self.lan.connect(&self.machine(name).host, false);
        let machine = self.at(name);
        machine.kill_all();
        fs::remove_dir_all(&machine.home).expect("its home directory");
    }

    /// All processes of the machine are killed, and a directory in its home directory is lost.
    pub fn lose_data(&mut self, name: &str, directory: &str) {
        let machine = self.at(name);
        machine.kill_all();
        fs::remove_dir_all(machine.home.join(directory)).expect("the directory");
        machine.shell = shell(&machine.host, &machine.home, &machine.path);
    }

    /// Another machine takes its place, with an empty disk.
    pub fn replace(&mut self, name: &str) {
        self.lan.connect(&self.machine(name).host, true);
        let machine = self.at(name);
        fs::create_dir(&machine.home).expect("a directory");
        machine.shell = shell(&machine.host, &machine.home, &machine.path);
    }
}

fn shell(host: &Host, home: &Path, path: &str) -> Process {
    Program::installed_on(host, "sh")
        .args(["-e", "-x"])
        .env("HOME", home.to_str().expect("a path in UTF-8"))
        .env("PATH", path)
        .in_directory(home)
        .with_input()
        .start()
}

impl Machine {
    /// Its namespace and its addresses.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Types `commands` into its shell, and waits until they have ended; gives what they printed.
    ///
    /// # Panics
    /// One of the commands fails.
    pub async fn run(&mut self, commands: &str) -> String {
        self.blocks += 1;
        let file = self.home.join(format!(".commands-{}", self.blocks));
        fs::write(&file, commands).expect("a file");
        let before = self.shell.stdout().len();
        let ended = format!("the commands {} have ended", self.blocks);
        let source = format!(". '{}'; echo \"{ended}\"", file.display());
        self.shell
            .tell("trap 'echo \"the shell has ended\"' EXIT")
            .await;
        self.shell.tell(&source).await;
        let what = format!("{} to run {commands:?}", self.name);
        wait::until_within(LIMIT, what, async || {
            let printed = self.shell.stdout()[before..].to_owned();
            assert!(
                !printed.contains("the shell has ended"),
                "{}: a command has failed:\n{commands}\n{printed}\n{}",
                self.name,
                self.shell.stderr()
            );
            printed
                .find(&ended)
                .map(|end| printed[..end].to_owned())
                .ok_or_else(|| printed + &self.shell.stderr())
        })
        .await
    }

    /// Kills all processes of the machine, its shell too.
    pub fn kill_all(&self) {
        let name = self.host.namespace().name();
        let Ok(listed) = std::process::Command::new("ip")
            .args(["netns", "pids", name])
            .output()
        else {
            return;
        };
        let pids = String::from_utf8_lossy(&listed.stdout).into_owned();
        for pid in pids.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            kill_if_running(pid);
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill_all();
    }
}
