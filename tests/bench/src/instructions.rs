//! How many instructions Weldr executes for a request, outside the kernel: a figure that is the same on a busy
//! machine and on an idle one.
//!
//! Weldr runs under callgrind twice, with so many requests and with twice as many; what lies between the two is
//! the requests, without start and end.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    args::Binaries,
    campaign::counted_requests,
    child::Launch,
    machine::{self, Cores},
    print::say,
    turn::{Stage, TurnError},
    weldr::{self, Setup, WeldrError},
};

/// The figure that is kept.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.json");

/// Requests of the shorter run.
const REQUESTS: u64 = 2000;

/// How long Weldr has to start under callgrind.
const STARTING: Duration = Duration::from_mins(2);

/// What is kept in the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// Instructions for a keep-alive request with a response of 128 bytes.
    instructions_a_request: u64,
    /// How far more a request may take, in percent.
    margin_percent: u64,
}

/// What the figure is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// Within the margin.
    Kept,
    /// Above it.
    Grown,
    /// So far below it that the figure should be kept anew.
    Shrunk,
    /// There is no valgrind.
    Skipped,
}

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstructionsError {
    /// Weldr is not there.
    #[error(transparent)]
    Weldr(#[from] WeldrError),
    /// Weldr does not serve under callgrind.
    #[error(transparent)]
    Turn(#[from] TurnError),
    /// A file, or the figure that is kept.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// callgrind left no total.
    #[error("callgrind left no total in {0}")]
    NoTotal(PathBuf),
    /// Requests failed.
    #[error("{0} requests failed")]
    Failures(u64),
}

/// Counts, compares, and says what came of it.
pub(crate) async fn run(binaries: &Binaries, keep: bool) -> Result<Guard, InstructionsError> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        say!("skipped: valgrind is not installed (apt-get install valgrind)");
        return Ok(Guard::Skipped);
    }
    let weldr = weldr::binary(binaries.weldr.as_deref())?;
    let cores = Cores::of_this_machine()?;
    machine::raise_descriptor_limit(1024);
    let few = count(&weldr, &cores, REQUESTS).await?;
    let many = count(&weldr, &cores, 2 * REQUESTS).await?;
    let counted = many.saturating_sub(few) / REQUESTS;
    let kept: Kept = serde_json::from_slice(&fs::read(KEPT)?).map_err(io::Error::from)?;
    if keep {
        let kept = Kept {
            instructions_a_request: counted,
            ..kept
        };
        let text = serde_json::to_string_pretty(&kept).map_err(io::Error::from)?;
        fs::write(KEPT, text + "\n")?;
        say!("{counted} instructions a request: kept");
        return Ok(Guard::Kept);
    }
    let guard = judge(counted, kept);
    let said = match guard {
        Guard::Grown => "MORE THAN THAT: find out why, or keep the new figure with --keep",
        Guard::Shrunk => "well below: keep the new figure with --keep",
        Guard::Kept | Guard::Skipped => "within the margin",
    };
    say!(
        "{counted} instructions a request; {} are kept, with a margin of {} %: {said}",
        kept.instructions_a_request,
        kept.margin_percent
    );
    Ok(guard)
}

fn judge(counted: u64, kept: Kept) -> Guard {
    let margin = kept.instructions_a_request * kept.margin_percent / 100;
    if counted > kept.instructions_a_request + margin {
        Guard::Grown
    } else if counted + margin < kept.instructions_a_request {
        Guard::Shrunk
    } else {
        Guard::Kept
    }
}

/// Instructions of a whole run with so many requests.
async fn count(weldr: &Path, cores: &Cores, requests: u64) -> Result<u64, InstructionsError> {
    const OUTPUT: &str = "callgrind.out";
    // Checks would come by the clock, and a run is slow or fast.
    let setup = Setup {
        arguments: &["--check-interval", "1h", "--shutdown-timeout", "1s"],
        ..Setup::DEFAULT
    };
    let stage = Stage::set(
        1,
        (&cores.proxy, &cores.load),
        STARTING,
        |site, management| {
            let weldr = weldr::launch(weldr, setup, site, management);
            let tool = [
                "--tool=callgrind",
                &format!("--callgrind-out-file={OUTPUT}"),
            ];
            let mut arguments: Vec<_> = tool.map(Into::into).into();
            arguments.push(weldr.program);
            arguments.extend(weldr.arguments);
            Ok(Launch::new("valgrind", arguments))
        },
    );
    let mut stage = stage.await?;
    let outcome = stage.load(counted_requests(requests), &cores.load).await?;
    if outcome.failures > 0 {
        return Err(InstructionsError::Failures(outcome.failures));
    }
    stage.proxy.stop().await?;
    let output = stage.directory().join(OUTPUT);
    let text = fs::read_to_string(&output)?;
    total(&text).ok_or(InstructionsError::NoTotal(output))
}

/// The total of a file that callgrind wrote, all threads together.
fn total(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("totals:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Guard, KEPT, Kept, judge, total};

    #[test]
    fn the_margin_is_in_both_directions() {
        let kept = Kept {
            instructions_a_request: 1000,
            margin_percent: 5,
        };
        assert_eq!(judge(1050, kept), Guard::Kept);
        assert_eq!(judge(1051, kept), Guard::Grown);
        assert_eq!(judge(950, kept), Guard::Kept);
        assert_eq!(judge(949, kept), Guard::Shrunk);
    }

    #[test]
    fn the_total_is_in_the_last_lines() {
        assert_eq!(total("fn=(1)\n16 3\n\ntotals: 72\n"), Some(72));
        assert_eq!(total("fn=(1)\n"), None);
    }

    #[test]
    fn the_kept_figure_can_be_read() {
        let text = std::fs::read(KEPT).unwrap();
        let kept: Kept = serde_json::from_slice(&text).unwrap();
        assert!(kept.instructions_a_request > 0);
    }
}
