//! Networks that break: each client gets a response, or visibly not all of one, and nothing is asked twice that must
//! not be.

use std::{collections::BTreeMap, time::Duration};

use weldr_tests::{
    conformance::report::proxy_error,
    faults::{Fault, Link, Way},
    http1::{ReadError, Request, Response},
    node::TestNode,
    origin::Origin,
    raw::Client,
};

const BODY: usize = 3000;

/// An origin whose responses hold the target of the request, over and over, in two framings.
fn origin() -> Origin {
    Origin::script(|mut conversation| async move {
        let mut turn = conversation.index;
        while let Some(request) = conversation.request().await {
            turn += 1;
            let body = body(&request.target);
            let head = "HTTP/1.1 200 OK\r\n";
            let response = if turn % 2 == 0 {
                format!("{head}Content-Length: {BODY}\r\n\r\n{body}")
            } else {
                let (first, second) = body.split_at(BODY / 2);
                let size = BODY / 2;
                let chunks = format!("{size:x}\r\n{first}\r\n{size:x}\r\n{second}\r\n0\r\n\r\n");
                format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}")
            };
            conversation.write(response).await;
        }
    })
}

fn body(target: &str) -> String {
    target.chars().cycle().take(BODY).collect()
}

async fn node(server: std::net::SocketAddr) -> TestNode {
    let node = TestNode::start_with(|config| {
        config.timeouts.client_header = Duration::from_millis(400);
        config.timeouts.client_body = Duration::from_millis(400);
        config.timeouts.response_header = Duration::from_millis(400);
        config.timeouts.stream_idle = Duration::from_millis(400);
    })
    .await;
    node.add(server).await;
    node
}

/// Every fault, at every place that matters: before the response, in its head, in its body, at its end.
fn faults() -> Vec<Fault> {
    let mut faults = vec![
        Fault::None,
        Fault::Latency(Duration::from_millis(5)),
        Fault::Slices(7),
    ];
    for after in [0, 1, 10, 60, 500, 2000, BODY] {
        faults.extend([
            Fault::ResetAfter(after),
            Fault::CutAfter(after),
            Fault::BlackHoleAfter(after),
        ]);
    }
    faults
}

fn request(method: &str, target: &str) -> String {
    match method {
        "POST" => format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"),
        _ => format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n"),
    }
}

/// Sends one request on a connection of its own.
async fn ask(
    proxy: std::net::SocketAddr,
    method: &str,
    target: &str,
) -> Result<Response, ReadError> {
    let mut client = Client::connect(proxy).await;
    // A link may break while it is written to.
    let _broken = client.try_send(request(method, target)).await;
    client.try_response(method).await
}

fn is_of_weldr(response: &Response) -> bool {
    let status = response.fields.get("proxy-status").unwrap_or_default();
    proxy_error(&status).is_some()
}

fn times(requests: &[Request]) -> BTreeMap<(String, String), usize> {
    let mut times = BTreeMap::new();
    for request in requests {
        let key = (request.method.clone(), request.target.clone());
        *times.entry(key).or_default() += 1;
    }
    times
}

/// A POST once, a GET twice at most.
#[track_caller]
fn assert_not_asked_again(requests: &[Request]) {
    for ((method, target), times) in times(requests) {
        let most = if method == "POST" { 1 } else { 2 };
        assert!(times <= most, "{method} {target} arrived {times} times");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn between_the_proxy_and_a_server_are_explained_or_visible() {
    let origin = origin();
    let link = Link::start(origin.address(), 1).await;
    let node = node(link.address()).await;
    let mut number = 0;
    for way in [Way::Down, Way::Up] {
        for fault in faults() {
            // Connections that are open have the fault that there was.
            link.set(way, fault);
            for method in ["GET", "POST"] {
                number += 1;
                let target = format!("/{number}-");
                let seen = ask(node.proxy(), method, &target).await;
                let shown = format!("{way:?} {fault:?} {method}");
                match seen {
                    Ok(response) if is_of_weldr(&response) => {
                        let status = response.status;
                        assert!(matches!(status, 502 | 504), "{shown}: {response}");
                    }
                    Ok(response) => {
                        assert_eq!(response.text(), body(&target), "{shown}");
                    }
                    Err(ReadError::Truncated(part)) => {
                        let whole = body(&target);
                        let part = String::from_utf8_lossy(&part).into_owned();
                        assert!(whole.starts_with(&part), "{shown}: {part}");
                    }
                    Err(error) => panic!("{shown}: {error}"),
                }
            }
        }
    }
    assert_not_asked_again(&origin.requests().await);
    link.set(Way::Down, Fault::None);
    node.counts("all to be over", |stats| stats.servers[0].in_flight == 0)
        .await;
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn between_a_client_and_the_proxy_affect_no_other_client() {
    let origin = origin();
    let node = node(origin.address()).await;
    let link = Link::start(node.proxy(), 2).await;
    let mut number = 0;
    for way in [Way::Down, Way::Up] {
        for fault in faults() {
            link.set(way, fault);
            for method in ["GET", "POST"] {
                number += 1;
                let target = format!("/{number}-");
                let broken = tokio::time::timeout(
                    Duration::from_millis(700),
                    ask(link.address(), method, &target),
                )
                .await;
                if let Ok(Ok(response)) = &broken
                    && !is_of_weldr(response)
                {
                    assert_eq!(response.text(), body(&target), "{way:?} {fault:?} {method}");
                }
                let other = format!("/other-{number}-");
                let response = ask(node.proxy(), "GET", &other).await.expect("a response");
                assert_eq!(response.text(), body(&other), "{way:?} {fault:?} {method}");
            }
        }
    }
    let requests = origin.requests().await;
    for ((method, target), times) in times(&requests) {
        assert_eq!(times, 1, "{method} {target}");
    }
    node.counts("all to be over", |stats| stats.servers[0].in_flight == 0)
        .await;
    let failed = node.stats().await.servers[0]
        .outcomes
        .unwrap_or_default()
        .failed;
    assert_eq!(failed, 0, "counted against the server");
    node.shutdown().await;
}

/// Bytes that have changed on the way from a server: what is still HTTP passes, what is not does not, and no response
/// is another's.
#[tokio::test(flavor = "multi_thread")]
async fn that_corrupt_responses_never_mix_them() {
    let origin = origin();
    let link = Link::start(origin.address(), 3).await;
    let node = node(link.address()).await;
    // A few in the head, and in the framing of the body.
    link.set(Way::Down, Fault::Corrupt(0, 2));
    let mut explained = 0;
    let mut client = Client::connect(node.proxy()).await;
    for number in 0..200 {
        let target = format!("/{number:03}-");
        if client.try_send(request("GET", &target)).await.is_err() {
            client = Client::connect(node.proxy()).await;
            client.send(request("GET", &target)).await;
        }
        match client.try_response("GET").await {
            Ok(response) => {
                explained += usize::from(is_of_weldr(&response));
                let text = response.text();
                let others = (0..200)
                    .filter(|&other| other != number)
                    .map(|other| format!("/{other:03}-/{other:03}-"));
                let mut others = others.filter(|other| text.contains(other.as_str()));
                assert_eq!(others.next(), None, "in the response to {target}");
                if response
                    .fields
                    .get("connection")
                    .is_some_and(|option| option.contains("close"))
                {
                    client = Client::connect(node.proxy()).await;
                }
            }
            Err(ReadError::Invalid(why)) => panic!("{target}: {why}"),
            Err(_) => client = Client::connect(node.proxy()).await,
        }
    }
    assert!(explained > 0, "nothing was corrupt");
    node.shutdown().await;
}
