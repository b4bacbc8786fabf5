//! `watch`: the servers in their present state, then each change.

use prost_types::Timestamp;
use weldr_proto::v1::{
    PoolSettings, Server, WatchServersRequest, WatchServersResponse, watch_servers_response::Event,
};

use super::Session;
use crate::{
    error::{CtlError, Exit},
    output::{event, figures, json, words},
};

pub(super) async fn run(session: &Session) -> Result<Exit, CtlError> {
    let request = WatchServersRequest {
        pool: session.pool.clone(),
    };
    let mut updates = session.client.watch_servers(request).await?;
    loop {
        show(session, updates.next().await?)?;
    }
}

fn show(session: &Session, message: WatchServersResponse) -> Result<(), CtlError> {
    let revision = message.revision;
    match message.event {
        Some(Event::State(state)) => {
            let now = figures::now();
            if let Some(settings) = state.settings {
                show_settings(session, now, revision, &settings)?;
            }
            for server in state.servers {
                show_server(session, now, revision, "present", &server)?;
            }
        }
        Some(Event::Change(change)) => {
            let at = change.at.unwrap_or_else(figures::now);
            let event = words::change(change.kind);
            let server = change.server.unwrap_or_default();
            show_server(session, at, revision, &event, &server)?;
        }
        Some(Event::Settings(settings)) => {
            show_settings(session, figures::now(), revision, &settings)?;
        }
        // An event that only a newer weldr knows.
        None => {}
    }
    Ok(())
}

fn show_server(
    session: &Session,
    time: Timestamp,
    revision: u64,
    event: &str,
    server: &Server,
) -> Result<(), CtlError> {
    let output = &session.output;
    if output.is_json() {
        output.record(&json::Event {
            time: json::time(Some(time)),
            revision,
            event: event.to_owned(),
            server: Some(json::Server::new(server, None)),
            settings: None,
        })?;
    } else {
        output.text(&event::server(time, event, server, output.paint()))?;
    }
    Ok(())
}

fn show_settings(
    session: &Session,
    time: Timestamp,
    revision: u64,
    settings: &PoolSettings,
) -> Result<(), CtlError> {
    let output = &session.output;
    if output.is_json() {
        output.record(&json::Event {
            time: json::time(Some(time)),
            revision,
            event: "settings".to_owned(),
            server: None,
            settings: Some(json::PoolSettings::from(settings)),
        })?;
    } else {
        output.text(&event::settings(time, settings))?;
    }
    Ok(())
}
