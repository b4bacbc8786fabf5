//! `export`, `diff`, `apply`.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
};

use serde_json::Value;
use weldr_proto::v1::{ApplyRequest, ApplyResponse, Configuration, ExportRequest};

use super::Session;
use crate::{
    args::{ApplyArgs, DiffArgs},
    error::{CtlError, Exit},
    output::routing,
};

/// Prints the configuration: as YAML, unless JSON is asked for. What is not set is left out.
pub(super) async fn export(session: &Session) -> Result<Exit, CtlError> {
    let stale = session.stale;
    let response = session.client.export(ExportRequest { stale }).await?;
    let configuration = response.configuration.unwrap_or_default();
    let mut value = serde_json::to_value(&configuration).unwrap_or_default();
    drop_unset(&mut value);
    let output = &session.output;
    if output.is_json() {
        output.document(&value)?;
        return Ok(Exit::Done);
    }
    let yaml = serde_saphyr::to_string(&value)
        .map_err(|error| CtlError::NotDone(format!("the YAML cannot be written: {error}")))?;
    output.text(&format!("# weldr, revision {}\n{yaml}", response.revision))?;
    Ok(Exit::Done)
}

/// Removes what is not set, and what holds nothing that is set.
fn drop_unset(value: &mut Value) {
    let is_unset = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    match value {
        Value::Object(fields) => {
            for value in fields.values_mut() {
                drop_unset(value);
            }
            fields.retain(|_, value| !is_unset(value));
        }
        Value::Array(values) => {
            for value in values.iter_mut() {
                drop_unset(value);
            }
        }
        _ => {}
    }
}

pub(super) async fn diff(session: &Session, args: DiffArgs) -> Result<Exit, CtlError> {
    let request = ApplyRequest {
        configuration: Some(read(&args.file)?),
        prune: args.prune,
        // The differences are shown, whatever a guard says to them.
        force: true,
        dry_run: true,
        expected_revision: 0,
    };
    let response = session.client.apply(request).await?;
    let end = format!("compared with revision {}", response.revision);
    shown(session, &response, &end)
}

/// Computes the changes and makes them, if nothing else has changed in between.
pub(super) async fn apply(session: &Session, args: ApplyArgs) -> Result<Exit, CtlError> {
    let request = ApplyRequest {
        configuration: Some(read(&args.file)?),
        prune: args.prune,
        force: args.force,
        dry_run: true,
        expected_revision: args.condition.expected_revision.unwrap_or_default(),
    };
    let planned = session.client.apply(request.clone()).await?;
    if args.dry_run {
        let end = format!("nothing was changed, at revision {}", planned.revision);
        return shown(session, &planned, &end);
    }
    let expected = if args.any_revision {
        0
    } else {
        planned.revision
    };
    let request = ApplyRequest {
        dry_run: false,
        expected_revision: expected,
        ..request
    };
    let done = session.client.apply(request).await?;
    let end = if done.changes.is_empty() {
        format!(
            "everything was as the file says, revision {}",
            done.revision
        )
    } else {
        format!("applied, revision {}", done.revision)
    };
    shown(session, &done, &end)
}

fn shown(session: &Session, response: &ApplyResponse, end: &str) -> Result<Exit, CtlError> {
    let output = &session.output;
    if output.is_json() {
        output.document(response)?;
    } else {
        let changes = routing::changes(&response.changes, output.paint());
        output.text(&format!("{changes}{end}\n"))?;
    }
    Ok(Exit::Done)
}

/// Reads a configuration. JSON is YAML as well.
fn read(path: &Path) -> Result<Configuration, CtlError> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(path)
    };
    let text = text
        .map_err(|error| CtlError::Usage(format!("{} cannot be read: {error}", path.display())))?;
    parse(&text).map_err(|error| CtlError::Usage(format!("{}: {error}", path.display())))
}

fn parse(text: &str) -> Result<Configuration, String> {
    // An empty document is one that names nothing.
    let has_content = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    if !text.lines().any(has_content) {
        return Ok(Configuration::default());
    }
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    reason = "a test may stop at what it did not expect"
)]
mod tests {
    use super::*;

