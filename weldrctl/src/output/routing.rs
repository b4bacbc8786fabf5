//! Listeners, rules and changes of a configuration in words and tables.

use std::fmt::Write as _;

use weldr_proto::{
    v1::{
        BindState, Conditions, ConfigurationChange, Listener, ListenerOnNode, ListenerTls,
        MessageChanges, NamedValues, Route, Rule, configuration_change::Kind,
    },
    words,
};

use super::{
    figures, pools,
    style::{Paint, Tint},
    table::{self, Cell, Column},
};

const LISTENERS: [Column; 7] = [
    table::words("LISTENER"),
    table::words("ADDRESS"),
    table::words("PROTOCOL"),
    table::words("CERTIFICATES"),
    table::figures("RULES"),
    table::words("DEFAULT ACTION"),
    table::words("NODES"),
];

const RULES: [Column; 4] = [
    table::figures("PRIORITY"),
    table::words("CONDITIONS"),
    table::words("ACTION"),
    table::words("NOTE"),
];

/// One line for each listener.
pub(crate) fn listeners(listeners: &[Listener], paint: Paint) -> String {
    let rows = listeners.iter().map(|listener| {
        let all_open = listener.nodes.iter().all(is_open);
        let tint = if all_open { None } else { Some(Tint::Bad) };
        vec![
            listener.name.as_str().into(),
            address(listener).into(),
            words::listener_protocol(listener.protocol).into(),
            certificates(listener).into(),
            listener.rules.to_string().into(),
            action(listener.default_route.as_ref()).into(),
            Cell::tinted(on_nodes(listener), tint),
        ]
    });
    table::render(&LISTENERS, rows.collect(), paint)
}

fn address(listener: &Listener) -> String {
    if listener.address.is_empty() {
        return "as --listen".to_owned();
    }
    listener.address.clone()
}

/// The first certificates of a listener, and how many more.
fn certificates(listener: &Listener) -> String {
    /// How many are named.
    const NAMED: usize = 3;
    let names = &listener.certificates;
    match names.len() {
        0 => figures::NONE.to_owned(),
        1..=NAMED => names.join(", "),
        count => format!("{} and {} more", names[..NAMED].join(", "), count - NAMED),
    }
}

/// How a listener speaks TLS.
fn tls(tls: &ListenerTls) -> String {
    let mut parts = vec![
        format!("policy {}", words::tls_policy(tls.policy)),
        format!(
            "client certificates {}",
            words::client_auth(tls.client_auth)
        ),
    ];
    for (set, part) in [
        (tls.strict_sni(), "strict SNI"),
        (!tls.session_resumption(), "no resumption"),
        (tls.forward_client_certificate(), "forwards Client-Cert"),
    ] {
        if set {
            parts.push(part.to_owned());
        }
    }
    let authorities = tls
        .client_ca()
        .matches("-----BEGIN CERTIFICATE-----")
        .count();
    if authorities > 0 {
        parts.push(format!("{authorities} authorities of clients"));
    }
    parts.join(", ")
}

fn is_open(node: &ListenerOnNode) -> bool {
    matches!(node.state(), BindState::Bound | BindState::NotServed)
}

fn on_nodes(listener: &Listener) -> String {
    let nodes = listener.nodes.iter().map(|node| {
        let is_other = !listener.address.is_empty() && node.address != listener.address;
        let there = if is_other && !node.address.is_empty() {
            format!(" at {}", node.address)
        } else {
            String::new()
        };
        format!("{} {}{there}", node.node, state(node))
    });
    let nodes: Vec<String> = nodes.collect();
    if nodes.is_empty() {
        return figures::NONE.to_owned();
    }
    nodes.join(", ")
}

fn state(node: &ListenerOnNode) -> &'static str {
    match node.state() {
        BindState::Unspecified => "unknown",
        BindState::Bound => "bound",
        BindState::InUse => "in use",
        BindState::NoPermission => "no permission",
        BindState::NoSuchAddress => "no such address",
        BindState::Failed => "failed",
        BindState::Pending => "pending",
        BindState::NotServed => "not served",
    }
}

/// On which nodes a listener is, one line each.
pub(crate) fn nodes(listener: &Listener) -> String {
    let mut text = String::new();
    for node in &listener.nodes {
        // Writing to a string cannot fail.
        _ = writeln!(text, "  {}: {} at {}", node.node, state(node), node.address);
    }
    text
}

/// The nodes that could not open a listener, in sentences.
pub(crate) fn not_open(listener: &Listener) -> Vec<String> {
    let closed = listener.nodes.iter().filter(|node| !is_open(node));
    let sentence = |node: &ListenerOnNode| {
        let reason = if node.reason.is_empty() {
            state(node)
        } else {
            &node.reason
        };
        format!(
            "node {} does not listen on {}: {reason}; it tries again",
            node.node, node.address
        )
    };
    closed.map(sentence).collect()
}

