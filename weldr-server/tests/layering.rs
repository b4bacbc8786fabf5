//! A room of the server or of its data plane may be entered from the layers above it and from nowhere else.
//!
//! The test reads the sources of both, finds each path into another room (`crate::room`, or enough `super::` to get
//! there), and compares it with [`ROOMS`]. That the data plane enters no room of the server, the compiler sees. Test code counts as well: a test that needs a room above its own
//! is an integration test.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "layering/circles.rs"]
mod circles;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The generated code of the gRPC APIs, named as if it were a room.
const PROTO: &str = "weldr_proto";

/// The crate of the data plane, whose rooms are also reached as the server's own.
const DATA_PLANE: &str = "weldr_dataplane";

/// Each room, and the rooms that it may enter. `None` means all of them.
const ROOMS: &[(&str, Option<&[&str]>)] = &[
    // Layer 0.
    ("budget", Some(&[])),
    ("buffer", Some(&[])),
    ("clock", Some(&[])),
    ("durable", Some(&[])),
    ("liveness", Some(&[])),
    ("model", Some(&[])),
    ("output", Some(&[])),
    ("priority", Some(&[])),
    ("shutdown", Some(&[])),
    ("threads", Some(&[])),
    ("warnings", Some(&[])),
    // Layer 1.
    ("telemetry", Some(&["output"])),
    ("args", Some(&["model", "policy"])),
    ("balancer", Some(&["model"])),
    ("certificates", Some(&["model"])),
    ("config", Some(&["args", "model", "policy"])),
    ("http1", Some(&["buffer", "policy"])),
    ("policy", Some(&["model"])),
    ("proxy_protocol", Some(&["model"])),
    ("stickiness", Some(&["model"])),
    ("tls", Some(&["model"])),
    ("secrets", Some(&["durable", "model"])),
    // Layer 2.
    ("stats", Some(&["balancer", "liveness", "model"])),
    (
        "snapshot",
        Some(&[
            "balancer",
            "clock",
            "http1",
            "model",
            "stats",
            "stickiness",
            "tls",
        ]),
    ),
    // Layer 3, data. The proxy would run unchanged from a static file.
    (
        "proxy",
        Some(&[
            "balancer",
            "buffer",
            "clock",
            "http1",
            "liveness",
            "model",
            "output",
            "policy",
            "proxy_protocol",
            "snapshot",
            "stats",
            "stickiness",
            "tls",
            "warnings",
        ]),
    ),
    (
        "health",
        Some(&[
            "balancer",
            "clock",
            "http1",
            "liveness",
            "model",
            "proxy_protocol",
            "snapshot",
            "stats",
        ]),
    ),
    // Layer 3, control.
    (
        "cluster",
        Some(&[
            "durable", "liveness", "model", "priority", "secrets", "warnings", PROTO,
        ]),
    ),
    (
        "vip",
        Some(&["clock", "config", "liveness", "model", "priority"]),
    ),
    // Layer 4.
    (
        "readiness",
        Some(&["clock", "cluster", "liveness", "model", "snapshot", "stats"]),
    ),
    (
        "acme",
        Some(&["certificates", "cluster", "liveness", "model", "secrets"]),
    ),
    ("metrics", Some(&["cluster", "model", "snapshot", "stats"])),
    (
        "backups",
        Some(&["clock", "cluster", "liveness", "model", "warnings"]),
    ),
    (
        "epochs",
        Some(&["cluster", "liveness", "model", "secrets", "tls", "warnings"]),
    ),
    // Layer 5.
    (
        "management",
        Some(&[
            "certificates",
            "clock",
            "cluster",
            "liveness",
            "metrics",
            "model",
            "readiness",
            "secrets",
            "snapshot",
            "stats",
            "stickiness",
            "warnings",
            PROTO,
        ]),
    ),
    (
        "reconcile",
        Some(&[
            "certificates",
            "clock",
            "cluster",
            "epochs",
            "health",
            "liveness",
            "model",
            "secrets",
            "snapshot",
            "stickiness",
            "tls",
        ]),
    ),
    // Layer 6. The demonstration is a user of the node's management API.
    ("demo", Some(&["node", "telemetry", PROTO])),
    ("reload", Some(&["args", "config", "threads"])),
    ("node", None),
    ("main", None),
    ("lib", None),
];

