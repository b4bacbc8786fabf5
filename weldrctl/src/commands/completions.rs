//! `completions`: the completion script for a shell.

use clap::CommandFactory as _;

use crate::{
    args::{Cli, CompletionsArgs},
    error::{CtlError, Exit},
    output::Output,
};

pub(super) fn run(args: &CompletionsArgs, output: &Output) -> Result<Exit, CtlError> {
    // Written to memory first, because the generator panics if it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "weldrctl", &mut script);
    output.text(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
