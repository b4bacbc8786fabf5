//! The path and the query of a request, and a path whose prefix a route changes. Pure.

use crate::{
    http1::{RequestHead, TargetForm},
    model::PathPrefixChange,
    snapshot::routes::PathReadings,
};

/// The path of a request and its query, without the `?`.
pub(in crate::proxy) fn path_and_query<'h>(
    head: &'h [u8],
    request: &RequestHead,
) -> (&'h [u8], &'h [u8]) {
    let target = match request.form {
        TargetForm::Absolute { path, .. } => path.of(head),
        TargetForm::Origin | TargetForm::Asterisk | TargetForm::Authority => {
            request.target.of(head)
        }
    };
    match memchr::memchr(b'?', target) {
        Some(end) => (&target[..end], &target[end + 1..]),
        None => (target, b""),
    }
}

/// `path` in normal form with another prefix; `None`: it does not begin with that of `change`, or it is uncertain whether.
/// The path that results begins with one `/`: with two, it could be taken for a host.
pub(super) fn changed_path(path: &[u8], change: &PathPrefixChange) -> Option<Vec<u8>> {
    let readings = PathReadings::of(path).ok()?;
    let prefix = change.prefix.as_bytes();
    let whole = prefix.strip_suffix(b"/").unwrap_or(prefix);
    let rest = readings.normal().strip_prefix(whole)?;
    if !rest.is_empty() && rest[0] != b'/' {
        return None;
    }
    let replacement = change.replacement.as_bytes();
    let replacement = replacement.strip_suffix(b"/").unwrap_or(replacement);
    let begin = rest
        .iter()
        .position(|&byte| byte != b'/')
        .unwrap_or(rest.len());
    let ends_with_slash = rest.is_empty() && !replacement.is_empty();
    let separator: &[u8] = if ends_with_slash { b"" } else { b"/" };
    Some([replacement, separator, &rest[begin..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_gets_another_prefix() {
        let changed = |path: &str, prefix: &str, replacement: &str| {
            let change = PathPrefixChange {
                prefix: prefix.into(),
                replacement: replacement.into(),
            };
            let changed = changed_path(path.as_bytes(), &change)?;
            Some(String::from_utf8(changed).unwrap())
        };
        for (path, prefix, replacement, expected) in [
            ("/api/a", "/api", "", Some("/a")),
            ("/api/a", "/api/", "", Some("/a")),
            ("/api/a", "/api/", "/", Some("/a")),
            ("/api/a", "/api", "/v1", Some("/v1/a")),
            ("/api", "/api", "", Some("/")),
            ("/api", "/api", "/v1", Some("/v1")),
            ("/api/", "/api", "/v1", Some("/v1/")),
            ("/api/", "/api", "", Some("/")),
            ("/apix", "/api", "", None),
            ("/b", "/api", "", None),
            ("/a", "/", "/v1", Some("/v1/a")),
            // The normal form decides, and is what the server gets.
            ("/%61pi/%7ex", "/api", "", Some("/~x")),
            ("/x/../api/y", "/api", "", Some("/y")),
            ("/api//evil.example/x", "/api", "", Some("/evil.example/x")),
            ("/api/%2e%2e/x", "/api", "", None),
        ] {
            assert_eq!(
                changed(path, prefix, replacement).as_deref(),
                expected,
                "{path} {prefix}"
            );
        }
    }
}
