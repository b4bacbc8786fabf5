//! Time, as this process measures it and as it shows it.
//!
//! - [`RunningTime`] and [`within`] measure waits. They use the monotonic clock (`CLOCK_MONOTONIC`), which nobody can
//!   set, and leave out time in which the process did not run.
//! - [`dates`] shows when something happened. Dates come from the clock of the machine (`CLOCK_REALTIME`), which can be
//!   set to anything at any time. Nothing is decided by a date.
//!
//! `CLOCK_BOOTTIME` would also count while the machine is suspended. No wait here is to count that: a suspended process
//! can neither pass on a response nor finish a check. It is the clock for what is promised to other machines, which go
//! on meanwhile.

pub mod dates;
mod running_time;

pub use running_time::{RunningTime, sleep, within};
