//! Requests of a session go to the server that has it, for as long as it may.

use std::time::Duration;

use weldr_proto::v1::{AdminState, HealthState, PoolSettings, RemoveServerRequest, Stickiness};
use weldr_tests::{http1::Response, node::TestNode, origin::Origin, raw::Client, serve, wait};

/// Requests of each session in a row: more than one by chance would go to the same of two servers.
const ENOUGH: usize = 12;

/// An origin whose body is its name and the Cookie field that it got, and which begins a session of its own at `/login`.
fn origin(name: &'static str) -> Origin {
    Origin::serve(move |request| async move {
        let cookie = request.headers().get("cookie");
        let cookie = cookie.map_or("", |value| value.to_str().unwrap());
        let mut response = serve::response(200, format!("{name} {cookie}").trim().to_owned());
        if request.uri().path() == "/login" {
            let session = "SID=1; HttpOnly".parse().unwrap();
            response.headers_mut().insert("set-cookie", session);
        }
        response
    })
}

/// The response to a request with these cookies.
async fn ask(node: &TestNode, target: &str, cookies: &str) -> Response {
    let cookie = if cookies.is_empty() {
        String::new()
    } else {
        format!("Cookie: {cookies}\r\n")
    };
    let mut client = Client::connect(node.proxy()).await;
    let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{cookie}\r\n");
    let response = client.exchange("GET", head).await;
    assert_eq!(response.status, 200, "{response}");
    response
}

/// The cookie of Weldr that a response sets, as a client sends it back.
fn cookie_of(response: &Response) -> Option<String> {
    let set = response.fields.all("set-cookie");
    let own = set.iter().find(|field| field.starts_with("SRV="))?;
    Some(own.split(';').next()?.to_owned())
}

/// The server that a response came from.
fn server_of(response: &Response) -> String {
    let text = response.text();
    text.split(' ').next().unwrap_or_default().to_owned()
}

fn lasting(seconds: u64) -> Option<prost_types::Duration> {
    Duration::from_secs(seconds).try_into().ok()
}

/// A node before `origins`, whose pool is sticky.
async fn sticky(origins: [&Origin; 2], application_cookie: &str) -> TestNode {
    let node = TestNode::before(&origins.map(Origin::address)).await;
    node.update_pool(PoolSettings {
        stickiness: Some(Stickiness {
            cookie: Some("SRV".to_owned()),
            application_cookie: Some(application_cookie.to_owned()),
            duration: None,
        }),
        drain_deadline: lasting(3),
        ..PoolSettings::default()
    })
    .await;
    node
}

/// A session and its server.
async fn begin(node: &TestNode) -> (String, String) {
    // The secret of cookies comes a moment after the first pool became sticky.
    wait::until("a cookie", async || {
        let response = ask(node, "/", "").await;
        let cookie = cookie_of(&response).ok_or("none")?;
        Ok::<_, &str>((cookie, server_of(&response)))
    })
    .await
}

/// Asserts that a session stays with its server, and gets no other cookie.
async fn assert_stays(node: &TestNode, (cookie, server): &(String, String)) {
    for _ in 0..ENOUGH {
        let response = ask(node, "/", &format!("a=b; {cookie}; c=d")).await;
        assert_eq!(response.text(), format!("{server} a=b; c=d"));
        assert_eq!(cookie_of(&response), None);
    }
}

