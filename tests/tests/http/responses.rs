//! Responses that are not in correct form: which of them pass, and that checks judge them as the traffic does.

use weldr::model::{CheckKind, HttpCheck};
use weldr_proto::v1::{HealthState, PoolSettings};
use weldr_tests::{conformance::report::proxy_error, node::TestNode, origin::Origin, raw::Client};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// With a defect that leaves only one meaning; the body of each is `hi`.
const ONE_MEANING: [&str; 7] = [
    "HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nhi",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nhi",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX: \x01\r\nContent-Length: 2\r\n\r\nhi",
];

/// A server that gives each request the same response.
fn responding(response: impl Into<String>) -> Origin {
    let response = response.into();
    Origin::script(move |mut conversation| {
        let response = response.clone();
        async move {
            while conversation.request().await.is_some() {
                conversation.write(&response).await;
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_pool_refuses_what_another_mends() {
    for response in ONE_MEANING {
        let origin = responding(response);
        let node = TestNode::before(&[origin.address()]).await;
        let lenient = Client::connect(node.proxy())
            .await
            .exchange("GET", GET)
            .await;
        assert_eq!(
            (lenient.status, lenient.text().as_str()),
            (200, "hi"),
            "{response:?}"
        );
        node.update_pool(PoolSettings {
            strict_responses: Some(true),
            ..PoolSettings::default()
        })
        .await;
        let strict = Client::connect(node.proxy())
            .await
            .exchange("GET", GET)
            .await;
        let status = strict.fields.get("proxy-status").unwrap_or_default();
        assert_eq!(
            (strict.status, proxy_error(&status)),
            (502, Some("http_protocol_error")),
            "{response:?}: {strict}"
        );
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_pool_cuts_a_body_whose_chunks_another_mends() {
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 \r\nhi\r\n0\r\n\r\n";
    let origin = responding(chunks);
    let node = TestNode::before(&[origin.address()]).await;
    let lenient = Client::connect(node.proxy())
        .await
        .exchange("GET", GET)
        .await;
    assert_eq!((lenient.status, lenient.text().as_str()), (200, "hi"));
    node.update_pool(PoolSettings {
        strict_responses: Some(true),
        ..PoolSettings::default()
    })
    .await;
    let strict = Client::connect(node.proxy())
        .await
        .exchange("GET", GET)
        .await;
    assert_eq!(strict.status, 502, "{strict}");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_and_the_traffic_judge_alike() {
    let chunked_twice = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\
                         Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    let with_head_of = |bytes: usize| {
        let padding = "a".repeat(bytes);
        format!("HTTP/1.1 200 OK\r\nX: {padding}\r\nContent-Length: 2\r\n\r\nhi")
    };
    for (response, strict, why) in [
        (
            chunked_twice.to_owned(),
            false,
            Some("invalid response: more than one Transfer-Encoding"),
        ),
        (with_head_of(20 * 1024), false, None),
        (
            with_head_of(40 * 1024),
            false,
            Some("invalid response: the head has more than 32768 bytes"),
        ),
        (ONE_MEANING[2].to_owned(), false, None),
        (
            ONE_MEANING[2].to_owned(),
            true,
            Some("invalid response: more than one Content-Length"),
        ),
    ] {
        let origin = responding(&response);
        let node = TestNode::start_checking_with(|config| {
            config.pool.check.kind = CheckKind::Http(HttpCheck::default());
            config.pool.strict_responses = strict;
        })
        .await;
        node.add_with(origin.address(), |_| {}).await;
        let (state, status) = match why {
            Some(_) => (HealthState::Unhealthy, 502),
            None => (HealthState::Healthy, 200),
        };
        let server = node.reaches(origin.address(), state).await;
        let told = server.health.unwrap_or_default().description;
        assert!(told.contains(why.unwrap_or_default()), "{told}");
        let response = Client::connect(node.proxy())
            .await
            .exchange("GET", GET)
            .await;
        assert_eq!(response.status, status, "{response}");
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_follow_a_pool_that_becomes_strict() {
    let origin = responding(ONE_MEANING[0]);
    let node = TestNode::start_checking_with(|config| {
        config.pool.check.kind = CheckKind::Http(HttpCheck::default());
    })
    .await;
    node.add(origin.address()).await;
    for (strict, state) in [
        (true, HealthState::Unhealthy),
        (false, HealthState::Healthy),
    ] {
        node.update_pool(PoolSettings {
            strict_responses: Some(strict),
            ..PoolSettings::default()
        })
        .await;
        node.reaches(origin.address(), state).await;
    }
    node.shutdown().await;
}
