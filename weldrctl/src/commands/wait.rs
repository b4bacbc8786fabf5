//! `--wait`: after the write, waits until its condition is true or its time limit is reached.

use std::{net::SocketAddr, time::Duration};

use tokio::time::Instant;
use tonic::Code;
use weldr_proto::v1::{
    GetServerRequest, GetServerResponse, HealthState, Server, WatchServersRequest, server_change,
    watch_servers_response::Event,
};

use super::{
    Session,
    batch::{Batch, Outcome, Written},
};
use crate::{
    error::{CtlError, Exit, Refusal},
    output::{Progress, event, figures, style::Paint},
};

/// The time between two reads of a draining server.
const POLL: Duration = Duration::from_millis(200);

/// The time that a removal may take beyond its deadline: for aborting requests, and for the write to disk.
const MARGIN: Duration = Duration::from_secs(5);

/// Longer than any accepted deadline, and short enough to be added to a clock.
const LONGEST: Duration = Duration::from_hours(365 * 24);

/// Waits until every server that was written is healthy.
pub(super) async fn until_healthy(
    session: &Session,
    batch: &mut Batch,
    longest: Duration,
) -> Result<(), CtlError> {
    let mut waiting = Waiting::for_servers(batch);
    if waiting.is_over() {
        return Ok(());
    }
    let watching = waiting.watch(session, batch);
    let failure = match tokio::time::timeout(longest, watching).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error @ CtlError::Local { .. })) => return Err(error),
        Ok(Err(error)) => Some(error),
        Err(_elapsed) => None,
    };
    for (address, server) in waiting.left {
        if let Some(error) = &failure {
            batch.fail(address, error.sentence(), error.exit());
            continue;
        }
        let state = event::state(&server, Paint::PLAIN);
        let longest = humantime::format_duration(longest);
        let sentence = format!("not healthy after {longest}: {state}");
        batch.fail(address, sentence, Exit::Refused);
    }
    Ok(())
}

/// The servers that are not healthy yet, with their last known state.
#[derive(Debug)]
struct Waiting {
    left: Vec<(SocketAddr, Server)>,
}

impl Waiting {
    fn for_servers(batch: &mut Batch) -> Self {
        let left = batch
            .written()
            .map(|(address, written)| (address, written.server.clone()))
            .filter(|(_, server)| !is_healthy(server))
            .collect();
        Self { left }
    }

    fn is_over(&self) -> bool {
        self.left.is_empty()
    }

    async fn watch(&mut self, session: &Session, batch: &mut Batch) -> Result<(), CtlError> {
        let request = WatchServersRequest {
            pool: session.pool.clone(),
        };
        let mut updates = session.client.watch_servers(request).await?;
        while !self.is_over() {
            match updates.next().await?.event {
                Some(Event::State(state)) => {
                    self.gone(batch, |id| {
                        !state.servers.iter().any(|server| server.id == id)
                    });
                    for server in state.servers {
                        self.seen(session, batch, server)?;
                    }
                }
                Some(Event::Change(change)) => {
                    let removed = change.kind() == server_change::Kind::Removed;
                    let Some(server) = change.server else {
                        continue;
                    };
                    if removed {
                        self.gone(batch, |id| id == server.id);
                    } else {
                        self.seen(session, batch, server)?;
                    }
                }
                Some(Event::Settings(_)) | None => {}
            }
        }
        Ok(())
    }

    fn seen(
        &mut self,
        session: &Session,
        batch: &mut Batch,
        server: Server,
    ) -> Result<(), CtlError> {
        let Some(index) = self.left.iter().position(|(_, left)| left.id == server.id) else {
            return Ok(());
        };
        if !is_healthy(&server) {
            self.left[index].1 = server;
            return Ok(());
        }
        self.left.swap_remove(index);
        if !session.output.is_json() {
            let state = event::state(&server, session.output.paint());
            session
                .output
                .text(&format!("{} is {state}\n", server.address))?;
        }
        let written = batch
            .written()
            .find(|(_, written)| written.server.id == server.id);
        if let Some((_, written)) = written {
            written.server = server;
        }
        Ok(())
    }

