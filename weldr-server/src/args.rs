//! The command line, the environment variables and the keys of the configuration file: one list of options for all
//! three.

mod options;
mod values;

use std::path::PathBuf;

use clap::{
    Arg, ArgMatches, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand,
    error::ErrorKind, parser::ValueSource,
};

pub use options::Options;
pub use values::{CheckType, ListenerAddress, LogFormat, Secret, Span, Switch};

/// The command line of weldr.
#[derive(Debug, Parser)]
#[command(
    name = "weldr",
    version,
    about = "An HTTP load balancer whose pool of servers changes at run time",
    after_help = AFTER_HELP
)]
pub struct Args {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Subcommands>,

    /// Read options from this TOML file; flags and environment variables override it
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// The options.
    #[command(flatten)]
    pub options: Options,
}

const AFTER_HELP: &str = "\
Each option can be given as a flag, as an environment variable, or as a key of the file that --config
names: the long name with `_` instead of `-`. A flag overrides the variable, and the variable overrides
the file.

Durations are written with their units, for example 500ms, 2s, 1m or 1h30m.

Signals:
  SIGTERM, SIGINT, SIGQUIT  stop when running requests have finished; a second one stops at once
  SIGHUP                    open the access log file again, read the --config file again, and log which
                            of its options take effect after a restart
  SIGUSR1                   open the access log file again

Examples:
  weldr --demo
  weldr --server 127.0.0.1:12345 --ephemeral
  weldr --node-name a --cluster 127.0.0.1:8688 --found-cluster
  weldr check-config --config weldr.toml";

/// What `weldr` can do instead of serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Subcommands {
    /// Check the options and print those in effect, in the form of a configuration file
    CheckConfig,
    /// Remove the virtual addresses when the process that writes to standard input can no longer do it
    #[command(hide = true)]
    VipGuard,
}

impl Args {
    /// Reads the command line and the environment of this process. Prints the help or an error, and exits, where clap
    /// does. The help shows `defaults`.
    pub fn parse_process(defaults: &Options) -> Self {
        let matches = Self::described(defaults).get_matches();
        Self::from_arg_matches(&matches)
            .and_then(|args| args.settle_storage(&matches))
            .unwrap_or_else(|error| error.format(&mut Self::command()).exit())
    }

    /// The command, with what follows from the name and the type of each option: its environment variable, its
    /// default in the help, and that a switch needs no value.
    pub fn described(defaults: &Options) -> Command {
        let defaults = toml::Table::try_from(defaults).unwrap_or_default();
        Self::command().mut_args(|arg| {
            let key = arg.get_id().to_string();
            let arg = arg.env(format!("WELDR_{}", key.to_uppercase()));
            let arg = with_default(arg, defaults.get(&key));
            if !arg.is_require_equals_set() {
                return arg;
            }
            arg.value_name("BOOL")
                .num_args(0..=1)
                .default_missing_value("true")
        })
    }

    /// `--data-dir` and `--ephemeral` are one decision, so the flag of one overrides the variable of the other.
    fn settle_storage(mut self, matches: &ArgMatches) -> Result<Self, clap::Error> {
        let options = &mut self.options;
        if options.ephemeral != Some(true) || options.data_dir.is_none() {
            return Ok(self);
        }
        let is_flag = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
        match (is_flag("ephemeral"), is_flag("data_dir")) {
            (true, false) => options.data_dir = None,
            (false, true) => options.ephemeral = None,
            _ => {
                return Err(clap::Error::raw(
                    ErrorKind::ArgumentConflict,
                    "--data-dir and --ephemeral contradict each other: --data-dir stores the pool on disk, \
                     --ephemeral does not; give only one of them",
                ));
            }
        }
        Ok(self)
    }
}

/// Adds the default to the help of `arg`, unless the help itself says what the default is.
fn with_default(arg: Arg, default: Option<&toml::Value>) -> Arg {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let default = match default {
        Some(toml::Value::String(text)) => text.clone(),
        Some(toml::Value::Integer(number)) => number.to_string(),
        Some(toml::Value::Float(number)) => number.to_string(),
        Some(toml::Value::Boolean(true)) => "true".to_owned(),
        Some(toml::Value::Array(values)) => {
            let texts: Vec<_> = values.iter().filter_map(toml::Value::as_str).collect();
            texts.join(",")
        }
        // A switch that is off needs no words.
        _ => String::new(),
    };
    if default.is_empty() || help.contains("[default: ") {
        return arg;
    }
    arg.help(format!("{help} [default: {default}]"))
}
