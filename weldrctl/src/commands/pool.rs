//! `pool add`, `pool get`, `pool set`, `pool list`, `pool remove`.

use weldr_proto::v1::{
    CreatePoolRequest, DeletePoolRequest, GetPoolRequest, GetPoolResponse, ListPoolsRequest, Pool,
    UpdatePoolRequest, health_check::Type,
};

use super::{
    Session,
    set::{ATTEMPTS, is_aborted},
};
use crate::{
    args::{PoolAddArgs, PoolCommand, PoolRemoveArgs, PoolSetArgs},
    error::{CtlError, Exit},
    output::{card, json, pools},
    settings::setting_names,
};

pub(super) fn validate(command: &PoolCommand) -> Result<(), CtlError> {
    match command {
        PoolCommand::Get(_) | PoolCommand::List | PoolCommand::Remove(_) => Ok(()),
        PoolCommand::Add(args) => args.check.validate(),
        PoolCommand::Set(args) if args.is_empty() => Err(CtlError::Usage(
            "nothing to set: give at least one setting".to_owned(),
        )),
        PoolCommand::Set(args) => args.check.validate(),
    }
}

pub(super) async fn run(session: &Session, command: PoolCommand) -> Result<Exit, CtlError> {
    let (revision, pool) = match command {
        PoolCommand::Get(args) => {
            let name = args.name.as_ref().unwrap_or(&session.pool);
            let response = get(session, name).await?;
            (response.revision, response.pool)
        }
        PoolCommand::Set(args) => {
            let name = args.name.as_ref().unwrap_or(&session.pool);
            set(session, name, &args).await?
        }
        PoolCommand::Add(args) => return Box::pin(add(session, args)).await,
        PoolCommand::List => return list(session).await,
        PoolCommand::Remove(args) => return remove(session, args).await,
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

async fn add(session: &Session, args: PoolAddArgs) -> Result<Exit, CtlError> {
    let request = CreatePoolRequest {
        name: args.name,
        settings: Some(args.settings.with_check(&args.check, None)),
    };
    let response = session.client.create_pool(request).await?;
    let pool = response.pool.unwrap_or_default();
    let output = &session.output;
    if output.is_json() {
        output.document(&json::pool(&pool, response.revision))?;
    } else if response.created {
        output.text(&format!(
            "pool {} added, revision {}\n",
            pool.name, response.revision
        ))?;
    } else {
        output.text(&format!(
            "pool {} was already there with these settings, nothing changed\n",
            pool.name
        ))?;
    }
    Ok(Exit::Done)
}

async fn list(session: &Session) -> Result<Exit, CtlError> {
    let stale = session.stale;
    let response = session
        .client
        .list_pools(ListPoolsRequest { stale })
        .await?;
    let output = &session.output;
    if output.is_json() {
        let pools = response.pools.iter();
        output.document(&json::Pools {
            revision: response.revision,
            pools: pools.map(json::Pool::from).collect(),
        })?;
    } else {
        output.text(&pools::list(&response.pools, output.paint()))?;
    }
    Ok(Exit::Done)
}

async fn remove(session: &Session, args: PoolRemoveArgs) -> Result<Exit, CtlError> {
    let request = DeletePoolRequest {
        name: args.name.clone(),
        force: args.force,
        expected_revision: args.condition.expected_revision.unwrap_or_default(),
    };
    let revision = session.client.delete_pool(request).await?.revision;
    super::removed(session, &format!("pool {}", args.name), revision)
}

async fn get(session: &Session, name: &str) -> Result<GetPoolResponse, CtlError> {
    let request = GetPoolRequest {
        pool: name.to_owned(),
        stale: session.stale,
    };
    session.client.get_pool(request).await
}

async fn set(
    session: &Session,
    name: &str,
    args: &PoolSetArgs,
) -> Result<(u64, Option<Pool>), CtlError> {
    let mut attempts = 1;
    loop {
        let result = set_once(session, name, args).await;
        let given = args.condition.expected_revision.is_some();
        match result {
            Err(error) if !given && attempts < ATTEMPTS && is_aborted(&error) => attempts += 1,
            result => return result,
        }
    }
}

async fn set_once(
    session: &Session,
    name: &str,
    args: &PoolSetArgs,
) -> Result<(u64, Option<Pool>), CtlError> {
    let mut expected_revision = args.condition.expected_revision;
    let mut kind = None;
    if args.check.touches_http() {
        let (revision, current) = check_kind(session, name).await?;
        kind = current;
        expected_revision = expected_revision.or(Some(revision));
    }
    let request = UpdatePoolRequest {
        pool: name.to_owned(),
        settings: Some(args.settings.with_check(&args.check, kind)),
        expected_revision: expected_revision.unwrap_or_default(),
        unset: setting_names(&args.unset),
    };
    let response = session.client.update_pool(request).await?;
    Ok((response.revision, response.pool))
}

/// The type of the pool's present check, and the revision of the response.
async fn check_kind(session: &Session, name: &str) -> Result<(u64, Option<Type>), CtlError> {
    let response = get(session, name).await?;
    let kind = response
        .pool
        .and_then(|pool| pool.settings)
        .and_then(|settings| settings.check)
        .and_then(|check| check.r#type);
    Ok((response.revision, kind))
}
