//! Certificates over gRPC and REST. No response has a private key.

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use tonic::{Code, transport::Channel};
use weldr_proto::v1::{
    ApplyRequest, BackupRequest, CertificateNames, Configuration, CreateCertificateRequest,
    CreateListenerRequest, DeleteCertificateRequest, DeleteListenerRequest, ExportRequest,
    GetCertificateRequest, GetHistoryRequest, ListCertificatesRequest, ListListenersRequest,
    ListTlsPoliciesRequest, ListenerConfiguration, ListenerProtocol, ListenerTls, PoolProtocol,
    PoolSettings, PoolTls, UpdateCertificateRequest, UpdateListenerRequest, UpdatePoolRequest,
    certificates_client::CertificatesClient, cluster_client::ClusterClient,
    routing_client::RoutingClient,
};

use super::{
    http::{HttpResponse, ask, send},
    node::TestNode,
};

/// A certificate that is signed by its own key.
struct Pair {
    certificate: String,
    key: KeyPair,
}

impl Pair {
    fn new(name: &str) -> Self {
        Self::until(name, 2100)
    }

    fn until(name: &str, year: i32) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        Self {
            certificate: params.self_signed(&key).unwrap().pem(),
            key,
        }
    }

    fn create(&self, name: &str) -> CreateCertificateRequest {
        CreateCertificateRequest {
            name: name.to_owned(),
            certificate: self.certificate.clone(),
            private_key: self.key.serialize_pem(),
            force: false,
            acme: None,
        }
    }

    fn update(&self, name: &str) -> UpdateCertificateRequest {
        UpdateCertificateRequest {
            name: name.to_owned(),
            certificate: self.certificate.clone(),
            private_key: self.key.serialize_pem(),
            ..UpdateCertificateRequest::default()
        }
    }

    /// A line of the key as text, which is in nothing that does not have the key.
    fn part_of_key(&self) -> String {
        let text = self.key.serialize_pem();
        text.lines().nth(1).unwrap().to_owned()
    }
}

fn certificates(node: &TestNode) -> CertificatesClient<Channel> {
    CertificatesClient::new(node.channel())
}

fn secure(certificates: &[&str]) -> CreateListenerRequest {
    CreateListenerRequest {
        name: "secure".to_owned(),
        address: "127.0.0.1:1".to_owned(),
        protocol: ListenerProtocol::Https.into(),
        certificates: certificates.iter().map(|&name| name.to_owned()).collect(),
        ..CreateListenerRequest::default()
    }
}

fn named(certificates: &[&str]) -> CertificateNames {
    CertificateNames {
        names: certificates.iter().map(|&name| name.to_owned()).collect(),
    }
}

#[tokio::test]
async fn a_certificate_is_added_once_and_stays_while_it_is_used() {
    let node = TestNode::start().await;
    let mut client = certificates(&node);
    let mut routing = RoutingClient::new(node.channel());
    let (first, second) = (Pair::new("shop.example"), Pair::new("shop.example"));

    let made = client.create_certificate(first.create("shop")).await;
    let made = made.unwrap().into_inner();
    assert!(made.created);
    let shop = made.certificate.unwrap();
    assert_eq!(
        (shop.name.as_str(), shop.dns_names.as_slice()),
        ("shop", &["shop.example".to_owned()][..])
    );
    assert_eq!(
        (shop.key_type.as_str(), shop.last_error.as_str()),
        ("ECDSA P-256", "")
    );
    let again = client.create_certificate(first.create("shop")).await;
    assert!(!again.unwrap().into_inner().created);
    let other = client.create_certificate(second.create("shop")).await;
    assert_eq!(other.unwrap_err().code(), Code::AlreadyExists);

    let listener = routing.create_listener(secure(&["shop"])).await.unwrap();
    let listener = listener.into_inner().listener.unwrap();
    assert_eq!(listener.protocol(), ListenerProtocol::Https);
    assert_eq!(listener.certificates, ["shop"]);
    assert_eq!(listener.tls.unwrap().session_resumption, Some(true));
    let delete = DeleteCertificateRequest {
        name: "shop".to_owned(),
        ..DeleteCertificateRequest::default()
    };
    let refused = client.delete_certificate(delete).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(
        refused.message().contains("listener secure"),
        "{}",
        refused.message()
    );
}

