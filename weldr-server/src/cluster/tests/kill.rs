//! `kill -9` at any moment: acknowledged changes exist after the restart.
//!
//! The killed process is this test binary, started with [`CHILD`] in its environment.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdout, Command as Process, Stdio},
    time::Duration,
};

use super::*;
use crate::cluster::ProposeError;

/// The seed and the data directory for the child process.
const CHILD: &str = "WELDR_TEST_KILLED_CHILD";

const ROUNDS: u64 = 14;

/// The number of changes that a child proposes: more than it can have acknowledged before it is killed.
const COMMANDS: usize = 5_000;

/// The commands of a child: all kinds, some rejected, some without effect.
fn script(seed: u64) -> Vec<Command> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut command = |at: usize| {
        let n = random.u16(..30);
        match random.u8(..10) {
            0..5 => add(n),
            5..8 => weigh(n, random.u32(..=256)),
            8 => remove_now(n),
            _ => Command::BeginRemoval {
                pool: PoolName::default(),
                address: address(n),
                id: None,
                deadline: Some(Duration::from_secs(1)),
                expected: None,
                at: Timestamp(at as u64),
            },
        }
    };
    (0..COMMANDS).map(&mut command).collect()
}

/// The code of the child process. Does nothing when run as a test.
#[tokio::test]
async fn child() {
    let Ok(order) = env::var(CHILD) else {
        return;
    };
    let (seed, directory) = order.split_once(' ').unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "\nopening").unwrap();
    let Opened { handle, log, .. } = open_in(Path::new(directory));
    let commands = script(seed.parse().unwrap());
    let mut answered = 0;
    for command in commands {
        let answer = handle.propose(command).await;
        let is_answer = matches!(answer, Ok(_) | Err(ProposeError::Rejected(_)));
        assert!(is_answer, "{answer:?}");
        answered += 1;
        writeln!(out, "answered {answered}").unwrap();
    }
    log.stop().await;
}

struct Killed {
    process: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Killed {
    fn start(directory: &Path, seed: u64) -> Self {
        let mut process = Process::new(env::current_exe().unwrap())
            .args(["--exact", "cluster::tests::kill::child", "--nocapture"])
            .env(CHILD, format!("{seed} {}", directory.display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    fn wait_for(&mut self, line: &str) {
        let found = self.lines.any(|read| read.unwrap() == line);
        assert!(found, "the child ended before {line:?}");
    }

    /// Kills the child. Returns the number of proposals that were acknowledged.
    fn kill(mut self) -> usize {
        self.process.kill().unwrap();
        let lines = self.lines.map_while(Result::ok);
        let answered = lines.filter_map(|line| line.strip_prefix("answered ")?.parse().ok());
        let last = answered.last().unwrap_or(0);
        assert!(!self.process.wait().unwrap().success(), "it was not killed");
        last
    }
}

/// The number of commands of `script` that turn `before` into `found`, at least `answered`; `None` if there is none.
fn replayed(
    mut before: DesiredState,
    script: Vec<Command>,
    answered: usize,
    found: &DesiredState,
) -> Option<usize> {
    for (done, command) in script.into_iter().enumerate() {
        if done >= answered && before == *found {
            return Some(done);
        }
        // Some commands of the script are rejected.
        let _ = before.apply(command);
    }
    None
}

#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    let directory = tempdir().unwrap();
    let mut state = DesiredState::new(PoolSettings::default());
    for seed in 0..ROUNDS {
        let mut child = Killed::start(directory.path(), seed);
        let seen = fastrand::Rng::with_seed(seed).usize(1..60);
        child.wait_for(&format!("answered {seen}"));
        let answered = child.kill().max(seen);
        let found = reopened(directory.path()).await;
        let done = replayed(state, script(seed), answered, &found);
        assert!(
            done.is_some(),
            "seed {seed}: revision {} is no state after the {answered} answers",
            found.revision
        );
        state = found;
    }
}

#[tokio::test]
async fn a_kill_during_the_creation_leaves_a_directory_that_starts() {
    for round in 0..ROUNDS {
        let directory = tempdir().unwrap();
        let mut child = Killed::start(directory.path(), round);
        child.wait_for("opening");
        // Not a wait for something: it varies the moment of the kill during the creation.
        std::thread::sleep(Duration::from_micros(round * 400));
        let answered = child.kill();
        let found = reopened(directory.path()).await;
        let new = DesiredState::new(PoolSettings::default());
        let done = replayed(new, script(round), answered, &found);
        assert!(done.is_some(), "round {round}: {found:?}");
    }
}
