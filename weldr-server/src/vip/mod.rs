//! Virtual addresses: what clients connect to, held by the node that leads and by no other.
//!
//! A node holds its addresses while its lease is live and its data path serves. It drops them a margin before the
//! lease ends; the next holder takes them and says so on the wire, several times in the first second.
//!
//! In reading order: `inputs` is what the node says, `ownership` decides (pure), `holder` does what was decided, by
//! a `backend`: `kernel` (netlink, and `frames` on the wire) or of a `hook`.
//!
//! A process that is stopped (SIGSTOP, a debugger) or killed can drop nothing. Its `guard` does, a process of its
//! own, at the end of the lease or at once. When both are gone or stand still (a frozen or killed container), the
//! kernel does: the address has a lifetime there of whole seconds, at most what is left of the lease and at least
//! one second, which the kernel ends up to a quarter of a second late. Until then two nodes may have the address.
//! What the neighbours know is decided by the gratuitous ARP or neighbour advertisement that came last, and that
//! is the new holder's: a process that goes on reads the clock first, announces nothing and drops what is left.
//! Two things cannot be promised. Between reading the clock and acting on it a process may be stopped too: what it
//! was about to send, one announcement at most, it then sends late. And a machine that is suspended as a whole, its
//! clock with it, cannot know that its lease is over; it learns that from the cluster's next word. A hook's address
//! has no lifetime: there, what guard and node cannot release is for the next `acquire` to take away.

mod backend;
mod error;
mod frames;
mod guard;
mod holder;
mod hook;
mod inputs;
mod interface;
mod kernel;
mod ownership;
mod status;

use std::{io, thread, time::Duration};

use futures_util::future;
use tokio::{
    runtime::Builder,
    sync::{oneshot, watch},
    time,
};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use error::{BackendError, VipStartError};
pub use guard::guard;
pub use inputs::Inputs;
pub use status::{Absence, AddressStatus, Standing};

use crate::{
    config::VirtualAddresses,
    model::{Timestamp, VirtualAddress},
};
use backend::AddressBackend;
use guard::Guard;
use holder::Holder;
use hook::Hook;
use inputs::Sources;
use kernel::{Kernel, KernelAddress};

/// How long dropping the addresses may take when the node stops: three runs of a hook that hangs.
const LAST_RELEASE: Duration = Duration::from_secs(35);

/// How long an address may take to leave by netlink: that is a call of the kernel.
const KERNEL_RELEASE: Duration = Duration::from_secs(2);
/// What the thread, and the end of a hook that is taking the address, may take besides.
const RELEASE_MARGIN: Duration = Duration::from_secs(1);

/// Looks after the virtual addresses of a node, on a thread of its own: neither a busy control plane nor a busy
/// data path delays the drop of an address. Dropping it drops the addresses, a moment later.
#[derive(Debug)]
pub struct Vip {
    stop: DropGuard,
    longest_release: Duration,
    status: watch::Receiver<Vec<AddressStatus>>,
    finished: oneshot::Receiver<()>,
}

impl Vip {
    /// Starts: checks the interface and the privileges, removes what an earlier run left, and from then on
    /// follows `inputs`.
    pub async fn start(addresses: VirtualAddresses, inputs: Inputs) -> Result<Self, VipStartError> {
        let stop = CancellationToken::new();
        let longest_release = longest_release(addresses.hook.is_some());
        let standing = Standing::Absent(Absence::NotLeader);
        let entry = |address: &VirtualAddress| AddressStatus {
            address: *address,
            interface: addresses.interface.clone(),
            standing: standing.clone(),
            since: Timestamp::now(),
        };
        let statuses = watch::Sender::new(addresses.addresses.iter().map(entry).collect());
        let status = statuses.subscribe();
        let (tell_started, started) = oneshot::channel();
        let (tell_finished, finished) = oneshot::channel();
        let work = Work {
            addresses,
            inputs,
            stop: stop.clone(),
            statuses,
        };
        let spawned = thread::Builder::new()
            .name("weldr-vip".into())
            .spawn(move || {
                match Builder::new_current_thread().enable_all().build() {
                    Ok(runtime) => runtime.block_on(work.run(tell_started)),
                    Err(error) => drop(tell_started.send(Err(VipStartError::Kernel(error)))),
                }
                let _ = tell_finished.send(());
            });
        spawned.map_err(VipStartError::Kernel)?;
        let died = |_| VipStartError::Kernel(io::Error::other("the thread of the addresses died"));
        started.await.map_err(died)??;
        Ok(Self {
            stop: stop.drop_guard(),
            longest_release,
            status,
            finished,
        })
    }

