//! End-to-end facts of a message: what holds whatever protocol carries it.

mod accepts;

pub(super) use accepts::ClientAccepts;
