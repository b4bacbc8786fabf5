//! Compiles the `.proto` files with protox, so that `protoc` need not be installed.
#![allow(
    clippy::print_stdout,
    reason = "cargo reads what a build script prints"
)]

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const PROTOS: [&str; 7] = [
    "weldr/v1/access.proto",
    "weldr/v1/certificates.proto",
    "weldr/v1/management.proto",
    "weldr/v1/routing.proto",
    "weldr/v1/cluster.proto",
    "weldr/v1/observation.proto",
    "weldr/raft/v1/raft.proto",
];

/// Messages that are JSON in requests and responses as they stand.
const IN_JSON: [&str; 45] = [
    "Conditions",
    "NamedValues",
    "Route",
    "WeightedPool",
    "Redirect",
    "FixedResponse",
    "MessageChanges",
    "PathPrefixChange",
    "FieldChanges",
    "Rule",
    "ListenerPolicy",
    "PoolPolicy",
    "Listener",
    "ListenerOnNode",
    "Configuration",
    "PoolConfiguration",
    "ServerConfiguration",
    "ListenerConfiguration",
    "RuleConfiguration",
    "ConfigurationChange",
    "SettingChange",
    "CreateRuleRequest",
    "UpdateRuleRequest",
    "MoveRuleRequest",
    "CreateListenerRequest",
    "UpdateListenerRequest",
    "ApplyRequest",
    "ApplyResponse",
    "ListRulesResponse",
    "ListListenersResponse",
    "ExplainRouteRequest",
    "HeaderField",
    "ExplainRouteResponse",
    "ExplainedPool",
    "RuleMismatch",
    "ListenerTls",
    "PoolTls",
    "Certificate",
    "TlsPolicyContents",
    "CreateCertificateRequest",
    "UpdateCertificateRequest",
    "AcmeRequest",
    "AcmeProgress",
    "AcmeAccount",
    "SetAcmeAccountRequest",
];

/// Messages that are JSON in responses as they stand.
const SHOWN: [&str; 8] = [
    "GetObjectStatsResponse",
    "ListenerStats",
    "RuleStats",
    "PoolStats",
    "ServerSums",
    "LatencyBucket",
    "PoolServer",
    "ListenerRule",
];

/// Messages in those whose JSON is a type of `src/json`.
const SHOWN_BY_HAND: [&str; 3] = ["Outcomes", "StatusClasses", "Latency"];

/// Messages that are a list in JSON.
const LISTS: [&str; 2] = ["TrustedProxies", "CertificateNames"];

/// Messages with a secret: `Debug` would show it.
const WITH_SECRETS: [&str; 3] = [
    "CreateCertificateRequest",
    "UpdateCertificateRequest",
    "SetAcmeAccountRequest",
];

/// Times in those messages.
const TIMES: [&str; 7] = [
    "AcmeProgress.next_renewal",
    "AcmeProgress.retry_at",
    "AcmeAccount.retry_at",
    "ListenerOnNode.since",
    "Certificate.not_before",
    "Certificate.not_after",
    "GetObjectStatsResponse.at",
];

/// Durations in those messages: a number of seconds, under a name that says so.
const SECONDS: [&str; 12] = [
    "PoolPolicy.connect_timeout",
    "PoolPolicy.server_selection_timeout",
    "PoolPolicy.response_header_timeout",
    "PoolPolicy.stream_idle_timeout",
    "PoolPolicy.server_idle_timeout",
    "PoolPolicy.tunnel_idle_timeout",
    "ListenerPolicy.client_header_timeout",
    "ListenerPolicy.client_idle_timeout",
    "ListenerPolicy.client_body_timeout",
    "ListenerPolicy.lingering_timeout",
    "GetObjectStatsResponse.uptime",
    "LatencyBucket.below",
];

/// Values of enumerations in those messages: words.
const WORDS: [(&str, &str); 13] = [
    ("ListenerPolicy.desync_mode", "desync_mode"),
    ("ListenerPolicy.forwarded_headers", "forwarded_headers"),
    ("PoolPolicy.send_proxy_protocol", "send_proxy_protocol"),
    ("ListenerOnNode.state", "bind_state"),
    ("ServerConfiguration.admin_state", "admin_state"),
    ("ConfigurationChange.kind", "configuration_change"),
    ("Listener.protocol", "listener_protocol"),
    ("CreateListenerRequest.protocol", "listener_protocol"),
    ("UpdateListenerRequest.protocol", "listener_protocol"),
    ("ListenerConfiguration.protocol", "listener_protocol"),
    ("ListenerTls.policy", "tls_policy"),
    ("ListenerTls.client_auth", "client_auth"),
    ("Certificate.source", "certificate_source"),
];

/// Messages whose JSON is a type of `src/json`.
const BY_HAND: [&str; 2] = ["HealthCheck", "PoolSettings"];

const DERIVE: &str = "#[derive(serde::Serialize, serde::Deserialize)]";

fn with_json(mut builder: tonic_prost_build::Builder) -> tonic_prost_build::Builder {
    let path = |name: &str| format!(".weldr.v1.{name}");
    for message in IN_JSON {
        let attributes = format!("{DERIVE} #[serde(default, deny_unknown_fields)]");
        builder = builder.message_attribute(path(message), attributes);
    }
    for message in SHOWN {
        builder = builder.message_attribute(path(message), "#[derive(serde::Serialize)]");
    }
    for message in SHOWN_BY_HAND {
        let attributes =
            format!("#[derive(serde::Serialize)] #[serde(into = \"crate::json::{message}\")]");
        builder = builder.message_attribute(path(message), attributes);
    }
    for message in LISTS {
        let attributes = format!("{DERIVE} #[serde(transparent)]");
        builder = builder.message_attribute(path(message), attributes);
    }
    builder = builder.skip_debug(WITH_SECRETS.map(path));
    for field in SECONDS {
        let name = field.rsplit('.').next().unwrap_or(field);
        let attribute =
            format!("#[serde(rename = \"{name}_seconds\", with = \"crate::json::form::seconds\")]");
        builder = builder.field_attribute(path(field), attribute);
    }
    for (field, word) in WORDS {
        let attribute = format!("#[serde(with = \"crate::json::form::{word}\")]");
        builder = builder.field_attribute(path(field), attribute);
    }
    for field in TIMES {
        let attribute = "#[serde(with = \"crate::json::form::time\")]";
        builder = builder.field_attribute(path(field), attribute);
    }
    for message in BY_HAND {
        let json = format!("crate::json::{message}");
        let attributes = format!("{DERIVE} #[serde(into = \"{json}\", try_from = \"{json}\")]");
        builder = builder.message_attribute(path(message), attributes);
    }
    builder
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=weldr");
    let descriptors = protox::compile(PROTOS, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    with_json(tonic_prost_build::configure())
        .bytes(".weldr.raft.v1")
        .skip_debug([".weldr.raft.v1.SealingKey"])
        .btree_map(".weldr.v1")
        .compile_fds(descriptors)?;
    Ok(())
}
