//! The calls that add, remove and list pools.

use weldr_proto::v1;

use crate::{
    management::{
        convert::{self, Violations},
        error::Error,
    },
    model::{Command, Outcome, PoolName, PoolSettings},
};

use super::{ApiCaller, Operations};

impl Operations {
    pub(in crate::management) async fn create_pool(
        &self,
        caller: ApiCaller,
        request: v1::CreatePoolRequest,
    ) -> Result<v1::CreatePoolResponse, Error> {
        let mut violations = Violations::default();
        let pool = violations.take(convert::new_name(&request.name));
        let patch = convert::pool_patch(request.settings.unwrap_or_default(), &mut violations);
        let pool: PoolName = violations.settle(pool)?;
        let command = Command::AddPool {
            pool: pool.clone(),
            settings: Box::new(patch.applied_to(&PoolSettings::default())),
        };
        let (applied, snapshot) = self.write(caller, command).await?;
        let view = snapshot.pools.get(&pool).ok_or(Error::Overtaken)?;
        Ok(v1::CreatePoolResponse {
            revision: applied.revision.0,
            pool: Some(convert::pool(view)),
            created: applied.outcome == Outcome::Created,
        })
    }

    pub(in crate::management) async fn delete_pool(
        &self,
        caller: ApiCaller,
        request: v1::DeletePoolRequest,
    ) -> Result<v1::DeletePoolResponse, Error> {
        let pool = convert::new_name(&request.name)?;
        let command = Command::RemovePool {
            pool,
            force: request.force,
            expected: convert::expected_revision(request.expected_revision),
        };
        let (applied, _) = self.write(caller, command).await?;
        Ok(v1::DeletePoolResponse {
            revision: applied.revision.0,
        })
    }

    pub(in crate::management) async fn list_pools(
        &self,
        request: v1::ListPoolsRequest,
    ) -> Result<v1::ListPoolsResponse, Error> {
        let snapshot = self.read(request.stale).await?;
        let pools = snapshot.pools.iter().map(|pool| convert::pool(pool));
        Ok(v1::ListPoolsResponse {
            revision: snapshot.revision.0,
            pools: pools.collect(),
        })
    }
}
