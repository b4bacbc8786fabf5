//! `WatchObjects`: who gets what, and that a reader knows the state whenever it began and wherever it resumed.

use std::collections::BTreeMap;

use tonic::{Code, Request, Streaming, metadata::MetadataValue, transport::Channel};
use weldr_proto::v1::{
    self, ObjectKind, WatchObjectsRequest,
    object_change::{Kind, Object},
    observation_client::ObservationClient,
    watch_objects_response::Event,
};

use super::{node::TestNode, soon};
use crate::{
    cluster::Backup,
    management::access::Token,
    model::{Command, Credential, Role, ServerPatch, Timestamp, Weight},
};

/// What a reader knows: each object by its kind and name, and the revision to resume from.
#[derive(Debug, Clone, Default, PartialEq)]
struct Mirror {
    revision: u64,
    objects: BTreeMap<String, Object>,
}

impl Mirror {
    /// Takes messages until the reader is up to date for the first time, if it `begins`, and knows `revision`.
    async fn follow(
        &mut self,
        stream: &mut Streaming<v1::WatchObjectsResponse>,
        revision: u64,
        mut begins: bool,
    ) {
        while begins || self.revision < revision {
            let message = soon(stream.message()).await.unwrap().unwrap();
            match message.event.unwrap() {
                Event::UpToDate(_) => begins = false,
                Event::Change(change) => self.take(change),
            }
            self.revision = message.revision;
        }
    }

    fn take(&mut self, change: v1::ObjectChange) {
        let kind = change.kind();
        let object = change.object.unwrap();
        let name = name(&object);
        if kind == Kind::Removed {
            self.objects.remove(&name);
        } else {
            assert_eq!(kind, Kind::Set);
            self.objects.insert(name, object);
        }
    }
}

fn name(object: &Object) -> String {
    match object {
        Object::Pool(pool) => format!("pool {}", pool.name),
        Object::Server(server) => {
            let address = &server.server.as_ref().unwrap().address;
            format!("server {} {address}", server.pool)
        }
        Object::Certificate(certificate) => format!("certificate {}", certificate.name),
        Object::Listener(listener) => format!("listener {}", listener.name),
        Object::Rule(rule) => {
            let priority = rule.rule.as_ref().unwrap().priority;
            format!("rule {} {priority}", rule.listener)
        }
        Object::Principal(principal) => format!("principal {}", principal.name),
    }
}

fn client(node: &TestNode) -> ObservationClient<Channel> {
    ObservationClient::new(node.channel())
}

async fn watch(node: &TestNode, after_revision: u64) -> Streaming<v1::WatchObjectsResponse> {
    let request = WatchObjectsRequest {
        after_revision,
        ..WatchObjectsRequest::default()
    };
    let watched = client(node).watch_objects(request).await;
    watched.unwrap().into_inner()
}

/// All objects as a new reader gets them.
async fn all(node: &TestNode) -> Mirror {
    let mut mirror = Mirror::default();
    let revision = node.cluster.current().revision.0;
    mirror
        .follow(&mut watch(node, 0).await, revision, true)
        .await;
    mirror
}

async fn propose(node: &TestNode, command: Command) {
    node.cluster.propose(command).await.unwrap();
}

fn configuration() -> v1::Configuration {
    let yaml = serde_json::json!({
        "pools": [
            {"name": "api", "servers": [{"address": "10.0.0.1:80"}, {"address": "10.0.0.2:80"}]},
            {"name": "blue", "servers": [{"address": "10.0.0.3:80"}]},
        ],
        "listeners": [{"name": "web", "address": "127.0.0.1:1", "rules": [
            {"priority": 10, "conditions": {"paths": ["/a"]}, "route": {"forward": [{"pool": "api"}, {"pool": "blue"}]}},
            {"priority": 11, "conditions": {"paths": ["/b"]}, "route": {"respond": {"status": 200}}},
        ]}],
    });
    serde_json::from_value(yaml).unwrap()
}