/// Asserts that a session gets another server, and returns it as it is then.
async fn assert_moves(node: &TestNode, (cookie, server): &(String, String)) -> (String, String) {
    let response = ask(node, "/", cookie).await;
    let now = server_of(&response);
    assert_ne!(now, *server);
    (cookie_of(&response).unwrap(), now)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_stays_with_its_server_and_a_foreign_cookie_is_replaced() {
    let (one, other) = (origin("one"), origin("other"));
    let node = sticky([&one, &other], "").await;
    let session = begin(&node).await;
    assert_stays(&node, &session).await;
    // Without a cookie, both get requests.
    let mut servers = Vec::new();
    for _ in 0..ENOUGH {
        servers.push(server_of(&ask(&node, "/", "").await));
    }
    servers.sort();
    servers.dedup();
    assert_eq!(servers, ["one", "other"]);
    let forged = format!("{}x", session.0);
    for foreign in [&forged, "SRV=", "SRV=one", "SRV=AAAA"] {
        let response = ask(&node, "/", foreign).await;
        assert!(cookie_of(&response).is_some(), "{foreign}");
        assert_eq!(response.text(), server_of(&response), "{foreign}");
    }
    let field = ask(&node, "/", "").await.fields.get("set-cookie").unwrap();
    let attributes = "; Path=/; HttpOnly; SameSite=Lax; Max-Age=86400";
    assert!(field.ends_with(attributes), "{field}");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_stays_with_a_server_that_drains_until_half_of_its_deadline_is_over() {
    let (one, other) = (origin("one"), origin("other"));
    let node = sticky([&one, &other], "").await;
    let session = begin(&node).await;
    let origins = [("one", &one), ("other", &other)];
    let (_, server) = origins.iter().find(|(name, _)| *name == session.1).unwrap();
    let address = server.address();
    node.update(address, |update| {
        update.admin_state = AdminState::Drain.into();
    })
    .await;
    assert_stays(&node, &session).await;
    for _ in 0..ENOUGH {
        assert_ne!(
            server_of(&ask(&node, "/", "").await),
            session.1,
            "it drains"
        );
    }
    let remove = RemoveServerRequest {
        address: address.to_string(),
        ..RemoveServerRequest::default()
    };
    node.client().remove_server(remove).await.unwrap();
    assert_eq!(server_of(&ask(&node, "/", &session.0).await), session.1);
    let moved = wait::until("the session to move", async || {
        let response = ask(&node, "/", &session.0).await;
        let cookie = cookie_of(&response).ok_or("it stays")?;
        Ok::<_, &str>((cookie, server_of(&response)))
    })
    .await;
    assert_ne!(moved.1, session.1);
    assert_stays(&node, &moved).await;
    node.is_rid_of(address).await;
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_leaves_a_server_that_fails_or_is_in_maintenance() {
    let (mut one, other) = (origin("one"), origin("other"));
    let node = sticky([&one, &other], "").await;
    let addresses = [one.address(), other.address()];
    let session = wait::until("a session of the first", async || {
        match begin(&node).await {
            session if session.1 == "one" => Ok(session),
            _ => Err("the other's"),
        }
    })
    .await;
    // It is healthy as far as its checks know: the request is tried again elsewhere.
    one.stop().await;
    let moved = assert_moves(&node, &session).await;
    assert_stays(&node, &moved).await;
    one.start();
    node.reaches(addresses[0], HealthState::Healthy).await;
    assert_stays(&node, &moved).await;
    node.update(addresses[1], |update| {
        update.admin_state = AdminState::Maintenance.into();
    })
    .await;
    let back = assert_moves(&node, &moved).await;
    assert_stays(&node, &back).await;
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_the_application_sticks_while_its_cookie_is_there() {
    let (one, other) = (origin("one"), origin("other"));
    let node = sticky([&one, &other], "SID").await;
    assert_eq!(cookie_of(&ask(&node, "/", "").await), None);
    let (cookie, server) = wait::until("a session", async || {
        let response = ask(&node, "/login", "").await;
        let cookie = cookie_of(&response).ok_or("none")?;
        Ok::<_, &str>((cookie, server_of(&response)))
    })
    .await;
    for _ in 0..ENOUGH {
        let response = ask(&node, "/", &format!("{cookie}; SID=1")).await;
        assert_eq!(response.text(), format!("{server} SID=1"));
        assert_eq!(cookie_of(&response), None);
    }
    let mut servers = Vec::new();
    for _ in 0..ENOUGH {
        servers.push(server_of(&ask(&node, "/", &cookie).await));
    }
    servers.dedup();
    assert!(servers.len() > 1, "the session has ended");
    node.shutdown().await;
}
