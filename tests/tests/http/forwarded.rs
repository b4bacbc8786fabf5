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
    let response = Client::connect(node.proxy())
        .await
        .exchange("GET", request)
        .await;
    assert_eq!(response.status, 200, "{response}");
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
async fn connection_cannot_hide_the_client() {
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

/// Fields in which a proxy tells a server who the client is or what it asked for. Each is claimed here.
const CLAIMS: &[&str] = &[
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Server",
    "X-Forwarded-Ssl",
    "X-Forwarded-Scheme",
    "X-Forwarded-Client-Cert",
    "x-forwarded",
    "X-FORWARDED-Something-That-Nobody-Has-Heard-Of",
    "X-Real-IP",
    "True-Client-IP",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "CF-Connecting-IP",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-Original-Forwarded-For",
    "Front-End-Https",
    "Client-Cert",
];

/// Names that CGI and WSGI cannot tell from those of a proxy: there, `-` and `_` are one character.
const TWINS: &[&str] = &[
    "X_Forwarded_For",
    "X-Forwarded_For",
    "x_forwarded-proto",
    "X_Forwarded_Host",
    "X_FORWARDED_PORT",
    "X_Real_IP",
    "X_Real-IP",
    "True_Client_IP",
    "Front_End_Https",
];

/// Which of `names` arrive at a server when a client sends all of them.
async fn arriving(names: &[&str], before: &str, change: impl FnOnce(&mut Config)) -> Vec<String> {
    let origin = Origin::saying("hi");
    let node = TestNode::start_with(change).await;
    node.add(origin.address()).await;
    let claims: Vec<String> = names
        .iter()
        .map(|name| format!("{name}: claimed\r\n"))
        .collect();
    let claims = claims.concat();
    let request = format!("GET / HTTP/1.1\r\nHost: a.example\r\n{before}{claims}\r\n");
    let response = Client::connect(node.proxy())
        .await
        .exchange("GET", request)
        .await;
    assert_eq!(response.status, 200, "{response}");
    let fields = origin.only_request().await.fields;
    node.shutdown().await;
    let arrived = names
        .iter()
        .filter(|name| fields.all(name).iter().any(|value| value == "claimed"));
    arrived.map(|&name| name.to_owned()).collect()
}

fn trusting(config: &mut Config) {
    config.http.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_cannot_speak_for_a_proxy() {
    assert_eq!(arriving(CLAIMS, "", |_| {}).await, [""; 0]);
    assert_eq!(arriving(CLAIMS, "", trusting).await, CLAIMS);
    let off = |config: &mut Config| config.http.forwarded_headers = ForwardedHeaders::Off;
    assert_eq!(arriving(CLAIMS, "", off).await, CLAIMS);
}

/// A trusted proxy that knows nothing of underscores passes on what its client made of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_with_underscores_is_no_other_name() {
    assert_eq!(arriving(TWINS, "", |_| {}).await, [""; 0]);
    assert_eq!(arriving(TWINS, "", trusting).await, [""; 0]);
    let append = |config: &mut Config| config.http.forwarded_headers = ForwardedHeaders::Append;
    assert_eq!(arriving(TWINS, "", append).await, [""; 0]);
    let off = |config: &mut Config| config.http.forwarded_headers = ForwardedHeaders::Off;
    assert_eq!(arriving(TWINS, "", off).await, TWINS);
    let others = [
        "X_Other",
        "My_X_Forwarded_For",
        "X-Real-IP-Of-Mine",
        "X-Realm",
    ];
    assert_eq!(arriving(&others, "", |_| {}).await, others);
}

/// RFC 9110, section 7.6.1: Connection must not name a field that is for all recipients.
#[tokio::test(flavor = "multi_thread")]
async fn connection_takes_nothing_from_a_trusted_proxy() {
    let names = [
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Real-IP",
    ];
    let connection = format!("Connection: close, {}\r\n", names.join(", "));
    assert_eq!(arriving(&names, &connection, trusting).await, names);
    let off = |config: &mut Config| config.http.forwarded_headers = ForwardedHeaders::Off;
    assert_eq!(arriving(&names, &connection, off).await, names);
}

/// RFC 7239, section 4: an element behind an open quote would be a part of its value.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_appended_to_a_malformed_forwarded() {
    let ours = "for=127.0.0.1;host=a.example;proto=http";
    let with = |lines: &[&str]| {
        let lines: Vec<String> = lines
            .iter()
            .map(|line| format!("Forwarded: {line}\r\n"))
            .collect();
        let lines = lines.concat();
        format!("GET / HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n")
    };
    for malformed in [
        &["for=\"192.0.2.1"][..],
        &["for=192.0.2.1;host=\"a"],
        &["for=\"192.0.2.1\\"],
        &["for=192.0.2.1", "for=\"x", "for=y\""],
        &["for=192.0.2.1 proto=http"],
        &["192.0.2.1"],
        &["for=[2001:db8::1]"],
        &["for"],
        &["for="],
        &["=192.0.2.1"],
        &["for=192.0.2.1;for=192.0.2.2"],
        &["for=\"a\"b"],
    ] {
        let forwarded = seen(&with(malformed), trusting).await.forwarded;
        assert_eq!(forwarded, ours, "{malformed:?}");
    }
    for valid in [
        "for=192.0.2.1",
        "For=\"[2001:db8::1]:80\";proto=https;by=_hidden;ext=\"a,\\\"b;\"",
        "for=unknown, for=192.0.2.1;;host=\"a:1\"",
        "for=192.0.2.1; proto=http",
    ] {
        let forwarded = seen(&with(&[valid]), trusting).await.forwarded;
        assert_eq!(forwarded, format!("{valid}, {ours}"));
    }
}
