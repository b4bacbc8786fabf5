//! The real binaries, as users, scripts and init systems run them.

mod access;
mod access_log;
mod admission;
mod busy;
mod changes;
mod demo;
mod exhaustion;
mod failing;
mod few_threads;
mod guard;
mod idle;
mod lost_data;
mod options;
mod outputs;
mod readiness;
mod refusals;
mod restarts;
mod server_connections;
mod signals;
mod slow_disk;
mod stops;
mod suspended;
mod unfinished;
mod visibility;
mod watching;
mod weldrctl;
