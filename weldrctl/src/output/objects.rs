//! Changes of objects, one line each.

use serde::Serialize;
use serde_json::Value;
use weldr_proto::{
    json,
    v1::{
        ObjectChange,
        object_change::{Kind, Object},
    },
};

/// A line of `watch --all` in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct ObjectEvent {
    /// With this revision, `--after` goes on from here; 0 until all objects were printed.
    pub(crate) revision: u64,
    /// `set`, `removed` or `up_to_date`.
    pub(crate) event: &'static str,
    /// `pool`, `server`, `certificate`, `listener`, `rule` or `principal`.
    pub(crate) kind: Option<&'static str>,
    /// The object as the API has it; of one that was removed, only what names it.
    pub(crate) object: Option<Value>,
}

impl ObjectEvent {
    /// All was sent.
    pub(crate) fn up_to_date(revision: u64) -> Self {
        Self {
            revision,
            event: "up_to_date",
            kind: None,
            object: None,
        }
    }

    /// A change of an object.
    pub(crate) fn of_change(revision: u64, change: &ObjectChange) -> Self {
        let object = change.object.as_ref();
        Self {
            revision,
            event: event(change),
            kind: object.map(|object| named(object).0),
            object: object.map(shown),
        }
    }
}

/// A line of `watch --all`: revision, event, and what names the object.
pub(crate) fn line(revision: u64, change: &ObjectChange) -> String {
    let (kind, name) = match &change.object {
        Some(object) => named(object),
        None => ("object", String::new()),
    };
    // A control character in a name must not reach the terminal.
    let name = name.replace(char::is_control, " ");
    format!("{revision}  {:<7}  {kind} {name}\n", event(change))
}

fn event(change: &ObjectChange) -> &'static str {
    match change.kind() {
        Kind::Removed => "removed",
        Kind::Set | Kind::Unspecified => "set",
    }
}

/// The kind and the name of an object.
fn named(object: &Object) -> (&'static str, String) {
    match object {
        Object::Pool(pool) => ("pool", pool.name.clone()),
        Object::Server(server) => {
            let address = server.server.as_ref().map(|server| server.address.as_str());
            let address = address.unwrap_or_default();
            ("server", format!("{address} of pool {}", server.pool))
        }
        Object::Certificate(certificate) => ("certificate", certificate.name.clone()),
        Object::Listener(listener) => ("listener", listener.name.clone()),
        Object::Rule(rule) => {
            let priority = rule.rule.as_ref().map(|rule| rule.priority);
            let priority = priority.unwrap_or_default();
            ("rule", format!("{priority} of listener {}", rule.listener))
        }
        Object::Principal(principal) => ("principal", principal.name.clone()),
    }
}

fn shown(object: &Object) -> Value {
    let value = match object {
        Object::Pool(pool) => serde_json::to_value(pool),
        Object::Server(server) => serde_json::to_value(server),
        Object::Certificate(certificate) => serde_json::to_value(certificate),
        Object::Listener(listener) => serde_json::to_value(listener),
        Object::Rule(rule) => serde_json::to_value(rule),
        Object::Principal(principal) => serde_json::to_value(json::Principal::from(principal)),
    };
    value.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use weldr_proto::v1::{ListenerRule, PoolServer, Rule, ServerConfiguration};

    use super::*;

    fn change(kind: Kind, object: Object) -> ObjectChange {
        ObjectChange {
            kind: kind.into(),
            object: Some(object),
        }
    }

    #[test]
    fn a_change_is_a_line_that_names_the_object() {
        let server = Object::Server(PoolServer {
            pool: "api".to_owned(),
            server: Some(ServerConfiguration {
                address: "10.0.0.1:80".to_owned(),
                ..ServerConfiguration::default()
            }),
            ..PoolServer::default()
        });
        let rule = Object::Rule(ListenerRule {
            listener: "web".to_owned(),
            rule: Some(Rule {
                priority: 10,
                ..Rule::default()
            }),
        });
        let removed = change(Kind::Removed, server);
        assert_eq!(
            line(7, &removed),
            "7  removed  server 10.0.0.1:80 of pool api\n"
        );
        assert_eq!(
            line(8, &change(Kind::Set, rule)),
            "8  set      rule 10 of listener web\n"
        );
        let json = serde_json::to_value(ObjectEvent::of_change(7, &removed));
        let json = json.unwrap_or_default();
        assert_eq!(json["event"], "removed");
        assert_eq!(json["kind"], "server");
        assert_eq!(json["object"]["pool"], "api");
        assert_eq!(json["object"]["server"]["address"], "10.0.0.1:80");
    }
}
