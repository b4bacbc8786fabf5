//! Notices other machines that have a virtual address while this node holds it (RFC 5227 section 2.4).
//!
//! Each announcement is followed by a probe, to which such a machine responds. This node keeps the address: the cluster has
//! decided by a majority that it is the holder, the next leader would find the other machine there too, and whoever gives way to
//! any machine that claims the address lets any machine take it away. It defends the address by announcing it, at most once in
//! [`DEFENCE_GAP`] as the RFC demands, so that two machines that both defend do not fill the network. It says so in the log
//! and in the status, because what clients reach is decided by who announced last.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
    time::{Duration, Instant},
};

use nix::sys::socket::{LinkAddr, SockaddrIn6, recvfrom};
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, eth, ipproto, socket_with};
use tokio::{io::Interest, net::UdpSocket, sync::watch, time};

use super::{
    backend::AddressBackend as _,
    frames,
    inputs::Sources,
    interface::{self, Interface, Mac, shown_mac},
    kernel::{Kernel, KernelAddress},
    status::{AddressStatus, Standing},
};
use crate::{config::VirtualAddresses, liveness::Tick, model::VirtualAddress};

/// The shortest time between two defences (`DEFEND_INTERVAL` of RFC 5227).
const DEFENCE_GAP: Duration = Duration::from_secs(10);
/// The interval of probes while another machine has an address, and how long it must be silent before that counts as over.
const PROBE: Duration = Duration::from_secs(2);
const SILENCE: Duration = Duration::from_secs(7);
/// The longest message that is read. Longer ones are cut, and have nothing of interest at their end.
const LONGEST: usize = 512;

/// Another machine that has an address of this node.
#[derive(Debug, Clone, Copy)]
struct Conflict {
    mac: Mac,
    heard: Instant,
    defended: Option<Instant>,
}

/// What is to be done about a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reaction {
    /// It is not known yet.
    is_new: bool,
    defend: bool,
}

impl Conflict {
    /// Notes that the machine `mac` claims an address that this node holds.
    fn heard(known: &mut Option<Self>, mac: Mac, now: Instant) -> Reaction {
        let before = *known;
        let defended = before.and_then(|before| before.defended);
        let defend = defended.is_none_or(|last| now.duration_since(last) >= DEFENCE_GAP);
        *known = Some(Self {
            mac,
            heard: now,
            defended: if defend { Some(now) } else { defended },
        });
        Reaction {
            is_new: before.is_none_or(|before| before.mac != mac),
            defend,
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.heard) >= SILENCE
    }
}

/// One address, and who else has it.
struct Watched<'k> {
    address: VirtualAddress,
    backend: KernelAddress<'k>,
    conflict: Option<Conflict>,
}

/// The watched addresses of an interface.
pub(super) struct Conflicts<'k> {
    interface: &'k str,
    watched: Vec<Watched<'k>>,
    arp: UdpSocket,
    icmpv6: Option<UdpSocket>,
    /// The Ethernet address of the other machine, for each address.
    told: &'k watch::Sender<Vec<Option<Mac>>>,
}

impl<'k> Conflicts<'k> {
    /// Begins to listen; must be called inside a tokio runtime. `None`, with a line in the log, if that is not possible.
    pub(super) fn listen(
        kernel: &'k Kernel,
        addresses: &'k VirtualAddresses,
        told: &'k watch::Sender<Vec<Option<Mac>>>,
    ) -> Option<Self> {
        let VirtualAddresses {
            addresses,
            interface,
            ..
        } = addresses;
        let has_v6 = addresses.iter().any(|address| address.ip().is_ipv6());
        let watched = addresses.iter().map(|&address| Watched {
            address,
            backend: KernelAddress::new(kernel, address, interface),
            conflict: None,
        });
        let opened = open(AddressFamily::PACKET, eth::ARP).and_then(|arp| {
            let icmpv6 = has_v6.then(|| open(AddressFamily::INET6, ipproto::ICMPV6));
            Ok((arp, icmpv6.transpose()?))
        });
        let (arp, icmpv6) = opened
            .inspect_err(|error| {
                tracing::warn!(%error, "other machines that have a virtual address are not noticed");
            })
            .ok()?;
        Some(Self {
            interface,
            watched: watched.collect(),
            arp,
            icmpv6,
            told,
        })
    }

    /// Notices other machines until the sender of `statuses` is dropped.
    pub(super) async fn watch(
        mut self,
        mut sources: Sources,
        mut statuses: watch::Receiver<Vec<AddressStatus>>,
        tick: Tick,
    ) {
        let mut probes = time::interval(PROBE);
        let ips: Vec<_> = self.watched.iter().map(|one| one.address.ip()).collect();
        loop {
            tick.tick();
            let claim = tokio::select! {
                claim = arp_claim(&self.arp, self.interface, &ips) => claim,
                claim = neighbour_claim(self.icmpv6.as_ref()) => claim,
                changed = statuses.changed() => match changed {
                    Ok(()) => None,
                    Err(_) => return,
                },
                _ = probes.tick() => {
                    self.probe();
                    None
                }
            };
            // The clock is read after each wait: a process that was stopped may still believe that it holds the address that the
            // next holder claims, and must not announce it.
            let entitled = sources.eligibility().end(Instant::now()).is_ok();
            let holds = |status: &AddressStatus| entitled && status.standing == Standing::Holding;
            let holds: Vec<_> = statuses.borrow_and_update().iter().map(holds).collect();
            self.forget(&holds);
            if let Some((ip, mac)) = claim {
                self.hears(ip, mac, &holds).await;
            }
        }
    }

