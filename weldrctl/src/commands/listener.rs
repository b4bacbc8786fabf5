//! `listener add`, `listener set`, `listener get`, `listener list`, `listener remove`.

use weldr_proto::v1::{
    CertificateNames, CreateListenerRequest, DeleteListenerRequest, GetListenerRequest,
    ListListenersRequest, Listener, Route, UpdateListenerRequest,
};

use super::Session;
use crate::{
    args::{ListenerAddArgs, ListenerCommand, ListenerRemoveArgs, ListenerSetArgs},
    error::{CtlError, Exit},
    output::{self, json, routing},
    settings::{proto_duration, setting_names},
};

pub(super) fn validate(command: &ListenerCommand) -> Result<(), CtlError> {
    match command {
        ListenerCommand::Set(args)
            if args.address.is_none()
                && args.unset.is_empty()
                && args.action.is_empty()
                && args.policy.is_empty()
                && args.tls.is_empty() =>
        {
            Err(CtlError::Usage(
                "nothing to set: give at least one setting".to_owned(),
            ))
        }
        _ => Ok(()),
    }
}

pub(super) async fn run(session: &Session, command: ListenerCommand) -> Result<Exit, CtlError> {
    match command {
        ListenerCommand::Add(args) => add(session, args).await,
        ListenerCommand::Set(args) => set(session, args).await,
        ListenerCommand::Get(args) => {
            let response = get(session, &args.name).await?;
            shown(session, &response.0, response.1)
        }
        ListenerCommand::List => list(session).await,
        ListenerCommand::Remove(args) => remove(session, args).await,
    }
}

async fn add(session: &Session, args: ListenerAddArgs) -> Result<Exit, CtlError> {
    let route = args.action.onto(Route::default());
    let request = CreateListenerRequest {
        name: args.name,
        address: args.address.to_string(),
        default_route: (!args.action.is_empty()).then_some(route),
        policy: Some(args.policy.values()),
        protocol: args.tls.protocol().into(),
        tls: Some(args.tls.values()),
        certificates: args.tls.certificate,
    };
    let response = session.client.create_listener(request).await?;
    let listener = response.listener.unwrap_or_default();
    let revision = response.revision;
    let name = &listener.name;
    let outcome = if response.created {
        format!("listener {name} added, revision {revision}\n")
    } else {
        format!("listener {name} was already there with these settings, nothing changed\n")
    };
    written(session, &listener, revision, &outcome)
}

async fn set(session: &Session, args: ListenerSetArgs) -> Result<Exit, CtlError> {
    let mut expected = args.condition.expected_revision;
    let mut route = None;
    if !args.action.is_empty() {
        // Options that are not given keep what the route has.
        let (present, revision) = get(session, &args.name).await?;
        expected = expected.or(Some(revision));
        route = Some(args.action.onto(present.default_route.unwrap_or_default()));
    }
    let address = args.address.map(|address| address.to_string());
    let request = UpdateListenerRequest {
        name: args.name,
        address: address.unwrap_or_default(),
        default_route: route,
        policy: Some(args.policy.values()),
        unset: setting_names(&args.unset),
        expected_revision: expected.unwrap_or_default(),
        protocol: args.tls.protocol().into(),
        tls: Some(args.tls.values()),
        certificates: (!args.tls.certificate.is_empty()).then_some(CertificateNames {
            // One empty name stands for none.
            names: names_of(args.tls.certificate),
        }),
    };
    let response = session.client.update_listener(request).await?;
    let listener = response.listener.unwrap_or_default();
    let revision = response.revision;
    let outcome = format!("listener {} updated, revision {revision}\n", listener.name);
    written(session, &listener, revision, &outcome)
}

fn names_of(mut names: Vec<String>) -> Vec<String> {
    if names.len() == 1 {
        names.retain(|name| !name.is_empty());
    }
    names
}

async fn get(session: &Session, name: &str) -> Result<(Listener, u64), CtlError> {
    let request = GetListenerRequest {
        name: name.to_owned(),
        stale: session.stale,
    };
    let response = session.client.get_listener(request).await?;
    Ok((response.listener.unwrap_or_default(), response.revision))
}

async fn list(session: &Session) -> Result<Exit, CtlError> {
    let stale = session.stale;
    let request = ListListenersRequest { stale };
    let response = session.client.list_listeners(request).await?;
    let output = &session.output;
    if output.is_json() {
        output.document(&response)?;
    } else {
        output.text(&routing::listeners(&response.listeners, output.paint()))?;
    }
    Ok(Exit::Done)
}

async fn remove(session: &Session, args: ListenerRemoveArgs) -> Result<Exit, CtlError> {
    let request = DeleteListenerRequest {
        name: args.name.clone(),
        drain_deadline: Some(proto_duration(args.deadline)),
        expected_revision: args.condition.expected_revision.unwrap_or_default(),
    };
    let revision = session.client.delete_listener(request).await?.revision;
    super::removed(session, &format!("listener {}", args.name), revision)
}

/// A listener that was written: on which nodes it is open. A node that could not open it is a warning.
fn written(
    session: &Session,
    listener: &Listener,
    revision: u64,
    outcome: &str,
) -> Result<Exit, CtlError> {
    if session.output.is_json() {
        return shown(session, listener, revision);
    }
    session.output.text(outcome)?;
    session.output.text(&routing::nodes(listener))?;
    for node in routing::not_open(listener) {
        output::complain(&node);
    }
    Ok(Exit::Done)
}

fn shown(session: &Session, listener: &Listener, revision: u64) -> Result<Exit, CtlError> {
    let output = &session.output;
    if output.is_json() {
        output.document(&json::Listener { revision, listener })?;
    } else {
        output.text(&routing::listener(listener, output.paint()))?;
    }
    Ok(Exit::Done)
}