async fn set_weight(node: &TestNode, weight: u32) {
    let command = Command::UpdateServer {
        pool: "api".parse().unwrap(),
        address: "10.0.0.1:80".parse().unwrap(),
        patch: ServerPatch {
            weight: Some(Weight::new(weight).unwrap()),
            ..ServerPatch::default()
        },
        expected: None,
        at: Timestamp::now(),
    };
    propose(node, command).await;
}

/// One change of every sort, by its number; returns whether there was one.
async fn change(node: &TestNode, number: usize) -> bool {
    let mut routing = v1::routing_client::RoutingClient::new(node.channel());
    let mut cluster = v1::cluster_client::ClusterClient::new(node.channel());
    match number {
        0 => {
            let request = v1::ApplyRequest {
                configuration: Some(configuration()),
                ..v1::ApplyRequest::default()
            };
            routing.apply(request).await.unwrap();
        }
        1 => set_weight(node, 7).await,
        2 => {
            let request = v1::MoveRuleRequest {
                listener: "web".to_owned(),
                priority: 11,
                to_priority: 10,
                ..v1::MoveRuleRequest::default()
            };
            routing.move_rule(request).await.unwrap();
        }
        3 => {
            token(node, "carol", Role::Admin).await;
        }
        4 => {
            let request = v1::DeletePoolRequest {
                name: "api".to_owned(),
                force: true,
                ..v1::DeletePoolRequest::default()
            };
            routing.delete_pool(request).await.unwrap();
        }
        5 => {
            let name = "carol".parse().unwrap();
            propose(node, Command::RevokePrincipal { name }).await;
        }
        6 => {
            let request = v1::DeleteListenerRequest {
                name: "web".to_owned(),
                ..v1::DeleteListenerRequest::default()
            };
            routing.delete_listener(request).await.unwrap();
        }
        7 => {
            let request = v1::RollbackRequest { to_revision: 3 };
            cluster.rollback(request).await.unwrap();
        }
        8 => {
            let mut state = (*node.cluster.current()).clone();
            state.listeners.remove_mut(&"web".parse().unwrap());
            state.pools.remove_mut(&"blue".parse().unwrap());
            let backup = Backup::of(&state);
            node.cluster.restore(backup, "test").await.unwrap();
        }
        _ => return false,
    }
    true
}

#[tokio::test]
async fn a_reader_knows_the_state_whenever_it_began_and_wherever_it_resumed() {
    let node = TestNode::start().await;
    let mut stream = watch(&node, 0).await;
    let mut mirror = Mirror::default();
    mirror.follow(&mut stream, 0, true).await;
    let mut names: Vec<_> = mirror.objects.keys().cloned().collect();
    assert_eq!(names, ["listener default", "pool default"]);
    // What a reader knew after each change.
    let mut known = Vec::new();
    let mut number = 0;
    while change(&node, number).await {
        let revision = node.cluster.current().revision.0;
        mirror.follow(&mut stream, revision, false).await;
        assert_eq!(mirror, all(&node).await, "after change {number}");
        names.extend(mirror.objects.keys().cloned());
        known.push(mirror.clone());
        number += 1;
    }
    for name in [
        "rule web 10",
        "rule web 11",
        "principal carol",
        "server api 10.0.0.1:80",
    ] {
        assert!(names.iter().any(|seen| seen == name), "{name}: {names:?}");
    }
    let last = mirror;
    for mut earlier in known {
        let begun = earlier.revision;
        let mut resumed = watch(&node, begun).await;
        earlier.follow(&mut resumed, last.revision, true).await;
        assert_eq!(earlier, last, "resumed from {begun}");
    }
}

