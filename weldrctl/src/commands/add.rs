//! `add`.

use weldr_proto::v1::{AddServerRequest, AdminState, HealthCheck};

use super::{
    Session,
    batch::{Batch, Outcome, Written},
    wait,
};
use crate::{
    args::{AddArgs, AdminChoice},
    error::{CtlError, Exit},
};

pub(super) fn validate(args: &AddArgs) -> Result<(), CtlError> {
    args.check.validate()?;
    let in_use = args.weight != Some(0)
        && !matches!(
            args.admin_state,
            Some(AdminChoice::Drain | AdminChoice::Maintenance)
        );
    if args.wait && !in_use {
        return Err(CtlError::Usage(
            "--wait cannot be used here: a server that is not ready, or whose weight is 0, does not become healthy"
                .to_owned(),
        ));
    }
    Ok(())
}

pub(super) async fn run(session: &Session, args: AddArgs) -> Result<Exit, CtlError> {
    let check = (!args.check.is_empty()).then(|| args.check.onto(HealthCheck::default()));
    // The condition is on the set of servers, which each add changes. So the next add uses the revision of the response.
    let mut expected_revision = args.condition.expected_revision;
    let mut batch = Batch::new();
    for address in args.addresses {
        let request = AddServerRequest {
            pool: session.pool.clone(),
            address: address.to_string(),
            weight: args.weight,
            admin_state: args
                .admin_state
                .map_or(AdminState::Unspecified, AdminState::from)
                .into(),
            check: check.clone(),
            expected_revision: expected_revision.unwrap_or_default(),
        };
        let result = session.client.add_server(request).await.map(|response| {
            expected_revision = expected_revision.map(|_| response.revision);
            Written {
                outcome: if response.created {
                    Outcome::Added
                } else {
                    Outcome::Unchanged
                },
                revision: response.revision,
                server: response.server.unwrap_or_default(),
            }
        });
        batch.push(session, address, result)?;
    }
    if args.wait {
        wait::until_healthy(session, &mut batch, args.wait_timeout).await?;
    }
    batch.finish(session)
}
