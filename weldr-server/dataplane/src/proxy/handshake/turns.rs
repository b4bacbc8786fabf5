//! Shares a worker's thread between handshakes and the connections that are served already.

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::yield_now,
};

/// Most handshakes of a worker that hold the state of rustls at a time. Others wait with what their clients have sent.
const MOST_RUNNING: usize = 1024;

/// The handshakes of a worker.
#[derive(Debug)]
pub(in crate::proxy) struct HandshakeTurns {
    running: Semaphore,
    turn: Semaphore,
}

impl Default for HandshakeTurns {
    fn default() -> Self {
        Self {
            running: Semaphore::new(MOST_RUNNING),
            turn: Semaphore::new(1),
        }
    }
}

impl HandshakeTurns {
    /// Waits until one more handshake may run; it does until the result is dropped.
    pub(in crate::proxy) async fn begin(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.running.acquire().await.ok()
    }

    /// Waits until a step of a handshake may be made, which takes as long as dozens of requests: all that is ready is served
    /// before it. The result must be dropped behind the step.
    pub(in crate::proxy) async fn next(&self) -> Option<SemaphorePermit<'_>> {
        let turn = self.turn.acquire().await.ok();
        yield_now().await;
        turn
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    #[tokio::test]
    async fn what_is_ready_is_served_between_two_steps() {
        const STEPS: u32 = 8;
        LocalSet::new()
            .run_until(async {
                let turns = Rc::new(HandshakeTurns::default());
                let (served, least) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(u32::MAX)));
                let handshakes: Vec<_> = (0..STEPS)
                    .map(|_| {
                        let (turns, served) = (Rc::clone(&turns), Rc::clone(&served));
                        let least = Rc::clone(&least);
                        spawn_local(async move {
                            let before = served.get();
                            let _turn = turns.next().await;
                            least.set(least.get().min(served.get() - before));
                        })
                    })
                    .collect();
                let traffic = Rc::clone(&served);
                let traffic = spawn_local(async move {
                    loop {
                        traffic.set(traffic.get() + 1);
                        yield_now().await;
                    }
                });
                for handshake in handshakes {
                    handshake.await.unwrap();
                }
                traffic.abort();
                assert!(served.get() >= STEPS, "{} turns of traffic", served.get());
                assert!(least.get() >= 1);
            })
            .await;
    }
}
