//! `context add`, `list`, `use` and `remove`. None of them connects.

use std::path::{self, PathBuf};

use crate::{
    args::{ContextCommand, GlobalOptions},
    contexts::{Context, Contexts},
    error::{CtlError, Exit},
    output::{Output, tokens},
};

pub(super) fn run(
    command: ContextCommand,
    options: &GlobalOptions,
    output: &Output,
) -> Result<Exit, CtlError> {
    let mut contexts = Contexts::load()?;
    match command {
        ContextCommand::Add(args) => {
            contexts.add(&args.name, of_options(options)?);
            contexts.store()?;
            output.text(&format!("context {} was added\n", args.name))?;
        }
        ContextCommand::List if output.is_json() => output.document(&contexts)?,
        ContextCommand::List => output.text(&tokens::contexts(&contexts, output.paint()))?,
        ContextCommand::Use(args) => {
            contexts.get(&args.name)?;
            output.text(&format!("context {} is the current one\n", args.name))?;
            contexts.current = Some(args.name);
            contexts.store()?;
        }
        ContextCommand::Remove(args) => {
            contexts.remove(&args.name)?;
            contexts.store()?;
            output.text(&format!("context {} was removed\n", args.name))?;
        }
    }
    Ok(Exit::Done)
}

/// A context of what the options say. It is used from other directories, so its paths are absolute.
fn of_options(options: &GlobalOptions) -> Result<Context, CtlError> {
    if options.endpoint.is_empty() {
        return Err(CtlError::Usage(
            "a context needs an endpoint: give it with --endpoint".to_owned(),
        ));
    }
    if options.client_cert.is_some() != options.client_key.is_some() {
        return Err(CtlError::Usage(
            "--client-cert and --client-key belong together".to_owned(),
        ));
    }
    let endpoint = options.endpoint.iter().map(|endpoint| {
        let Some(path) = endpoint.strip_prefix("unix:") else {
            return Ok(endpoint.clone());
        };
        let path = absolute(path.into())?;
        Ok(format!("unix:{}", path.display()))
    });
    let file = |path: &Option<PathBuf>| path.clone().map(absolute).transpose();
    Ok(Context {
        endpoint: endpoint.collect::<Result<_, CtlError>>()?,
        token_file: file(&options.token_file)?,
        ca: file(&options.ca)?,
        client_cert: file(&options.client_cert)?,
        client_key: file(&options.client_key)?,
    })
}

fn absolute(path: PathBuf) -> Result<PathBuf, CtlError> {
    path::absolute(path).map_err(|source| CtlError::Local {
        what: "find out the path of a file",
        source,
    })
}
