use proptest::prelude::*;

use super::*;

fn conditions(hosts: &[&str], paths: &[&str], methods: &[&str]) -> Conditions {
    let owned = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect();
    Conditions {
        hosts: owned(hosts),
        paths: owned(paths),
        methods: owned(methods),
        ..Conditions::default()
    }
}

fn header(name: &str, values: &[&str]) -> Conditions {
    Conditions {
        headers: vec![NamedValues {
            name: name.to_owned(),
            values: values.iter().map(|text| (*text).to_owned()).collect(),
        }],
        ..Conditions::default()
    }
}

#[test]
fn a_rule_is_covered_only_when_that_is_certain() {
    let none: &[&str] = &[];
    for (earlier, later, covered) in [
        (
            (none, none, none),
            (&["a"] as &[&str], &["/x"] as &[&str], &["GET"] as &[&str]),
            true,
        ),
        ((&["a"], none, none), (none, none, none), false),
        ((&["A"], none, none), (&["a"], none, none), true),
        ((&["a"], none, none), (&["a", "b"], none, none), false),
        ((&["*.b.c"], none, none), (&["a.b.c"], none, none), true),
        ((&["*.b.c"], none, none), (&["*.a.b.c"], none, none), true),
        ((&["*.b.c"], none, none), (&["b.c"], none, none), false),
        ((&["*.b.c"], none, none), (&["ab.c"], none, none), false),
        (
            (&["*.0.0.1"], none, none),
            (&["10.0.0.1"], none, none),
            false,
        ),
        ((none, &["*"], none), (none, &["/x*y"], none), true),
        ((none, &["/a/*"], none), (none, &["/a/b"], none), true),
        (
            (none, &["/a/*"], none),
            (none, &["/a/b/*", "/a/?"], none),
            true,
        ),
        ((none, &["/a/*"], none), (none, &["/a"], none), false),
        ((none, &["/a*b"], none), (none, &["/axb"], none), true),
        ((none, &["/a*b"], none), (none, &["/axc"], none), false),
        ((none, &["/a*b"], none), (none, &["/ax*b"], none), true),
        (
            (none, &["/a*b"], none),
            (none, &["/a?b", "/a*b*b"], none),
            true,
        ),
        (
            (none, &["*.jpg"], none),
            (none, &["/img/*.jpg"], none),
            true,
        ),
        ((none, &["/*/x"], none), (none, &["/a/b/x"], none), true),
        ((none, &["/a*b"], none), (none, &["/a*"], none), false),
        ((none, &["/a?b"], none), (none, &["/a*b"], none), false),
        ((none, &["/a?*"], none), (none, &["/a*"], none), false),
        // The path of the other one is `/(b`.
        ((none, &["/*8b"], none), (none, &["/%28b"], none), false),
        ((none, &["/a"], none), (none, &["/a*"], none), false),
        ((none, none, &["GET", "HEAD"]), (none, none, &["GET"]), true),
        ((none, none, &["GET"]), (none, none, &["get"]), false),
    ] {
        let (earlier, later) = (
            conditions(earlier.0, earlier.1, earlier.2),
            conditions(later.0, later.1, later.2),
        );
        assert_eq!(covers(&earlier, &later), covered, "{earlier:?} {later:?}");
    }
}

#[test]
fn fields_and_networks_cover_those_that_are_narrower() {
    assert!(covers(&header("X-A", &[]), &header("x-a", &["1"])));
    assert!(!covers(&header("X-A", &["1"]), &header("x-a", &[])));
    assert!(covers(&header("X-A", &["1", "2"]), &header("x-a", &["2"])));
    assert!(!covers(&header("X-A", &["1"]), &header("x-b", &["1"])));
    assert!(covers(&header("X-A", &["1*"]), &header("x-a", &["1?2"])));
    assert!(!covers(&header("X-A", &["1?"]), &header("x-a", &["1*"])));
    assert!(!covers(&header("X-A", &["1"]), &Conditions::default()));
    let from = |network: &str| Conditions {
        sources: vec![network.parse().unwrap()],
        ..Conditions::default()
    };
    assert!(covers(&from("10.0.0.0/8"), &from("10.1.0.0/16")));
    assert!(!covers(&from("10.1.0.0/16"), &from("10.0.0.0/8")));
    assert!(!covers(&from("::/0"), &from("10.0.0.0/8")));
}

