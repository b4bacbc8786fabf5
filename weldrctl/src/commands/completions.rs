//! `completions`: the script that a shell loads.

use clap::CommandFactory as _;

use crate::{
    args::{Cli, CompletionsArgs},
    error::{CtlError, Exit},
    output::Output,
};

pub(super) fn run(args: &CompletionsArgs, output: &Output) -> Result<Exit, CtlError> {
    // Into memory first: the generator panics when it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "weldrctl", &mut script);
    output.text(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
