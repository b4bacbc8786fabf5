//! Errors of virtual addresses.

use std::{io, path::PathBuf, process::ExitStatus, time::Duration};

use crate::model::VirtualAddress;

/// Why a node cannot manage its virtual addresses.
#[derive(Debug, thiserror::Error)]
pub enum VipStartError {
    /// There is no interface of this name.
    #[error(
        "vip_interface = {0}: this machine has no such network interface (`ip link` lists them)"
    )]
    NoInterface(String),
    /// The interface is down.
    #[error("vip_interface = {0}: this network interface is down (`ip link set {0} up`)")]
    InterfaceDown(String),
    /// Another interface of this machine has the address.
    #[error("vip = {address}: the network interface {interface} has this address already")]
    Elsewhere {
        /// The address.
        address: VirtualAddress,
        /// The interface.
        interface: String,
    },
    /// The process lacks a capability.
    #[error(
        "holding a virtual address takes the capabilities CAP_NET_ADMIN (to put it on the interface) and \
         CAP_NET_RAW (to announce it), and this process lacks {0}: run weldr as root, or with \
         AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW in its systemd unit, or use --vip-hook"
    )]
    Privilege(&'static str),
    /// The hook is not an executable file.
    #[error("vip_hook = {} is not a program that can be run", .0.display())]
    NoHook(PathBuf, #[source] io::Error),
    /// An address from an earlier run cannot be removed.
    #[error("{address} may be left from an earlier run and cannot be dropped")]
    Leftover {
        /// The address.
        address: VirtualAddress,
        /// The reason.
        source: BackendError,
    },
    /// The guard process, which removes the addresses of a node that died, does not start.
    #[error("the guard of the virtual addresses cannot be started")]
    Guard(#[source] io::Error),
    /// There is no thread for the addresses.
    #[error("cannot start a thread: raise the limit of processes (ulimit -u, TasksMax)")]
    Thread(#[source] io::Error),
    /// A system call failed.
    #[error("the virtual addresses cannot be managed")]
    Kernel(#[source] io::Error),
}

/// Why an address cannot be added, announced or removed.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The interface no longer exists.
    #[error("there is no network interface {0}")]
    NoInterface(String),
    /// The interfaces cannot be listed.
    #[error("the network interfaces cannot be listed")]
    List(#[source] io::Error),
    /// The kernel refused the request.
    #[error("the kernel refused")]
    Kernel(#[source] io::Error),
    /// The netlink connection is broken.
    #[error("no response over netlink")]
    Netlink(#[source] rtnetlink::Error),
    /// An announcement cannot be sent.
    #[error("the announcement cannot be sent")]
    Announce(#[source] io::Error),
    /// The hook cannot be run.
    #[error("the hook cannot be run")]
    HookStart(#[source] io::Error),
    /// The hook failed.
    #[error("the hook ended with {0}")]
    HookFailed(ExitStatus),
    /// The time limit was reached.
    #[error("it took longer than {}", humantime::format_duration(*.0))]
    Timeout(Duration),
    /// The node lost its eligibility during the call.
    #[error("it was cancelled: {0}")]
    GivenUp(super::Absence),
}
