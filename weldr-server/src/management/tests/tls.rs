//! TLS and client certificates.

use std::{fs, path::PathBuf, sync::Arc};

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ClientConfig;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    Code,
    transport::{Certificate as Pem, Channel, ClientTlsConfig, Endpoint, Identity},
};
use weldr_proto::v1::{
    CreateTokenRequest, ListServersRequest, RevokeTokenRequest, Role, WhoAmIRequest,
    access_client::AccessClient, management_client::ManagementClient,
};

use super::{
    node::{TestNode, options},
    soon,
};
use crate::management::{ServeOptions, Tls, TlsFiles};

/// An authority and its files.
struct Authority {
    files: TempDir,
    key: KeyPair,
    params: CertificateParams,
    certificate: Certificate,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "test authority");
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let files = tempfile::tempdir().unwrap();
        fs::write(files.path().join("ca.pem"), certificate.pem()).unwrap();
        Self {
            files,
            key,
            params,
            certificate,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// A certificate and its key.
    fn sign(&self, common: &str, names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, common);
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// The files of a node that accepts clients of this authority.
    fn tls(&self) -> Tls {
        self.write_node("localhost");
        Tls::load(TlsFiles {
            cert: self.file("node.pem"),
            key: self.file("node.key"),
            client_ca: Some(self.file("ca.pem")),
        })
        .unwrap()
    }

    fn write_node(&self, name: &str) {
        let (certificate, key) = self.sign("node", &[name]);
        fs::write(self.file("node.pem"), certificate).unwrap();
        fs::write(self.file("node.key"), key).unwrap();
    }

    fn channel(&self, node: &TestNode, identity: Option<(String, String)>) -> Channel {
        self.channel_to(node, "localhost", identity)
    }

    fn channel_to(
        &self,
        node: &TestNode,
        name: &str,
        identity: Option<(String, String)>,
    ) -> Channel {
        let ca = Pem::from_pem(self.certificate.pem());
        let tls = ClientTlsConfig::new().ca_certificate(ca).domain_name(name);
        let tls = match identity {
            Some((certificate, key)) => tls.identity(Identity::from_pem(certificate, key)),
            None => tls,
        };
        let endpoint = Endpoint::from_shared(format!("https://{}", node.address)).unwrap();
        endpoint.tls_config(tls).unwrap().connect_lazy()
    }
}

async fn node(tls: &Tls) -> TestNode {
    let options = ServeOptions {
        authentication: true,
        ..options()
    };
    TestNode::with_tls(options, Some(tls.clone())).await
}

#[tokio::test]
async fn a_client_certificate_has_the_role_of_its_subject() {
    let authority = Authority::new();
    let node = node(&authority.tls()).await;
    let local = Endpoint::from_shared(format!("unix:{}", node.socket.display())).unwrap();
    let mut admin = AccessClient::new(local.connect_lazy());
    let create = |name: &str, subject: &str| CreateTokenRequest {
        name: name.to_owned(),
        role: Role::Viewer.into(),
        subject: subject.to_owned(),
        ..Default::default()
    };
    for (name, subject) in [("ci", "ci.example"), ("ops", "ops")] {
        let created = admin.create_token(create(name, subject)).await.unwrap();
        assert_eq!(created.into_inner().token, "", "it needs no token");
    }
    for (identity, caller) in [
        (
            authority.sign("whoever", &["ci.example"]),
            Ok("certificate:ci"),
        ),
        (authority.sign("ops", &[]), Ok("certificate:ops")),
        (
            authority.sign("ops", &["other.example"]),
            Err("other.example"),
        ),
        (authority.sign("CI.example", &[]), Err("CI.example")),
    ] {
        let channel = authority.channel(&node, Some(identity));
        let told = soon(AccessClient::new(channel).who_am_i(WhoAmIRequest {})).await;
        match caller {
            Ok(caller) => assert_eq!(told.unwrap().into_inner().caller, caller),
            Err(names) => {
                let refused = told.unwrap_err();
                assert_eq!(refused.code(), Code::Unauthenticated);
                let words = format!("the certificate ({names}) is of no principal");
                assert!(refused.message().contains(&words), "{refused}");
            }
        }
    }
    let without = authority.channel(&node, None);
    let mut without = ManagementClient::new(without);
    let refused = soon(without.list_servers(ListServersRequest::default())).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);

    // The role is that of the principal, from the next request on, also on a connection that is open.
    let open = authority.channel(&node, Some(authority.sign("ops", &[])));
    let mut open = ManagementClient::new(open);
    open.list_servers(ListServersRequest::default())
        .await
        .unwrap();
    let name = "ops".to_owned();
    admin
        .revoke_token(RevokeTokenRequest { name })
        .await
        .unwrap();
    let refused = open.list_servers(ListServersRequest::default()).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn certificates_of_another_authority_are_refused_in_the_handshake() {
    let authority = Authority::new();
    let node = node(&authority.tls()).await;
    let stranger = Authority::new().sign("ops", &[]);
    let channel = authority.channel(&node, Some(stranger));
    let refused = soon(AccessClient::new(channel).who_am_i(WhoAmIRequest {})).await;
    // It depends on the version of TLS how the client learns it.
    let code = refused.unwrap_err().code();
    assert!([Code::Unavailable, Code::Unknown].contains(&code), "{code}");
    let plain = Endpoint::from_shared(format!("http://{}", node.address)).unwrap();
    let mut plain = AccessClient::new(plain.connect_lazy());
    soon(plain.who_am_i(WhoAmIRequest {})).await.unwrap_err();
}

#[tokio::test]
async fn certificates_that_are_read_again_are_for_new_connections() {
    let authority = Authority::new();
    let tls = authority.tls();
    let node = node(&tls).await;
    let call = async |name: &str| {
        let channel = authority.channel_to(&node, name, None);
        let told = soon(AccessClient::new(channel).who_am_i(WhoAmIRequest {})).await;
        told.unwrap_err().code()
    };
    // Unauthenticated means that the handshake was made.
    assert_eq!(call("localhost").await, Code::Unauthenticated);
    authority.write_node("renewed.localhost");
    assert_eq!(call("renewed.localhost").await, Code::Unavailable);
    tls.reload().unwrap();
    assert_eq!(call("renewed.localhost").await, Code::Unauthenticated);
    assert_eq!(call("localhost").await, Code::Unavailable);
}

/// A connection over TLS on which nothing was called.
async fn connected(authority: &Authority, node: &TestNode) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(node.address).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    soon(connector.connect(name, stream)).await.unwrap()
}

/// Asks for the health on a connection, which stays open.
async fn is_served(stream: &mut TlsStream<TcpStream>) {
    let request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut response = [0; 1024];
    let read = soon(stream.read(&mut response)).await.unwrap();
    assert!(response[..read].starts_with(b"HTTP/1.1 200 "));
}

/// As clients that never end their first message. A connection that is older than all of them stays, and a new caller gets in.
#[tokio::test]
async fn handshakes_that_are_dribbled_take_no_place_of_callers() {
    let authority = Authority::new();
    let few = ServeOptions {
        max_connections: 66,
        ..options()
    };
    let node = TestNode::with_tls(few, Some(authority.tls())).await;
    let mut old = connected(&authority, &node).await;
    is_served(&mut old).await;
    let mut flood = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        stream.write_all(b"\x16\x03\x01").await.unwrap();
        flood.push(stream);
    }
    // All but the newest eight have given way.
    for stream in &mut flood[..192] {
        let end = soon(stream.read(&mut [0])).await;
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    }
    is_served(&mut old).await;
    is_served(&mut connected(&authority, &node).await).await;
}
