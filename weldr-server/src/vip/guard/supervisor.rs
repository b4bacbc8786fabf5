//! The guard as the node sees it: starts it, keeps it informed, and starts it again when it has ended. If that does not
//! work, the addresses are given up.

use std::{
    error::Error as _,
    io,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::watch,
    time::{self, MissedTickBehavior},
};

use super::{
    super::{
        error::VipStartError,
        inputs::Sources,
        ownership::{Eligibility, MARGIN},
        status::{AddressStatus, GuardStatus, Standing},
    },
    messages::{GuardConfig, GuardMessage, on_the_clock},
};
use crate::{config::VirtualAddresses, liveness::Tick};

/// How long the guard may take to exit when it is no longer needed.
const LAST_WORD: Duration = Duration::from_secs(1);
/// The interval of pings, and after how many looks without an answer the guard counts as dead. A guard on a busy machine
/// answers in time, because its priority is raised.
const PING: Duration = Duration::from_millis(250);
const MISSES: u32 = 4;
/// The pause before a guard that ended is started again, or tried again.
const RESTART: Duration = Duration::from_millis(100);

/// The guard process, as the node sees it.
#[derive(Debug)]
pub(in crate::vip) struct Guard {
    child: Child,
    pipe: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    heartbeat: Heartbeat,
    started_at: time::Instant,
    /// What it was told last.
    told: GuardMessage,
    told_words: GuardMessage,
}

impl Guard {
    /// Starts the guard of `addresses`. Must be called inside a tokio runtime.
    pub(in crate::vip) async fn start(addresses: &VirtualAddresses) -> Result<Self, VipStartError> {
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
            .stdout(Stdio::piped())
            // Ctrl-C and Ctrl-Z in a terminal must reach the node's process only.
            .process_group(0)
            .spawn()
            .map_err(VipStartError::Guard)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (mut pipe, answers) =
            pipes.ok_or_else(|| VipStartError::Guard(io::ErrorKind::BrokenPipe.into()))?;
        say(&mut pipe, &config)
            .await
            .map_err(VipStartError::Guard)?;
        Ok(Self {
            child,
            pipe,
            answers: BufReader::new(answers).lines(),
            heartbeat: Heartbeat::default(),
            started_at: time::Instant::now(),
            told: GuardMessage::Clear,
            told_words: GuardMessage::LastWords(None),
        })
    }

    /// Sends messages to the guard until the node stops and its addresses are removed.
    ///
    /// # Errors
    /// Why the guard has ended before, or that it does not answer.
    async fn inform(&mut self, news: &mut News, tick: &Tick) -> Result<(), String> {
        let mut pings = time::interval(PING);
        // After a time in which this process did not run, the guard has as long to answer as always.
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
                answer = self.answers.next_line(), if self.heartbeat.is_open => {
                    self.heartbeat.answered(answer.ok().flatten());
                }
                _ = pings.tick() => self.ping().await?,
            }
        }
    }

    async fn ping(&mut self) -> Result<(), String> {
        match self.heartbeat.next() {
            Beat::Ping(number) => self.say(&GuardMessage::Ping(number)).await,
            Beat::Wait => Ok(()),
            Beat::Dead => Err(format!(
                "no answer within {}",
                humantime::format_duration(PING * MISSES)
            )),
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

/// What to do when it is time for a ping.
#[derive(Debug, PartialEq, Eq)]
enum Beat {
    /// Send this one.
    Ping(u64),
    /// The last one is not answered yet.
    Wait,
    /// The guard does not run.
    Dead,
}

/// The pings and their answers. A guard that is stopped takes what it is told and does nothing. It counts the looks without an
/// answer, not the time: in none of that may this process have run.
#[derive(Debug)]
struct Heartbeat {
    sent: u64,
    answered: u64,
    misses: u32,
    /// Whether there may be answers.
    is_open: bool,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self {
            sent: 0,
            answered: 0,
            misses: 0,
            is_open: true,
        }
    }
}

impl Heartbeat {
    fn next(&mut self) -> Beat {
        if self.answered < self.sent {
            self.misses += 1;
            return if self.misses < MISSES {
                Beat::Wait
            } else {
                Beat::Dead
            };
        }
        self.misses = 0;
        self.sent += 1;
        Beat::Ping(self.sent)
    }

    /// Takes an answer; `None` if there will be none any more.
    fn answered(&mut self, line: Option<String>) {
        match line {
            Some(line) => self.answered = line.parse().unwrap_or(self.answered).min(self.sent),
            None => self.is_open = false,
        }
    }
}

/// What the guard is told about.
pub(in crate::vip) struct News {
    pub(in crate::vip) sources: Sources,
    pub(in crate::vip) statuses: watch::Receiver<Vec<AddressStatus>>,
    pub(in crate::vip) last_words: watch::Receiver<Option<Arc<str>>>,
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
pub(in crate::vip) async fn supervise(
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
            "the guard of the virtual addresses has ended or does not answer, and is started again"
        );
        // A guard that was only disconnected, or stopped, must not act.
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

#[cfg(test)]
mod tests {
    use super::{super::super::status::Absence, *};

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

    #[test]
    fn a_guard_that_does_not_answer_is_dead_after_some_looks_and_one_that_answers_late_is_not() {
        let mut heartbeat = Heartbeat::default();
        assert_eq!(heartbeat.next(), Beat::Ping(1));
        assert_eq!(heartbeat.next(), Beat::Wait);
        heartbeat.answered(Some("1".to_owned()));
        assert_eq!(heartbeat.next(), Beat::Ping(2));
        for _ in 1..MISSES {
            assert_eq!(heartbeat.next(), Beat::Wait);
        }
        assert_eq!(heartbeat.next(), Beat::Dead);
        heartbeat.answered(Some("2".to_owned()));
        assert_eq!(heartbeat.next(), Beat::Ping(3));
        heartbeat.answered(Some("9".to_owned()));
        assert_eq!(heartbeat.next(), Beat::Ping(4), "nobody answers in advance");
    }
}
