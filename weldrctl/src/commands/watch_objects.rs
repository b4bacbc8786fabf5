//! `watch --all`: all objects in their present state, then each change.

use weldr_proto::v1::{
    ObjectKind, WatchObjectsRequest, WatchObjectsResponse, watch_objects_response::Event,
};

use super::Session;
use crate::{
    args::WatchArgs,
    error::{CtlError, Exit},
    output::objects,
};

pub(super) async fn run(session: &Session, args: WatchArgs) -> Result<Exit, CtlError> {
    let kinds = args.kind.into_iter().map(ObjectKind::from);
    let request = WatchObjectsRequest {
        after_revision: args.after.unwrap_or_default(),
        kinds: kinds.map(i32::from).collect(),
    };
    let mut updates = session.client.watch_objects(request).await?;
    loop {
        show(session, updates.next().await?)?;
    }
}

fn show(session: &Session, message: WatchObjectsResponse) -> Result<(), CtlError> {
    let WatchObjectsResponse { revision, event } = message;
    let output = &session.output;
    match event {
        Some(Event::Change(change)) if output.is_json() => {
            output.record(&objects::ObjectEvent::of_change(revision, &change))?;
        }
        Some(Event::Change(change)) => output.text(&objects::line(revision, &change))?,
        Some(Event::UpToDate(_)) if output.is_json() => {
            output.record(&objects::ObjectEvent::up_to_date(revision))?;
        }
        Some(Event::UpToDate(_)) => output.text(&format!("{revision}  up to date\n"))?,
        // An event that only a newer weldr knows.
        None => {}
    }
    Ok(())
}
