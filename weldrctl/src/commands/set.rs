//! `set`: the weight and the check of servers.

use std::net::SocketAddr;

use tonic::Code;
use weldr_proto::v1::{GetServerRequest, HealthCheck, UpdateServerRequest};

use super::{
    Session,
    batch::{Batch, Outcome, Written},
};
use crate::{
    args::SetArgs,
    error::{CtlError, Exit, Refusal},
};

/// How often a read and its write are tried if other writers change the server in between.
pub(super) const ATTEMPTS: usize = 5;

pub(super) fn validate(args: &SetArgs) -> Result<(), CtlError> {
    if args.weight.is_none() && !args.clear_check && args.check.is_empty() {
        return Err(CtlError::Usage(
            "nothing to set: give --weight, --clear-check or options of the health check"
                .to_owned(),
        ));
    }
    args.check.validate()
}

pub(super) async fn run(session: &Session, args: SetArgs) -> Result<Exit, CtlError> {
    let mut batch = Batch::new();
    for address in &args.addresses {
        let result = set(session, &args, *address).await;
        batch.push(session, *address, result)?;
    }
    batch.finish(session)
}

async fn set(session: &Session, args: &SetArgs, address: SocketAddr) -> Result<Written, CtlError> {
    let mut attempts = 1;
    loop {
        let result = set_once(session, args, address).await;
        let given = args.condition.expected_revision.is_some();
        match result {
            Err(error) if !given && attempts < ATTEMPTS && is_aborted(&error) => attempts += 1,
            result => return result,
        }
    }
}

async fn set_once(
    session: &Session,
    args: &SetArgs,
    address: SocketAddr,
) -> Result<Written, CtlError> {
    let mut request = UpdateServerRequest {
        pool: session.pool.clone(),
        address: address.to_string(),
        weight: args.weight,
        expected_revision: args.condition.expected_revision.unwrap_or_default(),
        ..UpdateServerRequest::default()
    };
    if args.clear_check {
        request.check = Some(args.check.onto(HealthCheck::default()));
    } else if !args.check.is_empty() {
        let (revision, check) = overrides(session, address).await?;
        request.check = Some(args.check.onto(check));
        if args.condition.expected_revision.is_none() {
            request.expected_revision = revision;
        }
    }
    let response = session.client.update_server(request).await?;
    Ok(Written {
        outcome: Outcome::Updated,
        revision: response.revision,
        server: response.server.unwrap_or_default(),
    })
}

/// What the server overrides at present, and the revision of the response.
async fn overrides(session: &Session, address: SocketAddr) -> Result<(u64, HealthCheck), CtlError> {
    let request = GetServerRequest {
        pool: session.pool.clone(),
        address: address.to_string(),
        stale: session.stale,
    };
    let response = session.client.get_server(request).await?;
    let check = response.server.and_then(|server| server.check);
    Ok((response.revision, check.unwrap_or_default()))
}

/// Whether another writer changed the object first.
pub(super) fn is_aborted(error: &CtlError) -> bool {
    matches!(
        error,
        CtlError::Refused(Refusal {
            code: Code::Aborted,
            ..
        })
    )
}
