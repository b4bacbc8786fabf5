//! The table of pools.

use serde::Serialize;
use serde_json::Value;
use weldr_proto::{
    v1::{Pool, PoolProtocol, PoolSettings, PoolTls},
    words as proto_words,
};

use super::{
    servers::check,
    style::{Paint, Tint},
    table::{self, Cell, Column},
    words,
};

const COLUMNS: [Column; 9] = [
    table::words("POOL"),
    table::words("PROTOCOL"),
    table::words("BALANCING"),
    table::figures("HEALTHY"),
    table::figures("UNHEALTHY"),
    table::figures("INITIAL"),
    table::figures("DRAINING"),
    table::figures("UNUSED"),
    table::words("CHECK"),
];

/// One line for each pool.
pub(crate) fn list(pools: &[Pool], paint: Paint) -> String {
    let rows = pools.iter().map(|pool| {
        let settings = pool.settings.clone().unwrap_or_default();
        let counts = pool.counts.unwrap_or_default();
        let mut row: Vec<Cell> = vec![
            pool.name.as_str().into(),
            protocol(&settings),
            words::balancing(settings.balancing).into(),
        ];
        let counts = [
            counts.healthy,
            counts.unhealthy,
            counts.initial,
            counts.draining,
            counts.unused,
        ];
        row.extend(counts.map(|count| count.to_string().into()));
        row.push(check(settings.check.as_ref()).into());
        row
    });
    table::render(&COLUMNS, rows.collect(), paint)
}

/// What is spoken to servers. That their certificates are not verified stands out.
fn protocol(settings: &PoolSettings) -> Cell {
    let tint = is_insecure(settings).then_some(Tint::Bad);
    Cell::tinted(protocol_words(settings), tint)
}

/// Whether certificates of servers are not verified.
pub(crate) fn is_insecure(settings: &PoolSettings) -> bool {
    settings.protocol() == PoolProtocol::Https
        && settings.tls.as_ref().is_some_and(PoolTls::insecure)
}

/// What is spoken to servers, in words.
pub(crate) fn protocol_words(settings: &PoolSettings) -> String {
    let protocol = proto_words::pool_protocol(settings.protocol);
    // A node of an earlier version says nothing, and has only this one.
    let mut protocol = protocol.unwrap_or_else(|| "http1".to_owned());
    if is_insecure(settings) {
        protocol.push_str(" (insecure)");
    }
    protocol
}

/// The values of a policy that are set, for example `connect_timeout 2s, retries 0`; `as the node` if there are none.
pub(crate) fn policy(policy: Option<&impl Serialize>) -> String {
    let value = serde_json::to_value(policy).unwrap_or_default();
    let Value::Object(values) = value else {
        return AS_THE_NODE.to_owned();
    };
    let set = values.iter().filter(|(_, value)| !value.is_null());
    let words = set.map(|(name, value)| {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        match name.strip_suffix("_seconds") {
            Some(name) => format!("{name} {text}s"),
            None => format!("{name} {text}"),
        }
    });
    let words: Vec<String> = words.collect();
    if words.is_empty() {
        return AS_THE_NODE.to_owned();
    }
    words.join(", ")
}

const AS_THE_NODE: &str = "as the node";
