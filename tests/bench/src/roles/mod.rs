//! What this binary is besides the command that people type: each part of a run is a process of its own,
//! with one thread and one epoll.

pub(crate) mod floor;
pub(crate) mod load;
pub(crate) mod origin;
pub(crate) mod pin;
mod poller;
mod socket;
