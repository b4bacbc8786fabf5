//! How one of several servers is chosen. Pure: each algorithm is a function of a position or of a random
//! number that the caller gives, so that a worker keeps its own position and shares nothing.
//!
//! All of them response with an index into the servers that may be chosen, in constant or logarithmic time:
//! a pick among ten thousand servers costs what a pick among ten costs.

mod least_requests;
mod round_robin;
mod weighted_round_robin;

pub use least_requests::least_requests;
pub use round_robin::round_robin;
pub use weighted_round_robin::Schedule;
