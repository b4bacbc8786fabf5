//! A routing table that a reader can scan, through a real data path.

use weldr_tests::data_plane::DataPlane;

use super::{ask, origin, told};

pub(super) const RULES: [(&str, &str); 11] = [
    ("host=api.example.com path=/v1/* method=GET", "forward api"),
    ("host=*.example.com header:x-beta=1", "forward beta"),
    ("host=api.example.com path=/v1/*", "respond 405 no"),
    ("path=/old/*", "redirect 301 https://{host}/new/{rest}"),
    (
        "path=/moved",
        "redirect 308 {scheme}://new.example:{port}{path}?{query}",
    ),
    ("path=/relative*", "redirect 302 {path}"),
    ("path=/ping", "respond 200 pong"),
    ("path=/admin/*|/admin", "respond 403 no"),
    ("query:debug=1 source=127.0.0.0/8", "forward beta"),
    ("query:debug=2 source=10.0.0.0/8", "forward beta"),
    ("host=none.example", "forward none"),
];

pub(super) const TABLE: [(&str, &str); 36] = [
    (
        "GET /v1/a?b HTTP/1.1\nHost: api.example.com",
        "200 api /v1/a?b",
    ),
    (
        "GET /v1/a HTTP/1.1\nHost: API.example.com.:81",
        "200 api /v1/a",
    ),
    (
        "POST /v1/a HTTP/1.1\nHost: api.example.com\nContent-Length: 0",
        "405 no",
    ),
    (
        "GET /v2 HTTP/1.1\nHost: api.example.com\nX-Beta: 1",
        "200 beta /v2",
    ),
    (
        "GET /v2 HTTP/1.1\nHost: api.example.com\nX-Beta: 2",
        "200 site /v2",
    ),
    // The absolute form beats Host.
    (
        "GET http://api.example.com/v1/b HTTP/1.1\nHost: other",
        "200 api /v1/b",
    ),
    // What the server gets is what the client sent.
    (
        "GET /x/../v1/./%61 HTTP/1.1\nHost: api.example.com",
        "200 api /x/../v1/./%61",
    ),
    (
        "GET /old/a/b?c HTTP/1.1\nHost: a:81",
        "301 https://a/new/a/b",
    ),
    ("GET /old/ HTTP/1.1\nHost: a", "301 https://a/new/"),
    (
        "GET /moved?x=1 HTTP/1.1\nHost: a:81",
        "308 http://new.example:81/moved?x=1",
    ),
    (
        "GET /moved HTTP/1.1\nHost: a",
        "308 http://new.example:80/moved",
    ),
    ("GET /old/a\"b HTTP/1.1\nHost: a", "301 https://a/new/a%22b"),
    ("GET /relative HTTP/1.1\nHost: a", "302 /relative"),
    ("GET /ping HTTP/1.1\nHost: a", "200 pong"),
    ("GET /p%69ng HTTP/1.1\nHost: a", "200 pong"),
    ("GET /?debug=1 HTTP/1.1\nHost: a", "200 beta /?debug=1"),
    ("GET /?debug=2 HTTP/1.1\nHost: a", "200 site /?debug=2"),
    ("OPTIONS * HTTP/1.1\nHost: a", "200 site *"),
    ("GET / HTTP/1.0", "200 site /"),
    // Nobody slips past the rule for /admin.
    ("GET /admin HTTP/1.1\nHost: a", "403 no"),
    ("GET /x/../admin HTTP/1.1\nHost: a", "403 no"),
    ("GET /%61dmin/x HTTP/1.1\nHost: a", "403 no"),
    ("GET //admin/x HTTP/1.1\nHost: a", "400"),
    ("GET /x/%2e%2e/admin HTTP/1.1\nHost: a", "400"),
    ("GET /x%2f..%2fadmin HTTP/1.1\nHost: a", "400"),
    ("GET /admin%2fx HTTP/1.1\nHost: a", "400"),
    ("GET /admin;x HTTP/1.1\nHost: a", "400"),
    ("GET /\\admin HTTP/1.1\nHost: a", "400"),
    ("GET /%c0%af/admin HTTP/1.1\nHost: a", "400"),
    ("GET /../admin HTTP/1.1\nHost: a", "400"),
    ("GET /%2561dmin HTTP/1.1\nHost: a", "400"),
    ("GET /%25%36%31dmin HTTP/1.1\nHost: a", "400"),
    ("GET /%252561dmin HTTP/1.1\nHost: a", "400"),
    ("GET / HTTP/1.1\nHost: %61pi.example.com", "400"),
    // As `//` and `%2F` mean no harm elsewhere.
    (
        "GET /images//a%20b HTTP/1.1\nHost: a",
        "200 site /images//a%20b",
    ),
    (
        "GET /images/%2561 HTTP/1.1\nHost: a",
        "200 site /images/%2561",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_go_where_the_rules_say() {
    let origins = ["site", "api", "beta"].map(origin);
    let [site, api, beta] = origins.each_ref().map(|origin| [origin.address()]);
    let mut node = DataPlane::start();
    node.pool("default", &site);
    node.pool("api", &api);
    node.pool("beta", &beta);
    node.listener("default", None, &RULES);
    node.publish();
    for (request, expected) in TABLE {
        let response = ask(node.address(), request).await;
        assert_eq!(told(&response), expected, "{request}");
    }
    // The pool does not exist.
    let response = ask(node.address(), "GET / HTTP/1.1\nHost: none.example").await;
    assert_eq!(response.status, 503);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_conditions_on_paths_every_path_is_forwarded_as_it_came() {
    let site = origin("site");
    let mut node = DataPlane::start();
    node.pool("default", &[site.address()]);
    node.pool("other", &[]);
    node.listener("default", None, &[("host=other", "forward other")]);
    node.publish();
    for target in [
        "/x/%2e%2e/admin",
        "//a",
        "/a;b",
        "/%c0%af",
        "/a%2Fb",
        "/../a",
    ] {
        let response = ask(node.address(), &format!("GET {target} HTTP/1.1\nHost: a")).await;
        assert_eq!(told(&response), format!("200 site {target}"));
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_shared_out_by_weight_and_a_pool_without_servers_gets_none() {
    let (blue, green) = (origin("blue"), origin("green"));
    let mut node = DataPlane::start();
    node.pool("blue", &[blue.address()]);
    node.pool("green", &[green.address()]);
    node.pool("empty", &[]);
    node.listener(
        "default",
        None,
        &[("", "forward blue=1,empty=900,green=99,none=0")],
    );
    node.publish();
    let mut greens = 0;
    for _ in 0..200 {
        let response = ask(node.address(), "GET / HTTP/1.1\nHost: a").await;
        assert_eq!(response.status, 200);
        greens += u32::from(response.text().starts_with("green"));
    }
    // 198 of 200 are expected; fewer than 150 has a probability of less than 10^-50.
    assert!(greens >= 150, "{greens}");
    assert!(node.live_pool("green").totals().requests.statuses[1] >= 150);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_kept_after_a_response_of_a_route() {
    let mut node = DataPlane::start();
    node.listener(
        "default",
        None,
        &[
            ("path=/ping", "respond 200 pong"),
            ("path=/none", "respond 204"),
        ],
    );
    node.publish();
    let mut client = weldr_tests::raw::Client::connect(node.address()).await;
    for (method, path, status, body) in [
        ("GET", "/ping", 200, "pong"),
        ("HEAD", "/ping", 200, ""),
        ("GET", "/none", 204, ""),
        ("GET", "/ping", 200, "pong"),
    ] {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = client.exchange(method, head).await;
        assert_eq!(
            (response.status, response.text().as_str()),
            (status, body),
            "{method} {path}"
        );
    }
    // The body of a request that nobody reads ends the connection, and the client gets the response.
    let post = "POST /ping HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    let response = client.exchange("POST", post).await;
    assert_eq!(response.text(), "pong");
    assert_eq!(response.fields.get("connection").as_deref(), Some("close"));
    client.closed().await;
    for last in ["HTTP/1.1\r\nHost: a\r\nConnection: close", "HTTP/1.0"] {
        let mut client = weldr_tests::raw::Client::connect(node.address()).await;
        // Nothing after a client's last request is a request: RFC 9112, section 9.6.
        let requests = format!("GET /ping {last}\r\n\r\nGET /ping HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = client.exchange("GET", requests).await;
        assert_eq!(response.text(), "pong", "{last}");
        assert_eq!(response.fields.get("connection").as_deref(), Some("close"));
        client.closed().await;
    }
    let rules = node.view("default");
    let first = rules.router.rules().next().unwrap();
    assert_eq!(first.live.totals().statuses, [0, 6, 0, 0, 0]);
    assert_eq!(
        node.live("default").totals().requests.statuses,
        [0, 7, 0, 0, 0]
    );
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_request_of_a_connection_sees_a_change_of_the_rules() {
    let mut node = DataPlane::start();
    let mut client = weldr_tests::raw::Client::connect(node.address()).await;
    for status in [200, 404, 410] {
        node.listener("default", None, &[("", &format!("respond {status}"))]);
        node.publish();
        let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(client.exchange("GET", head).await.status, status);
    }
    node.shutdown().await;
}
