//! The note that a weight has no effect if the pool chooses servers by `round_robin`.

use weldr_proto::v1::{Balancing, GetPoolRequest};

use super::Session;
use crate::output;

/// Prints a note on stderr if the pool uses `round_robin`, which ignores `weight`. Errors of reading the pool are
/// ignored.
pub(super) async fn note(session: &Session, weight: Option<u32>) {
    if matches!(weight, None | Some(0 | 1)) {
        return;
    }
    let request = GetPoolRequest {
        pool: session.pool.clone(),
        stale: session.stale,
    };
    let Ok(response) = session.client.get_pool(request).await else {
        return;
    };
    let balancing = response
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
