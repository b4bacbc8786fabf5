use std::net::IpAddr;

use proptest::prelude::*;

use crate::model::{
    Action, Conditions, FixedResponse, ListenerSpec, MessageChanges, NamedValues, Revision,
    RuleSpec,
};

use super::{
    super::{CompiledAction, PathReadings, explain, normal_host},
    *,
};

/// A request in the words of a test: a line such as `GET http://a/b?c`, and fields.
struct Asked {
    method: String,
    authority: String,
    target: String,
    fields: Vec<(String, String)>,
    source: IpAddr,
}

impl Asked {
    fn new(line: &str) -> Self {
        let mut words = line.split_whitespace();
        let method = words.next().unwrap().to_owned();
        let url = words.next().unwrap().strip_prefix("http://").unwrap();
        let end = url.find('/').unwrap_or(url.len());
        let mut source = IpAddr::from([192, 0, 2, 1]);
        let mut fields = Vec::new();
        for word in words {
            let (name, value) = word.split_once('=').unwrap();
            if name == "from" {
                source = value.parse().unwrap();
            } else {
                fields.push((name.to_owned(), value.to_owned()));
            }
        }
        Self {
            method,
            authority: url[..end].to_owned(),
            target: url[end..].to_owned(),
            fields,
            source,
        }
    }

    fn request(&self) -> RoutedRequest<'_> {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        RoutedRequest {
            method: self.method.as_bytes(),
            host: normal_host(self.authority.as_bytes()),
            path: PathReadings::of(path.as_bytes()),
            query: query.as_bytes(),
            source: self.source,
            fields: &self.fields,
        }
    }
}

/// Conditions in the words of a test: `host=a|*.b path=/x/* method=GET header:x=1|2 query:y=z source=10.0.0.0/8`.
fn conditions(text: &str) -> Conditions {
    let mut conditions = Conditions::default();
    for word in text.split_whitespace() {
        let (kind, values) = word.split_once('=').unwrap();
        let values: Vec<String> = values
            .split('|')
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
            .collect();
        match kind.split_once(':') {
            Some(("header", name)) => conditions.headers.push(NamedValues {
                name: name.into(),
                values,
            }),
            Some((_, name)) => conditions.query.push(NamedValues {
                name: name.into(),
                values,
            }),
            None => match kind {
                "host" => conditions.hosts = values,
                "path" => conditions.paths = values,
                "method" => conditions.methods = values,
                _ => {
                    conditions.sources =
                        values.iter().map(|value| value.parse().unwrap()).collect();
                }
            },
        }
    }
    conditions.validate().unwrap();
    conditions
}

/// Responds with `status`, by which a test knows the rule.
fn route_to(status: u16) -> Route {
    let response = FixedResponse {
        status,
        content_type: "text/plain".into(),
        body: String::new(),
    };
    Route {
        action: Action::Respond(response),
        changes: MessageChanges::default(),
    }
}

fn rule(priority: u32, id: u64, conditions: Conditions) -> Arc<Rule> {
    Arc::new(Rule {
        id: RuleId(id),
        priority: Priority(priority),
        spec: RuleSpec {
            conditions,
            route: route_to(200 + u16::try_from(priority % 300).unwrap()),
        },
        revision: Revision(id),
    })
}

fn listener(rules: impl IntoIterator<Item = Arc<Rule>>) -> Listener {
    let mut listener = Listener::new(ListenerSpec::default(), Revision(1));
    for rule in rules {
        listener.rules.insert_mut(rule.priority, rule);
    }
    listener
}

/// The rules of a table, in order: their priorities are 1, 2, 3...
fn table(rules: &[&str]) -> Router {
    let rules = (1..)
        .zip(rules)
        .map(|(priority, text)| rule(priority, priority.into(), conditions(text)));
    Router::new(&listener(rules), 1)
}

/// The priority of the rule that matches, 0 for the default route, or `refused`.
fn routed(router: &Router, line: &str) -> Result<u32, &'static str> {
    let asked = Asked::new(line);
    match router.route(&asked.request()) {
        Ok(matched) => Ok(matched.rule.map_or(0, |rule| rule.priority().0)),
        Err(_) => Err("refused"),
    }
}

