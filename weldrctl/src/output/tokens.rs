//! Principals and contexts.

use weldr_proto::{
    json::time,
    v1::{Principal, WhoAmIResponse},
    words,
};

use super::{
    style::Paint,
    table::{self, words as column},
};
use crate::contexts::Contexts;

/// One sentence about a principal that was created.
pub(crate) fn created(principal: &Principal) -> String {
    let name = &principal.name;
    let role = words::role(principal.role);
    let scope = scope(&principal.pools);
    let until = match time(principal.expires) {
        Some(date) => format!("expires {date}"),
        None if principal.subject.is_empty() => "does not expire".to_owned(),
        None => format!("certificate of {}", principal.subject),
    };
    format!("{name} was created: {role}{scope}, {until}\n")
}

fn scope(pools: &[String]) -> String {
    if pools.is_empty() {
        String::new()
    } else {
        format!(" of {}", pools.join(", "))
    }
}

/// A table of principals.
pub(crate) fn list(principals: &[Principal], paint: Paint) -> String {
    let columns = ["NAME", "ROLE", "POOLS", "CREDENTIAL", "EXPIRES", "CREATED"].map(column);
    let rows = principals.iter().map(|principal| {
        let credential = if principal.subject.is_empty() {
            format!("token {}", principal.token_id)
        } else {
            format!("certificate {}", principal.subject)
        };
        let pools = match principal.pools.as_slice() {
            [] => "all".to_owned(),
            pools => pools.join(","),
        };
        let date = |date| time(date).unwrap_or_else(|| "-".to_owned());
        vec![
            principal.name.as_str().into(),
            words::role(principal.role).into(),
            pools.into(),
            credential.into(),
            date(principal.expires).into(),
            date(principal.created_at).into(),
        ]
    });
    table::render(&columns, rows.collect(), paint)
}

/// One sentence about the caller.
pub(crate) fn who_am_i(response: &WhoAmIResponse) -> String {
    let WhoAmIResponse { caller, node, .. } = response;
    let role = words::role(response.role);
    let scope = scope(&response.pools);
    let until = match time(response.expires) {
        Some(date) => format!(", expires {date}"),
        None => String::new(),
    };
    let open = if response.authentication {
        ""
    } else {
        "; this address needs no token"
    };
    format!("{caller} at node {node}: {role}{scope}{until}{open}\n")
}

/// A table of contexts.
pub(crate) fn contexts(contexts: &Contexts, paint: Paint) -> String {
    let columns = ["CURRENT", "NAME", "ENDPOINT", "TOKEN", "CERTIFICATE"].map(column);
    let rows = contexts.contexts.iter().map(|(name, context)| {
        let is_current = contexts.current.as_ref() == Some(name);
        let file = |file: &Option<std::path::PathBuf>| match file {
            Some(file) => file.display().to_string(),
            None => "-".to_owned(),
        };
        vec![
            if is_current { "*" } else { "" }.into(),
            name.as_str().into(),
            context.endpoint.join(",").into(),
            file(&context.token_file).into(),
            file(&context.client_cert).into(),
        ]
    });
    table::render(&columns, rows.collect(), paint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_is_said_in_a_sentence() {
        let mut principal = Principal {
            name: "deploy".to_owned(),
            role: weldr_proto::v1::Role::Operator.into(),
            pools: vec!["blue".to_owned()],
            ..Principal::default()
        };
        assert_eq!(
            created(&principal),
            "deploy was created: operator of blue, does not expire\n"
        );
        principal.pools.clear();
        principal.subject = "ci.example".to_owned();
        assert_eq!(
            created(&principal),
            "deploy was created: operator, certificate of ci.example\n"
        );
        assert!(list(&[principal], Paint::PLAIN).contains("certificate ci.example"));
    }
}
