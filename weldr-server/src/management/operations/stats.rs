//! The calls about statistics.

use std::{sync::Arc, time::Duration};

use futures_util::stream;
use tokio::time::{self, MissedTickBehavior};
use weldr_proto::v1;

use crate::{
    management::{convert, error::Error},
    model::in_range,
};

use super::{
    Operations, ResponseStream,
    slow_reader::{PATIENCE, ended_when_slow},
};

const MIN_INTERVAL: Duration = Duration::from_millis(100);
const MAX_INTERVAL: Duration = Duration::from_hours(1);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);

impl Operations {
    pub(in crate::management) fn get_stats(
        &self,
        request: &v1::GetStatsRequest,
    ) -> Result<v1::GetStatsResponse, Error> {
        let (snapshot, pool) = self.snapshot_with(&request.pool)?;
        Ok(v1::GetStatsResponse {
            revision: snapshot.revision.0,
            stats: Some(convert::stats(&self.context, &pool)),
        })
    }

    /// Sends the statistics at once, and then at each interval. A slow reader gets the newest ones, not those it missed.
    pub(in crate::management) fn stream_stats(
        self: Arc<Self>,
        request: v1::StreamStatsRequest,
    ) -> Result<ResponseStream<v1::StreamStatsResponse>, Error> {
        let interval = match request.interval {
            None => DEFAULT_INTERVAL,
            Some(given) => in_range(
                "interval",
                convert::duration("interval", given)?,
                MIN_INTERVAL..=MAX_INTERVAL,
            )?,
        };
        self.snapshot_with(&request.pool)?;
        let mut ticks = time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let get = v1::GetStatsRequest { pool: request.pool };
        let next =
            move |state: Option<(Arc<Self>, time::Interval)>| {
                let get = get.clone();
                async move {
                    let (this, mut ticks) = state?;
                    tokio::select! {
                        _ = ticks.tick() => {}
                        () = this.stop.cancelled() => return Some((Err(Error::Stopping), None)),
                    }
                    let response =
                        this.get_stats(&get)
                            .map(|v1::GetStatsResponse { revision, stats }| {
                                v1::StreamStatsResponse { revision, stats }
                            });
                    Some((response, Some((this, ticks))))
                }
            };
        let messages = Box::pin(stream::unfold(Some((self, ticks)), next));
        Ok(ended_when_slow(messages, PATIENCE))
    }
}