    /// Stops waiting for the servers for which `is_gone` is true.
    fn gone(&mut self, batch: &mut Batch, is_gone: impl Fn(u64) -> bool) {
        self.left.retain(|(address, server)| {
            let gone = is_gone(server.id);
            if gone {
                batch.fail(
                    *address,
                    "was removed before it became healthy".to_owned(),
                    Exit::Refused,
                );
            }
            !gone
        });
    }
}

fn is_healthy(server: &Server) -> bool {
    server
        .health
        .as_ref()
        .is_some_and(|health| health.state() == HealthState::Healthy)
}

/// Waits until every server is removed. `requested` is the deadline of the removal, if the command has one.
pub(super) async fn until_gone(
    session: &Session,
    batch: &mut Batch,
    requested: Option<Duration>,
) -> Result<(), CtlError> {
    let draining: Vec<(SocketAddr, u64, Instant)> = batch
        .written()
        .filter(|(_, written)| written.outcome == Outcome::Draining)
        .map(|(address, written)| {
            let longest = longest_removal(written, requested);
            (address, written.server.id, Instant::now() + longest)
        })
        .collect();
    for (address, id, until) in draining {
        let end = drained(session, address, id, until).await;
        let Err(error) = end.and_then(|end| settle(session, batch, id, end)) else {
            continue;
        };
        if matches!(error, CtlError::Local { .. }) {
            return Err(error);
        }
        batch.fail(address, error.sentence(), error.exit());
    }
    Ok(())
}

/// How long the removal of a server may take: what is left of it according to the response, or the requested deadline,
/// whichever is longer.
fn longest_removal(written: &Written, requested: Option<Duration>) -> Duration {
    let left = figures::removal_left(&written.server, figures::now()).unwrap_or_default();
    left.max(requested.unwrap_or_default()).min(LONGEST) + MARGIN
}

/// The revision at which a server was found to be removed.
async fn drained(
    session: &Session,
    address: SocketAddr,
    id: u64,
    until: Instant,
) -> Result<Option<u64>, CtlError> {
    let mut progress = Progress::new();
    loop {
        let request = GetServerRequest {
            pool: session.pool.clone(),
            address: address.to_string(),
            stale: session.stale,
        };
        let server = match session.client.get_server(request).await {
            Err(CtlError::Refused(Refusal {
                code: Code::NotFound,
                ..
            })) => return Ok(None),
            Err(error) => return Err(error),
            Ok(GetServerResponse { revision, server }) => match server {
                Some(server) if server.id == id => server,
                // Another server that was added with the same address after the removal.
                _ => return Ok(Some(revision)),
            },
        };
        let Some(left) = figures::removal_left(&server, figures::now()) else {
            return Err(CtlError::NotDone(
                "is no longer being removed: it was added again".to_owned(),
            ));
        };
        if Instant::now() >= until {
            return Err(CtlError::NotDone(format!(
                "is still draining after its deadline, {} in flight",
                server.in_flight
            )));
        }
        let left = figures::age(left);
        progress.show(&format!(
            "{address} is draining: {} in flight, aborted in {left}",
            server.in_flight
        ));
        tokio::time::sleep(POLL).await;
    }
}

/// Records that a server is removed, and prints it.
fn settle(
    session: &Session,
    batch: &mut Batch,
    id: u64,
    revision: Option<u64>,
) -> Result<(), CtlError> {
    let written = batch.written().find(|(_, written)| written.server.id == id);
    let Some((address, written)) = written else {
        return Ok(());
    };
    written.outcome = Outcome::Removed;
    written.revision = revision.unwrap_or(written.revision);
    if !session.output.is_json() {
        session.output.text(&format!("{address} is gone\n"))?;
    }
    Ok(())
}
