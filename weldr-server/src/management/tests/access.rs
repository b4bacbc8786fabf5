//! Who may call what: each role with each method, over gRPC and REST, and how tokens come and go.

use http::Method;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{self, Duration},
};
use tonic::{
    Code, Request, Status, client::Grpc, codegen::http::uri::PathAndQuery, metadata::MetadataValue,
    service::interceptor::InterceptedService, transport::Channel,
};
use weldr_proto::v1::{
    CreateTokenRequest, GetServerRequest, ListServersRequest, ListTokensRequest,
    RevokeTokenRequest, Role as ProtoRole, WatchServersRequest, WhoAmIRequest,
    access_client::AccessClient, management_client::ManagementClient,
};

use super::{
    http::{ask, send},
    node::TestNode,
    soon,
};
use crate::{
    management::access::{
        Token,
        table::{GRPC, HEALTH, REST, Required},
    },
    model::{Command, Credential, Role, Timestamp},
};

/// Makes a principal without a call, and gives its token.
async fn token(node: &TestNode, name: &str, role: Role, pools: &[&str]) -> String {
    token_until(node, name, role, pools, None).await
}

async fn token_until(
    node: &TestNode,
    name: &str,
    role: Role,
    pools: &[&str],
    expires: Option<Timestamp>,
) -> String {
    let token = Token::generate().unwrap();
    let command = Command::CreatePrincipal {
        name: name.parse().unwrap(),
        role,
        pools: pools.iter().map(|pool| pool.parse().unwrap()).collect(),
        credential: Credential::Token {
            id: token.id().to_owned(),
            sha256: token.sha256(),
            expires,
        },
        at: Timestamp::now(),
    };
    node.cluster.propose(command).await.unwrap();
    token.text()
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// The status of a REST request with a token.
async fn rest(node: &TestNode, method: &str, target: &str, token: Option<&str>) -> u16 {
    let bearer = token.map(bearer);
    let fields: Vec<_> = bearer
        .iter()
        .map(|bearer| ("authorization", bearer.as_str()))
        .collect();
    let response = send(node.address, method, target, &fields, "").await;
    response.status.as_u16()
}

fn with_token<T>(message: T, token: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        let value: MetadataValue<_> = bearer(token).parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    request
}

/// The code of a call of any method with an empty message, whose response is not read.
async fn grpc(node: &TestNode, path: &str, token: Option<&str>) -> Code {
    let mut grpc = Grpc::new(node.channel());
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<ListServersRequest, ListServersRequest>::default();
    let path: PathAndQuery = path.parse().unwrap();
    let request = with_token(ListServersRequest::default(), token);
    let called = soon(grpc.server_streaming(request, path, codec)).await;
    match called {
        Ok(_) => Code::Ok,
        Err(status) => status.code(),
    }
}

/// A target of a path of the table: the parts in braces are something that exists nowhere.
fn target(pattern: &str) -> String {
    pattern
        .replace("{ip}", "192.0.2.1")
        .replace("{port}", "9")
        .replace("{name}", "nobody")
        .replace("{priority}", "1")
}

const EVERYONE: [Option<Role>; 5] = [
    None,
    Some(Role::Metrics),
    Some(Role::Viewer),
    Some(Role::Operator),
    Some(Role::Admin),
];

/// Whether a caller of this role is let through.
fn expected(required: Required, role: Option<Role>) -> Result<(), u16> {
    match (required, role) {
        (Required::Nothing, _) | (Required::Any, Some(_)) => Ok(()),
        (_, None) => Err(401),
        (Required::Least(least), Some(role)) if role >= least => Ok(()),
        (Required::Least(_), Some(_)) => Err(403),
    }
}

#[tokio::test]
async fn each_role_may_call_what_the_table_says_and_nothing_else() {
    let node = TestNode::with_authentication().await;
    let mut calls = 0;
    for role in EVERYONE {
        let token = match role {
            Some(role) => Some(token(&node, role.as_str(), role, &[]).await),
            None => None,
        };
        let token = token.as_deref();
        for (path, methods) in REST.iter().chain(HEALTH) {
            for (method, required) in *methods {
                let status = rest(&node, method.as_str(), &target(path), token).await;
                let told = match status {
                    401 | 403 => Err(status),
                    _ => Ok(()),
                };
                let expected = expected(*required, role);
                assert_eq!(told, expected, "{method} {path} as {role:?}: {status}");
                calls += 1;
            }
        }
        for (service, methods) in GRPC {
            for (method, required) in *methods {
                let code = grpc(&node, &format!("/{service}/{method}"), token).await;
                let told = match code {
                    Code::Unauthenticated => Err(401),
                    Code::PermissionDenied => Err(403),
                    _ => Ok(()),
                };
                let expected = expected(*required, role);
                assert_eq!(told, expected, "{service}/{method} as {role:?}: {code}");
                calls += 1;
            }
        }
    }
    assert!(calls > 150, "only {calls} calls");
}

/// A path that REST serves and the table does not have is refused to an administrator, too.
#[tokio::test]
async fn every_path_of_rest_has_its_required_role() {
    let node = TestNode::with_authentication().await;
    let admin = token(&node, "admin", Role::Admin, &[]).await;
    for path in crate::management::rest::PATHS {
        let methods = ["GET", "POST", "PATCH", "PUT", "DELETE"];
        let mut served = 0;
        for method in methods {
            let status = rest(&node, method, &target(path), Some(&admin)).await;
            let name = Method::from_bytes(method.as_bytes()).unwrap();
            let entry = REST.iter().find(|(pattern, _)| *pattern == path);
            let entry = entry.is_some_and(|(_, methods)| methods.iter().any(|(of, _)| *of == name));
            assert_eq!(
                status != 405,
                entry,
                "{method} {path} has no entry in REST of management/access/table.rs, or is not served: {status}"
            );
            served += usize::from(entry);
        }
        assert!(
            served > 0,
            "{path} has no entry in REST of management/access/table.rs"
        );
    }
}

#[tokio::test]
async fn a_refusal_says_what_is_missing() {
    let node = TestNode::with_authentication().await;
    let unknown = ask(node.address, "GET", "/servers").await;
    assert_eq!(unknown.refused(), (401, "unauthenticated".into(), vec![]));
    assert_eq!(unknown.header("www-authenticate"), "Bearer realm=\"weldr\"");
    let said = |response: &super::http::HttpResponse| {
        let message = &response.json()["error"]["message"];
        message.as_str().unwrap().to_owned()
    };
    assert!(said(&unknown).contains("WELDR_TOKEN"), "{}", said(&unknown));

    let viewer = bearer(&token(&node, "ci", Role::Viewer, &[]).await);
    let fields = [("authorization", viewer.as_str())];
    let refused = send(node.address, "POST", "/servers", &fields, "{}").await;
    assert_eq!(refused.refused(), (403, "permission_denied".into(), vec![]));
    assert_eq!(
        said(&refused),
        "token:ci has the role viewer, and this call needs the role operator"
    );

    let past = Timestamp(Timestamp::now().0 - 1);
    let expired = token_until(&node, "old", Role::Admin, &[], Some(past)).await;
    for (token, words) in [
        (expired, "has expired"),
        (Token::generate().unwrap().text(), "was revoked"),
        ("weldr_short".to_owned(), "not a whole token"),
    ] {
        let bearer = bearer(&token);
        let fields = [("authorization", bearer.as_str())];
        let refused = send(node.address, "GET", "/servers", &fields, "").await;
        assert_eq!(refused.refused().0, 401);
        assert!(said(&refused).contains(words), "{}", said(&refused));
        assert!(!said(&refused).contains(&token), "a token is not repeated");
    }
}

#[tokio::test]
async fn an_operator_of_some_pools_changes_no_others() {
    let node = TestNode::with_authentication().await;
    let token = token(&node, "blue", Role::Operator, &["blue"]).await;
    let bearer = bearer(&token);
    let fields = [("authorization", bearer.as_str())];
    let body = r#"{"ip":"127.0.0.1","port":80}"#;
    for (method, target, body) in [
        ("POST", "/servers", body),
        ("PATCH", "/servers/127.0.0.1/80", r#"{"weight":2}"#),
        ("DELETE", "/servers/127.0.0.1/80", ""),
    ] {
        let refused = send(node.address, method, target, &fields, body).await;
        assert_eq!(refused.refused(), (403, "permission_denied".into(), vec![]));
        let message = refused.json().to_string();
        assert!(
            message.contains("of blue, not those of pool default"),
            "{message}"
        );
    }
    let mut client = ManagementClient::new(node.channel());
    let request = weldr_proto::v1::AddServerRequest {
        address: "127.0.0.1:80".to_owned(),
        ..Default::default()
    };
    let refused = client.add_server(with_token(request, Some(&token))).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(rest(&node, "GET", "/servers", Some(&token)).await, 200);
}

type Authorized = InterceptedService<
    Channel,
    Box<dyn FnMut(Request<()>) -> Result<Request<()>, Status> + Send + Sync>,
>;

fn access(node: &TestNode, token: &str) -> AccessClient<Authorized> {
    let token = token.to_owned();
    let add = move |request: Request<()>| {
        let mut request = request;
        let value: MetadataValue<_> = bearer(&token).parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    };
    AccessClient::with_interceptor(node.channel(), Box::new(add) as Box<_>)
}

#[tokio::test]
async fn a_token_is_created_listed_used_and_revoked() {
    let node = TestNode::with_authentication().await;
    let admin = token(&node, "boss", Role::Admin, &[]).await;
    let mut client = access(&node, &admin);
    let request = CreateTokenRequest {
        name: "ci".to_owned(),
        role: ProtoRole::Operator.into(),
        pools: vec!["default".to_owned()],
        ..Default::default()
    };
    let created = client.create_token(request.clone()).await;
    let created = created.unwrap().into_inner();
    assert!(created.unconfirmed.is_empty());
    let ci = created.token.clone();
    assert_eq!(rest(&node, "GET", "/servers", Some(&ci)).await, 200);
    let again = client.create_token(request).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);

    let listed = client.list_tokens(ListTokensRequest::default()).await;
    let listed = listed.unwrap().into_inner();
    let names: Vec<_> = listed.principals.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["boss", "ci"]);
    let secret = ci.rsplit('_').next().unwrap();
    assert!(!format!("{listed:?}").contains(&secret[..52]));

    let me = access(&node, &ci).who_am_i(WhoAmIRequest {}).await;
    let me = me.unwrap().into_inner();
    assert_eq!(me.caller, "token:ci");
    assert_eq!(me.role(), ProtoRole::Operator);
    assert_eq!(me.pools, ["default"]);
    assert!(me.authentication);

    let body = r#"{"ip":"127.0.0.1","port":80}"#;
    let bearer = bearer(&ci);
    let fields = [("authorization", bearer.as_str())];
    let added = send(node.address, "POST", "/servers", &fields, body).await;
    assert_eq!(added.status, 201);

    let mut watching = ManagementClient::new(node.channel())
        .watch_servers(with_token(WatchServersRequest::default(), Some(&ci)))
        .await
        .unwrap()
        .into_inner();
    soon(watching.message()).await.unwrap().unwrap();

    let name = "ci".to_owned();
    let revoked = client.revoke_token(RevokeTokenRequest { name }).await;
    assert!(revoked.unwrap().into_inner().unconfirmed.is_empty());
    assert_eq!(rest(&node, "GET", "/servers", Some(&ci)).await, 401);
    let ended = soon(end_of(&mut watching)).await;
    assert_eq!(ended.code(), Code::Unauthenticated);
    assert_eq!(
        ended.message(),
        "the call has ended because token:ci was revoked"
    );

    let told = history(&node, &admin).await;
    assert_eq!(
        told[..3],
        [
            "token:boss: revoke token ci",
            "token:ci: add 127.0.0.1:80",
            "token:boss: create token ci (operator)",
        ]
    );
}

