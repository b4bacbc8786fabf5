//! Listeners, pools and rules as operators work with them: through `weldrctl`, REST and gRPC, and in a cluster.

mod atomic;
mod certificates;
mod commands;
mod configuration;
mod explained;
mod refusals;
mod rest;
mod statistics;

use std::net::SocketAddr;

use tonic::transport::{Channel, Endpoint};
use weldr_proto::v1::routing_client::RoutingClient;
use weldr_tests::wait;

/// A client of the calls about routing at the node that is managed at `management`.
fn routing_at(management: SocketAddr) -> RoutingClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{management}"));
    let endpoint = endpoint.expect("an address is a URL").timeout(wait::LIMIT);
    RoutingClient::new(endpoint.connect_lazy()).max_decoding_message_size(64 << 20)
}
