//! `weldrctl`: the command line of Weldr's management API.
//!
//! Each command makes one or a few calls of the API, which is described in
//! `proto/weldr/v1/management.proto`. Exit codes: 0 done, 1 refused, 2 usage, 3 unreachable,
//! 4 (`cluster status` and `cluster check`) the cluster has a quorum, but not all of it is well, 5 the caller is not known or may
//! not do this.

mod args;
mod check;
mod client;
mod commands;
mod contexts;
mod error;
mod output;
mod rates;
mod rules;
mod settings;
mod target;

use std::{io, process::ExitCode};

use clap::Parser as _;

use crate::{
    args::Cli,
    error::{CtlError, Exit},
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let exit = run(cli).unwrap_or_else(|error| {
        if !error.is_closed_output() {
            output::complain(&error.sentence());
        }
        error.exit()
    });
    exit.into()
}

fn run(cli: Cli) -> Result<Exit, CtlError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| CtlError::Local {
            what: "start the runtime",
            source,
        })?;
    let exit = runtime.block_on(commands::run(cli));
    // The resolution of a host name, which cannot be cancelled, must not delay the exit.
    runtime.shutdown_background();
    exit
}

impl From<io::Error> for CtlError {
    fn from(source: io::Error) -> Self {
        Self::Local {
            what: "write the output",
            source,
        }
    }
}
