//! A guard process that removes the addresses when the node's process cannot.
//!
//! The node tells it about every renewal of the lease through a pipe. If the lease ends and the node has not reported
//! the addresses as removed, the node's process is stopped; if the pipe is closed, the process has ended. In both cases
//! the guard removes the addresses at once. The kernel would do so up to a second later, and nothing else would call a
//! hook.
//!
//! When the process is dead and the addresses are removed, the guard tells the node's last words: with them the other
//! nodes need not wait for the end of a lease that nobody uses any more. That the pipe is closed is not enough for that,
//! because the node may have closed it: the kernel has to say that the process is gone.
//!
//! [`supervise`] starts a guard that ended again. If that does not work, the addresses are given up.

use std::{
    error::Error as _,
    io::{self, stdin},
    os::fd::AsFd as _,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    process::{Signal as Number, getppid},
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
    status::{AddressStatus, GuardStatus, Standing},
};
use crate::{config::VirtualAddresses, liveness::Tick, priority};

/// How long the guard may take to exit when it is no longer needed.
const LAST_WORD: Duration = Duration::from_secs(1);
/// The pause between two attempts to remove an address, and the number of attempts after the node's process has ended.
const RETRY: Duration = Duration::from_millis(250);
const LAST_TRIES: u32 = 20;
/// The pause before a guard that ended is started again, or tried again.
const RESTART: Duration = Duration::from_millis(100);
/// How long the guard waits for the end of a process that has closed the pipe.
const LONGEST_END: Duration = Duration::from_secs(10);
/// The pause between two looks whether it has ended, which takes a moment after the pipe is closed.
const LOOK: Duration = Duration::from_millis(1);

/// The first message to the guard, as a line of JSON.
#[derive(Debug, Serialize, Deserialize)]
struct GuardConfig {
    /// The process that is guarded.
    process: u32,
    addresses: Vec<String>,
    interface: String,
    hook: Option<std::path::PathBuf>,
}

/// The following messages, a line of JSON each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum GuardMessage {
    /// The addresses must be removed by this time, in nanoseconds of the monotonic clock, which all processes of a
    /// machine share.
    Until(u64),
    /// The addresses are removed.
    Clear,
    /// What to tell when the process is dead.
    LastWords(Option<String>),
}

/// The guard process, as the node sees it.
#[derive(Debug)]
pub(super) struct Guard {
    child: Child,
    pipe: ChildStdin,
    started_at: time::Instant,
    /// What it was told last.
    told: GuardMessage,
    told_words: GuardMessage,
}

impl Guard {
    /// Starts the guard of `addresses`. Must be called inside a tokio runtime.
    pub(super) async fn start(addresses: &VirtualAddresses) -> Result<Self, VipStartError> {
        let command = addresses.guard.as_deref().unwrap_or_default();
        let Some((program, args)) = command.split_first() else {
            return Err(VipStartError::Guard(io::ErrorKind::InvalidInput.into()));
        };
        let config = GuardConfig {
            process: std::process::id(),
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
        Ok(Self {
            child,
            pipe,
            started_at: time::Instant::now(),
            told: GuardMessage::Clear,
            told_words: GuardMessage::LastWords(None),
        })
    }

    /// Sends messages to the guard until the node stops and its addresses are removed.
    ///
    /// # Errors
    /// Why the guard has ended before.
    async fn inform(&mut self, news: &mut News, tick: &Tick) -> Result<(), String> {
        loop {
            tick.tick();
            self.tell(news).await?;
            tokio::select! {
                is_open = news.changed() => if !is_open {
                    return Ok(());
                },
                ended = self.child.wait() => {
                    return Err(ended.map_or_else(|error| error.to_string(), |status| status.to_string()));
                }
                () = Tick::due() => {}
            }
        }
    }

    /// Tells the guard what it does not know.
    async fn tell(&mut self, news: &mut News) -> Result<(), String> {
        let words = GuardMessage::LastWords(news.last_words());
        if words != self.told_words {
            self.say(&words).await?;
            self.told_words = words;
        }
        if let Some(message) = news.message()
            && message != self.told
        {
            self.say(&message).await?;
            self.told = message;
        }
        Ok(())
    }

    async fn say(&mut self, message: &GuardMessage) -> Result<(), String> {
        let said = say(&mut self.pipe, message).await;
        said.map_err(|error| error.to_string())
    }

    /// Ends a guard that is no longer needed. It first removes the addresses that were not reported as removed.
    async fn dismiss(mut self) {
        drop(self.pipe);
        let _ = time::timeout(LAST_WORD, self.child.wait()).await;
    }
}

/// What the guard is told about.
pub(super) struct News {
    pub(super) sources: Sources,
    pub(super) statuses: watch::Receiver<Vec<AddressStatus>>,
    pub(super) last_words: watch::Receiver<Option<Arc<str>>>,
}

impl News {
    fn message(&mut self) -> Option<GuardMessage> {
        let statuses = self.statuses.borrow_and_update();
        let is_gone = |status: &AddressStatus| matches!(status.standing, Standing::Absent(_));
        let all_gone = statuses.iter().all(is_gone);
        drop(statuses);
        message(self.sources.eligibility(), all_gone, Instant::now())
    }

    fn last_words(&mut self) -> Option<String> {
        if self.last_words.has_changed().is_err() {
            return None;
        }
        let words = self.last_words.borrow_and_update();
        words.as_deref().map(str::to_owned)
    }

