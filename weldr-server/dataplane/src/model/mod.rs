//! The values that everything else is about: pools, servers, their checks, the commands that change
//! them and the desired state that results. Pure: no clock, no randomness, no I/O.

mod allowed_servers;
mod command;
mod desired_state;
mod failover;
mod health;
mod health_check;
mod ids;
mod invalid;
mod node_name;
mod own_addresses;
mod pool;
mod recent_changes;
mod server;
mod server_address;
mod target;
mod validation;
mod virtual_address;

pub use allowed_servers::AllowedServers;
pub use command::{Applied, Command, Outcome, Rejection, ServerSetting};
pub use desired_state::DesiredState;
pub use failover::Failover;
pub use health::{Health, HealthState, Reason};
pub use health_check::{CheckKind, CheckOverride, ExpectedStatus, HealthCheck, HttpCheck};
pub use ids::{PoolName, Revision, ServerId, Timestamp};
pub use invalid::{Invalid, in_range};
pub use node_name::node_name;
pub use own_addresses::{ListenerRole, OwnAddresses, OwnListener};
pub use pool::{Balancing, Pool, PoolPatch, PoolSettings};
pub use recent_changes::RecentChanges;
pub use server::{AdminState, Removal, Server, ServerPatch, ServerSpec, Weight};
pub use server_address::{parse_server_address, server_address};
pub use target::Target;
pub use validation::LONGEST_DRAIN;
pub use virtual_address::{OnLostQuorum, VirtualAddress};

/// Reads an option of an option: a field that is present is `Some`, even when it holds nothing. Without
/// this, `Some(None)` is read back as `None`, and an override would be lost at the next start.
fn present<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: serde::Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}