/// A request whose body comes when the token of its sender is not valid any more.
#[tokio::test]
async fn a_request_that_is_held_back_until_its_sender_is_revoked_has_no_effect() {
    let node = TestNode::with_authentication().await;
    let token = token(&node, "ci", Role::Operator, &[]).await;
    let body = r#"{"ip":"127.0.0.1","port":80}"#;
    let (begin, rest) = body.split_at(10);
    let sized = format!("content-length: {}\r\n\r\n{begin}", body.len());
    // Its last chunk is the one of length zero.
    let chunked = format!(
        "transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n",
        body.len()
    );
    let mut held = Vec::new();
    for (begin, rest) in [(sized, rest), (chunked, "0\r\n\r\n")] {
        let request = format!(
            "POST /servers HTTP/1.1\r\nhost: localhost\r\nauthorization: {}\r\nexpect: 100-continue\r\n{begin}",
            bearer(&token)
        );
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        // The request was let through: its body is waited for.
        let mut go_on = [0; 25];
        soon(stream.read_exact(&mut go_on)).await.unwrap();
        assert!(go_on.starts_with(b"HTTP/1.1 100 "));
        held.push((stream, rest));
    }
    let name = "ci".parse().unwrap();
    let revoke = Command::RevokePrincipal { name };
    node.cluster.propose(revoke).await.unwrap();
    let revision = node.cluster.current().revision;
    for (mut stream, rest) in held {
        stream.write_all(rest.as_bytes()).await.unwrap();
        let mut response = [0; 1024];
        let read = soon(stream.read(&mut response)).await.unwrap();
        let response = String::from_utf8_lossy(&response[..read]);
        assert!(response.starts_with("HTTP/1.1 401 "), "{response}");
        assert!(response.contains("token:ci was revoked"), "{response}");
    }
    assert_eq!(node.cluster.current().revision, revision);
}

