//! Converts the options of conditions, actions and policies to messages of the API, and those to words.

use weldr_proto::v1::{
    Conditions, DesyncMode, FieldChanges, FixedResponse, ForwardedHeaders, ListenerPolicy,
    MessageChanges, NamedValues, PathPrefixChange, Redirect, Route, TrustedProxies, WeightedPool,
};

use crate::{
    args::{
        ActionArgs, ConditionArgs, DesyncChoice, ForwardedChoice, ListenerPolicyArgs, RulePart,
    },
    settings::proto_duration,
};

impl ConditionArgs {
    /// Whether none is given.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// `conditions` with those that are given in place of all of their kind.
    pub(crate) fn onto(&self, conditions: Conditions) -> Conditions {
        let or = |given: &Vec<String>, present: Vec<String>| {
            if given.is_empty() {
                present
            } else {
                given.clone()
            }
        };
        let or_named = |given: &[(String, Option<String>)], present: Vec<NamedValues>| {
            if given.is_empty() {
                present
            } else {
                named(given)
            }
        };
        Conditions {
            hosts: or(&self.host, conditions.hosts),
            paths: or(&self.path, conditions.paths),
            methods: or(&self.method, conditions.methods),
            headers: or_named(&self.header, conditions.headers),
            query: or_named(&self.query, conditions.query),
            sources: or(&self.source, conditions.sources),
        }
    }
}

/// One entry for each name: values of the same name are alternatives. A name that is given alone as well matches any value.
fn named(given: &[(String, Option<String>)]) -> Vec<NamedValues> {
    let mut all: Vec<NamedValues> = Vec::new();
    for (name, value) in given {
        let known = all.iter().position(|known| known.name == *name);
        let at = known.unwrap_or_else(|| {
            all.push(NamedValues {
                name: name.clone(),
                values: Vec::new(),
            });
            all.len() - 1
        });
        all[at].values.extend(value.clone());
    }
    for entry in &mut all {
        let alone =
            |(name, value): &(String, Option<String>)| *name == entry.name && value.is_none();
        if given.iter().any(alone) {
            entry.values.clear();
        }
    }
    all
}

/// `conditions` without a part.
pub(crate) fn clear(part: RulePart, conditions: &mut Conditions, route: &mut Route) {
    match part {
        RulePart::Host => conditions.hosts.clear(),
        RulePart::Path => conditions.paths.clear(),
        RulePart::Method => conditions.methods.clear(),
        RulePart::Header => conditions.headers.clear(),
        RulePart::Query => conditions.query.clear(),
        RulePart::Source => conditions.sources.clear(),
        RulePart::Changes => route.changes = None,
    }
}

impl ActionArgs {
    /// Whether none is given.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn names_an_action(&self) -> bool {
        !self.forward.is_empty() || self.redirect.is_some() || self.respond.is_some()
    }

    /// `route` with the action and the changes that are given.
    pub(crate) fn onto(&self, route: Route) -> Route {
        let changes = self.changes_onto(route.changes.clone().unwrap_or_default());
        let changes = (changes != MessageChanges::default()).then_some(changes);
        if !self.names_an_action() {
            return Route { changes, ..route };
        }
        let forward = self.forward.iter().map(|(pool, weight)| WeightedPool {
            pool: pool.clone(),
            weight: Some(*weight),
        });
        Route {
            forward: forward.collect(),
            redirect: self.redirect.clone().map(|location| Redirect {
                location,
                status: self.status,
            }),
            respond: self.respond.map(|status| FixedResponse {
                status: Some(status),
                content_type: self.content_type.clone().unwrap_or_default(),
                body: self.body.clone().unwrap_or_default(),
            }),
            changes,
        }
    }

    fn changes_onto(&self, mut changes: MessageChanges) -> MessageChanges {
        if let Some(prefix) = &self.strip_prefix {
            changes.path_prefix = Some(PathPrefixChange {
                prefix: prefix.clone(),
                replacement: String::new(),
            });
        }
        if let Some((prefix, replacement)) = &self.replace_prefix {
            changes.path_prefix = Some(PathPrefixChange {
                prefix: prefix.clone(),
                replacement: replacement.clone(),
            });
        }
        if let Some(host) = &self.replace_host {
            changes.host.clone_from(host);
        }
        changes.request = fields(
            changes.request,
            &self.set_request_header,
            &self.remove_request_header,
        );
        changes.response = fields(
            changes.response,
            &self.set_response_header,
            &self.remove_response_header,
        );
        changes
    }
}

