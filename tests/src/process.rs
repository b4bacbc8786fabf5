//! The real binaries, as a user starts them.

mod output;

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

pub use rustix::process::Signal;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt as _,
    process::{self, Child},
};

use crate::{netns::Host, terminal::Terminal, wait};
use output::Output;
pub use output::Stream;

fn pid_of(id: u32) -> Pid {
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
    pid.expect("a process id")
}

/// Kills a process that a [`Process`] has started.
///
/// # Panics
/// When there is no such process.
pub fn kill_child(id: u32) {
    rustix::process::kill_process(pid_of(id), Signal::KILL).expect("kill");
}

/// Sends a signal to a process that a [`Process`] has started.
///
/// # Panics
/// When there is no such process.
pub fn signal_child(id: u32, signal: Signal) {
    rustix::process::kill_process(pid_of(id), signal).expect("kill");
}

/// Kills a process that a [`Process`] has started, if it has not ended by itself.
pub fn kill_if_running(id: u32) {
    let _ = rustix::process::kill_process(pid_of(id), Signal::KILL);
}

/// The path of a binary of this workspace, built beside the test or the binary that runs.
///
/// # Panics
/// When it is not there: cargo builds the binaries of other crates only when it is asked for them.
pub fn binary(name: &str) -> PathBuf {
    let running = env::current_exe().expect("the path of what runs");
    let directory = running.parent().expect("target/PROFILE/BINARY");
    let profile = if directory.ends_with("deps") {
        directory.parent().expect("target/PROFILE/deps/TEST")
    } else {
        directory
    };
    let path = profile.join(format!("{name}{}", env::consts::EXE_SUFFIX));
    assert!(
        path.is_file(),
        "{} is not there. Run all tests with `cargo test --workspace`, \
         or build the binaries first with `cargo build --workspace`.",
        path.display()
    );
    path
}

/// The path of a program that is installed on this machine, if it is.
pub fn installed(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Where servers are, which is not on everybody's path.
    let others = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    env::split_paths(&path)
        .chain(others)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}

/// A binary that is about to be started, in an empty directory of its own and without the `WELDR_*` and
/// `RUST_LOG` of whoever runs the tests.
#[derive(Debug)]
pub struct Program {
    name: String,
    command: process::Command,
    directory: TempDir,
    screen: Option<fs::File>,
    /// Where the process writes instead of to a pipe: standard output, standard error.
    files: [Option<PathBuf>; 2],
}

impl Program {
    /// The binary `name` of this workspace.
    pub fn new(name: &str) -> Self {
        Self::at(name, &binary(name))
    }

    /// The binary at `path`, called `name` in what a test says.
    pub fn at(name: &str, path: &Path) -> Self {
        Self::of(name, process::Command::new(path))
    }

    /// The binary `name` of this workspace, on another machine.
    pub fn on(host: &Host, name: &str) -> Self {
        let mut command = process::Command::new("ip");
        command.args(["netns", "exec", host.namespace().name()]);
        command.arg(binary(name));
        Self::of(name, command)
    }

    /// A program that is installed on this machine, run on another one.
    pub fn installed_on(host: &Host, name: &str) -> Self {
        let mut command = process::Command::new("ip");
        command.args(["netns", "exec", host.namespace().name(), name]);
        Self::of(name, command)
    }

    /// [`Self::on`] for root without `capability`.
    pub fn on_without(host: &Host, capability: &str, name: &str) -> Self {
        let mut command = process::Command::new("ip");
        command.args(["netns", "exec", host.namespace().name(), "setpriv"]);
        command.arg(format!("--bounding-set=-{capability}"));
        command.arg(binary(name));
        Self::of(name, command)
    }

    /// [`Self::on`] for the user `nobody` with these capabilities and no others. The binary is at `path`, because others may not
    /// read that of the workspace.
    pub fn on_as_nobody(host: &Host, capabilities: &[&str], name: &str, path: &Path) -> Self {
        let capabilities = capabilities.join(",+");
        let mut command = process::Command::new("ip");
        command.args(["netns", "exec", host.namespace().name(), "setpriv"]);
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        for set in ["inh-caps", "ambient-caps", "bounding-set"] {
            command.arg(format!("--{set}=-all,+{capabilities}"));
        }
        command.arg(path);
        Self::of(name, command)
    }

