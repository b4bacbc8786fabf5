//! What a web page can make an operator's browser send.

use super::{
    http::{ask, send},
    node::TestNode,
};

/// A request of a browser: method, target, fields, and the status it gets.
struct Sent {
    what: &'static str,
    method: &'static str,
    fields: &'static [(&'static str, &'static str)],
    refused: Option<u16>,
}

const BODY: &str = r#"{"ip":"127.0.0.1","port":80}"#;

const SENT: &[Sent] = &[
    Sent {
        what: "a form of another site posts JSON as plain text",
        method: "POST",
        fields: &[
            ("origin", "https://evil.example"),
            ("content-type", "text/plain"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "no-cors"),
        ],
        refused: Some(403),
    },
    Sent {
        what: "the same in a browser without fetch metadata",
        method: "POST",
        fields: &[
            ("origin", "https://evil.example"),
            ("content-type", "text/plain"),
        ],
        refused: Some(403),
    },
    Sent {
        what: "a sandboxed frame",
        method: "POST",
        fields: &[("origin", "null"), ("sec-fetch-site", "cross-site")],
        refused: Some(403),
    },
    Sent {
        what: "an image of another site, without an origin",
        method: "GET",
        fields: &[
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "no-cors"),
            ("sec-fetch-dest", "image"),
        ],
        refused: Some(403),
    },
    Sent {
        what: "another port of this machine",
        method: "POST",
        fields: &[
            ("origin", "http://localhost:3000"),
            ("sec-fetch-site", "same-site"),
        ],
        refused: Some(403),
    },
    Sent {
        what: "a name that was made to resolve to this machine",
        method: "POST",
        fields: &[
            ("host", "rebound.evil.example:8687"),
            ("origin", "http://rebound.evil.example:8687"),
            ("sec-fetch-site", "same-origin"),
        ],
        refused: Some(421),
    },
    Sent {
        what: "the same without an origin",
        method: "GET",
        fields: &[
            ("host", "rebound.evil.example"),
            ("sec-fetch-site", "same-origin"),
        ],
        refused: Some(421),
    },
    Sent {
        what: "a link of another site that the operator follows",
        method: "GET",
        fields: &[
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ],
        refused: None,
    },
    Sent {
        what: "an address that the operator types",
        method: "GET",
        fields: &[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")],
        refused: None,
    },
    Sent {
        what: "a page of the node itself, by a name that it is configured with",
        method: "POST",
        fields: &[
            ("host", "lb.example:8687"),
            ("origin", "http://lb.example:8687"),
            ("sec-fetch-site", "same-origin"),
        ],
        refused: None,
    },
];

#[tokio::test]
async fn pages_of_other_sites_change_and_read_nothing() {
    for authentication in [false, true] {
        let node = if authentication {
            TestNode::with_authentication().await
        } else {
            TestNode::start().await
        };
        for Sent {
            what,
            method,
            fields,
            refused,
        } in SENT
        {
            let body = if *method == "POST" { BODY } else { "" };
            let response = send(node.address, method, "/servers", fields, body).await;
            let status = response.status.as_u16();
            match refused {
                Some(expected) => assert_eq!(status, *expected, "{what}"),
                None if authentication => assert_eq!(status, 401, "{what}"),
                None => assert!(response.status.is_success(), "{what}: {status}"),
            }
            assert_eq!(
                response.header("access-control-allow-origin"),
                "",
                "no page of another origin may read: {what}"
            );
        }
    }
}

/// A preflight is not answered with a permission.
#[tokio::test]
async fn no_preflight_is_permitted() {
    let node = TestNode::start().await;
    let fields = [
        ("origin", "https://evil.example"),
        ("access-control-request-method", "DELETE"),
        ("sec-fetch-site", "cross-site"),
    ];
    let refused = send(
        node.address,
        "OPTIONS",
        "/servers/127.0.0.1/80",
        &fields,
        "",
    )
    .await;
    assert_eq!(refused.status, 403);
    assert_eq!(refused.header("access-control-allow-methods"), "");
}

#[tokio::test]
async fn the_port_for_health_serves_health_and_nothing_else() {
    let node = TestNode::with_authentication().await;
    for path in ["/healthz", "/readyz"] {
        let open = ask(node.health_address, "GET", path).await;
        assert_eq!(open.status, 200, "{path}");
        let page = [("host", "rebound.evil.example")];
        let refused = send(node.health_address, "GET", path, &page, "").await;
        assert_eq!(refused.status, 421, "{path}");
    }
    for path in ["/", "/servers", "/tokens", "/weldr.v1.Access/WhoAmI"] {
        let missing = ask(node.health_address, "GET", path).await.status;
        assert!([401, 404].contains(&missing.as_u16()), "{path}: {missing}");
    }
    let open = TestNode::start().await;
    for path in ["/", "/servers", "/tokens", "/weldr.v1.Management/GetStats"] {
        let missing = ask(open.health_address, "POST", path).await;
        assert!([404, 405].contains(&missing.status.as_u16()), "{path}");
    }
    let endpoint = format!("http://{}", node.health_address);
    let channel = tonic::transport::Endpoint::from_shared(endpoint).unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.connect_lazy());
    let request = tonic_health::pb::HealthCheckRequest::default();
    let status = super::soon(health.check(request)).await.unwrap();
    assert_eq!(status.into_inner().status, 1);
}