#[tokio::test]
async fn a_certificate_in_use_is_replaced_and_then_removed() {
    let node = TestNode::start().await;
    let mut client = certificates(&node);
    let mut routing = RoutingClient::new(node.channel());
    let (first, second) = (Pair::new("shop.example"), Pair::new("shop.example"));
    let made = client.create_certificate(first.create("shop")).await;
    let shop = made.unwrap().into_inner().certificate.unwrap();
    routing.create_listener(secure(&["shop"])).await.unwrap();
    let delete = DeleteCertificateRequest {
        name: "shop".to_owned(),
        ..DeleteCertificateRequest::default()
    };
    let set = client.update_certificate(second.update("shop")).await;
    let set = set.unwrap().into_inner().certificate.unwrap();
    assert_ne!(set.fingerprint, shop.fingerprint);
    assert_eq!(set.used_by, ["listener secure"]);
    let get = GetCertificateRequest {
        name: "shop".to_owned(),
        stale: false,
    };
    let got = client.get_certificate(get).await.unwrap().into_inner();
    assert_eq!(
        got.certificate.unwrap().chain,
        second.certificate.replace('\r', "")
    );
    let late = UpdateCertificateRequest {
        expected_revision: shop.revision,
        ..first.update("shop")
    };
    assert_eq!(
        client.update_certificate(late).await.unwrap_err().code(),
        Code::Aborted
    );

    routing
        .delete_listener(DeleteListenerRequest {
            name: "secure".to_owned(),
            ..DeleteListenerRequest::default()
        })
        .await
        .unwrap();
    client.delete_certificate(delete.clone()).await.unwrap();
    assert_eq!(
        client.delete_certificate(delete).await.unwrap_err().code(),
        Code::NotFound
    );
    assert_eq!(
        client
            .update_certificate(first.update("shop"))
            .await
            .unwrap_err()
            .code(),
        Code::NotFound
    );
    let list = client
        .list_certificates(ListCertificatesRequest::default())
        .await;
    assert!(list.unwrap().into_inner().certificates.is_empty());
}

#[tokio::test]
async fn what_would_not_work_is_refused_with_its_reason() {
    let node = TestNode::start().await;
    let mut client = certificates(&node);
    let (pair, old) = (Pair::new("a.example"), Pair::until("a.example", 2020));
    let other_key = Pair::new("b.example").key.serialize_pem();
    for (request, words) in [
        (
            CreateCertificateRequest {
                name: "a b".to_owned(),
                ..pair.create("a")
            },
            "at most 64 letters",
        ),
        (
            CreateCertificateRequest {
                private_key: other_key,
                ..pair.create("a")
            },
            "private_key: \"does not belong to the certificate of",
        ),
        (
            CreateCertificateRequest {
                certificate: String::new(),
                ..pair.create("a")
            },
            "certificate: \"empty\"",
        ),
        (old.create("a"), "has expired at 2020-01-01"),
    ] {
        let refused = client.create_certificate(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(words), "{}", refused.message());
    }
    // Forced, it is a warning.
    let forced = CreateCertificateRequest {
        force: true,
        ..old.create("old")
    };
    let forced = client
        .create_certificate(forced)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(forced.warnings.len(), 1);
    // A key in the wrong field is in no error.
    let key = pair.key.serialize_pem();
    let wrong = CreateCertificateRequest {
        name: key.clone(),
        certificate: key,
        ..pair.create("a")
    };
    let refused = client.create_certificate(wrong).await.unwrap_err();
    assert!(!format!("{refused:?}").contains(&pair.part_of_key()));
}

#[tokio::test]
async fn listeners_have_settings_of_tls() {
    let node = TestNode::start().await;
    let mut client = certificates(&node);
    let mut routing = RoutingClient::new(node.channel());
    let (pair, authority) = (Pair::new("a.example"), Pair::new("ca.example"));
    client.create_certificate(pair.create("a")).await.unwrap();
    let tls = ListenerTls {
        policy: weldr_proto::v1::TlsPolicy::Modern.into(),
        strict_sni: Some(true),
        client_auth: weldr_proto::v1::ClientAuth::Required.into(),
        client_ca: Some(authority.certificate.clone()),
        forward_client_certificate: Some(true),
        ..ListenerTls::default()
    };
    let request = CreateListenerRequest {
        tls: Some(tls.clone()),
        ..secure(&["a"])
    };
    routing.create_listener(request).await.unwrap();
    let listed = routing
        .list_listeners(ListListenersRequest::default())
        .await;
    let listed = listed.unwrap().into_inner().listeners;
    let shown = listed
        .iter()
        .find(|listener| listener.name == "secure")
        .unwrap();
    let expected = ListenerTls {
        session_resumption: Some(true),
        client_ca: Some(authority.certificate.replace('\r', "")),
        ..tls
    };
    assert_eq!(shown.tls, Some(expected));
}

