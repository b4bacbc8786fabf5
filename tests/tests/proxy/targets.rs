//! The target of a request is nobody's to improve: it passes byte for byte.

use weldr_tests::{origin::Origin, raw::Client};

use super::both;
use weldr_tests::node::TestNode;

fn ok() -> Origin {
    Origin::saying("ok")
}

#[tokio::test(flavor = "multi_thread")]
async fn pass_byte_for_byte() {
    let long = format!("/{}?{}", "p".repeat(4000), "q".repeat(4000));
    let targets = [
        "/",
        "/a%2Fb/../c?x=%20",
        "/a%2fb/./c/..",
        "//two//slashes//",
        "/?",
        "/?a=b&a=c&d=&e",
        "/?next=http://a.example/b?c=d",
        "/a;b=c,d/e:f@g",
        "/%E2%82%AC/%zz",
        "/~user/(paren)/*'!$&+",
        "/q?[x]={y}|z\\",
        &long,
    ];
    let origin = ok();
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        for path in targets {
            let response = client.get(path).await;
            assert_eq!(response.status, 200, "{path}");
        }
    })
    .await;
    let seen: Vec<_> = origin
        .requests()
        .await
        .into_iter()
        .map(|seen| seen.target)
        .collect();
    assert_eq!(seen[..targets.len()], targets);
    assert_eq!(seen[targets.len()..], targets);
}

#[tokio::test(flavor = "multi_thread")]
async fn asterisk_passes() {
    let origin = ok();
    both(&origin, async |target| {
        let mut client = Client::connect(target).await;
        let response = client
            .exchange("OPTIONS", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
            .await;
        assert_eq!(response.status, 200, "{response}");
    })
    .await;
    let seen: Vec<_> = origin
        .requests()
        .await
        .into_iter()
        .map(|seen| seen.target)
        .collect();
    assert_eq!(seen, ["*", "*"]);
}

/// RFC 9112, section 3.2.2: the authority of an absolute-form target takes the place of Host.
#[tokio::test(flavor = "multi_thread")]
async fn absolute_form_becomes_origin_form() {
    let origin = ok();
    let node = TestNode::before(&[origin.address()]).await;
    let mut client = Client::connect(node.proxy()).await;
    let request = "GET http://b.example:81/x%20y?z HTTP/1.1\r\nHost: a.example\r\n\r\n";
    assert_eq!(client.exchange("GET", request).await.status, 200);
    let seen = origin.only_request().await;
    assert_eq!(seen.target, "/x%20y?z");
    assert_eq!(seen.fields.get("host").as_deref(), Some("b.example:81"));
    node.shutdown().await;
}