    async fn hears(&mut self, ip: IpAddr, mac: Mac, holds: &[bool]) {
        let at = self.watched.iter().position(|one| one.address.ip() == ip);
        let Some(at) = at.filter(|at| holds.get(*at) == Some(&true)) else {
            return;
        };
        // Without descriptors nothing is known of the own interfaces.
        if interface::own_macs().map_or(true, |own| own.contains(&mac)) {
            return;
        }
        let Watched {
            address,
            backend,
            conflict,
        } = &mut self.watched[at];
        let reaction = Conflict::heard(conflict, mac, Instant::now());
        if reaction.is_new {
            tracing::error!(
                %address,
                interface = self.interface,
                machine = shown_mac(mac),
                "another machine has the virtual address too: clients reach whichever announced it last; this node keeps and \
                 defends it"
            );
        }
        if reaction.defend
            && let Err(error) = backend.announce().await
        {
            tracing::debug!(%error, "the virtual address is not defended");
        }
        self.tell();
    }

    /// Forgets machines that are silent, and all of an address that this node does not hold.
    fn forget(&mut self, holds: &[bool]) {
        let now = Instant::now();
        for (at, one) in self.watched.iter_mut().enumerate() {
            let held = holds.get(at) == Some(&true);
            let over = one.conflict.take_if(|known| !held || known.is_over(now));
            if held && let Some(over) = over {
                tracing::info!(
                    address = %one.address,
                    machine = shown_mac(over.mac),
                    "no other machine has the virtual address any more"
                );
            }
        }
        self.tell();
    }

    /// Asks again, while another machine has an address.
    fn probe(&mut self) {
        for one in self.watched.iter_mut().filter(|one| one.conflict.is_some()) {
            if let Err(error) = one.backend.probe() {
                tracing::debug!(%error, "nobody is asked who has the virtual address");
            }
        }
    }

    fn tell(&self) {
        let conflicts = self
            .watched
            .iter()
            .map(|one| one.conflict.map(|known| known.mac));
        let conflicts: Vec<_> = conflicts.collect();
        self.told.send_if_modified(|told| {
            let is_new = *told != conflicts;
            *told = conflicts;
            is_new
        });
    }
}

/// A raw socket, as the type of the runtime for sockets whose messages are read one by one. Only its readiness is used.
fn open(family: AddressFamily, protocol: Protocol) -> io::Result<UdpSocket> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::RAW, flags, Some(protocol))?;
    UdpSocket::from_std(socket.into())
}

/// The next claim in a message of `socket`, which `read` reads. `None` for a message without one.
async fn next_claim(
    socket: &UdpSocket,
    read: impl Fn(BorrowedFd<'_>, &mut [u8]) -> nix::Result<Option<(IpAddr, Mac)>>,
) -> Option<(IpAddr, Mac)> {
    loop {
        if socket.readable().await.is_err() {
            return std::future::pending().await;
        }
        let mut message = [0; LONGEST];
        let read = || Ok(read(socket.as_fd(), &mut message)?);
        // After an error, that of an interface that is down for example, the next message is waited for.
        if let Ok(claim) = socket.try_io(Interest::READABLE, read) {
            return claim;
        }
    }
}

/// The next claim of one of `ips` on `interface`.
async fn arp_claim(socket: &UdpSocket, interface: &str, ips: &[IpAddr]) -> Option<(IpAddr, Mac)> {
    next_claim(socket, |socket, frame| {
        let (length, from) = recvfrom::<LinkAddr>(socket.as_raw_fd(), frame)?;
        let index = from.and_then(|from| u32::try_from(from.ifindex()).ok());
        let claim = frame.get(..length).and_then(frames::arp_claim);
        // Most frames say nothing of the addresses, so that the interface is looked up last.
        Ok(claim.filter(|(ip, _)| ips.contains(ip) && is_on(interface, index)))
    })
    .await
}

fn is_on(interface: &str, index: Option<u32>) -> bool {
    let found = Interface::look_up(interface).ok().flatten();
    found.is_some_and(|found| Some(found.index()) == index)
}

async fn neighbour_claim(socket: Option<&UdpSocket>) -> Option<(IpAddr, Mac)> {
    let Some(socket) = socket else {
        return std::future::pending().await;
    };
    next_claim(socket, |socket, message| {
        let (length, _) = recvfrom::<SockaddrIn6>(socket.as_raw_fd(), message)?;
        Ok(message.get(..length).and_then(frames::neighbour_claim))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: Mac = [2, 0, 0, 0, 0, 9];
    const THIRD: Mac = [2, 0, 0, 0, 0, 8];

    #[test]
    fn an_address_is_defended_at_once_and_then_not_too_often() {
        let (mut known, begun) = (None, Instant::now());
        let mut heard = |mac, seconds| {
            let reaction = Conflict::heard(&mut known, mac, begun + Duration::from_secs(seconds));
            (reaction.is_new, reaction.defend)
        };
        assert_eq!(heard(OTHER, 0), (true, true));
        assert_eq!(heard(OTHER, 1), (false, false));
        assert_eq!(heard(THIRD, 2), (true, false), "one more machine");
        assert_eq!(heard(THIRD, 10), (false, true));
        assert_eq!(heard(THIRD, 19), (false, false));
    }

    #[test]
    fn a_conflict_is_over_when_nobody_answers_any_more() {
        let (mut known, begun) = (None, Instant::now());
        Conflict::heard(&mut known, OTHER, begun);
        Conflict::heard(&mut known, OTHER, begun + SILENCE / 2);
        let known = known.unwrap();
        assert!(!known.is_over(begun + SILENCE));
        assert!(known.is_over(begun + SILENCE / 2 + SILENCE));
    }
}