#[tokio::test]
async fn settings_of_tls_that_do_not_fit_are_refused() {
    let node = TestNode::start().await;
    let mut routing = RoutingClient::new(node.channel());
    let (pair, authority) = (Pair::new("a.example"), Pair::new("ca.example"));
    let mut client = certificates(&node);
    client.create_certificate(pair.create("a")).await.unwrap();
    let tls = ListenerTls {
        client_auth: weldr_proto::v1::ClientAuth::Required.into(),
        client_ca: Some(authority.certificate.clone()),
        ..ListenerTls::default()
    };
    let request = CreateListenerRequest {
        tls: Some(tls),
        ..secure(&["a"])
    };
    routing.create_listener(request).await.unwrap();
    for (request, words) in [
        (
            UpdateListenerRequest {
                certificates: Some(named(&[])),
                ..UpdateListenerRequest::default()
            },
            "at least one certificate",
        ),
        (
            UpdateListenerRequest {
                certificates: Some(named(&["none"])),
                ..UpdateListenerRequest::default()
            },
            "listener secure names certificate none",
        ),
        (
            UpdateListenerRequest {
                tls: Some(ListenerTls {
                    client_ca: Some("x".to_owned()),
                    ..ListenerTls::default()
                }),
                ..UpdateListenerRequest::default()
            },
            "tls.client_ca",
        ),
        (
            UpdateListenerRequest {
                tls: Some(ListenerTls {
                    client_ca: Some(String::new()),
                    ..ListenerTls::default()
                }),
                ..UpdateListenerRequest::default()
            },
            "client_auth required needs",
        ),
    ] {
        let request = UpdateListenerRequest {
            name: "secure".to_owned(),
            ..request
        };
        let refused = routing.update_listener(request).await.unwrap_err();
        assert!(refused.message().contains(words), "{}", refused.message());
    }
}

#[tokio::test]
async fn pools_have_settings_of_tls() {
    let node = TestNode::start().await;
    let mut client = certificates(&node);
    let (pair, authority) = (Pair::new("a.example"), Pair::new("ca.example"));
    client.create_certificate(pair.create("a")).await.unwrap();
    let settings = PoolSettings {
        protocol: PoolProtocol::Https.into(),
        tls: Some(PoolTls {
            server_name: Some("api.internal".to_owned()),
            verify_ca: Some(authority.certificate.clone()),
            client_certificate: Some("a".to_owned()),
            insecure: Some(false),
        }),
        ..PoolSettings::default()
    };
    let set = |settings| UpdatePoolRequest {
        settings: Some(settings),
        ..UpdatePoolRequest::default()
    };
    let pool = node.client().update_pool(set(settings)).await.unwrap();
    let shown = pool.into_inner().pool.unwrap().settings.unwrap();
    assert_eq!(shown.protocol(), PoolProtocol::Https);
    assert_eq!(shown.tls.unwrap().client_certificate(), "a");
    let plain = PoolSettings {
        protocol: PoolProtocol::Http1.into(),
        ..PoolSettings::default()
    };
    let pool = node.client().update_pool(set(plain)).await.unwrap();
    let tls = pool
        .into_inner()
        .pool
        .unwrap()
        .settings
        .unwrap()
        .tls
        .unwrap();
    assert_eq!(
        (tls.server_name(), tls.verify_ca(), tls.client_certificate()),
        ("", "", "")
    );
    let forgotten = PoolSettings {
        tls: Some(PoolTls {
            insecure: Some(true),
            ..PoolTls::default()
        }),
        ..PoolSettings::default()
    };
    let refused = node.client().update_pool(set(forgotten)).await.unwrap_err();
    assert!(
        refused.message().contains("set the protocol to https"),
        "{}",
        refused.message()
    );
}

#[tokio::test]
async fn the_policies_say_what_they_contain() {
    let node = TestNode::start().await;
    let policies = certificates(&node)
        .list_tls_policies(ListTlsPoliciesRequest {})
        .await;
    let policies = policies.unwrap().into_inner().policies;
    let names: Vec<_> = policies.iter().map(|policy| policy.name.as_str()).collect();
    assert_eq!(names, ["modern", "intermediate"]);
    assert_eq!(policies[0].versions, ["TLSv1.3"]);
    let over_rest = ask(node.address, "GET", "/tls-policies").await.json();
    assert_eq!(over_rest[1]["versions"], json!(["TLSv1.3", "TLSv1.2"]));
}

/// Sends a body in JSON.
async fn sent(node: &TestNode, method: &str, path: &str, body: &Value) -> HttpResponse {
    send(node.address, method, path, &[], body.to_string()).await
}

