//! A guard process that removes the addresses when the node's process cannot.
//!
//! The node tells it about every renewal of the lease through a pipe. If the lease ends and the node has not reported
//! the addresses as removed, the node's process is stopped; if the pipe is closed, the process has ended. In both cases
//! the guard removes the addresses at once. The kernel would do so up to a second later, and nothing else would call a
//! hook.

use std::{
    ffi::OsString,
    fmt,
    io::{self, stdin},
    os::fd::AsFd as _,
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::{
    process::Signal as Number,
    time::{ClockId, Timespec, clock_gettime},
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::unix::pipe,
    process::{Child, ChildStdin, Command},
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time,
};

use super::{
    backend::AddressBackend,
    error::{BackendError, VipStartError},
    hook::Hook,
    inputs::Sources,
    kernel::{Kernel, KernelAddress},
    ownership::{Eligibility, MARGIN},
    status::{AddressStatus, Standing},
};
use crate::{config::VirtualAddresses, liveness::Tick};

/// How long the guard may take to exit when it is no longer needed.
const LAST_WORD: Duration = Duration::from_secs(1);
/// The pause between two attempts to remove an address, and the number of attempts after the node's process has ended.
const RETRY: Duration = Duration::from_millis(250);
const LAST_TRIES: u32 = 20;

/// The first message to the guard, as a line of JSON.
#[derive(Debug, Serialize, Deserialize)]
struct GuardConfig {
    addresses: Vec<String>,
    interface: String,
    hook: Option<std::path::PathBuf>,
}

/// The following messages, a line of JSON each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum GuardMessage {
    /// The addresses must be removed by this time, in nanoseconds of the monotonic clock, which all processes of a
    /// machine share.
    Until(u64),
    /// The addresses are removed.
    Clear,
}

/// The guard process, as the node sees it.
#[derive(Debug)]
pub(super) struct Guard {
    child: Child,
    pipe: ChildStdin,
}

impl Guard {
    /// Starts `command` as the guard. Must be called inside a tokio runtime.
    pub(super) async fn start(
        command: &[OsString],
        addresses: &VirtualAddresses,
    ) -> Result<Self, VipStartError> {
        let Some((program, args)) = command.split_first() else {
            return Err(VipStartError::Guard(io::ErrorKind::InvalidInput.into()));
        };
        let config = GuardConfig {
            addresses: addresses
                .addresses
                .iter()
                .map(ToString::to_string)
                .collect(),
            interface: addresses.interface.clone(),
            hook: addresses.hook.clone(),
        };
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // Ctrl-C and Ctrl-Z in a terminal must reach the node's process only.
            .process_group(0)
            .spawn()
            .map_err(VipStartError::Guard)?;
        let pipe = child.stdin.take();
        let mut pipe =
            pipe.ok_or_else(|| VipStartError::Guard(io::ErrorKind::BrokenPipe.into()))?;
        say(&mut pipe, &config)
            .await
            .map_err(VipStartError::Guard)?;
        Ok(Self { child, pipe })
    }

    /// Sends messages to the guard until the node stops and its addresses are removed.
    pub(super) async fn inform(
        mut self,
        mut sources: Sources,
        mut statuses: watch::Receiver<Vec<AddressStatus>>,
        tick: Tick,
    ) {
        let mut told = GuardMessage::Clear;
        loop {
            tick.tick();
            let eligibility = sources.eligibility();
            let all_gone = statuses
                .borrow_and_update()
                .iter()
                .all(|status| matches!(status.standing, Standing::Absent(_)));
            let message =
                message(eligibility, all_gone, Instant::now()).filter(|message| *message != told);
            if let Some(message) = message {
                if let Err(error) = say(&mut self.pipe, &message).await {
                    return log_end(&error);
                }
                told = message;
            }
            tokio::select! {
                () = sources.changed() => {}
                changed = statuses.changed() => if changed.is_err() { break },
                ended = self.child.wait() => {
                    return match ended {
                        Ok(status) => log_end(&status),
                        Err(error) => log_end(&error),
                    };
                }
                () = Tick::due() => {}
            }
        }
        // The guard exits when the pipe is closed. It first removes the addresses that were not reported as removed.
        drop(self.pipe);
        let _ = time::timeout(LAST_WORD, self.child.wait()).await;
    }
}

