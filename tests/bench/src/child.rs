//! The processes of a run: each is stopped by its id when it is let go, whatever the reason.

use std::{
    env,
    ffi::OsString,
    fs::File,
    io,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStdout, Command},
};

/// How long a process has to end after it was asked to.
const GRACE: Duration = Duration::from_secs(3);

/// What to start.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// The program.
    pub(crate) program: OsString,
    /// Its arguments.
    pub(crate) arguments: Vec<OsString>,
    /// What to set in its environment.
    pub(crate) environment: Vec<(&'static str, OsString)>,
}

impl Launch {
    /// Starts `program` with `arguments`.
    pub(crate) fn new<A: Into<OsString>>(
        program: impl Into<OsString>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
        }
    }

    /// A role of this binary.
    pub(crate) fn role<A: Into<OsString>>(
        arguments: impl IntoIterator<Item = A>,
    ) -> io::Result<Self> {
        Ok(Self::new(env::current_exe()?, arguments))
    }

    /// The same, bound to `cores`, and ended when this process ends.
    pub(crate) fn pinned(self, cores: &[usize]) -> io::Result<Self> {
        let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
        let mut arguments = vec![
            "pin".into(),
            "--cores".into(),
            cores.join(",").into(),
            "--".into(),
            self.program,
        ];
        arguments.extend(self.arguments);
        Ok(Self {
            program: env::current_exe()?.into(),
            arguments,
            environment: self.environment,
        })
    }
}

/// A process that runs, with all that it starts.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    id: u32,
}

impl Running {
    /// Starts it in `directory`; what it writes goes to `log` there.
    pub(crate) fn start(launch: &Launch, directory: &Path, log: &str) -> io::Result<Self> {
        let log = File::create(directory.join(log))?;
        let output = log.try_clone()?;
        Self::spawn(launch, directory, output.into(), log.into())
    }

    /// Starts it to read what it writes on standard output; its errors go to where ours go.
    pub(crate) fn start_talking(launch: &Launch, directory: &Path) -> io::Result<Self> {
        Self::spawn(launch, directory, Stdio::piped(), Stdio::inherit())
    }

    fn spawn(launch: &Launch, directory: &Path, output: Stdio, errors: Stdio) -> io::Result<Self> {
        let mut command = std::process::Command::new(&launch.program);
        command
            .args(&launch.arguments)
            .current_dir(directory)
            .envs(launch.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            // A group of its own: Ctrl-C in the terminal is for us, and the whole group can be signalled.
            .process_group(0);
        for (name, _) in env::vars_os() {
            let said = name.to_string_lossy();
            if said.starts_with("WELDR_") || said == "RUST_LOG" {
                command.env_remove(&name);
            }
        }
        let child = Command::from(command).spawn()?;
        let id = child.id().ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { child, id })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// The next `count` lines of its standard output.
    pub(crate) async fn lines(&mut self, count: usize) -> io::Result<Vec<String>> {
        let mut output = BufReader::new(self.output()?).lines();
        let mut lines = Vec::with_capacity(count);
        while lines.len() < count {
            let line = output.next_line().await?;
            lines.push(line.ok_or(io::ErrorKind::UnexpectedEof)?);
        }
        Ok(lines)
    }

    /// How it ended, when it has.
    pub(crate) async fn ended_at_last(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Asks it to end and waits until it has.
    pub(crate) async fn stop(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::TERM);
        self.child.wait().await
    }

    fn output(&mut self) -> io::Result<ChildStdout> {
        Ok(self.child.stdout.take().ok_or(io::ErrorKind::NotFound)?)
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id).ok().and_then(Pid::from_raw);
        if let Some(id) = id {
            // A group that is gone has ended by itself.
            let _ = kill_process_group(id, signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        let asked = Instant::now();
        while asked.elapsed() < GRACE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        // Whatever is left of its group, and itself if it did not listen.
        self.signal(Signal::KILL);
        let _ = self.child.try_wait();
    }
}
