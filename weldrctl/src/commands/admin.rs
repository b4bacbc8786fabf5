//! `drain`, `ready`, `maintenance`.

use weldr_proto::v1::{AdminState, UpdateServerRequest};

use super::{
    Session,
    batch::{Batch, Outcome, Written},
};
use crate::{
    args::AdminArgs,
    error::{CtlError, Exit},
};

pub(super) const READY: AdminState = AdminState::Ready;
pub(super) const DRAIN: AdminState = AdminState::Drain;
pub(super) const MAINTENANCE: AdminState = AdminState::Maintenance;

pub(super) async fn run(
    session: &Session,
    args: AdminArgs,
    state: AdminState,
) -> Result<Exit, CtlError> {
    let mut batch = Batch::new();
    for address in args.addresses {
        let request = UpdateServerRequest {
            pool: session.pool.clone(),
            address: address.to_string(),
            admin_state: state.into(),
            expected_revision: args.condition.expected_revision.unwrap_or_default(),
            ..UpdateServerRequest::default()
        };
        let result = session.client.update_server(request).await;
        let result = result.map(|response| Written {
            outcome: Outcome::Updated,
            revision: response.revision,
            server: response.server.unwrap_or_default(),
        });
        batch.push(session, address, result)?;
    }
    batch.finish(session)
}
