//! `remove`.

use std::time::Duration;

use weldr_proto::v1::RemoveServerRequest;

use super::{
    Session,
    batch::{Batch, Outcome, Written},
    wait,
};
use crate::{
    args::RemoveArgs,
    error::{CtlError, Exit},
    settings::proto_duration,
};

pub(super) async fn run(session: &Session, args: RemoveArgs) -> Result<Exit, CtlError> {
    let deadline = if args.now {
        Some(Duration::ZERO)
    } else {
        args.deadline
    };
    let mut batch = Batch::new();
    for address in args.addresses {
        let request = RemoveServerRequest {
            pool: session.pool.clone(),
            address: address.to_string(),
            deadline: deadline.map(proto_duration),
            expected_revision: args.condition.expected_revision.unwrap_or_default(),
        };
        let result = session.client.remove_server(request).await;
        let result = result.map(|response| Written {
            outcome: if response.removed {
                Outcome::Removed
            } else {
                Outcome::Draining
            },
            revision: response.revision,
            server: response.server.unwrap_or_default(),
        });
        batch.push(session, address, result)?;
    }
    if args.wait {
        wait::until_gone(session, &mut batch, deadline).await?;
    }
    batch.finish(session)
}
