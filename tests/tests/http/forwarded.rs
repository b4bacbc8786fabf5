//! `--forwarded-headers` and `--trusted-proxy`: who may say whose request it is (RFC 7239).

use weldr::{config::Config, policy::ForwardedHeaders};
use weldr_tests::{http1::Fields, node::TestNode, origin::Origin, raw::Client};

const CLAIM: &str = "GET / HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 192.0.2.1, 192.0.2.2\r\n\
                     X-Forwarded-Proto: https\r\nX-Forwarded-Host: claimed\r\n\
                     Forwarded: for=192.0.2.1;proto=https\r\n\r\n";
const NO_CLAIM: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// The four fields of a request, as a server gets them.
#[derive(Debug, PartialEq, Eq)]
struct Way {
    by: String,
    proto: String,
    host: String,
    forwarded: String,
}

impl Way {
    fn of(fields: &Fields) -> Self {
        let joined = |name| fields.all(name).join(", ");
        Self {
            by: joined("x-forwarded-for"),
            proto: joined("x-forwarded-proto"),
            host: joined("x-forwarded-host"),
            forwarded: joined("forwarded"),
        }
    }

    fn new(by: &str, proto: &str, host: &str, forwarded: &str) -> Self {
        Self {
            by: by.into(),
            proto: proto.into(),
            host: host.into(),
            forwarded: forwarded.into(),
        }
    }

    /// What the proxy itself says of a client without a claim.
    fn plain() -> Self {
        let forwarded = "for=127.0.0.1;host=a.example;proto=http";
        Self::new("127.0.0.1", "http", "a.example", forwarded)
    }

    /// What it says behind the claim.
    fn appended() -> Self {
        let forwarded = "for=192.0.2.1;proto=https, for=127.0.0.1;host=a.example;proto=http";
        Self::new(
            "192.0.2.1, 192.0.2.2, 127.0.0.1",
            "https",
            "claimed",
            forwarded,
        )
    }
}

async fn seen(request: &str, change: impl FnOnce(&mut Config)) -> Way {
    let origin = Origin::saying("hi");
    let node = TestNode::start_with(change).await;
    node.add(origin.address()).await;
    let answer = Client::connect(node.proxy())
        .await
        .exchange("GET", request)
        .await;
    assert_eq!(answer.status, 200, "{answer}");
    let way = Way::of(&origin.only_request().await.fields);
    node.shutdown().await;
    way
}

#[tokio::test(flavor = "multi_thread")]
async fn replace_believes_nobody() {
    assert_eq!(seen(CLAIM, |_| {}).await, Way::plain());
    assert_eq!(seen(NO_CLAIM, |_| {}).await, Way::plain());
}

#[tokio::test(flavor = "multi_thread")]
async fn append_believes_everybody() {
    let append = |config: &mut Config| config.http.forwarded_headers = ForwardedHeaders::Append;
    assert_eq!(seen(CLAIM, append).await, Way::appended());
    assert_eq!(seen(NO_CLAIM, append).await, Way::plain());
}

#[tokio::test(flavor = "multi_thread")]
async fn off_leaves_them_alone() {
    let off = |config: &mut Config| config.http.forwarded_headers = ForwardedHeaders::Off;
    let claim = Way::new(
        "192.0.2.1, 192.0.2.2",
        "https",
        "claimed",
        "for=192.0.2.1;proto=https",
    );
    assert_eq!(seen(CLAIM, off).await, claim);
    assert_eq!(seen(NO_CLAIM, off).await, Way::new("", "", "", ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn replace_believes_trusted_proxies_only() {
    let trust = |network: &'static str| {
        move |config: &mut Config| {
            let network = network.parse().expect("a network");
            config.http.trusted_proxies = vec!["10.0.0.0/8".parse().expect("a network"), network];
        }
    };
    assert_eq!(seen(CLAIM, trust("127.0.0.0/8")).await, Way::appended());
    assert_eq!(seen(CLAIM, trust("127.0.0.1/32")).await, Way::appended());
    assert_eq!(seen(CLAIM, trust("127.0.0.2/32")).await, Way::plain());
}

/// Connection may name them, but not take away who asked (RFC 9110, section 7.6.1).
#[tokio::test(flavor = "multi_thread")]
async fn connection_cannot_hide_who_asked() {
    let hiding = "GET / HTTP/1.1\r\nHost: a.example\r\n\
                  Connection: X-Forwarded-For, Forwarded, X-Forwarded-Proto, X-Forwarded-Host\r\n\r\n";
    assert_eq!(seen(hiding, |_| {}).await, Way::plain());
    let append = |config: &mut Config| config.http.forwarded_headers = ForwardedHeaders::Append;
    assert_eq!(seen(hiding, append).await, Way::plain());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_a_port_is_quoted() {
    let request = "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n";
    let forwarded = "for=127.0.0.1;host=\"[::1]:8080\";proto=http";
    let way = Way::new("127.0.0.1", "http", "[::1]:8080", forwarded);
    assert_eq!(seen(request, |_| {}).await, way);
}