#[test]
fn a_routing_table() {
    let router = table(&[
        /* 1 */ "host=api.example.com path=/v1/* method=GET|HEAD",
        /* 2 */ "host=api.example.com path=/v1/*",
        /* 3 */ "host=*.example.com header:x-beta=1|yes*",
        /* 4 */ "host=*.example.com source=10.0.0.0/8",
        /* 5 */ "path=/ping",
        /* 6 */ "path=*.jpg|/img/?",
        /* 7 */ "query:debug=",
        /* 8 */ "query:v=2|b*",
        /* 9 */ "host=[::1]|192.0.2.9",
        /* 10 */ "host=old.example.net path=/old/*",
    ]);
    for (request, expected) in [
        ("GET http://api.example.com/v1/users", Ok(1)),
        ("HEAD http://API.Example.COM.:8080/v1/", Ok(1)),
        ("get http://api.example.com/v1/", Ok(2)),
        ("POST http://api.example.com/v1/users?debug", Ok(2)),
        ("GET http://api.example.com/v1", Ok(0)),
        ("GET http://api.example.com/%761/x", Ok(1)),
        ("GET http://api.example.com/v2/../v1/x", Ok(1)),
        ("GET http://api.example.com/v1/../v2/x", Ok(0)),
        ("GET http://api.example.com/v2 X-Beta=1", Ok(3)),
        ("GET http://a.b.example.com/ x-beta=yes!", Ok(3)),
        ("GET http://api.example.com/v2 x-beta=2 x-beta=yes", Ok(3)),
        ("GET http://api.example.com/v2 x-beta=2", Ok(0)),
        ("GET http://example.com/ x-beta=1", Ok(0)),
        ("GET http://www.example.com/ from=10.1.2.3", Ok(4)),
        ("GET http://www.example.com/ from=::ffff:10.1.2.3", Ok(4)),
        ("GET http://other/ping", Ok(5)),
        ("GET http://other/ping/", Ok(0)),
        ("GET http://other/a/b.jpg", Ok(6)),
        ("GET http://other/img/a", Ok(6)),
        ("GET http://other/img/ab", Ok(0)),
        ("GET http://other/?debug=1", Ok(7)),
        ("GET http://other/?de%62ug", Ok(7)),
        ("GET http://other/?v=1&v=2", Ok(8)),
        ("GET http://other/?v=beta", Ok(8)),
        ("GET http://other/?x=v=2", Ok(0)),
        ("GET http://[0:0::1]:80/", Ok(9)),
        ("GET http://192.0.2.9/", Ok(9)),
        // What is read in several ways goes nowhere but where all of them lead.
        ("GET http://old.example.net/old/a//b", Ok(10)),
        ("GET http://old.example.net/old;x/b", Err("refused")),
        ("GET http://old.example.net//old/b", Err("refused")),
        ("GET http://old.example.net/old%2Fb", Err("refused")),
        ("GET http://old.example.net/old/a%2Fb", Ok(10)),
        ("GET http://old.example.net/%2e%2e/old/b", Err("refused")),
        ("GET http://old.example.net/a\\..\\old", Err("refused")),
        ("GET http://old.example.net/../old/b", Err("refused")),
        ("GET http://%6fld.example.net/", Err("refused")),
    ] {
        assert_eq!(routed(&router, request), expected, "{request}");
    }
}

#[test]
fn an_uncertain_path_harms_only_rules_that_look_at_it() {
    let router = table(&["host=a", "host=b path=/x method=POST", "path=*"]);
    for (request, expected) in [
        ("GET http://a/%2e%2e/", Ok(1)),
        ("GET http://b/%2e%2e/", Err("refused")),
        ("POST http://b/%2e%2e/", Err("refused")),
    ] {
        assert_eq!(routed(&router, request), expected, "{request}");
    }
    let router = table(&["host=b path=/x method=POST"]);
    assert_eq!(routed(&router, "GET http://b/%2e%2e/"), Ok(0));
}

#[test]
fn an_explanation_says_why_earlier_rules_do_not_match() {
    let router = table(&[
        "host=a",
        "path=/x",
        "method=GET",
        "header:x=1",
        "header:y=",
        "query:q=1",
        "source=10.0.0.0/8",
        "host=b",
    ]);
    let asked = Asked::new("POST http://b/y?q=2 x=2");
    let explained = explain(&router, &asked.request());
    assert_eq!(explained.rule, Some((RuleId(8), Priority(8))));
    let reasons: Vec<&str> = explained
        .mismatches
        .iter()
        .map(|mismatch| mismatch.reason.as_str())
        .collect();
    assert_eq!(
        reasons,
        [
            "the host b is not a",
            "the path /y is not /x",
            "the method POST is not GET",
            "no value of the header field x is 1",
            "there is no header field y",
            "no value of the query parameter q is 1",
            "the client 192.0.2.1 is not in 10.0.0.0/8",
        ]
    );
    let refused = explain(&router, &Asked::new("POST http://c/%2e/").request());
    let sentence = refused.refused.unwrap();
    assert!(sentence.ends_with("encoded dot segment"), "{sentence}");
}

/// Twenty thousand labels in a host cost no more than the deepest rule.
#[test]
fn a_host_of_many_labels_is_looked_up_a_few_times() {
    let router = table(&["host=*.b.c", "host=*.c"]);
    let host = format!("{}b.c", "a.".repeat(20_000));
    assert_eq!(names_above(host.as_bytes(), 2).count(), 2);
    assert_eq!(routed(&router, &format!("GET http://{host}/")), Ok(1));
}

