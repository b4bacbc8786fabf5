//! The calls about pools.

use weldr_proto::v1;

use crate::{
    management::{
        convert::{self, Violations},
        error::Error,
    },
    model::Command,
};

use super::{ApiCaller, Operations, expect_pool};

impl Operations {
    pub(in crate::management) async fn get_pool(
        &self,
        request: &v1::GetPoolRequest,
    ) -> Result<v1::GetPoolResponse, Error> {
        let pool = convert::pool_name(&request.pool)?;
        let snapshot = self.read(request.stale).await?;
        expect_pool(&snapshot, &pool)?;
        Ok(v1::GetPoolResponse {
            revision: snapshot.revision.0,
            pool: Some(convert::pool(snapshot.pools.default_pool())),
        })
    }

    pub(in crate::management) async fn update_pool(
        &self,
        caller: ApiCaller,
        request: v1::UpdatePoolRequest,
    ) -> Result<v1::UpdatePoolResponse, Error> {
        let mut violations = Violations::default();
        let pool = violations.take(convert::pool_name(&request.pool));
        let patch = convert::pool_patch(request.settings.unwrap_or_default(), &mut violations);
        let pool = violations.settle(pool)?;
        expect_pool(&self.snapshot(), &pool)?;
        let command = Command::UpdatePool {
            pool,
            patch,
            expected: convert::expected_revision(request.expected_revision),
        };
        let (_, snapshot) = self.write(caller, command).await?;
        Ok(v1::UpdatePoolResponse {
            revision: snapshot.revision.0,
            pool: Some(convert::pool(snapshot.pools.default_pool())),
        })
    }
}
