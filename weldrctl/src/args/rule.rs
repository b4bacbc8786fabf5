//! The commands about rules, and the options of conditions and actions.

use clap::{Args, Subcommand, ValueEnum};

use super::{Condition, parse};

#[derive(Debug, Subcommand)]
pub(crate) enum RuleCommand {
    /// Add a rule: requests that meet all its conditions get its action
    Add(RuleAddArgs),
    /// Change the conditions and the action that are given, and leave the others as they are
    Set(RuleSetArgs),
    /// Give a rule another priority; rules in the way move on by one
    Move(RuleMoveArgs),
    /// Remove a rule
    Remove(RulePlaceArgs),
    /// List the rules of a listener in the order in which they are tried
    #[command(visible_alias = "ls")]
    List(RuleListArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RuleAddArgs {
    /// Listener
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) listener: String,
    /// Number from 1 to 1000000; lower ones are tried first [default: last]
    #[arg(long, value_name = "N")]
    pub(crate) priority: Option<u32>,
    #[command(flatten)]
    pub(crate) conditions: ConditionArgs,
    #[command(flatten)]
    pub(crate) action: ActionArgs,
    #[command(flatten)]
    pub(crate) condition: Condition,
}

#[derive(Debug, Args)]
pub(crate) struct RuleSetArgs {
    /// Listener
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) listener: String,
    /// Number of the rule
    #[arg(long, value_name = "N")]
    pub(crate) priority: u32,
    /// Drop conditions or changes: host, path, method, header, query, source, changes
    #[arg(
        long,
        value_name = "KIND",
        value_enum,
        value_delimiter = ',',
        hide_possible_values = true
    )]
    pub(crate) clear: Vec<RulePart>,
    #[command(flatten)]
    pub(crate) conditions: ConditionArgs,
    #[command(flatten)]
    pub(crate) action: ActionArgs,
    #[command(flatten)]
    pub(crate) condition: Condition,
}

#[derive(Debug, Args)]
pub(crate) struct RuleMoveArgs {
    /// Listener
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) listener: String,
    /// Number of the rule
    #[arg(long, value_name = "N")]
    pub(crate) priority: u32,
    /// Its new number
    #[arg(long, value_name = "N")]
    pub(crate) to: u32,
    #[command(flatten)]
    pub(crate) condition: Condition,
}

#[derive(Debug, Args)]
pub(crate) struct RulePlaceArgs {
    /// Listener
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) listener: String,
    /// Number of the rule
    #[arg(long, value_name = "N")]
    pub(crate) priority: u32,
    #[command(flatten)]
    pub(crate) condition: Condition,
}

#[derive(Debug, Args)]
pub(crate) struct RuleListArgs {
    /// Listener
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) listener: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RouteCommand {
    /// Say which listener, rule and pool a request would get on one node, and why; nothing is sent
    Explain(ExplainArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// URL of the request
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    /// Listener [default: the one on the port of the URL]
    #[arg(long, value_name = "NAME")]
    pub(crate) listener: Option<String>,
    /// Method
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    pub(crate) method: String,
    /// Header field: 'Name: value'; may be repeated
    #[arg(long, value_name = "FIELD", value_parser = parse::whole_field)]
    pub(crate) header: Vec<(String, String)>,
    /// Address of the client [default: 127.0.0.1]
    #[arg(long, value_name = "IP")]
    pub(crate) source: Option<String>,
}

/// What `rule set --clear` drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RulePart {
    /// The hosts
    Host,
    /// The paths
    Path,
    /// The methods
    Method,
    /// The header fields
    Header,
    /// The query parameters
    Query,
    /// The networks of clients
    Source,
    /// The changes of messages
    Changes,
}

/// The conditions of a rule. Values of one option are alternatives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(
    next_help_heading = "Conditions (all must hold; an option that is repeated gives alternatives)"
)]
pub(crate) struct ConditionArgs {
    /// Host, or *.example.com for all names below it
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Vec<String>,
    /// Path: /exact, '/prefix/*', or with * and ? anywhere
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Vec<String>,
    /// Method, such as GET
    #[arg(long, value_name = "METHOD")]
    pub(crate) method: Vec<String>,
    /// Header field: 'Name: value', with * and ?; a name alone must be there
    #[arg(long, value_name = "FIELD", value_parser = parse::field)]
    pub(crate) header: Vec<(String, Option<String>)>,
    /// Query parameter: name=value, with * and ?; a name alone must be there
    #[arg(long, value_name = "PARAM", value_parser = parse::parameter)]
    pub(crate) query: Vec<(String, Option<String>)>,
    /// Network of the client's address, such as 10.0.0.0/8
    #[arg(long, value_name = "CIDR")]
    pub(crate) source: Vec<String>,
}

/// An action, and changes of messages on their way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Action (one of --forward, --redirect and --respond)")]
pub(crate) struct ActionArgs {
    /// Pool, or pools with weights: blue=90,green=10
    #[arg(long, value_name = "POOLS", value_delimiter = ',', value_parser = parse::weighted, conflicts_with_all = ["redirect", "respond"])]
    pub(crate) forward: Vec<(String, u32)>,
    /// URL with {scheme} {host} {port} {path} {query} and {rest}
    #[arg(long, value_name = "URL", conflicts_with = "respond")]
    pub(crate) redirect: Option<String>,
    /// Status of the redirect: 301, 302, 303, 307 or 308 [default: 302]
    #[arg(long, value_name = "N", requires = "redirect")]
    pub(crate) status: Option<u32>,
    /// Status of a response without a server, 200 to 599
    #[arg(long, value_name = "STATUS")]
    pub(crate) respond: Option<u32>,
    /// Body of that response, at most 16 KiB
    #[arg(long, value_name = "TEXT", requires = "respond")]
    pub(crate) body: Option<String>,
    /// Content-Type of that body [default: text/plain]
    #[arg(long, value_name = "TYPE", requires = "respond")]
    pub(crate) content_type: Option<String>,
    /// Remove this beginning of the path
    #[arg(long, value_name = "PREFIX", conflicts_with = "replace_prefix")]
    pub(crate) strip_prefix: Option<String>,
    /// Replace a beginning of the path: /old=/new
    #[arg(long, value_name = "OLD=NEW", value_parser = parse::replacement)]
    pub(crate) replace_prefix: Option<(String, String)>,
    /// Host for the server, instead of the client's
    #[arg(long, value_name = "HOST")]
    pub(crate) replace_host: Option<String>,
    /// Set a field of the request: 'Name: value'; may be repeated
    #[arg(long, value_name = "FIELD", value_parser = parse::whole_field)]
    pub(crate) set_request_header: Vec<(String, String)>,
    /// Remove a field of the request; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) remove_request_header: Vec<String>,
    /// Set a field of the response: 'Name: value'; may be repeated
    #[arg(long, value_name = "FIELD", value_parser = parse::whole_field)]
    pub(crate) set_response_header: Vec<(String, String)>,
    /// Remove a field of the response; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) remove_response_header: Vec<String>,
}