#[tokio::test]
async fn a_reader_of_one_kind_is_told_the_revisions_of_all() {
    let node = TestNode::start().await;
    let request = WatchObjectsRequest {
        kinds: vec![ObjectKind::Rule.into()],
        ..WatchObjectsRequest::default()
    };
    let watched = client(&node).watch_objects(request).await.unwrap();
    let mut stream = watched.into_inner();
    let mut mirror = Mirror::default();
    mirror.follow(&mut stream, 0, true).await;
    assert!(mirror.objects.is_empty());
    change(&node, 0).await;
    change(&node, 1).await;
    mirror.follow(&mut stream, 2, false).await;
    let names: Vec<_> = mirror.objects.keys().map(String::as_str).collect();
    assert_eq!(
        (names, mirror.revision),
        (vec!["rule web 10", "rule web 11"], 2)
    );

    let request = WatchObjectsRequest {
        kinds: vec![ObjectKind::Rule.into(), 99],
        ..WatchObjectsRequest::default()
    };
    let refused = client(&node).watch_objects(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("OBJECT_KIND_RULE"), "{refused}");
}

#[tokio::test]
async fn a_revision_that_the_history_does_not_have_is_refused() {
    /// One more than the history keeps.
    const CHANGES: u32 = 1001;
    let node = TestNode::start().await;
    let after = |after_revision| WatchObjectsRequest {
        after_revision,
        ..WatchObjectsRequest::default()
    };
    let refused = |after_revision| {
        let mut client = client(&node);
        async move {
            let refused = client.watch_objects(after(after_revision)).await;
            let refused = refused.unwrap_err();
            assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
            refused.message().to_owned()
        }
    };
    assert!(refused(5).await.contains("\"5\" is not accepted"));
    change(&node, 0).await;
    for n in 0..CHANGES {
        set_weight(&node, 2 + n % 2).await;
    }
    let told = refused(1).await;
    assert!(
        told.contains("begin anew, without after_revision"),
        "{told}"
    );
    assert!(told.contains("revisions 2 to 1002"), "{told}");
    let mut mirror = Mirror::default();
    let mut stream = watch(&node, 2).await;
    mirror.follow(&mut stream, 1002, true).await;
    let names: Vec<_> = mirror.objects.keys().map(String::as_str).collect();
    assert_eq!(names, ["server api 10.0.0.1:80"]);
}

/// Makes a principal, and gives its token.
async fn token(node: &TestNode, name: &str, role: Role) -> String {
    let token = Token::generate().unwrap();
    let command = Command::CreatePrincipal {
        name: name.parse().unwrap(),
        role,
        pools: vec![],
        credential: Credential::Token {
            id: token.id().to_owned(),
            sha256: token.sha256(),
            expires: None,
        },
        at: Timestamp::now(),
    };
    propose(node, command).await;
    token.text()
}

#[tokio::test]
async fn only_administrators_are_told_of_principals() {
    let node = TestNode::with_authentication().await;
    let admin = token(&node, "alice", Role::Admin).await;
    let viewer = token(&node, "bob", Role::Viewer).await;
    let ask = |token: &str, kinds: Vec<i32>, after_revision: u64| {
        let mut request = Request::new(WatchObjectsRequest {
            after_revision,
            kinds,
        });
        let bearer: MetadataValue<_> = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        let mut client = client(&node);
        async move { client.watch_objects(request).await }
    };
    let seen = async |token: &str, after: u64| {
        let mut mirror = Mirror::default();
        let mut stream = ask(token, vec![], after).await.unwrap().into_inner();
        mirror.follow(&mut stream, 2, true).await;
        let is_principal = |name: &&String| name.starts_with("principal");
        let principals = mirror.objects.into_iter();
        principals
            .filter(|(name, _)| is_principal(&name))
            .collect::<Vec<_>>()
    };
    for after in [0, 1] {
        assert!(seen(&viewer, after).await.is_empty());
        let principals = seen(&admin, after).await;
        assert_eq!(principals.len(), if after == 0 { 2 } else { 1 });
        let secret = admin.rsplit('_').next().unwrap();
        assert!(!format!("{principals:?}").contains(secret));
    }
    let kinds = vec![ObjectKind::Principal.into()];
    let refused = ask(&viewer, kinds.clone(), 0).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(ask(&admin, kinds, 0).await.is_ok());
}