#[test]
fn a_change_shares_the_rest() {
    let rules: Vec<_> = (1..=200)
        .map(|n| rule(n, n.into(), conditions(&format!("host=h{n}.example"))))
        .collect();
    let before = Router::new(&listener(rules.clone()), 1);
    let mut changed = listener(rules);
    // One moves behind the last, and one is new.
    let mut moved = Rule::clone(&changed.rules[&Priority(7)]);
    moved.priority = Priority(500);
    changed.rules.remove_mut(&Priority(7));
    changed.rules.insert_mut(Priority(500), Arc::new(moved));
    changed
        .rules
        .insert_mut(Priority(600), rule(600, 600, Conditions::default()));
    let mut after = before.clone();
    after.follow(&changed, 1);
    let same = |priority| {
        let of = |router: &Router| Arc::clone(&router.rules[&Priority(priority)]);
        Arc::ptr_eq(&of(&before), &of(&after))
    };
    assert!((1..=200).filter(|&n| n != 7).all(same));
    let (old, new) = (&before.rules[&Priority(7)], &after.rules[&Priority(500)]);
    assert!(Arc::ptr_eq(&old.live, &new.live), "it keeps its counts");
    assert_eq!(routed(&after, "GET http://h7.example/"), Ok(500));
    assert_eq!(routed(&after, "GET http://h8.example/"), Ok(8));
    assert_eq!(routed(&after, "GET http://h201.example/"), Ok(600));
    assert_eq!(routed(&before, "GET http://h201.example/"), Ok(0));
}

fn a_host() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "a", "b.a", "c.b.a", "A", "b.a.", "x.y", "*.a", "*.b.a", "*.y",
    ])
    .prop_map(str::to_owned)
}

fn some<T: std::fmt::Debug + Clone + 'static>(
    one: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Vec<T>> {
    prop_oneof![2 => Just(1..2), 1 => Just(1..3), 3 => Just(0..1)].prop_flat_map({
        let one = one.boxed();
        move |size| prop::collection::vec(one.clone(), size)
    })
}

prop_compose! {
    fn some_conditions()(
        hosts in some(a_host()),
        paths in some(prop::sample::select(vec!["/", "/a", "/a/*", "/*", "*", "/a/b", "*.x", "/?"])),
        methods in some(prop::sample::select(vec!["GET", "POST"])),
        values in some(prop::sample::select(vec!["1", "2*"])),
        network in prop::option::weighted(0.2, prop::sample::select(vec!["192.0.2.0/24", "10.0.0.0/8"])),
    ) -> Conditions {
        let named = NamedValues { name: "X".into(), values: values.into_iter().map(str::to_owned).collect() };
        Conditions {
            hosts,
            paths: paths.into_iter().map(str::to_owned).collect(),
            methods: methods.into_iter().map(str::to_owned).collect(),
            headers: if named.values.is_empty() { vec![] } else { vec![named] },
            query: vec![],
            sources: network.into_iter().map(|network| network.parse().unwrap()).collect(),
        }
    }
}

/// The plain list: each rule in turn, each condition as it is written.
fn plainly(listener: &Listener, asked: &Asked) -> Result<u32, &'static str> {
    let request = asked.request();
    for rule in listener.rules.values() {
        let compiled = CompiledRule::new(Arc::clone(rule), LiveRule::new(rule.id, 1));
        match compiled.matcher.holds(&request) {
            Ok(Holds::All { .. }) => return Ok(rule.priority.0),
            Ok(Holds::Not(_)) => {}
            Err(_) => return Err("refused"),
        }
    }
    Ok(0)
}

proptest! {
    #[test]
    fn the_router_answers_as_the_plain_list(
        changes in prop::collection::vec((1_u32..20, prop::option::weighted(0.8, some_conditions())), 0..40),
        requests in prop::collection::vec((
            prop::sample::select(vec!["GET", "POST"]),
            prop::sample::select(vec!["a", "b.a", "c.b.a", "d.c.b.a", "B.a.:80", "x.y", "y", ".a", "z"]),
            "(/[ab]{0,1}){1,3}(\\.x)?",
            prop::sample::select(vec!["", " X=1", " x=22 x=3"]),
        ), 1..12),
    ) {
        let mut listener = listener([]);
        let mut router = Router::new(&listener, 1);
        for (at, (priority, wanted)) in changes.into_iter().enumerate() {
            match wanted {
                Some(wanted) => {
                    listener.rules.insert_mut(Priority(priority), rule(priority, at as u64, wanted));
                }
                None => _ = listener.rules.remove_mut(&Priority(priority)),
            }
            router.follow(&listener, 1);
        }
        for (method, host, path, fields) in requests {
            let asked = Asked::new(&format!("{method} http://{host}{path}{fields}"));
            let found = router.route(&asked.request());
            let found = found.map_or(Err("refused"), |matched| Ok(matched.rule.map_or(0, |rule| rule.priority().0)));
            prop_assert_eq!(found, plainly(&listener, &asked));
            let explained = explain(&router, &asked.request());
            let explained = match explained.refused {
                Some(_) => Err("refused"),
                None => Ok(explained.rule.map_or(0, |(_, priority)| priority.0)),
            };
            prop_assert_eq!(found, explained);
        }
    }
}

#[test]
fn the_default_route_takes_what_is_left() {
    let router = table(&[]);
    assert!(router.is_plain());
    let matched = router.unmatched();
    assert!(matched.rule.is_none());
    assert!(matches!(&matched.route.action, CompiledAction::Pool(pool) if pool.is_default));
}
