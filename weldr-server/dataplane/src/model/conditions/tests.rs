use super::*;

fn refused(conditions: &Conditions) -> (String, String) {
    let invalid = conditions.validate().unwrap_err();
    (invalid.field, invalid.accepted)
}

#[test]
fn hosts_are_names_addresses_and_suffixes() {
    let host = |host: &str| Conditions {
        hosts: vec![host.to_owned()],
        ..Conditions::default()
    };
    for accepted in [
        "example.com",
        "EXAMPLE.com",
        "*.example.com",
        "localhost",
        "a_b.example",
        "10.0.0.1",
        "[::1]",
        "[2001:db8::7]",
    ] {
        assert_eq!(host(accepted).validate(), Ok(()), "{accepted}");
    }
    let long = "a".repeat(64);
    for bad in [
        "",
        "*",
        "*.",
        "*example.com",
        "a.*.com",
        ".example.com",
        "example.com.",
        "a..b",
        "example.com:80",
        "::1",
        "[::1]:80",
        "[::1",
        "*.[::1]",
        "a b",
        "a/b",
        "ä.example",
        long.as_str(),
    ] {
        let (field, accepted) = refused(&host(bad));
        assert_eq!(field, "hosts", "{bad}");
        assert!(accepted.contains("IPv6 address in brackets"), "{accepted}");
    }
}

#[test]
fn paths_are_patterns_in_normal_form() {
    let path = |path: &str| Conditions {
        paths: vec![path.to_owned()],
        ..Conditions::default()
    };
    for accepted in [
        "/",
        "/*",
        "*",
        "/v1/*",
        "/a?c",
        "*/x",
        "/a%20b",
        "/%C3%A4",
        "/.well-known/x",
        "/a//b",
    ] {
        assert_eq!(path(accepted).validate(), Ok(()), "{accepted}");
    }
    for bad in [
        "", "v1", "?", "/a b", "/a#b", "/a\\b", "/./a", "/a/..", "/../", "/ä", "/%", "/%4", "/%zz",
        "/%41", "/%c3", "/%2E",
    ] {
        let (field, accepted) = refused(&path(bad));
        assert_eq!(field, "paths", "{bad}");
        assert!(accepted.contains("normal form"), "{accepted}");
    }
}

#[test]
fn names_and_values_have_their_own_rules() {
    let named = |name: &str, value: &str| {
        vec![NamedValues {
            name: name.to_owned(),
            values: vec![value.to_owned()],
        }]
    };
    let headers = |name, value| Conditions {
        headers: named(name, value),
        ..Conditions::default()
    };
    let query = |name, value| Conditions {
        query: named(name, value),
        ..Conditions::default()
    };
    assert_eq!(headers("X-Beta", "a *").validate(), Ok(()));
    assert_eq!(query("k[]", "v").validate(), Ok(()));
    assert_eq!(refused(&headers("X Beta", "1")).0, "headers.name");
    assert_eq!(refused(&headers("", "1")).0, "headers.name");
    assert_eq!(refused(&headers("X", "a\r\nb")).0, "headers.values");
    assert_eq!(refused(&query("", "1")).0, "query.name");
    assert_eq!(refused(&query("a b", "1")).0, "query.name");
    let methods = Conditions {
        methods: vec!["GET POST".to_owned()],
        ..Conditions::default()
    };
    assert_eq!(refused(&methods).0, "methods");
}

#[test]
fn there_are_at_most_a_hundred_values_of_a_kilobyte() {
    let paths = |count, length| Conditions {
        paths: vec![format!("/{}", "x".repeat(length)); count],
        ..Conditions::default()
    };
    assert_eq!(paths(100, 1023).validate(), Ok(()));
    assert_eq!(
        refused(&paths(101, 1)),
        ("paths".to_owned(), "at most 100 values".to_owned())
    );
    let too_long = "at most 1024 bytes; this has 1025".to_owned();
    assert_eq!(refused(&paths(1, 1024)), ("paths".to_owned(), too_long));
}
