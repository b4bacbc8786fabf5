//! The address backend that uses netlink, and announces an address with Ethernet frames.
//!
//! The address has a lifetime in the kernel, in whole seconds, which each renewal of the lease extends. So it
//! disappears by itself when no process is left to remove it.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd as _, OwnedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, sendto, socket},
};
use rtnetlink::{
    AddressMessageBuilder, Handle,
    packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, CacheInfo},
};
use tokio::{task::JoinHandle, time};

use super::{
    backend::{AddressBackend, Found},
    error::{BackendError, VipStartError},
    frames,
    interface::{self, Interface},
};
use crate::model::VirtualAddress;

/// The time limit of one request to the kernel.
const LIMIT: Duration = Duration::from_secs(1);

/// The netlink connection and the socket for frames, shared by all addresses of a node.
#[derive(Debug)]
pub(super) struct Kernel {
    netlink: Handle,
    connection: JoinHandle<()>,
    packets: OwnedFd,
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Kernel {
    /// Opens both; must be called inside a tokio runtime.
    pub(super) fn open() -> Result<Self, VipStartError> {
        let kernel = |error: Errno| VipStartError::Kernel(error.into());
        // Protocol 0: the socket receives no frames.
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let packets = match socket(AddressFamily::Packet, SockType::Raw, flags, None) {
            Err(Errno::EPERM | Errno::EACCES) => {
                return Err(VipStartError::Privilege("CAP_NET_RAW"));
            }
            opened => opened.map_err(kernel)?,
        };
        let (connection, netlink, _) =
            rtnetlink::new_connection().map_err(VipStartError::Kernel)?;
        Ok(Self {
            netlink,
            connection: tokio::spawn(connection),
            packets,
        })
    }
}

/// One address on one interface.
#[derive(Debug)]
pub(super) struct KernelAddress<'k> {
    kernel: &'k Kernel,
    address: VirtualAddress,
    interface: &'k str,
    /// The interface as it was last seen.
    seen: Option<Interface>,
}

impl<'k> KernelAddress<'k> {
    /// An address of which nothing is known.
    pub(super) fn new(kernel: &'k Kernel, address: VirtualAddress, interface: &'k str) -> Self {
        Self {
            kernel,
            address,
            interface,
            seen: None,
        }
    }

