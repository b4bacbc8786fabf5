//! Conditions and routes of rules.

use ipnet::IpNet;
use weldr_proto::v1;

use crate::model::{
    Action, Conditions, FieldChanges, FixedResponse, Invalid, MessageChanges, NamedValues,
    PathPrefixChange, Redirect, Route, RuleSpec, WeightedPool,
};

use super::Violations;

/// The status of a redirect that does not name one: Found.
const DEFAULT_REDIRECT: u32 = 302;

/// A rule of a request: its conditions and its route, each with its violations.
pub(in crate::management) fn rule_spec(
    given_conditions: v1::Conditions,
    given_route: v1::Route,
    violations: &mut Violations,
) -> Option<RuleSpec> {
    let conditions = violations.take(conditions(given_conditions));
    let route = violations.take(route(given_route).map_err(|invalid| invalid.within("route")));
    let (conditions, route) = conditions.zip(route)?;
    let spec = RuleSpec { conditions, route };
    violations.take(spec.validate())?;
    Some(spec)
}

pub(super) fn conditions(given: v1::Conditions) -> Result<Conditions, Invalid> {
    let named = |all: Vec<v1::NamedValues>| {
        let named = all.into_iter();
        named.map(|v1::NamedValues { name, values }| NamedValues { name, values })
    };
    Ok(Conditions {
        hosts: given.hosts,
        paths: given.paths,
        methods: given.methods,
        headers: named(given.headers).collect(),
        query: named(given.query).collect(),
        sources: networks("conditions.sources", &given.sources)?,
    })
}

/// Networks, or addresses alone.
pub(super) fn networks(field: &str, given: &[String]) -> Result<Vec<IpNet>, Invalid> {
    let network = |text: &String| {
        let network = text.parse::<IpNet>().ok();
        let network = network.or_else(|| text.parse().ok().map(|ip: std::net::IpAddr| ip.into()));
        network
            .map(|network| network.trunc())
            .ok_or_else(|| Invalid::new(field, text, "a network such as 10.0.0.0/8, or an address"))
    };
    given.iter().map(network).collect()
}

/// A route: exactly one action.
pub(in crate::management) fn route(given: v1::Route) -> Result<Route, Invalid> {
    let v1::Route {
        forward,
        redirect,
        respond,
        changes,
    } = given;
    let action = match (forward.as_slice(), redirect, respond) {
        ([_, ..], None, None) => Action::Forward(weighted(&forward)?),
        ([], Some(redirect), None) => Action::Redirect(Redirect {
            location: redirect.location,
            status: small(
                "redirect.status",
                redirect.status.unwrap_or(DEFAULT_REDIRECT),
            )?,
        }),
        ([], None, Some(respond)) => Action::Respond(fixed(respond)?),
        ([], None, None) => {
            let accepted = "one action: forward, redirect or respond";
            return Err(Invalid::new("action", "", accepted));
        }
        _ => {
            let accepted = "only one action: forward, redirect or respond";
            return Err(Invalid::new("action", "several", accepted));
        }
    };
    let changes = changes.map(message_changes).unwrap_or_default();
    Ok(Route { action, changes })
}

fn fixed(given: v1::FixedResponse) -> Result<FixedResponse, Invalid> {
    let content_type = if given.content_type.is_empty() {
        "text/plain".to_owned()
    } else {
        given.content_type
    };
    Ok(FixedResponse {
        status: small("respond.status", given.status.unwrap_or(200))?,
        content_type,
        body: given.body,
    })
}

fn weighted(given: &[v1::WeightedPool]) -> Result<Vec<WeightedPool>, Invalid> {
    let weighted = given.iter().map(|v1::WeightedPool { pool, weight }| {
        let within = |invalid: Invalid| invalid.named("forward.pool");
        Ok(WeightedPool {
            pool: pool.parse().map_err(within)?,
            weight: small("forward.weight", weight.unwrap_or(1))?,
        })
    });
    weighted.collect()
}

/// A number that the model has in sixteen bits, where validation looks at it.
fn small(field: &str, given: u32) -> Result<u16, Invalid> {
    u16::try_from(given).map_err(|_| Invalid::new(field, given, "a smaller number"))
}

fn message_changes(given: v1::MessageChanges) -> MessageChanges {
    let fields = |fields: Option<v1::FieldChanges>| {
        let v1::FieldChanges { remove, set } = fields.unwrap_or_default();
        FieldChanges { remove, set }
    };
    MessageChanges {
        path_prefix: given.path_prefix.map(|change| PathPrefixChange {
            prefix: change.prefix,
            replacement: change.replacement,
        }),
        host: (!given.host.is_empty()).then_some(given.host),
        request: fields(given.request),
        response: fields(given.response),
    }
}

pub(in crate::management) fn proto_conditions(conditions: &Conditions) -> v1::Conditions {
    let named = |all: &[NamedValues]| {
        let named = all
            .iter()
            .map(|NamedValues { name, values }| v1::NamedValues {
                name: name.clone(),
                values: values.clone(),
            });
        named.collect()
    };
    v1::Conditions {
        hosts: conditions.hosts.clone(),
        paths: conditions.paths.clone(),
        methods: conditions.methods.clone(),
        headers: named(&conditions.headers),
        query: named(&conditions.query),
        sources: conditions.sources.iter().map(IpNet::to_string).collect(),
    }
}

pub(in crate::management) fn proto_route(route: &Route) -> v1::Route {
    let changes = (!route.changes.is_empty()).then(|| proto_changes(&route.changes));
    let mut proto = v1::Route {
        changes,
        ..v1::Route::default()
    };
    match &route.action {
        Action::Forward(pools) => {
            let pools = pools
                .iter()
                .map(|WeightedPool { pool, weight }| v1::WeightedPool {
                    pool: pool.to_string(),
                    weight: Some((*weight).into()),
                });
            proto.forward = pools.collect();
        }
        Action::Redirect(Redirect { location, status }) => {
            proto.redirect = Some(v1::Redirect {
                location: location.clone(),
                status: Some((*status).into()),
            });
        }
        Action::Respond(response) => {
            proto.respond = Some(v1::FixedResponse {
                status: Some(response.status.into()),
                content_type: response.content_type.clone(),
                body: response.body.clone(),
            });
        }
    }
    proto
}

fn proto_changes(changes: &MessageChanges) -> v1::MessageChanges {
    let fields = |fields: &FieldChanges| {
        (!fields.is_empty()).then(|| v1::FieldChanges {
            remove: fields.remove.clone(),
            set: fields.set.clone(),
        })
    };
    let prefix = changes.path_prefix.as_ref();
    v1::MessageChanges {
        path_prefix: prefix.map(|change| v1::PathPrefixChange {
            prefix: change.prefix.clone(),
            replacement: change.replacement.clone(),
        }),
        host: changes.host.clone().unwrap_or_default(),
        request: fields(&changes.request),
        response: fields(&changes.response),
    }
}