#[test]
fn rooms_are_entered_from_above_only() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut violations = Vec::new();
    for member in ["weldr-server", "weldr-server/dataplane"] {
        let sources = workspace.join(member).join("src");
        let mut files = Vec::new();
        collect(&sources, &mut files);
        let mut seen = 0;
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            let path = file.strip_prefix(&sources).unwrap();
            let entries = entries(path, &text);
            seen += entries.len();
            violations.extend(judge(path, &entries));
        }
        assert!(
            seen > 30,
            "only {seen} paths between rooms in {member}: the scanner is blind"
        );
    }
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The entries of a file that [`ROOMS`] does not allow, as sentences.
fn judge(path: &Path, entries: &[(usize, String)]) -> Vec<String> {
    let rooms: BTreeMap<_, _> = ROOMS.iter().copied().collect();
    let room = room_of(path);
    let Some(allowed) = rooms.get(room.as_str()) else {
        return vec![format!(
            "{}: room `{room}` has no layer: add it to ROOMS",
            path.display()
        )];
    };
    let Some(allowed) = allowed else {
        return Vec::new();
    };
    entries
        .iter()
        .filter(|(_, entered)| *entered != room && !allowed.contains(&entered.as_str()))
        .map(|(line, entered)| {
            let place = path.display();
            format!("{place}:{line}: `{room}` enters `{entered}`; it may enter {allowed:?}")
        })
        .collect()
}