/// The error with which a stream ends.
async fn end_of<T>(stream: &mut tonic::Streaming<T>) -> Status {
    loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended without a reason"),
            Err(status) => return status,
        }
    }
}

/// The history, as `WHO: WHAT`.
async fn history(node: &TestNode, token: &str) -> Vec<String> {
    let bearer = bearer(token);
    let fields = [("authorization", bearer.as_str())];
    let history = send(node.address, "GET", "/history", &fields, "").await;
    let history = history.json();
    let events = history["events"].as_array().unwrap().iter();
    let told = events.map(|event| {
        let field = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        format!("{}: {}", field("from"), field("what"))
    });
    told.collect()
}

#[tokio::test]
async fn the_stream_of_a_token_that_expires_ends() {
    let node = TestNode::with_authentication().await;
    let soon_over = Timestamp::now().after(Duration::from_millis(1500));
    let short = token_until(&node, "short", Role::Viewer, &[], Some(soon_over)).await;
    let mut watching = ManagementClient::new(node.channel())
        .watch_servers(with_token(WatchServersRequest::default(), Some(&short)))
        .await
        .unwrap()
        .into_inner();
    let ended = soon(end_of(&mut watching)).await;
    assert!(ended.message().contains("has expired"));
}

#[tokio::test]
async fn rest_creates_and_revokes_tokens_too() {
    let node = TestNode::start().await;
    let body = r#"{"name":"ci","role":"viewer","expires":"2199-01-01T00:00:00Z"}"#;
    let created = send(node.address, "POST", "/tokens", &[], body).await;
    assert_eq!(created.status, 201, "{:?}", created.json());
    let json = created.json();
    assert_eq!(json["expires"], "2199-01-01T00:00:00.000Z");
    let token = json["token"].as_str().unwrap().to_owned();
    let listed = ask(node.address, "GET", "/tokens").await.json();
    assert_eq!(listed["principals"][0]["name"], "ci");
    assert!(!listed.to_string().contains(&token));

    let bearer = bearer(&token);
    let me = send(
        node.address,
        "GET",
        "/whoami",
        &[("authorization", bearer.as_str())],
        "",
    )
    .await
    .json();
    assert_eq!(
        me["caller"], "token:ci",
        "a credential that is given counts"
    );
    assert_eq!(rest(&node, "POST", "/servers", Some(&token)).await, 403);

    for (body, field) in [
        (r#"{"name":"a b","role":"viewer"}"#, "name"),
        (r#"{"name":"x","role":"king"}"#, "role"),
        (r#"{"name":"x"}"#, "role"),
        (r#"{"role":"viewer"}"#, "name"),
        (r#"{"name":"x","role":"viewer","pools":["a"]}"#, "pools"),
        (r#"{"name":"x","role":"operator","pools":["a b"]}"#, "pools"),
        (r#"{"name":"x","role":"operator","pools":[""]}"#, "pools"),
        (
            r#"{"name":"x","role":"viewer","expires":"2001-01-01T00:00:00Z"}"#,
            "expires",
        ),
        (
            r#"{"name":"x","role":"viewer","expires":"2199-01-01T00:00:00Z","subject":"a"}"#,
            "expires",
        ),
        (r#"{"name":"x","role":"viewer","expires":1}"#, "expires"),
        (r#"{"name":"x","role":"viewer","secret":"mine"}"#, "secret"),
    ] {
        let refused = send(node.address, "POST", "/tokens", &[], body).await;
        let fields = refused.refused().2;
        assert_eq!(
            (refused.status.as_u16(), fields),
            (400, vec![field.to_owned()]),
            "{body}"
        );
    }
    let gone = ask(node.address, "DELETE", "/tokens/ci").await;
    assert_eq!(gone.status, 200);
    let again = ask(node.address, "DELETE", "/tokens/ci").await;
    assert_eq!(again.refused(), (404, "not_found".into(), vec![]));
    assert_eq!(rest(&node, "GET", "/servers", Some(&token)).await, 401);
}

/// The table of refusals stays bounded, and a valid token is never slowed down.
#[tokio::test]
async fn somebody_who_guesses_slows_down_only_himself() {
    let node = TestNode::with_authentication().await;
    let admin = token(&node, "admin", Role::Admin, &[]).await;
    let guesses: Vec<_> = (0..40)
        .map(|_| {
            let address = node.address;
            tokio::spawn(async move {
                let bearer = bearer(&Token::generate().unwrap().text());
                let fields = [("authorization", bearer.as_str())];
                send(address, "GET", "/servers", &fields, "").await.status
            })
        })
        .collect();
    let served = time::timeout(Duration::from_secs(10), async {
        for _ in 0..20 {
            assert_eq!(rest(&node, "GET", "/servers", Some(&admin)).await, 200);
        }
    });
    served.await.unwrap();
    let mut told = std::collections::BTreeMap::new();
    for guess in guesses {
        *told.entry(guess.await.unwrap().as_u16()).or_insert(0) += 1;
    }
    assert!(told[&429] > 0 && told[&401] > 0, "{told:?}");
    assert_eq!(told.values().sum::<i32>(), 40);
}

#[tokio::test]
async fn without_authentication_everybody_is_an_administrator() {
    let node = TestNode::start().await;
    let me = ask(node.address, "GET", "/whoami").await.json();
    assert_eq!(me["caller"], "anonymous 127.0.0.1");
    assert_eq!(me["role"], "admin");
    assert_eq!(me["authentication"], false);
    let request = GetServerRequest {
        address: "127.0.0.1:1".to_owned(),
        ..Default::default()
    };
    let missing = node.client().get_server(request).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
}
