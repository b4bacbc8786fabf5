//! Requests that would come back to the node that sent them: RFC 9110, section 7.6.3, and RFC 9209.

use weldr_tests::{node::TestNode, origin::Origin, raw, wait};

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_of_two_nodes_is_found_at_its_first_round() {
    let (first, second) = tokio::join!(TestNode::start(), TestNode::start());
    first.add(second.proxy()).await;
    second.add(first.proxy()).await;
    let answer = raw::get(first.proxy(), "/").await;
    assert_eq!(answer.status, 508, "{answer}");
    let status = answer.fields.all("proxy-status").join(", ");
    assert!(status.contains("error=proxy_loop_detected"), "{status}");
    assert!(answer.text().contains("loop"), "{answer}");
    wait::until("three requests", async || {
        let all = requests(&first).await + requests(&second).await;
        if all == 3 { Ok(()) } else { Err(all) }
    })
    .await;
    first.shutdown().await;
    second.shutdown().await;
}

async fn requests(node: &TestNode) -> u64 {
    let client = node.stats().await.client.unwrap_or_default();
    client.success + client.failed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_nodes_is_no_loop() {
    let origin = Origin::saying("hi");
    let mut chain = vec![TestNode::before(&[origin.address()]).await];
    for _ in 0..4 {
        let next = chain.last().expect("a node").proxy();
        chain.push(TestNode::before(&[next]).await);
    }
    let first = chain.last().expect("a node").proxy();
    let answer = raw::get(first, "/").await;
    assert_eq!((answer.status, answer.text()), (200, "hi".to_owned()));
    let via = origin.only_request().await.fields.all("via").join(", ");
    let names: Vec<&str> = via.split(", ").collect();
    assert_eq!(names.len(), 5, "{via}");
    for (at, name) in names.iter().enumerate() {
        assert!(name.starts_with("1.1 weldr-"), "{via}");
        assert!(
            !names[..at].contains(name),
            "each node has its own name: {via}"
        );
    }
    for node in chain {
        node.shutdown().await;
    }
}

/// A proxy on the way may rename what is in Via.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_does_not_go_through_nodes_without_end() {
    let origin = Origin::saying("hi");
    let node = TestNode::before(&[origin.address()]).await;
    for (nodes, status) in [(9, 200), (10, 508)] {
        let via = vec!["1.1 weldr-0"; nodes].join(", ");
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nVia: {via}\r\n\r\n");
        let mut client = raw::Client::connect(node.proxy()).await;
        let answer = client.exchange("GET", request).await;
        assert_eq!(answer.status, status, "{answer}");
    }
    node.shutdown().await;
}