fn room_of(path: &Path) -> String {
    let first = path.iter().next().unwrap().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// How many modules deep the top of a file is: 1 for `room.rs` and `room/mod.rs`, 0 for the crate's root.
fn depth_of(path: &Path) -> usize {
    let name = path.file_stem().unwrap().to_string_lossy();
    let components = path.iter().count();
    match (components, name.as_ref()) {
        (1, "lib" | "main") => 0,
        (_, "mod") => components - 1,
        _ => components,
    }
}

/// Each path in `text` that leads to a room, with its line: `crate::room`, `crate::{room, …}`, the same of the data
/// plane, as many `super::` as reach the crate's root, and `weldr_proto`.
fn entries(path: &Path, text: &str) -> Vec<(usize, String)> {
    let tokens = tokens(text);
    let top = depth_of(path);
    let word = |at: usize| tokens.get(at).map_or("", |(_, word)| word.as_str());
    let mut found = Vec::new();
    // The braces that are open, and whether each is a module's.
    let mut braces = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let path_goes_on = at > 0 && word(at - 1) == "::";
        match word(at) {
            "{" => braces.push(at >= 2 && word(at - 2) == "mod"),
            "}" => {
                braces.pop();
            }
            PROTO => found.push((tokens[at].0, PROTO.to_owned())),
            "crate" | DATA_PLANE if word(at + 1) == "::" => targets(&tokens, at + 2, &mut found),
            "super" if !path_goes_on && word(at + 1) == "::" => {
                let depth = top + braces.iter().filter(|is_module| **is_module).count();
                let mut climbed = 0;
                while word(at) == "super" && word(at + 1) == "::" {
                    climbed += 1;
                    at += 2;
                }
                if climbed == depth {
                    targets(&tokens, at, &mut found);
                }
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// What comes after `crate::`: a name, or the first name of each path in a group.
fn targets(tokens: &[(usize, String)], at: usize, found: &mut Vec<(usize, String)>) {
    let Some((_, first)) = tokens.get(at) else {
        return;
    };
    if first != "{" {
        found.push(tokens[at].clone());
        return;
    }
    let mut open = 0;
    let mut begins = true;
    for token in &tokens[at..] {
        match token.1.as_str() {
            "{" => open += 1,
            "}" if open == 1 => return,
            "}" => open -= 1,
            "," => begins = open == 1,
            _ if begins && open == 1 => {
                found.push(token.clone());
                begins = false;
            }
            _ => {}
        }
    }
}

/// Words, `::`, braces and commas, with their lines; comments, strings and characters left out.
fn tokens(text: &str) -> Vec<(usize, String)> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            'r' if raw_string(rest).is_some() => raw_string(rest).unwrap_or(1),
            '"' => quoted(rest, '"').unwrap_or(rest.len()),
            // A character, or else the begin of a lifetime.
            '\'' if rest[1..].starts_with('\\') => quoted(rest, '\'').unwrap_or(1),
            '\'' if rest.chars().nth(2) == Some('\'') => {
                2 + rest.chars().nth(1).unwrap().len_utf8()
            }
            _ if first.is_alphabetic() || first == '_' => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                let end = end.unwrap_or(rest.len());
                tokens.push((line, rest[..end].to_owned()));
                end
            }
            ':' if rest.starts_with("::") => {
                tokens.push((line, "::".to_owned()));
                2
            }
            '{' | '}' | ',' => {
                tokens.push((line, first.to_string()));
                1
            }
            _ => first.len_utf8(),
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

/// The length of `text` up to the end of the quotation that it begins with.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The length of the raw string that `text` begins with.
fn raw_string(text: &str) -> Option<usize> {
    let hashes = text[1..].chars().take_while(|c| *c == '#').count();
    let open = 1 + hashes;
    if !text[open..].starts_with('"') {
        return None;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    text[open + 1..]
        .find(&close)
        .map(|at| open + 1 + at + close.len())
}

#[cfg(test)]
mod scanner {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let entries = entries(Path::new(path), text);
        entries
            .into_iter()
            .map(|(line, room)| format!("{line} {room}"))
            .collect()
    }

    fn violations(path: &str, text: &str) -> Vec<String> {
        let path = Path::new(path);
        judge(path, &entries(path, text))
    }

    #[test]
    fn finds_each_way_into_a_room() {
        let text = "use crate::model::Address;\n\
                    use crate::{config::{self, Config}, stats::{a, b::c}, snapshot};\n\
                    fn f() -> weldr_dataplane::health::Prober { weldr_proto::v1::f() }\n\
                    pub(crate) struct S;";
        let expected = [
            "1 model",
            "2 config",
            "2 stats",
            "2 snapshot",
            "3 health",
            "3 weldr_proto",
        ];
        assert_eq!(found("proxy/select.rs", text), expected);
    }

    #[test]
    fn climbs_with_super() {
        assert_eq!(
            found("proxy/mod.rs", "use super::cluster::Log;"),
            ["1 cluster"]
        );
        assert_eq!(found("proxy/a.rs", "use super::cluster::Log;"), [""; 0]);
        assert_eq!(
            found("proxy/a.rs", "use super::super::cluster;"),
            ["1 cluster"]
        );
        let in_module = "mod tests { use super::super::super::cluster; } use super::b;";
        assert_eq!(found("proxy/a.rs", in_module), ["1 cluster"]);
    }

    #[test]
    fn passes_over_visibility() {
        assert_eq!(
            found("proxy/a.rs", "pub(super) fn f() {} pub(crate) fn g() {}"),
            [""; 0]
        );
    }

    #[test]
    fn is_not_misled_by_text() {
        let text = "// crate::a\n/* crate::b */ \"crate::c \\\" crate::d\" r#\"crate::e\"#\n\
                    '\"' '\\'' '{' fn f<'a>(_: &'a crate::model::X) {}";
        assert_eq!(found("proxy/a.rs", text), ["3 model"]);
    }

    #[test]
    fn tells_a_violation_from_what_is_allowed() {
        assert_eq!(
            violations("proxy/a.rs", "use crate::{proxy::b, snapshot::Snapshot};"),
            [""; 0]
        );
        assert_eq!(
            violations("node.rs", "use crate::management::Service;"),
            [""; 0]
        );
        let wrong = violations("proxy/a.rs", "\nuse crate::cluster::Handle;");
        assert_eq!(wrong.len(), 1);
        assert!(
            wrong[0].starts_with("proxy/a.rs:2: `proxy` enters `cluster`"),
            "{wrong:?}"
        );
        assert_eq!(violations("proxy/a.rs", "use weldr_proto::v1;").len(), 1);
        assert_eq!(
            violations("model/a.rs", "fn f() { crate::stats::g() }").len(),
            1
        );
        assert_eq!(violations("attic/a.rs", "").len(), 1);
    }
}
