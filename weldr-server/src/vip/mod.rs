//! Virtual addresses: the addresses that clients connect to. Only the node that leads the cluster holds them.
//!
//! A node holds its addresses while its lease is valid and its data path serves. It removes them a margin before the
//! lease ends. The next leader adds them and announces them on the network several times in the first second.
//!
//! In reading order:
//!
//! * `inputs`: what decides whether this node is eligible.
//! * `ownership`: decides what to do with an address. Pure.
//! * `holder`: performs those actions through a `backend`, which is `kernel` (netlink, with `interface` and `frames`)
//!   or `hook` (an operator's program).
//! * `link`: watches the interface.
//! * `conflict`: notices other machines that have an address while this node holds it.
//! * `guard`: a process that removes the addresses when the node's process cannot.
//! * `status`: the published state of an address.
//!
//! # Processes and machines that are stopped
//!
//! A process that is killed or stopped (SIGSTOP, a debugger) cannot remove its addresses. Its `guard` does, at once if
//! the process ended, otherwise at the end of the lease.
//!
//! If the guard is killed or stopped too (a frozen container), the kernel removes the address at the end of its
//! lifetime. That is a number of whole seconds: at most the rest of the lease, and at least one second. The kernel is
//! up to a quarter of a second late. Until then two nodes may have the address. The neighbours send to the node whose
//! gratuitous ARP or neighbour advertisement came last, which is the new holder: a process that continues reads the
//! clock first, announces nothing, and removes what is left.
//!
//! Two cases are not covered:
//!
//! * A process may be stopped between reading the clock and acting. Then it sends at most one announcement too late.
//! * A machine that is suspended together with its clock does not know that its lease is over until it hears from the
//!   cluster.
//!
//! An address that a hook moves has no lifetime. If neither the node nor the guard can release it, the next node's
//! `acquire` must take it away.

mod backend;
mod conflict;
mod error;
mod frames;
mod guard;
mod holder;
mod hook;
mod inputs;
mod interface;
mod kernel;
mod link;
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
pub use hook::run_program;
pub use inputs::Inputs;
pub use interface::{Mac, shown_mac};
pub use status::{Absence, AddressStatus, GuardStatus, Standing};

use crate::{
    clock::dates, config::VirtualAddresses, liveness::Tasks, model::VirtualAddress, priority,
};
use backend::AddressBackend;
use conflict::Conflicts;
use guard::{Guard, News};
use holder::Holder;
use hook::Hook;
use inputs::{Observed, Sources};
use kernel::{Kernel, KernelAddress};

/// How long the removal of the addresses may take when the node stops: three runs of a hook that hangs.
const LAST_RELEASE: Duration = Duration::from_secs(35);

/// The time limit for removing an address by netlink, which is a system call.
const KERNEL_RELEASE: Duration = Duration::from_secs(2);
/// Additional time for the thread, and for the end of a hook that is adding the address.
const RELEASE_MARGIN: Duration = Duration::from_secs(1);

/// The time limit for one step of a holder, which may wait for a hook.
const LONGEST_STEP: Duration = Duration::from_secs(20);

/// Manages the virtual addresses of a node, on a thread of its own, so that a busy control plane or data path does not
/// delay a removal. Dropping it removes the addresses a moment later.
#[derive(Debug)]
pub struct Vip {
    stop: DropGuard,
    longest_release: Duration,
    status: watch::Receiver<Vec<AddressStatus>>,
    linked: watch::Receiver<bool>,
    /// Whether the interface is watched.
    watches_link: bool,
    guard: watch::Receiver<Option<GuardStatus>>,
    conflicts: watch::Receiver<Vec<Option<Mac>>>,
    finished: oneshot::Receiver<()>,
}

impl Vip {
    /// Starts to follow `inputs`. First checks the interface and the capabilities, and removes what an earlier run
    /// left.
    pub async fn start(
        addresses: VirtualAddresses,
        inputs: Inputs,
        tasks: &Tasks,
    ) -> Result<Self, VipStartError> {
        let stop = CancellationToken::new();
        let longest_release = longest_release(addresses.hook.is_some());
        let standing = Standing::Absent(Absence::NotLeader);
        let entry = |address: &VirtualAddress| AddressStatus {
            address: *address,
            interface: addresses.interface.clone(),
            standing: standing.clone(),
            since: dates::now().into(),
        };
        let statuses = watch::Sender::new(addresses.addresses.iter().map(entry).collect());
        let status = statuses.subscribe();
        let linked = watch::Sender::new(true);
        let is_linked = linked.subscribe();
        let guard_status = watch::Sender::new(None);
        let (guard, watches_link) = (guard_status.subscribe(), addresses.hook.is_none());
        let conflicts = watch::Sender::new(vec![None; addresses.addresses.len()]);
        let conflicting = conflicts.subscribe();
        let (tell_started, started) = oneshot::channel();
        let (tell_finished, finished) = oneshot::channel();
        let work = Work {
            addresses,
            inputs,
            stop: stop.clone(),
            statuses,
            linked,
            guard_status,
            conflicts,
            tasks: tasks.clone(),
        };
        let spawned = thread::Builder::new()
            .name("weldr-vip".into())
            .spawn(move || {
                priority::raise();
                match Builder::new_current_thread().enable_all().build() {
                    Ok(runtime) => runtime.block_on(work.run(tell_started)),
                    Err(error) => drop(tell_started.send(Err(VipStartError::Kernel(error)))),
                }
                let _ = tell_finished.send(());
            });
        spawned.map_err(VipStartError::Thread)?;
        let died = |_| VipStartError::Kernel(io::Error::other("the thread of the addresses died"));
        started.await.map_err(died)??;
        Ok(Self {
            stop: stop.drop_guard(),
            longest_release,
            status,
            linked: is_linked,
            watches_link,
            guard,
            conflicts: conflicting,
            finished,
        })
    }