fn log_end(why: &dyn fmt::Display) {
    tracing::error!(
        %why,
        "the guard of the virtual addresses has ended: if this process dies, they stay for a second"
    );
}

/// The message for the guard, if there is one. The guard acts after the node should have acted, and before the lease
/// ends.
fn message(eligibility: Eligibility, all_gone: bool, now: Instant) -> Option<GuardMessage> {
    match eligibility.end(now) {
        Ok(end) => Some(GuardMessage::Until(on_the_clock(end + MARGIN / 2))),
        Err(_) if all_gone => Some(GuardMessage::Clear),
        Err(_) => None,
    }
}

async fn say(pipe: &mut ChildStdin, what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    pipe.write_all(&line).await
}

/// `moment` in nanoseconds of the monotonic clock.
fn on_the_clock(moment: Instant) -> u64 {
    let ahead = moment.saturating_duration_since(Instant::now());
    clock().saturating_add(u64::try_from(ahead.as_nanos()).unwrap_or(u64::MAX))
}

/// The inverse of [`on_the_clock`]. A time in the past becomes the present.
fn moment(nanos: u64) -> Instant {
    Instant::now() + Duration::from_nanos(nanos.saturating_sub(clock()))
}

fn clock() -> u64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (
        u64::try_from(tv_sec).unwrap_or(0),
        u64::try_from(tv_nsec).unwrap_or(0),
    );
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// Runs the guard for the process at the other end of standard input, until that process ends. Must be called inside a
/// tokio runtime.
pub async fn guard() -> Result<(), VipStartError> {
    // A service manager signals all processes of a service. The guard ignores those signals, because it must end last.
    let signals = [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::quit(),
        SignalKind::hangup(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
        SignalKind::from_raw(Number::XFSZ.as_raw()),
    ];
    let caught: io::Result<Vec<Signal>> = signals.into_iter().map(signal).collect();
    let _caught = caught.map_err(VipStartError::Guard)?;
    let input = stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(VipStartError::Guard)?;
    let input = pipe::Receiver::from_owned_fd(input).map_err(VipStartError::Guard)?;
    let mut lines = BufReader::new(input).lines();
    let Some(config) = lines.next_line().await.map_err(VipStartError::Guard)? else {
        return Ok(());
    };
    let config: GuardConfig =
        serde_json::from_str(&config).map_err(|error| VipStartError::Guard(error.into()))?;
    let addresses = config.addresses.iter().flat_map(|address| address.parse());
    if let Some(hook) = &config.hook {
        let backends = addresses.map(|address| Hook::new(hook, address, &config.interface));
        watch_over(&mut backends.collect::<Vec<_>>(), lines).await;
    } else {
        let kernel = Kernel::open()?;
        let backends =
            addresses.map(|address| KernelAddress::new(&kernel, address, &config.interface));
        watch_over(&mut backends.collect::<Vec<_>>(), lines).await;
    }
    Ok(())
}

async fn watch_over<B: AddressBackend>(
    backends: &mut [B],
    mut lines: Lines<impl AsyncBufRead + Unpin>,
) {
    let mut until = None;
    loop {
        let over = async {
            match until {
                Some(until) => time::sleep_until(time::Instant::from_std(until)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // A message that has arrived counts before the timer.
            biased;
            line = lines.next_line() => match line {
                Ok(Some(line)) => match serde_json::from_str(&line) {
                    Ok(GuardMessage::Until(nanos)) => until = Some(moment(nanos)),
                    Ok(GuardMessage::Clear) => until = None,
                    Err(error) => tracing::error!(%error, "guard: a message cannot be parsed"),
                },
                Ok(None) | Err(_) => break,
            },
            () = over => {
                tracing::warn!("guard: the lease is over and the node is not running: dropping its virtual addresses");
                until = drop_all(backends).await.err().map(|_| Instant::now() + RETRY);
            }
        }
    }
    if until.is_none() {
        return;
    }
    tracing::warn!("guard: the node has died: dropping its virtual addresses");
    for _ in 0..LAST_TRIES {
        if drop_all(backends).await.is_ok() {
            return;
        }
        time::sleep(RETRY).await;
    }
}

async fn drop_all<B: AddressBackend>(backends: &mut [B]) -> Result<(), BackendError> {
    let mut all = Ok(());
    for backend in backends {
        if let Err(error) = backend.release().await {
            tracing::error!(%error, "guard: a virtual address cannot be dropped");
            all = Err(error);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::{super::backend::Found, *};

    #[test]
    fn a_moment_survives_the_way_through_the_clock() {
        let soon = Instant::now() + Duration::from_secs(5);
        let read = moment(on_the_clock(soon));
        let apart = read.max(soon).duration_since(read.min(soon));
        assert!(apart < Duration::from_secs(1), "{apart:?}");
        assert!(moment(0) <= Instant::now(), "what has passed is now");
    }

    #[test]
    fn the_guard_hears_of_leases_and_of_nothing_before_the_addresses_are_gone() {
        let now = Instant::now();
        let eligibility = |lease| Eligibility {
            lease,
            serving: true,
            stopping: false,
        };
        let lead = eligibility(Some(now + Duration::from_secs(1)));
        assert!(matches!(
            message(lead, true, now),
            Some(GuardMessage::Until(_))
        ));
        assert!(matches!(
            message(lead, false, now),
            Some(GuardMessage::Until(_))
        ));
        for ended in [
            eligibility(None),
            eligibility(Some(now)),
            Eligibility {
                serving: false,
                ..lead
            },
        ] {
            assert_eq!(message(ended, false, now), None, "they may still be here");
            assert_eq!(message(ended, true, now), Some(GuardMessage::Clear));
        }
    }

    /// A backend that counts its removals, and fails at first.
    struct Counter {
        drops: u32,
        failures: u32,
    }

    impl AddressBackend for Counter {
        async fn hold(&mut self, _lifetime: Duration) -> Result<Found, BackendError> {
            unreachable!("a guard holds nothing")
        }

        async fn announce(&mut self) -> Result<(), BackendError> {
            unreachable!("a guard announces nothing")
        }

        async fn release(&mut self) -> Result<(), BackendError> {
            self.drops += 1;
            if self.drops <= self.failures {
                return Err(BackendError::Timeout(RETRY));
            }
            Ok(())
        }
    }

    /// How often a guard removes an address that is sent `messages`, then nothing for `wait`, then the end of the pipe.
    async fn drops(messages: &[GuardMessage], failures: u32, wait: Duration) -> u32 {
        let (mut ours, theirs) = tokio::io::duplex(4096);
        let mut backends = [Counter { drops: 0, failures }];
        let speak = async move {
            for message in messages {
                let line = serde_json::to_string(message).unwrap() + "\n";
                ours.write_all(line.as_bytes()).await.unwrap();
            }
            time::sleep(wait).await;
        };
        let lines = BufReader::new(theirs).lines();
        tokio::join!(speak, watch_over(&mut backends, lines));
        backends[0].drops
    }

    #[tokio::test(start_paused = true)]
    async fn it_drops_what_is_not_cleared() {
        let at_once = Duration::ZERO;
        let in_a_while = GuardMessage::Until(on_the_clock(Instant::now() + Duration::from_mins(1)));
        assert_eq!(drops(&[], 0, at_once).await, 0, "never held");
        assert_eq!(
            drops(&[in_a_while, GuardMessage::Clear], 0, at_once).await,
            0,
            "given up"
        );
        assert_eq!(drops(&[in_a_while], 0, at_once).await, 1, "the node died");
        assert_eq!(
            drops(&[in_a_while], 3, at_once).await,
            4,
            "and it was not easy"
        );
        assert_eq!(
            drops(&[GuardMessage::Until(0)], 0, Duration::from_secs(10)).await,
            1,
            "the node stands still"
        );
        assert_eq!(
            drops(
                &[GuardMessage::Until(0), in_a_while, GuardMessage::Clear],
                0,
                at_once
            )
            .await,
            0,
            "it moved in time"
        );
    }
}
