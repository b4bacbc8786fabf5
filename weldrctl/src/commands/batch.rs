//! Writes to several servers: each write is tried and reported, and the worst result is the exit code.

use std::net::SocketAddr;

use weldr_proto::v1::Server;

use super::Session;
use crate::{
    error::{CtlError, Exit},
    output::{self, event, json},
};

/// The result of the write to one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Added,
    Unchanged,
    Updated,
    Draining,
    Removed,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Unchanged => "unchanged",
            Self::Updated => "updated",
            Self::Draining => "draining",
            Self::Removed => "removed",
        }
    }
}

/// A write that was acknowledged.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) outcome: Outcome,
    pub(super) revision: u64,
    pub(super) server: Server,
}

/// The results so far, in the order of the command line.
#[derive(Debug)]
pub(super) struct Batch {
    entries: Vec<Entry>,
    exit: Exit,
}

/// The result for one address: a write, an error, or both if a write was acknowledged and the condition of `--wait` did
/// not come true.
#[derive(Debug)]
struct Entry {
    address: SocketAddr,
    written: Option<Written>,
    error: Option<String>,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            entries: Vec::new(),
            exit: Exit::Done,
        }
    }

    /// Records the result for one address, and prints it at once unless the output is JSON.
    pub(super) fn push(
        &mut self,
        session: &Session,
        address: SocketAddr,
        result: Result<Written, CtlError>,
    ) -> Result<(), CtlError> {
        let (written, error) = match result {
            Ok(written) => (Some(written), None),
            Err(error) => (None, Some(error)),
        };
        if let Some(written) = written.as_ref().filter(|_| !session.output.is_json()) {
            session.output.text(&line(session, written))?;
        }
        self.entries.push(Entry {
            address,
            written,
            error: None,
        });
        if let Some(error) = error {
            let mut sentence = error.sentence();
            if error.leaves_open() {
                sentence.push_str("; the change may have been made, repeating it is safe");
            }
            self.fail(address, sentence, error.exit());
        }
        Ok(())
    }

    /// The acknowledged writes, for `--wait`.
    pub(super) fn written(&mut self) -> impl Iterator<Item = (SocketAddr, &mut Written)> {
        self.entries
            .iter_mut()
            .filter_map(|entry| Some((entry.address, entry.written.as_mut()?)))
    }

    /// Reports the error of one address on stderr, and records it as the result.
    pub(super) fn fail(&mut self, address: SocketAddr, sentence: String, exit: Exit) {
        output::complain(&format!("{address}: {sentence}"));
        self.exit = self.exit.max(exit);
        // Searched from the end, because an address may be given twice.
        let mut latest = self.entries.iter_mut().rev();
        if let Some(entry) = latest.find(|entry| entry.address == address) {
            entry.error = Some(sentence);
        }
    }

    /// Prints the results if the output is JSON, and returns the exit code.
    pub(super) fn finish(self, session: &Session) -> Result<Exit, CtlError> {
        if session.output.is_json() {
            let results = self.entries.into_iter().map(document).collect();
            session.output.document(&json::Results { results })?;
        }
        Ok(self.exit)
    }
}

fn line(session: &Session, written: &Written) -> String {
    let server = &written.server;
    let address = &server.address;
    let now = event::summary(server, session.output.paint());
    let revision = written.revision;
    match written.outcome {
        Outcome::Added => format!("{address} added: {now}, revision {revision}\n"),
        Outcome::Unchanged => {
            format!("{address} was already there with these settings, nothing changed: {now}\n")
        }
        Outcome::Updated => format!("{address} updated: {now}, revision {revision}\n"),
        Outcome::Draining => format!("{address} is being removed: {now}, revision {revision}\n"),
        Outcome::Removed => format!("{address} removed, revision {revision}\n"),
    }
}

fn document(entry: Entry) -> json::WriteResult {
    let written = entry.written.as_ref();
    json::WriteResult {
        address: entry.address.to_string(),
        outcome: written.map_or("failed", |written| written.outcome.word()),
        revision: written.map(|written| written.revision),
        server: written.map(|written| json::Server::new(&written.server, None)),
        error: entry.error,
    }
}
