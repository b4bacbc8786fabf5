//! The note that a weight makes no difference where the pool gives each server its turn.

use weldr_proto::v1::{Balancing, GetPoolRequest};

use super::Session;
use crate::output;

/// Says so on stderr when `weight` is one that `round_robin` ignores and the pool has it. A note and no
/// more: when the pool cannot be read, nothing is said.
pub(super) async fn note(session: &Session, weight: Option<u32>) {
    if matches!(weight, None | Some(0 | 1)) {
        return;
    }
    let request = GetPoolRequest {
        pool: session.pool.clone(),
        stale: session.stale,
    };
    let Ok(answer) = session.client.get_pool(request).await else {
        return;
    };
    let balancing = answer
        .pool
        .and_then(|pool| pool.settings)
        .map(|settings| settings.balancing());
    if balancing == Some(Balancing::RoundRobin) {
        output::complain(
            "note: weights other than 0 make no difference under round_robin; to change that: \
             weldrctl pool set --balancing weighted-round-robin",
        );
    }
}
