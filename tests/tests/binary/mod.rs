//! The real binaries, as users, scripts and init systems run them.

mod access_log;
mod busy;
mod changes;
mod demo;
mod failing;
mod idle;
mod options;
mod refusals;
mod restarts;
mod stops;
mod visibility;
mod watching;
mod weldrctl;
