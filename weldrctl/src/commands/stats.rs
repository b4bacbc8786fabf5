//! `stats`, once or repeatedly.

use tokio::signal::unix::{SignalKind, signal};
use weldr_proto::v1::{
    GetObjectStatsRequest, GetStatsRequest, Stats, StreamStatsRequest, StreamStatsResponse,
};

use super::Session;
use crate::{
    args::{StatsArgs, StatsObject},
    client::Updates,
    error::{CtlError, Exit},
    output::{json, live::Screen, object_stats, servers, totals},
    settings::proto_duration,
};

pub(super) async fn run(session: &Session, args: StatsArgs) -> Result<Exit, CtlError> {
    if let Some(by) = args.by {
        of_objects(session, by).await
    } else if args.watch {
        watch(session, args).await
    } else {
        once(session, args.detail).await
    }
}

async fn once(session: &Session, detail: bool) -> Result<Exit, CtlError> {
    let request = GetStatsRequest {
        pool: session.pool.clone(),
    };
    let response = session.client.get_stats(request).await?;
    let stats = response.stats.unwrap_or_default();
    let output = &session.output;
    if output.is_json() {
        output.document(&json::Stats::new(&stats, response.revision, None, detail))?;
        return Ok(Exit::Done);
    }
    let mut text = totals::table(&stats, output.paint());
    if detail {
        let table = servers::detail(&stats, None, output.is_wide(), output.paint());
        text = format!("{text}\n{}\n{table}", totals::clients(&stats));
    }
    output.text(&text)?;
    Ok(Exit::Done)
}

/// The statistics of listeners, rules or pools.
async fn of_objects(session: &Session, by: StatsObject) -> Result<Exit, CtlError> {
    let all = GetObjectStatsRequest::default();
    let mut stats = match (by, session.given_pools.as_slice()) {
        (StatsObject::Pool, [first, others @ ..]) => {
            let of = |pool: &String| GetObjectStatsRequest {
                pool: pool.clone(),
                ..GetObjectStatsRequest::default()
            };
            let mut stats = session.client.get_object_stats(of(first)).await?;
            for pool in others {
                let other = session.client.get_object_stats(of(pool)).await?;
                stats.pools.extend(other.pools);
            }
            stats
        }
        _ => session.client.get_object_stats(all).await?,
    };
    let output = &session.output;
    if output.is_json() {
        match by {
            StatsObject::Listener | StatsObject::Rule => stats.pools.clear(),
            StatsObject::Pool => stats.listeners.clear(),
        }
        output.document(&stats)?;
        return Ok(Exit::Done);
    }
    let (is_wide, paint) = (output.is_wide(), output.paint());
    output.text(&match by {
        StatsObject::Listener => object_stats::listeners(&stats.listeners, is_wide, paint),
        StatsObject::Rule => object_stats::rules(&stats.listeners, is_wide, paint),
        StatsObject::Pool => object_stats::pools(&stats.pools, is_wide, paint),
    })?;
    Ok(Exit::Done)
}

async fn watch(session: &Session, args: StatsArgs) -> Result<Exit, CtlError> {
    let request = StreamStatsRequest {
        pool: session.pool.clone(),
        interval: Some(proto_duration(args.interval)),
    };
    let updates = session.client.stream_stats(request).await?;
    if !session.output.is_live() {
        return sample(session, &args, updates, None).await;
    }
    // Without handlers, these signals would end the program without restoring the terminal.
    let taken = |source| CtlError::Local {
        what: "take signals",
        source,
    };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(taken)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(taken)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(taken)?;
    let screen = Screen::enter()?;
    tokio::select! {
        exit = sample(session, &args, updates, Some(screen)) => exit,
        _ = interrupt.recv() => Ok(Exit::Done),
        _ = terminate.recv() => Ok(Exit::Done),
        _ = hangup.recv() => Ok(Exit::Done),
    }
}

async fn sample(
    session: &Session,
    args: &StatsArgs,
    mut updates: Updates<StreamStatsResponse>,
    mut screen: Option<Screen>,
) -> Result<Exit, CtlError> {
    let mut earlier: Option<Stats> = None;
    let mut left = args.count;
    while left != Some(0) {
        let response = updates.next().await?;
        let stats = response.stats.unwrap_or_default();
        show(
            session,
            args,
            &mut screen,
            response.revision,
            &stats,
            earlier.as_ref(),
        )?;
        earlier = Some(stats);
        left = left.map(|left| left - 1);
    }
    Ok(Exit::Done)
}

fn show(
    session: &Session,
    args: &StatsArgs,
    screen: &mut Option<Screen>,
    revision: u64,
    stats: &Stats,
    earlier: Option<&Stats>,
) -> Result<(), CtlError> {
    let output = &session.output;
    if output.is_json() {
        output.record(&json::Stats::new(stats, revision, earlier, args.detail))?;
    } else if let Some(screen) = screen {
        let endpoint = session.client.endpoint();
        let wide = output.is_wide() || args.detail;
        screen.draw(totals::frame(
            endpoint,
            stats,
            earlier,
            wide,
            output.paint(),
        ))?;
    } else {
        output.text(&totals::lines(stats, earlier, args.detail))?;
    }
    Ok(())
}