    /// Returns when there may be news; `false` if there will be none.
    async fn changed(&mut self) -> bool {
        let Self {
            sources,
            statuses,
            last_words,
        } = self;
        let words_changed = async {
            if last_words.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = sources.changed() => true,
            changed = statuses.changed() => changed.is_ok(),
            () = words_changed => true,
        }
    }

    /// Returns when there will be no news any more.
    async fn closed(&mut self) {
        while self.statuses.changed().await.is_ok() {}
    }
}

/// Keeps a guard running until the node stops and its addresses are removed. `guarded` is false while none runs and none
/// can be started. `status` is for operators.
pub(super) async fn supervise(
    mut guard: Guard,
    addresses: VirtualAddresses,
    mut news: News,
    guarded: watch::Sender<bool>,
    status: &watch::Sender<Option<GuardStatus>>,
    tick: Tick,
) {
    loop {
        let Err(why) = guard.inform(&mut news, &tick).await else {
            return guard.dismiss().await;
        };
        tracing::warn!(
            why,
            "the guard of the virtual addresses has ended, and is started again"
        );
        // A guard that was only disconnected must not act.
        let _ = guard.child.start_kill();
        if guard.started_at.elapsed() < RESTART {
            time::sleep(RESTART).await;
        }
        match restarted(&addresses, &mut news, (&guarded, status), &tick).await {
            Some(next) => guard = next,
            None => return,
        }
    }
}

/// A new guard that knows everything; `None` if the node stops before there is one.
async fn restarted(
    addresses: &VirtualAddresses,
    news: &mut News,
    (guarded, status): (&watch::Sender<bool>, &watch::Sender<Option<GuardStatus>>),
    tick: &Tick,
) -> Option<Guard> {
    loop {
        tick.tick();
        match Guard::start(addresses).await {
            Ok(mut guard) => {
                guarded.send_replace(true);
                status.send_modify(|status| {
                    let restarts = status.map_or(0, |status| status.restarts);
                    *status = Some(GuardStatus {
                        runs: true,
                        restarts: restarts + 1,
                        restarted: Some(Instant::now()),
                    });
                });
                // Whether it takes that, `inform` sees.
                let _ = guard.tell(news).await;
                tracing::info!("the guard of the virtual addresses runs again");
                return Some(guard);
            }
            Err(error) => {
                let cause = error.source().map(ToString::to_string);
                status.send_modify(|status| {
                    if let Some(status) = status {
                        status.runs = false;
                    }
                });
                if guarded.send_replace(false) {
                    tracing::error!(
                        %error,
                        cause,
                        "the virtual addresses are given up until their guard runs again"
                    );
                }
            }
        }
        tokio::select! {
            () = time::sleep(RESTART) => {}
            () = news.closed() => return None,
        }
    }
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

/// Runs the guard for the process at the other end of standard input, until that process ends. When the process is dead
/// and its addresses are removed, its last words are told by `tell`. Must be called inside a tokio runtime.
pub async fn guard(tell: impl AsyncFnOnce(String)) -> Result<(), VipStartError> {
    priority::raise();
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
    let last_words = if let Some(hook) = &config.hook {
        let backends = addresses.map(|address| Hook::new(hook, address, &config.interface));
        watch_over(&mut backends.collect::<Vec<_>>(), lines).await
    } else {
        let kernel = Kernel::open()?;
        let backends =
            addresses.map(|address| KernelAddress::new(&kernel, address, &config.interface));
        watch_over(&mut backends.collect::<Vec<_>>(), lines).await
    };
    if let Some(words) = last_words
        && has_ended(config.process).await
    {
        tell(words).await;
    }
    Ok(())
}

/// Waits for the end of the process with this id, which started the guard; `false` if it goes on. The kernel gives the
/// guard another parent when the last thread of the process has ended, so an id that is used again does no harm.
async fn has_ended(process: u32) -> bool {
    let is_parent = || {
        let parent = getppid().map(|parent| parent.as_raw_nonzero().get());
        parent.is_some_and(|parent| u32::try_from(parent) == Ok(process))
    };
    let ended = async {
        while is_parent() {
            time::sleep(LOOK).await;
        }
    };
    time::timeout(LONGEST_END, ended).await.is_ok()
}

/// Watches over the addresses until the pipe is closed. Returns the last words of the node, if the addresses are certainly
/// removed.
async fn watch_over<B: AddressBackend>(
    backends: &mut [B],
    mut lines: Lines<impl AsyncBufRead + Unpin>,
) -> Option<String> {
    let (mut until, mut last_words) = (None, None);
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
                    Ok(GuardMessage::LastWords(words)) => last_words = words,
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
        return last_words;
    }
    tracing::warn!("guard: the node has died: dropping its virtual addresses");
    for _ in 0..LAST_TRIES {
        if drop_all(backends).await.is_ok() {
            return last_words;
        }
        time::sleep(RETRY).await;
    }
    None
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
    use super::{
        super::{backend::Found, status::Absence},
        *,
    };

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
            obstacle: None,
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
                obstacle: Some(Absence::NotServing),
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
        let in_a_while =
            || GuardMessage::Until(on_the_clock(Instant::now() + Duration::from_mins(1)));
        assert_eq!(drops(&[], 0, at_once).await, 0, "never held");
        assert_eq!(
            drops(&[in_a_while(), GuardMessage::Clear], 0, at_once).await,
            0,
            "given up"
        );
        assert_eq!(drops(&[in_a_while()], 0, at_once).await, 1, "the node died");
        assert_eq!(
            drops(&[in_a_while()], 3, at_once).await,
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
                &[GuardMessage::Until(0), in_a_while(), GuardMessage::Clear],
                0,
                at_once
            )
            .await,
            0,
            "it moved in time"
        );
    }
}