    const FILE: &str = "
pools:
  - name: api
    settings:
      check: {path: /health, interval_seconds: 2.5}
      balancing: least_requests
      policy: {connect_timeout_seconds: 1}
    servers:
      - address: 10.0.0.7:8080
        weight: 5
        admin_state: drain
listeners:
  - name: web
    address: 0.0.0.0:80
    default_route:
      forward: [{pool: api}]
    policy: {desync_mode: monitor, trusted_proxies: [10.0.0.0/8]}
    rules:
      - priority: 10
        conditions: {hosts: ['*.example.com'], paths: ['/old/*']}
        route: {redirect: {location: 'https://{host}/new/{rest}', status: 301}}
      - priority: 20
        conditions: {paths: [/ping]}
        route:
          respond: {status: 200, body: pong}
          changes: {request: {set: {X-A: b}}}
";

    #[test]
    fn yaml_and_json_are_the_same_document() {
        let from_yaml = parse(FILE).unwrap();
        let mut value = serde_json::to_value(&from_yaml).unwrap();
        drop_unset(&mut value);
        let json = serde_json::to_string(&value).unwrap();
        assert_eq!(parse(&json).unwrap(), from_yaml);
        let yaml = serde_saphyr::to_string(&value).unwrap();
        assert_eq!(parse(&yaml).unwrap(), from_yaml, "{yaml}");
        assert_eq!(from_yaml.listeners[0].rules[1].priority, Some(20));
        let check = from_yaml.pools[0].settings.clone().unwrap().check.unwrap();
        assert_eq!(check.interval.unwrap().nanos, 500_000_000);
    }

    #[test]
    fn texts_that_look_like_something_else_come_back_as_texts() {
        for body in [
            "yes", "null", "1", "1.5", "- a", "a: b", "#x", "", " a ", "a\nb\n", "~", "'", "\"",
            "é",
        ] {
            let value = serde_json::json!({"listeners": [{"name": "web", "rules": [
                {"priority": 1, "route": {"respond": {"status": 200, "body": body}}}]}]});
            let yaml = serde_saphyr::to_string(&value).unwrap();
            let read = parse(&yaml).unwrap();
            let route = read.listeners[0].rules[0].route.clone().unwrap();
            assert_eq!(route.respond.unwrap().body, body, "{yaml}");
        }
    }

    #[test]
    fn a_mistake_is_named_with_its_place() {
        for (text, told) in [
            ("pools:\n  - nam: a\n", "nam"),
            ("pools: 5\n", "pools"),
            (
                "pools:\n  - name: a\n    settings: {balancing: fastest}\n",
                "least_requests",
            ),
            (
                "pools:\n  - name: a\n    settings: {check: {interval_seconds: -1}}\n",
                "not negative",
            ),
            (
                "listeners:\n  - name: a\n    policy: {desync_mode: maybe}\n",
                "strict or monitor",
            ),
            ("a: [", ""),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
        // An array of its fields in their order is no object.
        for text in [
            "[]\n",
            "pools:\n  - [a]\n",
            "pools:\n  - name: a\n    settings: [null]\n",
            "pools:\n  - name: a\n    settings: {check: [null]}\n",
            "pools:\n  - name: a\n    settings: {policy: [1]}\n",
            "listeners:\n  - name: a\n    rules:\n      - priority: 1\n        conditions: [[a]]\n",
            r#"{"listeners": [{"name": "a", "default_route": [[]]}]}"#,
            r#"{"listeners": [{"name": "a", "policy": [1]}]}"#,
        ] {
            let error = parse(text).map(|read| format!("{read:?}")).unwrap_err();
            assert!(error.contains("expected mapping"), "{text}: {error}");
        }
        assert_eq!(parse("").unwrap(), Configuration::default());
        assert_eq!(parse("# nothing\n").unwrap(), Configuration::default());
    }
}
