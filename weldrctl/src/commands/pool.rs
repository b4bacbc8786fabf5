//! `pool get`, `pool set`.

use weldr_proto::v1::{
    GetPoolRequest, GetPoolResponse, Pool, UpdatePoolRequest, health_check::Type,
};

use super::{
    Session,
    set::{ATTEMPTS, is_aborted},
};
use crate::{
    args::{PoolCommand, PoolSetArgs},
    error::{CtlError, Exit},
    output::{card, json},
};

pub(super) fn validate(command: &PoolCommand) -> Result<(), CtlError> {
    match command {
        PoolCommand::Get => Ok(()),
        PoolCommand::Set(args) if args.is_empty() => Err(CtlError::Usage(
            "nothing to set: give at least one setting".to_owned(),
        )),
        PoolCommand::Set(args) => args.check.validate(),
    }
}

pub(super) async fn run(session: &Session, command: PoolCommand) -> Result<Exit, CtlError> {
    let (revision, pool) = match command {
        PoolCommand::Get => {
            let response = get(session).await?;
            (response.revision, response.pool)
        }
        PoolCommand::Set(args) => set(session, &args).await?,
    };
    let pool = pool.unwrap_or_default();
    let output = &session.output;
    if output.is_json() {
        output.document(&json::pool(&pool, revision))?;
    } else {
        output.text(&card::pool(&pool, output.paint()))?;
    }
    Ok(Exit::Done)
}

async fn get(session: &Session) -> Result<GetPoolResponse, CtlError> {
    let request = GetPoolRequest {
        pool: session.pool.clone(),
        stale: session.stale,
    };
    session.client.get_pool(request).await
}

async fn set(session: &Session, args: &PoolSetArgs) -> Result<(u64, Option<Pool>), CtlError> {
    let mut attempts = 1;
    loop {
        let result = set_once(session, args).await;
        let given = args.condition.expected_revision.is_some();
        match result {
            Err(error) if !given && attempts < ATTEMPTS && is_aborted(&error) => attempts += 1,
            result => return result,
        }
    }
}

async fn set_once(session: &Session, args: &PoolSetArgs) -> Result<(u64, Option<Pool>), CtlError> {
    let mut expected_revision = args.condition.expected_revision;
    let mut kind = None;
    if args.check.touches_http() {
        let (revision, current) = check_kind(session).await?;
        kind = current;
        expected_revision = expected_revision.or(Some(revision));
    }
    let request = UpdatePoolRequest {
        pool: session.pool.clone(),
        settings: Some(args.settings(kind)),
        expected_revision: expected_revision.unwrap_or_default(),
    };
    let response = session.client.update_pool(request).await?;
    Ok((response.revision, response.pool))
}

/// The type of the pool's present check, and the revision of the response.
async fn check_kind(session: &Session) -> Result<(u64, Option<Type>), CtlError> {
    let response = get(session).await?;
    let kind = response
        .pool
        .and_then(|pool| pool.settings)
        .and_then(|settings| settings.check)
        .and_then(|check| check.r#type);
    Ok((response.revision, kind))
}