#[tokio::test]
async fn rest_has_the_same_calls() {
    let node = TestNode::start().await;
    let pair = Pair::new("shop.example");
    let body = json!({
        "name": "shop",
        "certificate": pair.certificate,
        "private_key": pair.key.serialize_pem(),
    });
    let made = sent(&node, "POST", "/certificates", &body).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.header("location"), "/certificates/shop");
    let shop = made.json();
    assert_eq!(shop["dns_names"], json!(["shop.example"]));
    assert_eq!(
        (&shop["source"], &shop["warnings"]),
        (&json!("uploaded"), &json!([]))
    );
    assert_eq!(shop["not_after"], "2100-01-01T00:00:00.000Z");
    let again = sent(&node, "POST", "/certificates", &body).await;
    assert_eq!(again.status, 200);
    let new = Pair::new("new.example");
    let key = new.key.serialize_pem();
    let body = json!({"certificate": new.certificate, "private_key": key});
    let put = sent(&node, "PUT", "/certificates/shop", &body).await;
    assert_eq!(put.json()["dns_names"], json!(["new.example"]));
    let listed = ask(node.address, "GET", "/certificates").await.json();
    assert_eq!(
        (&listed[0]["name"], &listed[0]["chain"]),
        (&json!("shop"), &json!(""))
    );
    let got = ask(node.address, "GET", "/certificates/shop").await.json();
    let chain = got["chain"].as_str().unwrap();
    assert!(chain.starts_with("-----BEGIN CERTIFICATE-----"));
    for wrong in [
        json!({"name": "x", "force": key}),
        json!({"name": key}),
        json!({"certificate": 5, "name": key}),
        json!({key.clone(): "x"}),
    ] {
        let refused = sent(&node, "POST", "/certificates", &wrong).await;
        assert_eq!(refused.status, 400, "{wrong}");
        let told = refused.json().to_string();
        assert!(!told.contains(&new.part_of_key()), "{told}");
    }
    let pool = json!({"protocol": "https", "tls": {"insecure": true, "server_name": "a.b"}});
    let pool = sent(&node, "PATCH", "/pool", &pool).await.json();
    assert_eq!(
        (&pool["protocol"], &pool["tls"]["insecure"]),
        (&json!("https"), &json!(true))
    );
    let removed = ask(node.address, "DELETE", "/certificates/shop").await;
    assert_eq!(removed.json()["removed"], true);
}

#[tokio::test]
async fn a_configuration_names_certificates_and_has_no_keys() {
    let node = TestNode::start().await;
    let mut client = certificates(&node);
    let mut routing = RoutingClient::new(node.channel());
    let pair = Pair::new("shop.example");
    client
        .create_certificate(pair.create("shop"))
        .await
        .unwrap();
    routing.create_listener(secure(&["shop"])).await.unwrap();
    let exported = routing.export(ExportRequest::default()).await.unwrap();
    let configuration = exported.into_inner().configuration.unwrap();
    let text = serde_json::to_string(&configuration).unwrap();
    assert!(text.contains(r#""certificates":["shop"]"#), "{text}");
    assert!(!text.contains("BEGIN") && !text.contains(&pair.part_of_key()));
    let apply = |configuration, prune| ApplyRequest {
        configuration: Some(configuration),
        prune,
        ..ApplyRequest::default()
    };
    // What was exported changes nothing, also with `prune`.
    for prune in [false, true] {
        let applied = routing
            .apply(apply(configuration.clone(), prune))
            .await
            .unwrap();
        assert_eq!(applied.into_inner().changes, []);
    }
    let missing = Configuration {
        listeners: vec![ListenerConfiguration {
            name: "other".to_owned(),
            address: "127.0.0.1:2".to_owned(),
            protocol: ListenerProtocol::Https.into(),
            certificates: Some(named(&["none"])),
            ..ListenerConfiguration::default()
        }],
        ..Configuration::default()
    };
    let refused = routing.apply(apply(missing, false)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(
        refused.message(),
        "listener other names certificate none, which does not exist: add the certificate first"
    );
    // The certificate stays when nothing names it any more.
    routing
        .apply(apply(Configuration::default(), true))
        .await
        .unwrap();
    let list = client
        .list_certificates(ListCertificatesRequest::default())
        .await;
    assert_eq!(list.unwrap().into_inner().certificates.len(), 1);
}

#[tokio::test]
async fn neither_the_history_nor_a_backup_has_a_key() {
    let node = TestNode::start().await;
    let mut client = certificates(&node);
    let mut cluster = ClusterClient::new(node.channel());
    let (first, second) = (Pair::new("a.example"), Pair::new("a.example"));
    client
        .create_certificate(first.create("shop"))
        .await
        .unwrap();
    client
        .update_certificate(second.update("shop"))
        .await
        .unwrap();
    let history = cluster.get_history(GetHistoryRequest::default()).await;
    let history = format!("{:?}", history.unwrap().into_inner());
    for words in ["add certificate shop", "set certificate shop"] {
        assert!(history.contains(words), "{history}");
    }
    let backup = cluster.backup(BackupRequest::default()).await.unwrap();
    let backup = format!("{:?}", String::from_utf8_lossy(&backup.into_inner().file));
    assert!(backup.contains("shop"));
    for text in [history, backup] {
        assert!(!text.contains(&first.part_of_key()) && !text.contains(&second.part_of_key()));
    }
    let request = first.create("shop");
    assert!(!format!("{request:?}").contains(&first.part_of_key()));
}
