//! Load balancing algorithms. Pure: each algorithm is a function of a position or of a random number that the caller
//! gives, so a worker keeps its own position and shares no state.
//!
//! Each returns an index into the servers that may be chosen, in constant or logarithmic time, so the cost hardly
//! depends on the number of servers.

mod hash_ring;
mod least_requests;
mod round_robin;
pub mod slow_start;
mod weighted_round_robin;

pub use hash_ring::{HashRing, hash_key};
pub use least_requests::least_requests;
pub use round_robin::round_robin;
pub use weighted_round_robin::Schedule;