fn fields(
    present: Option<FieldChanges>,
    set: &[(String, String)],
    remove: &[String],
) -> Option<FieldChanges> {
    let mut changes = present.unwrap_or_default();
    changes.set.extend(set.iter().cloned());
    changes.remove.extend(remove.iter().cloned());
    (changes != FieldChanges::default()).then_some(changes)
}

impl ListenerPolicyArgs {
    /// Whether none is given.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The values that are given.
    pub(crate) fn values(&self) -> ListenerPolicy {
        let desync_mode = match self.desync_mode {
            None => DesyncMode::Unspecified,
            Some(DesyncChoice::Strict) => DesyncMode::Strict,
            Some(DesyncChoice::Monitor) => DesyncMode::Monitor,
        };
        let forwarded_headers = match self.forwarded_headers {
            None => ForwardedHeaders::Unspecified,
            Some(ForwardedChoice::Append) => ForwardedHeaders::Append,
            Some(ForwardedChoice::Replace) => ForwardedHeaders::Replace,
            Some(ForwardedChoice::Off) => ForwardedHeaders::Off,
        };
        let proxies = |networks: Vec<String>| TrustedProxies { networks };
        let mut proxy_protocol_from = self.proxy_protocol_from.clone();
        if let Some(networks) = &mut proxy_protocol_from {
            networks.retain(|network| network != "off");
        }
        ListenerPolicy {
            client_header_timeout: self.client_header_timeout.map(proto_duration),
            client_idle_timeout: self.client_idle_timeout.map(proto_duration),
            client_body_timeout: self.client_body_timeout.map(proto_duration),
            lingering_timeout: self.lingering_timeout.map(proto_duration),
            max_header_bytes: self.max_header_bytes,
            max_headers: self.max_headers,
            max_body_bytes: self.max_body_bytes,
            body_min_rate: self.body_min_rate,
            max_connections: self.max_connections,
            max_connections_per_client: self.max_connections_per_client,
            desync_mode: desync_mode.into(),
            forwarded_headers: forwarded_headers.into(),
            trusted_proxies: self.trusted_proxies.clone().map(proxies),
            access_log: self.access_log,
            proxy_protocol_from: proxy_protocol_from.map(proxies),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: Option<&str>) -> (String, Option<String>) {
        (name.to_owned(), value.map(str::to_owned))
    }

    #[test]
    fn values_of_one_name_are_alternatives() {
        let given = [
            pair("X", Some("1")),
            pair("Y", None),
            pair("X", Some("2")),
            pair("Y", Some("3")),
        ];
        let entry = |name: &str, values: &[&str]| NamedValues {
            name: name.to_owned(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        };
        assert_eq!(named(&given), [entry("X", &["1", "2"]), entry("Y", &[])]);
    }

    #[test]
    fn what_is_not_given_stays() {
        let present = Conditions {
            hosts: vec!["a".to_owned()],
            methods: vec!["GET".to_owned()],
            ..Conditions::default()
        };
        let given = ConditionArgs {
            host: vec!["b".to_owned()],
            ..ConditionArgs::default()
        };
        let expected = Conditions {
            hosts: vec!["b".to_owned()],
            ..present.clone()
        };
        assert_eq!(given.onto(present), expected);

        let route = Route {
            redirect: Some(Redirect::default()),
            changes: Some(MessageChanges {
                host: "h".to_owned(),
                ..MessageChanges::default()
            }),
            ..Route::default()
        };
        let given = ActionArgs {
            strip_prefix: Some("/a".to_owned()),
            ..ActionArgs::default()
        };
        let stripped = given.onto(route.clone());
        assert_eq!(stripped.redirect, route.redirect);
        let changes = stripped.changes.unwrap_or_default();
        assert_eq!(changes.host, "h");
        assert_eq!(changes.path_prefix.unwrap_or_default().prefix, "/a");
        let given = ActionArgs {
            forward: vec![("p".to_owned(), 1)],
            ..ActionArgs::default()
        };
        let forwarded = given.onto(route.clone());
        assert_eq!(forwarded.redirect, None);
        assert_eq!(forwarded.changes, route.changes);
    }
}