    /// Checks the interface, and removes the address if an earlier run left it.
    pub(super) async fn prepare(
        kernel: &'k Kernel,
        address: VirtualAddress,
        interface: &'k str,
    ) -> Result<Self, VipStartError> {
        let found = Interface::look_up(interface).map_err(VipStartError::Kernel)?;
        match found {
            None => return Err(VipStartError::NoInterface(interface.to_owned())),
            Some(found) if !found.is_up => {
                return Err(VipStartError::InterfaceDown(interface.to_owned()));
            }
            Some(_) => {}
        }
        let holder = interface::holder_of(address.ip()).map_err(VipStartError::Kernel)?;
        if let Some(elsewhere) = holder.filter(|holder| holder != interface) {
            return Err(VipStartError::Elsewhere {
                address,
                interface: elsewhere,
            });
        }
        let mut prepared = Self::new(kernel, address, interface);
        match prepared.release().await {
            Ok(()) => Ok(prepared),
            Err(BackendError::Kernel(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(VipStartError::Privilege("CAP_NET_ADMIN"))
            }
            Err(source) => Err(VipStartError::Leftover { address, source }),
        }
    }

    /// The current state of the interface; `None` if there is none. Listing interfaces takes a descriptor. A process that
    /// has none left uses the state that it saw last, so that it can still hold the address, and remove it for a node that
    /// can serve.
    fn find(&mut self) -> Result<Option<Interface>, BackendError> {
        match Interface::look_up(self.interface) {
            Ok(found) => {
                self.seen.clone_from(&found);
                Ok(found)
            }
            Err(error) if self.seen.is_some() && is(&error, &[Errno::EMFILE, Errno::ENFILE]) => {
                Ok(self.seen.clone())
            }
            Err(error) => Err(BackendError::List(error)),
        }
    }

    fn look_up(&mut self) -> Result<Interface, BackendError> {
        let found = self.find()?;
        found.ok_or_else(|| BackendError::NoInterface(self.interface.to_owned()))
    }

    /// Asks whether another machine has the address.
    pub(super) fn probe(&mut self) -> Result<(), BackendError> {
        let interface = self.look_up()?;
        let Some(mac) = interface.mac() else {
            return Ok(());
        };
        self.send(&interface, &frames::probe(self.address.ip(), mac))
    }

    fn send(&self, interface: &Interface, frame: &[u8]) -> Result<(), BackendError> {
        let socket = self.kernel.packets.as_raw_fd();
        sendto(socket, frame, &interface.link, MsgFlags::empty())
            .map_err(|error| BackendError::Announce(error.into()))?;
        Ok(())
    }

    async fn add(&self, index: u32, lifetime: Duration, replace: bool) -> Result<(), BackendError> {
        let (ip, prefix) = (self.address.ip(), self.address.prefix());
        let mut request = self.kernel.netlink.address().add(index, ip, prefix);
        let attributes = &mut request.message_mut().attributes;
        attributes.push(AddressAttribute::CacheInfo(lifetimes(ip, lifetime)));
        if ip.is_ipv6() {
            attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        let request = if replace { request.replace() } else { request };
        acknowledged(request.execute()).await
    }

    async fn remove(&self, index: u32, prefix: u8) -> Result<(), BackendError> {
        let message = message(index, self.address.ip(), prefix);
        match acknowledged(self.kernel.netlink.address().del(message).execute()).await {
            Err(BackendError::Kernel(error))
                if is(&error, &[Errno::EADDRNOTAVAIL, Errno::ENODEV]) =>
            {
                Ok(())
            }
            removed => removed,
        }
    }
}

impl AddressBackend for KernelAddress<'_> {
    async fn hold(&mut self, lifetime: Duration) -> Result<Found, BackendError> {
        let interface = self.look_up()?;
        let index = interface.index();
        match self.add(index, lifetime, false).await {
            Ok(()) => Ok(Found::Missing),
            Err(BackendError::Kernel(error)) if is(&error, &[Errno::EEXIST]) => {
                self.add(index, lifetime, true).await?;
                Ok(Found::Present)
            }
            Err(error) => Err(error),
        }
    }

    async fn announce(&mut self) -> Result<(), BackendError> {
        let interface = self.look_up()?;
        // Without Ethernet there is no neighbour to tell.
        let Some(mac) = interface.mac() else {
            return Ok(());
        };
        let ip = self.address.ip();
        let is_router = ip.is_ipv6() && interface::forwards_ipv6(self.interface);
        for frame in frames::announcement(ip, mac, is_router) {
            self.send(&interface, &frame)?;
        }
        // `conflict` hears who responds.
        self.send(&interface, &frames::probe(ip, mac))
    }

    async fn release(&mut self) -> Result<(), BackendError> {
        let Some(interface) = self.find()? else {
            return Ok(());
        };
        self.remove(interface.index(), self.address.prefix())
            .await?;
        // Addresses that an earlier run left with another prefix length.
        for (ip, prefix) in &interface.addresses {
            if *ip == self.address.ip() && *prefix != self.address.prefix() {
                self.remove(interface.index(), *prefix).await?;
            }
        }
        Ok(())
    }
}

/// The lifetimes for `lifetime`, rounded down to whole seconds, at least one second.
///
/// An IPv6 address is added as deprecated, so that it is not chosen as the source of our own connections (RFC 6724
/// section 5), which would break when it moves. For IPv4 the kernel prefers the interface's first address in any case.
fn lifetimes(ip: IpAddr, lifetime: Duration) -> CacheInfo {
    let valid = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX).max(1);
    let mut lifetimes = CacheInfo::default();
    lifetimes.ifa_valid = valid;
    lifetimes.ifa_preferred = if ip.is_ipv6() { 0 } else { valid };
    lifetimes
}

fn message(index: u32, ip: IpAddr, prefix: u8) -> AddressMessage {
    match ip {
        IpAddr::V4(ip) => AddressMessageBuilder::<Ipv4Addr>::new()
            .index(index)
            .address(ip, prefix)
            .build(),
        IpAddr::V6(ip) => AddressMessageBuilder::<Ipv6Addr>::new()
            .index(index)
            .address(ip, prefix)
            .build(),
    }
}

async fn acknowledged(
    request: impl Future<Output = Result<(), rtnetlink::Error>>,
) -> Result<(), BackendError> {
    match time::timeout(LIMIT, request).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(rtnetlink::Error::NetlinkError(refusal))) => {
            Err(BackendError::Kernel(refusal.to_io()))
        }
        Ok(Err(error)) => Err(BackendError::Netlink(error)),
        Err(_) => Err(BackendError::Timeout(LIMIT)),
    }
}

fn is(error: &io::Error, numbers: &[Errno]) -> bool {
    let number = error.raw_os_error().map(Errno::from_raw);
    number.is_some_and(|number| numbers.contains(&number))
}
