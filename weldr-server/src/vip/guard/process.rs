//! The guard process: removes the addresses at the end of the lease, or when the node's process has ended.

use std::{
    io::{self, stdin, stdout},
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use rustix::process::{Signal as Number, getppid};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, BufReader, Lines},
    net::unix::pipe,
    signal::unix::{Signal, SignalKind, signal},
    time,
};

use super::{
    super::{
        backend::AddressBackend,
        error::{BackendError, VipStartError},
        hook::Hook,
        kernel::{Kernel, KernelAddress},
    },
    messages::{GuardConfig, GuardMessage, moment},
};
use crate::priority;

/// The pause between two attempts to remove an address, and the number of attempts after the node's process has ended.
const RETRY: Duration = Duration::from_millis(250);
const LAST_TRIES: u32 = 20;
/// How long the guard waits for the end of a process that has closed the pipe.
const LONGEST_END: Duration = Duration::from_secs(10);
/// The pause between two looks whether it has ended, which takes a moment after the pipe is closed.
const LOOK: Duration = Duration::from_millis(1);

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
    let output = stdout()
        .as_fd()
        .try_clone_to_owned()
        .map_err(VipStartError::Guard)?;
    let output = pipe::Sender::from_owned_fd(output).map_err(VipStartError::Guard)?;
    // A node that reads nothing sends no ping, and one that is gone needs no answer.
    let answers = |number: u64| drop(output.try_write(format!("{number}\n").as_bytes()));
    let Some(config) = lines.next_line().await.map_err(VipStartError::Guard)? else {
        return Ok(());
    };
    let config: GuardConfig =
        serde_json::from_str(&config).map_err(|error| VipStartError::Guard(error.into()))?;
    let addresses = config.addresses.iter().flat_map(|address| address.parse());
    let last_words = if let Some(hook) = &config.hook {
        let backends = addresses.map(|address| Hook::new(hook, address, &config.interface));
        watch_over(&mut backends.collect::<Vec<_>>(), lines, answers).await
    } else {
        let kernel = Kernel::open()?;
        let backends =
            addresses.map(|address| KernelAddress::new(&kernel, address, &config.interface));
        watch_over(&mut backends.collect::<Vec<_>>(), lines, answers).await
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

/// Watches over the addresses until the pipe is closed, and calls `answer` for each ping. Returns the last words of the node, if the addresses are certainly
/// removed.
async fn watch_over<B: AddressBackend>(
    backends: &mut [B],
    mut lines: Lines<impl AsyncBufRead + Unpin>,
    answer: impl Fn(u64),
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
                    Ok(GuardMessage::Ping(number)) => answer(number),
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
    use tokio::io::AsyncWriteExt as _;

    use super::{
        super::{super::backend::Found, messages::on_the_clock},
        *,
    };

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
        tokio::join!(speak, watch_over(&mut backends, lines, |_| ()));
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