    /// How each address is doing, in the order of the configuration.
    pub fn status(&self) -> watch::Receiver<Vec<AddressStatus>> {
        self.status.clone()
    }

    /// How long after the end of the lease the addresses may still be here, when nothing fails.
    pub fn longest_release(&self) -> Duration {
        self.longest_release
    }

    /// Drops the addresses, and returns when they are gone.
    pub async fn stop(self) {
        drop(self.stop);
        if time::timeout(LAST_RELEASE, self.finished).await.is_err() {
            tracing::error!("the virtual addresses cannot be waited for");
        }
    }
}

fn longest_release(by_hook: bool) -> Duration {
    if by_hook {
        hook::LIMIT + RELEASE_MARGIN
    } else {
        KERNEL_RELEASE
    }
}

/// What the thread is given.
struct Work {
    addresses: VirtualAddresses,
    inputs: Inputs,
    stop: CancellationToken,
    statuses: watch::Sender<Vec<AddressStatus>>,
}

impl Work {
    async fn run(self, started: oneshot::Sender<Result<(), VipStartError>>) {
        let VirtualAddresses {
            addresses,
            interface,
            hook,
            ..
        } = &self.addresses.clone();
        if let Some(program) = hook {
            let prepare = addresses
                .iter()
                .map(|address| Hook::prepare(program, *address, interface));
            return self
                .hold(future::try_join_all(prepare).await, started)
                .await;
        }
        let kernel = match Kernel::open() {
            Ok(kernel) => kernel,
            Err(error) => return drop(started.send(Err(error))),
        };
        let prepare = addresses
            .iter()
            .map(|address| KernelAddress::prepare(&kernel, *address, interface));
        self.hold(future::try_join_all(prepare).await, started)
            .await;
    }

    async fn hold<B: AddressBackend>(
        self,
        prepared: Result<Vec<B>, VipStartError>,
        started: oneshot::Sender<Result<(), VipStartError>>,
    ) {
        let (backends, guard) = match self.guarded(prepared).await {
            Ok(ready) => ready,
            Err(error) => return drop(started.send(Err(error))),
        };
        // Nobody waits any more: the node gave up its start, and drops its guard of `stop`.
        let _ = started.send(Ok(()));
        let sources = || Sources::new(self.inputs.clone(), self.stop.clone());
        let inform = guard.map(|guard| guard.inform(sources(), self.statuses.subscribe()));
        let holders: Vec<_> = backends
            .into_iter()
            .enumerate()
            .map(|(at, backend)| Holder::new(backend, sources(), self.statuses.clone(), at).run())
            .collect();
        // The last holder closes the board, which ends the guard.
        drop(self.statuses);
        future::join(
            future::join_all(holders),
            future::OptionFuture::from(inform),
        )
        .await;
    }

    async fn guarded<B>(
        &self,
        prepared: Result<Vec<B>, VipStartError>,
    ) -> Result<(Vec<B>, Option<Guard>), VipStartError> {
        let backends = prepared?;
        let guard = match &self.addresses.guard {
            Some(command) => Some(Guard::start(command, &self.addresses).await?),
            None => None,
        };
        Ok((backends, guard))
    }
}