#[test]
fn a_glob_matches_as_it_says() {
    for (glob, text, matches) in [
        ("", "", true),
        ("*", "", true),
        ("*", "abc", true),
        ("a?c", "abc", true),
        ("a?c", "ac", false),
        ("a*c", "abcbc", true),
        ("a*b*c", "axbxbxc", true),
        ("a*b*c", "axbxbx", false),
        ("**a", "ba", true),
    ] {
        assert_eq!(glob_covers(glob, text), matches, "{glob} {text}");
    }
}

/// What a request has, as far as conditions look at it.
#[derive(Debug, Clone)]
struct Request {
    host: String,
    path: String,
    method: String,
}

/// The plain meaning of conditions.
fn matches(conditions: &Conditions, request: &Request) -> bool {
    let host = |pattern: &String| match pattern.strip_prefix("*.") {
        Some(name) => request
            .host
            .strip_suffix(name)
            .is_some_and(|before| before.len() > 1 && before.ends_with('.')),
        None => *pattern == request.host,
    };
    let path = |pattern: &String| glob_covers(pattern, &request.path);
    let method = |method: &String| *method == request.method;
    (conditions.hosts.is_empty() || conditions.hosts.iter().any(host))
        && (conditions.paths.is_empty() || conditions.paths.iter().any(path))
        && (conditions.methods.is_empty() || conditions.methods.iter().any(method))
}

fn some(pattern: &'static str) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(pattern.prop_map(|text: String| text), 0..3)
}

fn any_conditions() -> impl Strategy<Value = Conditions> {
    let parts = (
        some("(\\*\\.)?([ab]\\.)?[ab]"),
        some("/[ab*?]{0,3}"),
        some("[GH]"),
    );
    parts.prop_map(|(hosts, paths, methods)| Conditions {
        hosts,
        paths,
        methods,
        ..Conditions::default()
    })
}

/// Every request that the patterns above can tell apart.
fn all_requests() -> Vec<Request> {
    let hosts = [
        "a", "b", "a.a", "a.b", "b.a", "b.b", "a.a.a", "b.a.b", "a.b.a", "c",
    ];
    let mut paths = vec!["/".to_owned()];
    for length in 0..3 {
        let shorter: Vec<_> = paths
            .iter()
            .filter(|path| path.len() == length + 1)
            .cloned()
            .collect();
        for path in shorter {
            paths.extend(["a", "b", "c"].map(|end| format!("{path}{end}")));
        }
    }
    let mut requests = Vec::new();
    for host in hosts {
        for path in &paths {
            for method in ["G", "H", "X"] {
                requests.push(Request {
                    host: host.to_owned(),
                    path: path.clone(),
                    method: method.to_owned(),
                });
            }
        }
    }
    requests
}

proptest! {
    /// No request that a covered rule matches gets past the rule that covers it.
    #[test]
    fn a_covered_rule_never_decides(earlier in any_conditions(), later in any_conditions()) {
        if covers(&earlier, &later) {
            for request in all_requests() {
                prop_assert!(
                    !matches(&later, &request) || matches(&earlier, &request),
                    "{earlier:?} {later:?} {request:?}"
                );
            }
        }
    }

    /// The index finds a covering rule exactly when a comparison of all with all finds one.
    #[test]
    fn the_index_answers_as_the_plain_list(rules in prop::collection::vec(any_conditions(), 0..12)) {
        let mut coverage = Coverage::default();
        for (index, conditions) in rules.iter().enumerate() {
            let priority = |index: usize| Priority(u32::try_from(index).unwrap());
            let found = coverage.add(priority(index), conditions);
            let plain = rules[..index].iter().any(|earlier| covers(earlier, conditions));
            prop_assert_eq!(found.is_some(), plain, "{:?}", rules);
            if let Some(Priority(found)) = found {
                prop_assert!(covers(&rules[found as usize], conditions));
            }
        }
    }
}