    /// The status of each address, in the order of the configuration.
    pub fn status(&self) -> watch::Receiver<Vec<AddressStatus>> {
        self.status.clone()
    }

    /// Whether the interface has a link. Without one, the node holds no address.
    pub fn linked(&self) -> watch::Receiver<bool> {
        self.linked.clone()
    }

    /// Whether the interface has a link; `None` if it is not watched.
    pub fn observed_link(&self) -> Option<watch::Receiver<bool>> {
        self.watches_link.then(|| self.linked.clone())
    }

    /// The guard process; `None` if there is none.
    pub fn guard(&self) -> watch::Receiver<Option<GuardStatus>> {
        self.guard.clone()
    }

    /// The Ethernet address of another machine that has it too, for each address, in the order of the configuration.
    pub fn conflicts(&self) -> watch::Receiver<Vec<Option<Mac>>> {
        self.conflicts.clone()
    }

    /// How long after the end of the lease an address may still be there, if nothing fails.
    pub fn longest_release(&self) -> Duration {
        self.longest_release
    }

    /// Removes the addresses, and returns when they are removed.
    pub async fn stop(self) {
        drop(self.stop);
        if time::timeout(LAST_RELEASE, self.finished).await.is_err() {
            tracing::error!("the virtual addresses were not removed in time");
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

/// What the thread needs.
struct Work {
    addresses: VirtualAddresses,
    inputs: Inputs,
    stop: CancellationToken,
    statuses: watch::Sender<Vec<AddressStatus>>,
    linked: watch::Sender<bool>,
    guard_status: watch::Sender<Option<GuardStatus>>,
    conflicts: watch::Sender<Vec<Option<Mac>>>,
    tasks: Tasks,
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
                .hold(future::try_join_all(prepare).await, None, started)
                .await;
        }
        let kernel = match Kernel::open() {
            Ok(kernel) => kernel,
            Err(error) => return drop(started.send(Err(error))),
        };
        let prepare = addresses
            .iter()
            .map(|address| KernelAddress::prepare(&kernel, *address, interface));
        self.hold(future::try_join_all(prepare).await, Some(&kernel), started)
            .await;
    }

    async fn hold<B: AddressBackend>(
        self,
        prepared: Result<Vec<B>, VipStartError>,
        kernel: Option<&Kernel>,
        started: oneshot::Sender<Result<(), VipStartError>>,
    ) {
        let (backends, guard) = match self.guarded(prepared).await {
            Ok(ready) => ready,
            Err(error) => return drop(started.send(Err(error))),
        };
        // The receiver is gone if the node gave up its start; it then drops its guard of `stop` too.
        let _ = started.send(Ok(()));
        let guarded = watch::Sender::new(true);
        let observed = Observed {
            linked: self.linked.subscribe(),
            guarded: guarded.subscribe(),
        };
        let on_lost_quorum = self.addresses.on_lost_quorum;
        let sources = || {
            let (inputs, observed) = (self.inputs.clone(), observed.clone());
            Sources::new(inputs, observed, on_lost_quorum, self.stop.clone())
        };
        let supervise = guard.map(|guard| {
            let tick = self.tasks.register("guard of the virtual addresses");
            let news = News {
                sources: sources(),
                statuses: self.statuses.subscribe(),
                last_words: self.inputs.last_words.clone(),
            };
            let addresses = self.addresses.clone();
            let guarded = guarded.clone();
            let status = &self.guard_status;
            status.send_replace(Some(GuardStatus::STARTED));
            let supervise = guard::supervise(guard, addresses, news, guarded, status, tick.clone());
            tick.watch(supervise)
        });
        let conflicts =
            kernel.and_then(|kernel| Conflicts::listen(kernel, &self.addresses, &self.conflicts));
        let watch_conflicts = conflicts.map(|conflicts| {
            let tick = self.tasks.register("conflicts of the virtual addresses");
            tick.watch(conflicts.watch(sources(), self.statuses.subscribe(), tick.clone()))
        });
        let watch_link = self.watches_link().then(|| {
            let tick = self.tasks.register("interface of the virtual addresses");
            let closed = self.statuses.subscribe();
            let watch = link::watch(
                self.addresses.interface.clone(),
                &self.linked,
                closed,
                tick.clone(),
            );
            tick.watch(watch)
        });
        let addresses = &self.addresses.addresses;
        let register = |at: usize| {
            let name = format!("holder of virtual address {}", addresses[at]);
            self.tasks.register_slow(name, LONGEST_STEP)
        };
        let holders: Vec<_> = backends
            .into_iter()
            .enumerate()
            .map(|(at, backend)| {
                let tick = register(at);
                let holder = Holder::new(backend, sources(), self.statuses.clone(), at);
                tick.watch(holder.run(tick.clone()))
            })
            .collect();
        // The channel closes with the last holder, which ends the guard.
        drop(self.statuses);
        future::join4(
            future::join_all(holders),
            future::OptionFuture::from(supervise),
            future::OptionFuture::from(watch_link),
            future::OptionFuture::from(watch_conflicts),
        )
        .await;
    }

    /// Whether the addresses are on the interface. A hook may put them elsewhere.
    fn watches_link(&self) -> bool {
        self.addresses.hook.is_none()
    }

    async fn guarded<B>(
        &self,
        prepared: Result<Vec<B>, VipStartError>,
    ) -> Result<(Vec<B>, Option<Guard>), VipStartError> {
        let backends = prepared?;
        let guard = match &self.addresses.guard {
            Some(_) => Some(Guard::start(&self.addresses).await?),
            None => None,
        };
        Ok((backends, guard))
    }
}