    fn of(name: &str, mut command: process::Command) -> Self {
        let directory = TempDir::with_prefix("weldr-tests-").expect("a temporary directory");
        command
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        for (variable, _) in env::vars_os() {
            let name = variable.to_string_lossy();
            if name.starts_with("WELDR_") || name == "RUST_LOG" || name == "NO_COLOR" {
                command.env_remove(&variable);
            }
        }
        Self {
            name: name.to_owned(),
            command,
            directory,
            screen: None,
            files: [None, None],
        }
    }

    /// `weldr` on ports of its own, with no state on disk.
    pub fn weldr() -> Self {
        Self::weldr_bare().args(["--ephemeral"])
    }

    /// [`Self::weldr`] that may have so many descriptors open.
    pub fn weldr_with_descriptors(limit: u64) -> Self {
        let mut command = process::Command::new("sh");
        command.args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\"")]);
        command.arg(binary("weldr"));
        let ports = ["--listen", "127.0.0.1:0", "--management", "127.0.0.1:0"];
        Self::of("weldr", command).args(ports).arg("--ephemeral")
    }

    /// `weldr` on ports of its own; its state is in its directory.
    pub fn weldr_bare() -> Self {
        Self::new("weldr").args(["--listen", "127.0.0.1:0", "--management", "127.0.0.1:0"])
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(self, arg: impl AsRef<std::ffi::OsStr>) -> Self {
        self.args([arg])
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<std::ffi::OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, variable: &str, value: &str) -> Self {
        self.command.env(variable, value);
        self
    }

    /// Prints to a terminal of `rows` and `columns` instead of a pipe.
    #[must_use]
    pub fn on_terminal(mut self, rows: u16, columns: u16) -> Self {
        let terminal = Terminal::open(rows, columns).expect("a pseudo-terminal");
        self.command.stdout(terminal.device).env("TERM", "xterm");
        self.screen = Some(terminal.screen);
        self
    }

    /// Appends `stream` to the file or device at `path` instead of writing it to a pipe. A relative path is in the
    /// directory of the program.
    #[must_use]
    pub fn writing_to(mut self, stream: Stream, path: &str) -> Self {
        let path = self.directory.path().join(path);
        let opened = fs::OpenOptions::new().append(true).create(true).open(&path);
        let file = opened.unwrap_or_else(|error| panic!("open {}: {error}", path.display()));
        match stream {
            Stream::Stdout => self.command.stdout(file),
            Stream::Stderr => self.command.stderr(file),
        };
        self.files[stream as usize] = Some(path);
        self
    }

    /// Writes `stream` to `descriptor` instead of to a pipe; what is written there is not collected.
    #[must_use]
    pub fn writing_into(mut self, stream: Stream, descriptor: impl Into<Stdio>) -> Self {
        match stream {
            Stream::Stdout => self.command.stdout(descriptor),
            Stream::Stderr => self.command.stderr(descriptor),
        };
        self.files[stream as usize] = Some(PathBuf::from("/dev/null"));
        self
    }

    /// Runs in `directory` instead of its own.
    #[must_use]
    pub fn in_directory(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Lets it be told something: see [`Process::tell`].
    #[must_use]
    pub fn with_input(mut self) -> Self {
        self.command.stdin(Stdio::piped());
        self
    }

    /// The directory that it runs in, gone with the process.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts it.
    pub fn start(mut self) -> Process {
        let spawned = self.command.spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("start {}: {error}", self.name));
        // Until it is dropped, the command holds its end of the terminal, and the screen has no end.
        drop(self.command);
        let [stdout_file, stderr_file] = self.files;
        let stdout = match (self.screen, stdout_file) {
            (Some(screen), _) => Output::collect(tokio::fs::File::from_std(screen)),
            (None, Some(file)) => Output::File(file),
            (None, None) => Output::collect(child.stdout.take().expect("a pipe was asked for")),
        };
        let stderr = match stderr_file {
            Some(file) => Output::File(file),
            None => Output::collect(child.stderr.take().expect("a pipe was asked for")),
        };
        Process {
            name: self.name,
            child,
            stdout,
            stderr,
            directory: self.directory,
        }
    }

    /// Starts it, and waits until it has ended.
    pub async fn run(self) -> Finished {
        self.start().finished().await
    }
}

