//! The call for the statistics of listeners, rules and pools.

use std::time::SystemTime;

use weldr_proto::v1;

use crate::{
    clock::dates,
    management::{convert, error::Error},
    model::{ListenerName, Rejection},
};

use super::{Operations, pool_in};

impl Operations {
    pub(in crate::management) fn get_object_stats(
        &self,
        request: &v1::GetObjectStatsRequest,
    ) -> Result<v1::GetObjectStatsResponse, Error> {
        let snapshot = self.snapshot();
        let is_all = request.listener.is_empty() && request.pool.is_empty();
        let listeners = if is_all {
            let all = snapshot.listeners.iter();
            all.map(|view| convert::listener_stats(view)).collect()
        } else if request.listener.is_empty() {
            vec![]
        } else {
            let listener: ListenerName = request
                .listener
                .parse()
                .map_err(|invalid: crate::model::Invalid| invalid.named("listener"))?;
            let missing = Rejection::NoSuchListener {
                listener: listener.clone(),
            };
            let view = snapshot.listeners.get(&listener).ok_or(missing)?;
            vec![convert::listener_stats(view)]
        };
        let pools = if is_all {
            let all = snapshot.pools.iter();
            all.map(|view| convert::pool_stats(view)).collect()
        } else if request.pool.is_empty() {
            vec![]
        } else {
            let pool = convert::pool_name(&request.pool)?;
            vec![convert::pool_stats(pool_in(&snapshot, &pool)?)]
        };
        let uptime = dates::now().duration_since(self.context.started_at);
        Ok(v1::GetObjectStatsResponse {
            revision: snapshot.revision.0,
            at: Some(SystemTime::now().into()),
            uptime: uptime.unwrap_or_default().try_into().ok(),
            listeners,
            pools,
        })
    }
}