/// All details of a listener.
pub(crate) fn listener(listener: &Listener, paint: Paint) -> String {
    let mut text = format!("{}\n", paint.text(&listener.name, Some(Tint::Head)));
    let mut line = |name: &str, value: String| {
        // Writing to a string cannot fail.
        _ = writeln!(text, "  {name:<16}{value}");
    };
    line("address", address(listener));
    line("protocol", words::listener_protocol(listener.protocol));
    if !listener.certificates.is_empty() {
        line("certificates", listener.certificates.join(", "));
        line("TLS", tls(&listener.tls.clone().unwrap_or_default()));
    }
    line("default action", action(listener.default_route.as_ref()));
    line("rules", listener.rules.to_string());
    line("policy", pools::policy(listener.policy.as_ref()));
    line("revision", listener.revision.to_string());
    for node in &listener.nodes {
        let since = figures::since(node.since, figures::now());
        let mut value = format!("{} at {} (for {since})", state(node), node.address);
        if !node.reason.is_empty() {
            _ = write!(value, ": {}", node.reason);
        }
        line(&format!("on {}", node.node), value);
    }
    text
}

/// One line for each rule.
pub(crate) fn rules(rules: &[Rule], paint: Paint) -> String {
    let rows = rules.iter().map(|rule| {
        let covered = rule
            .covered_by
            .map(|earlier| format!("never decides: rule {earlier} covers it"));
        let never = "no path that it matches has the prefix to change".to_owned();
        let note = covered.or(rule.prefix_never_applies.then_some(never));
        let tint = note.is_some().then_some(Tint::Bad);
        vec![
            rule.priority.to_string().into(),
            conditions(rule.conditions.as_ref()).into(),
            action(rule.route.as_ref()).into(),
            Cell::tinted(note.unwrap_or_default(), tint),
        ]
    });
    table::render(&RULES, rows.collect(), paint)
}

/// A rule in one sentence.
pub(crate) fn sentence(rule: &Rule) -> String {
    let conditions = conditions(rule.conditions.as_ref());
    format!("{conditions} → {}", action(rule.route.as_ref()))
}

fn conditions(conditions: Option<&Conditions>) -> String {
    let Some(conditions) = conditions else {
        return ALL.to_owned();
    };
    let mut parts = Vec::new();
    let mut plain = |name: &str, values: &[String]| {
        if !values.is_empty() {
            parts.push(format!("{name} {}", values.join("|")));
        }
    };
    plain("host", &conditions.hosts);
    plain("path", &conditions.paths);
    plain("method", &conditions.methods);
    plain("source", &conditions.sources);
    let named = |name: &str, all: &[NamedValues], separator: &str| -> Vec<String> {
        let words = all.iter().map(
            |NamedValues {
                 name: field,
                 values,
             }| {
                if values.is_empty() {
                    format!("{name} {field}")
                } else {
                    format!("{name} {field}{separator}{}", values.join("|"))
                }
            },
        );
        words.collect()
    };
    parts.extend(named("header", &conditions.headers, ": "));
    parts.extend(named("query", &conditions.query, "="));
    if parts.is_empty() {
        return ALL.to_owned();
    }
    parts.join(", ")
}

const ALL: &str = "all requests";

fn action(route: Option<&Route>) -> String {
    let Some(route) = route else {
        return figures::NONE.to_owned();
    };
    let mut text = match (route.forward.as_slice(), &route.redirect, &route.respond) {
        ([pool], _, _) => format!("forward {}", pool.pool),
        ([], Some(redirect), _) => {
            format!("redirect {} ({})", redirect.location, redirect.status())
        }
        ([], None, Some(respond)) => {
            format!(
                "respond {} ({} bytes)",
                respond.status(),
                respond.body.len()
            )
        }
        ([], None, None) => figures::NONE.to_owned(),
        (pools, _, _) => {
            let weighted = pools
                .iter()
                .map(|pool| format!("{}={}", pool.pool, pool.weight()));
            format!("forward {}", weighted.collect::<Vec<_>>().join(","))
        }
    };
    if let Some(changes) = &route.changes {
        text.push_str(&changes_of(changes));
    }
    text
}

fn changes_of(changes: &MessageChanges) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    if let Some(prefix) = &changes.path_prefix {
        _ = match prefix.replacement.as_str() {
            "" => write!(text, ", strip {}", prefix.prefix),
            new => write!(text, ", {} to {new}", prefix.prefix),
        };
    }
    if !changes.host.is_empty() {
        _ = write!(text, ", host {}", changes.host);
    }
    for (of, fields) in [
        ("request", &changes.request),
        ("response", &changes.response),
    ] {
        let Some(fields) = fields else { continue };
        for (name, value) in &fields.set {
            _ = write!(text, ", set {of} {name}: {value}");
        }
        for name in &fields.remove {
            _ = write!(text, ", remove {of} {name}");
        }
    }
    text
}

/// One line for each change of a configuration.
pub(crate) fn changes(changes: &[ConfigurationChange], paint: Paint) -> String {
    let mut text = String::new();
    for change in changes {
        let (sign, tint) = match change.kind() {
            Kind::Added => ("+", Tint::Good),
            Kind::Removed => ("-", Tint::Bad),
            Kind::Changed | Kind::Unspecified => ("~", Tint::Head),
        };
        let sign = paint.text(sign, Some(tint));
        let settings = change
            .settings
            .iter()
            .map(|setting| format!("{} {} → {}", setting.name, setting.before, setting.after));
        let settings: Vec<String> = settings.collect();
        let separator = if settings.is_empty() { "" } else { ": " };
        // A control character in a value must not reach the terminal.
        let words = format!("{}{separator}{}", change.object, settings.join(", "));
        let words = words.replace(char::is_control, " ");
        // Writing to a string cannot fail.
        _ = writeln!(text, "{sign} {words}");
    }
    text
}