/// A process that ended.
#[derive(Debug)]
pub struct Finished {
    /// How.
    pub status: ExitStatus,
    /// What it wrote.
    pub stdout: String,
    /// What it wrote for people.
    pub stderr: String,
}

impl Finished {
    /// The exit code; `None` when a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Asserts exit code 0, and gives what it wrote.
    #[track_caller]
    pub fn expect_success(self) -> String {
        assert!(self.status.success(), "{self:#?}");
        self.stdout
    }
}

/// A running binary; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: Output,
    stderr: Output,
    directory: TempDir,
}

impl Process {
    /// What it has written so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it has written for people so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Reads no more of `stream`, and keeps the pipe open: a writer waits when the pipe is full. A few kilobytes fill it.
    pub fn stall(&self, stream: Stream) {
        self.output(stream).stall();
    }

    /// Closes the pipe of `stream`: writing to it fails from then on.
    pub async fn close(&mut self, stream: Stream) {
        let output = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        output.close().await;
    }

    fn output(&self, stream: Stream) -> &Output {
        match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        }
    }

    /// Lets it write files up to this length in bytes, as if the disk were full behind that; `None`: to any length.
    pub fn limit_files(&self, length: Option<u64>) {
        let limit = Rlimit {
            current: length,
            maximum: None,
        };
        let limited = rustix::process::prlimit(Some(self.pid()), Resource::Fsize, limit);
        limited.expect("prlimit of a process of ours");
    }

    fn pid(&self) -> Pid {
        pid_of(self.id())
    }

    /// The processes that it has started and that run.
    pub fn children(&self) -> Vec<u32> {
        let mut children = Vec::new();
        // It may have ended.
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", self.id())) else {
            return children;
        };
        for task in tasks.flatten() {
            let started = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            children.extend(started.split_whitespace().flat_map(str::parse::<u32>));
        }
        children
    }

    /// Writes a line to its input.
    pub async fn tell(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("Program::with_input");
        let written = input.write_all(format!("{line}\n").as_bytes()).await;
        written.unwrap_or_else(|error| panic!("tell {} {line:?}: {error}", self.name));
    }

    /// Ends its input.
    #[must_use]
    pub fn end_of_input(mut self) -> Self {
        drop(self.child.stdin.take());
        self
    }

    /// Its number.
    ///
    /// # Panics
    /// When it has ended.
    pub fn id(&self) -> u32 {
        self.child.id().expect("a process that was not waited for")
    }

    /// The memory that it holds, in bytes: its resident set, as Linux counts it.
    pub fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The same, without what the files are that it runs from.
    pub fn anonymous(&self) -> u64 {
        self.memory("RssAnon:")
    }

    fn memory(&self, kind: &str) -> u64 {
        let path = format!("/proc/{}/status", self.id());
        let status = std::fs::read_to_string(path).expect("a running process on Linux");
        let line = status.lines().find(|line| line.starts_with(kind));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kib.expect("an amount of memory") * 1024
    }

    /// How many files and sockets it has open, on Linux.
    pub fn open_files(&self) -> usize {
        let path = format!("/proc/{}/fd", self.id());
        std::fs::read_dir(path)
            .expect("a running process on Linux")
            .count()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid(), signal).expect("kill");
    }

    /// Stops it with SIGSTOP, and returns when none of its threads runs any more: the signal alone takes effect later.
    pub async fn suspend(&self) {
        self.signal(Signal::STOP);
        wait::until("all threads to stop", async || {
            match self.thread_states().find(|state| *state != 'T') {
                None => Ok(()),
                Some(state) => Err(state),
            }
        })
        .await;
    }

    /// The state of each thread, by the letters of proc(5).
    fn thread_states(&self) -> impl Iterator<Item = char> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.id())).expect("its threads");
        tasks.flatten().filter_map(|task| {
            let stat = fs::read_to_string(task.path().join("stat")).ok()?;
            // Behind the name of the thread, which is in parentheses and may have spaces.
            stat.rsplit(") ").next()?.chars().next()
        })
    }

    /// Sets how many descriptors it may have, and gives how many it might before. What is open stays open, and nothing more
    /// can be opened when that is more already.
    pub fn limit_descriptors(&self, most: u64) -> u64 {
        let limit = |current| Rlimit {
            current: Some(current),
            // Kept: a limit that was lowered for good could not be raised again without privileges.
            maximum: getrlimit(Resource::Nofile).maximum,
        };
        let before =
            prlimit(Some(self.pid()), Resource::Nofile, limit(most)).expect("a process of ours");
        before.current.expect("a limit")
    }

    /// The directory that it runs in.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Waits until it has ended.
    pub async fn finished(self) -> Finished {
        self.ended().await.0
    }

    async fn ended(mut self) -> (Finished, TempDir) {
        let what = format!("{} to end", self.name);
        let status = wait::bounded(what, self.child.wait()).await.expect("wait");
        let finished = Finished {
            status,
            stdout: self.stdout.finish().await,
            stderr: self.stderr.finish().await,
        };
        (finished, self.directory)
    }

    /// Asks it to stop with SIGTERM, and waits until it has ended.
    pub async fn terminate(self) -> Finished {
        self.signal(Signal::TERM);
        self.finished().await
    }

    /// Ends it with SIGKILL, and gives the directory that it ran in.
    pub async fn kill(self) -> TempDir {
        self.signal(Signal::KILL);
        self.ended().await.1
    }

    /// Where `weldr` listens for clients, once it does.
    pub async fn proxy_address(&mut self) -> SocketAddr {
        self.logged_address("proxy listening").await
    }

    /// Where `weldr` listens for operators, once it does.
    pub async fn management_address(&mut self) -> SocketAddr {
        self.logged_address("management listening").await
    }

    /// The address in the line that holds `message`, in any of the formats that the binaries write.
    pub async fn logged_address(&mut self, message: &str) -> SocketAddr {
        let what = format!("{} to say {message:?}", self.name);
        wait::until(what, async || {
            let text = self.stdout() + &self.stderr();
            if let Some(address) = text
                .lines()
                .filter(|line| line.contains(message))
                .find_map(address_in)
            {
                return Ok(address);
            }
            let ended = self.child.try_wait().expect("wait");
            assert!(ended.is_none(), "{} ended, {ended:?}: {text}", self.name);
            Err(format!("{text:?}"))
        })
        .await
    }

    /// Waits until it has written `text` to stderr.
    pub async fn logs(&self, text: &str) {
        wait::until(format!("{} to log {text:?}", self.name), async || {
            let stderr = self.stderr();
            if stderr.contains(text) {
                Ok(())
            } else {
                Err(stderr)
            }
        })
        .await;
    }

    /// Waits until it has written `text` to stderr, or has ended; whether it has written that.
    pub async fn logs_or_ends(&mut self, text: &str) -> bool {
        let what = format!("{} to log {text:?}, or to end", self.name);
        wait::until(what, async || {
            let ended = self.child.try_wait().expect("wait").is_some();
            let stderr = self.stderr();
            let logged = stderr.contains(text);
            if logged || ended {
                Ok(logged)
            } else {
                Err(stderr)
            }
        })
        .await
    }

    /// Waits until it has printed `text` to stdout.
    pub async fn prints(&self, text: &str) {
        wait::until(format!("{} to print {text:?}", self.name), async || {
            let stdout = self.stdout();
            if stdout.contains(text) {
                Ok(())
            } else {
                Err(stdout)
            }
        })
        .await;
    }
}

/// The first `ip:port` in a line, whatever is around it.
fn address_in(line: &str) -> Option<SocketAddr> {
    let plain = without_colours(line);
    plain
        .split(|c: char| c.is_whitespace() || matches!(c, '=' | '"' | ',' | '/' | '}'))
        .find_map(|word| word.parse().ok())
}

/// `line` without terminal escapes (ESC `[` … letter).
fn without_colours(line: &str) -> String {
    let mut plain = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            chars.by_ref().find(char::is_ascii_alphabetic);
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_address_in_each_format() {
        for line in [
            "INFO weldr::node: proxy listening address=127.0.0.1:41234",
            "\u{1b}[3maddress\u{1b}[0m\u{1b}[2m=\u{1b}[0m127.0.0.1:41234",
            r#"{"fields":{"message":"proxy listening","address":"127.0.0.1:41234"}}"#,
            "test-server listening on http://127.0.0.1:41234",
        ] {
            assert_eq!(address_in(line), "127.0.0.1:41234".parse().ok(), "{line}");
        }
        assert_eq!(address_in("no address: here:12"), None);
    }
}
