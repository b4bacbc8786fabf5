//! The calls about one pool.

use weldr_proto::v1;

use crate::{
    management::{
        convert::{self, Violations},
        error::Error,
    },
    model::Command,
};

use super::{ApiCaller, Operations, pool_in};

impl Operations {
    pub(in crate::management) async fn get_pool(
        &self,
        request: &v1::GetPoolRequest,
    ) -> Result<v1::GetPoolResponse, Error> {
        let pool = convert::pool_name(&request.pool)?;
        let snapshot = self.read(request.stale).await?;
        Ok(v1::GetPoolResponse {
            revision: snapshot.revision.0,
            pool: Some(convert::pool(pool_in(&snapshot, &pool)?)),
        })
    }

    pub(in crate::management) async fn update_pool(
        &self,
        caller: ApiCaller,
        request: v1::UpdatePoolRequest,
    ) -> Result<v1::UpdatePoolResponse, Error> {
        let mut violations = Violations::default();
        let pool = violations.take(convert::pool_name(&request.pool));
        let settings = request.settings.unwrap_or_default();
        let mut patch = convert::pool_patch(settings, &mut violations);
        patch.policy.unset = request.unset;
        let pool = violations.settle(pool)?;
        pool_in(&self.snapshot(), &pool)?;
        let command = Command::UpdatePool {
            pool: pool.clone(),
            patch,
            expected: convert::expected_revision(request.expected_revision),
        };
        let (applied, snapshot) = self.write(caller, command).await?;
        let pool = snapshot.pools.get(&pool).ok_or(Error::Overtaken)?;
        Ok(v1::UpdatePoolResponse {
            revision: applied.revision.0,
            pool: Some(convert::pool(pool)),
        })
    }
}
