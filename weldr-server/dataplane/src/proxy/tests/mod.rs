//! Tests of the parts that need a worker: its context without its thread.

mod listeners;
mod queue;

use std::{rc::Rc, sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    liveness::Tasks,
    policy::{AccessLogOptions, HttpPolicy, Limits, Timeouts},
    snapshot::Snapshots,
    stats::Sharded,
};

use super::{
    context::{SharedLimits, WorkerContext, WorkerParts},
    drain::HandOver,
};

/// The context of the only worker, which reads `snapshots`.
fn worker(snapshots: &Snapshots) -> Rc<WorkerContext> {
    let parts = WorkerParts {
        timeouts: Timeouts::default(),
        limits: Limits::default(),
        http: HttpPolicy::default(),
        access_log: AccessLogOptions::default(),
        snapshots: snapshots.clone(),
        all_server_connections: 100,
        clients: Arc::new(Sharded::new(1)),
        how_to_add: String::new(),
        hand_over: watch::channel(HandOver::None).1,
        virtual_addresses: Arc::default(),
        stop: CancellationToken::new(),
        stop_timeout: Duration::from_secs(1),
        tasks: Tasks::default(),
    };
    let limits = SharedLimits::new(&parts, 1);
    Rc::new(WorkerContext::new(0, &parts, limits, None))
}
