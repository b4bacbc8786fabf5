//! Says which rule matches a request, and why earlier ones do not. Pure.

use std::{borrow::Cow, net::IpAddr};

use crate::model::{NamedValues, Priority, RuleId};

use super::{
    CompiledAction, Difference, HostDefect, RoutedRequest, Router, Uncertain,
    matcher::Holds,
    route::{CompiledRoute, CompiledRule},
};

/// What becomes of a request, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The rule that matches, or for which it is uncertain; `None`: none.
    pub rule: Option<(RuleId, Priority)>,
    /// The pools that may get the request, with their shares; empty when Weldr itself responds.
    pub pools: Vec<(String, u32)>,
    /// What is done, in a sentence.
    pub action: String,
    /// Why each earlier rule does not match, in the order of the rules.
    pub mismatches: Vec<Mismatch>,
    /// Why the request is refused, instead of all that.
    pub refused: Option<String>,
}

/// Why a rule does not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The rule.
    pub rule: RuleId,
    /// Its place.
    pub priority: Priority,
    /// The first condition that does not hold, in a sentence.
    pub reason: String,
}

/// What becomes of `request` by the rules of `router`, and why.
pub fn explain(router: &Router, request: &RoutedRequest<'_>) -> Explanation {
    let mut mismatches = Vec::new();
    if let Some(uncertain) = router.uncertain_host(request) {
        return refused(None, uncertain, mismatches);
    }
    for rule in router.rules() {
        match rule.matcher.holds(request) {
            Ok(Holds::All { .. }) => {
                let found = Some((rule.desired.id, rule.priority()));
                return explanation(found, &rule.route, mismatches);
            }
            Ok(Holds::Not(difference)) => mismatches.push(Mismatch {
                rule: rule.desired.id,
                priority: rule.priority(),
                reason: reason(rule, difference, request),
            }),
            Err(uncertain) => {
                let found = Some((rule.desired.id, rule.priority()));
                return refused(found, uncertain, mismatches);
            }
        }
    }
    explanation(None, router.default_route(), mismatches)
}

fn refused(
    rule: Option<(RuleId, Priority)>,
    uncertain: Uncertain,
    mismatches: Vec<Mismatch>,
) -> Explanation {
    let refused = match uncertain {
        Uncertain::Host(defect) => format!("{uncertain}: {defect}"),
        Uncertain::Path(defect) => format!("{uncertain}: {defect}"),
        Uncertain::Readings => uncertain.to_string(),
    };
    Explanation {
        rule,
        pools: Vec::new(),
        action: "refuse the request with 400".to_owned(),
        mismatches,
        refused: Some(refused),
    }
}

fn explanation(
    rule: Option<(RuleId, Priority)>,
    route: &CompiledRoute,
    mismatches: Vec<Mismatch>,
) -> Explanation {
    let (pools, action) = match &route.action {
        CompiledAction::Pool(pool) => (
            vec![(pool.name.to_string(), 1)],
            format!("forward to pool {}", pool.name),
        ),
        CompiledAction::Pools(shares) => {
            let pools: Vec<(String, u32)> = shares
                .iter()
                .map(|(pool, share)| (pool.name.to_string(), share))
                .collect();
            let named: Vec<String> = pools
                .iter()
                .map(|(pool, share)| format!("{pool} ({share} of {})", shares.sum()))
                .collect();
            let action = format!("forward to one of the pools {}", named.join(", "));
            (pools, action)
        }
        CompiledAction::Redirect { status, .. } => (Vec::new(), format!("redirect with {status}")),
        CompiledAction::Respond(response) => {
            (Vec::new(), format!("respond with {}", response.status))
        }
    };
    Explanation {
        rule,
        pools,
        action,
        mismatches,
        refused: None,
    }
}

fn reason(rule: &CompiledRule, difference: Difference, request: &RoutedRequest<'_>) -> String {
    let conditions = &rule.desired.spec.conditions;
    let one_of = |values: &[String]| values.join(" or ");
    match difference {
        Difference::Host => {
            let host = match &request.host {
                Ok(host) => text(host),
                Err(HostDefect::Encoded) => Cow::Borrowed("uncertain"),
            };
            format!("the host {host} is not {}", one_of(&conditions.hosts))
        }
        Difference::Path => {
            let path = request
                .path
                .as_ref()
                .map_or(Cow::Borrowed("uncertain"), |path| text(path.normal()));
            let path = path.into_owned();
            format!("the path {path} is not {}", one_of(&conditions.paths))
        }
        Difference::Method => {
            let method = text(request.method);
            format!("the method {method} is not {}", one_of(&conditions.methods))
        }
        Difference::Header(at) => named("header field", conditions.headers.get(at), |name| {
            request.fields.any(name, &mut |_| true)
        }),
        Difference::Query(at) => named("query parameter", conditions.query.get(at), |name| {
            super::request::parameters(request.query).any(|(found, _)| *found == *name.as_bytes())
        }),
        Difference::Source => {
            let networks: Vec<String> =
                conditions.sources.iter().map(ToString::to_string).collect();
            let source: IpAddr = request.source.to_canonical();
            format!("the client {source} is not in {}", one_of(&networks))
        }
    }
}

fn named(kind: &str, wanted: Option<&NamedValues>, is_there: impl Fn(&str) -> bool) -> String {
    let Some(NamedValues { name, values }) = wanted else {
        return format!("a {kind} does not match");
    };
    if is_there(name) {
        format!("no value of the {kind} {name} is {}", values.join(" or "))
    } else {
        format!("there is no {kind} {name}")
    }
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
