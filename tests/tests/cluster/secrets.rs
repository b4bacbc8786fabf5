//! The keys of secrets in the desired state: every member has them, nobody else gets them, and they are in one file of each node.

use std::{
    fmt::Write as _,
    fs::File,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tempfile::TempDir;
use tonic::{Code, Status};
use weldr::{
    cluster::{Backup, Handle, Log, NetworkOptions, OpenError, Opened, StoreOptions, open},
    model::{Command, Sealed, SecretEpoch, SecretSeries},
    secrets::SecretsError,
};
use weldr_proto::raft::v1;
use weldr_tests::{
    hostile::peer::{Claim, Credentials, Peer},
    relay::{Recording, Relay},
    wait,
};

/// The secret of the cluster.
const PASSWORD: &str = "open sesame, open sesame";
const PURPOSE: &str = "certificate/shop";
const SECRET: &[u8] = b"-----BEGIN PRIVATE KEY----- of the shop";

/// A member in this process, which the others reach by a relay.
struct Member {
    name: &'static str,
    ip: IpAddr,
    directory: PathBuf,
    relay: Relay,
    running: Option<(Handle, Log)>,
}

/// Members named `a`, `b` and so on.
struct Members {
    nodes: Vec<Member>,
    files: TempDir,
}

impl Members {
    /// `name` is the last byte of the first address. Tests that run at the same time have addresses of their own, so that they do
    /// not take each other's ports.
    async fn start(size: usize, first_ip: u8) -> Self {
        let files = TempDir::with_prefix("weldr-secrets-").unwrap();
        std::fs::write(files.path().join("secret"), PASSWORD).unwrap();
        let mut members = Self {
            nodes: Vec::new(),
            files,
        };
        for (name, last) in ["a", "b", "c", "d"].into_iter().zip(first_ip..) {
            members.nodes.push(Member {
                name,
                ip: IpAddr::V4(Ipv4Addr::new(127, 0, 9, last)),
                directory: members.files.path().join(name),
                relay: Relay::start().await,
                running: None,
            });
        }
        for index in 0..size {
            members.run(index).await;
        }
        members.have_voters(size).await;
        members
    }

    /// Starts a node. The first one founds the cluster, unless another one is running.
    async fn run(&mut self, index: usize) {
        let others = self.nodes.iter().filter(|node| node.running.is_some());
        let join: Vec<SocketAddr> = others.map(|node| node.relay.address()).collect();
        let node = &mut self.nodes[index];
        let secret = self.files.path().join("secret");
        let opened = loop {
            let free = TcpListener::bind((node.ip, 0)).unwrap().local_addr();
            let listen = free.unwrap();
            node.relay.lead_to(listen);
            let network = NetworkOptions {
                listen,
                advertise: Some(node.relay.address()),
                join: join.clone(),
                found: Some(Duration::ZERO),
                max_connections: 256,
                join_token: None,
                secret_file: Some(secret.clone()),
                accept_previous: false,
                tls: None,
            };
            let options = StoreOptions {
                data_dir: Some(node.directory.clone()),
                name: node.name.to_owned(),
                network: Some(network),
                ..StoreOptions::default()
            };
            match tokio::task::spawn_blocking(|| open(options)).await.unwrap() {
                // Somebody has taken the port in the meantime.
                Err(OpenError::Listen { .. }) => {}
                opened => break opened.unwrap(),
            }
        };
        let Opened { handle, log, .. } = opened;
        node.running = Some((handle, log));
    }

    async fn stop(&mut self, index: usize) {
        let (_, log) = self.nodes[index].running.take().unwrap();
        log.stop().await;
    }

    async fn stop_all(&mut self) {
        for index in 0..self.nodes.len() {
            if self.nodes[index].running.is_some() {
                self.stop(index).await;
            }
        }
    }

    /// Stops a node, and removes all that it has stored.
    async fn lose(&mut self, index: usize) {
        self.stop(index).await;
        std::fs::remove_dir_all(&self.nodes[index].directory).unwrap();
    }

    fn handle(&self, index: usize) -> &Handle {
        &self.nodes[index].running.as_ref().unwrap().0
    }

    async fn seal(&self, index: usize) -> Result<Sealed, SecretsError> {
        let secrets = self.handle(index).secrets();
        wait::bounded("a sealed secret", secrets.seal(PURPOSE, SECRET)).await
    }

    /// Waits until a node can open a value.
    async fn opens(&self, index: usize, sealed: &Sealed) {
        let secrets = self.handle(index).secrets();
        let name = self.nodes[index].name;
        wait::until(format!("{name} to open a secret"), async || {
            let opened = secrets.open(PURPOSE, sealed);
            opened.map(|plain| assert_eq!(*plain, SECRET))
        })
        .await;
    }

    /// Waits until so many nodes vote, as the first running node sees it.
    async fn have_voters(&self, wanted: usize) {
        let mut running = self.nodes.iter().filter_map(|node| node.running.as_ref());
        let (handle, _) = running.next().unwrap();
        wait::until(format!("{wanted} voters"), async || {
            let status = handle.status().await.map_err(|error| error.to_string())?;
            let voters = status.nodes.iter().filter(|node| node.votes);
            if voters.count() == wanted && status.leader.is_some() {
                return Ok(());
            }
            Err(format!("{status:?}"))
        })
        .await;
    }

    async fn id(&self, name: &str) -> u64 {
        let status = self.handle(0).status().await.unwrap();
        let node = status.nodes.iter().find(|node| node.name == name);
        node.unwrap().id
    }

    /// What a call to the first node says about its caller.
    async fn claim(&self, sender: u64) -> Claim {
        Claim {
            cluster: self.handle(0).status().await.unwrap().cluster.clone(),
            sender,
            target: self.id("a").await,
            proof: String::new(),
        }
    }

    /// A channel to the first node.
    async fn channel(&self, credentials: &Credentials) -> Peer {
        let peer = Peer::connect(self.nodes[0].relay.address(), credentials).await;
        peer.unwrap()
    }
}

async fn ask(peer: &mut Peer, claim: &Claim) -> Result<Vec<v1::SealingKey>, Status> {
    let request = claim.on(v1::SealingKeysRequest { known: vec![] });
    let response = peer.client.sealing_keys(request).await?;
    Ok(response.into_inner().keys)
}

#[track_caller]
fn is_refused(answer: Result<Vec<v1::SealingKey>, Status>) {
    let status = answer.expect_err("a refusal");
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_seals_opens_at_every_node() {
    let mut members = Members::start(3, 11).await;
    // Before any of them has a key, so that each makes one.
    let sealed = tokio::join!(members.seal(0), members.seal(1), members.seal(2));
    for sealed in [sealed.0, sealed.1, sealed.2] {
        let sealed = sealed.unwrap();
        for index in 0..3 {
            members.opens(index, &sealed).await;
        }
    }
    // Now that each has all keys, they use the same one.
    let one = members.seal(0).await.unwrap();
    for index in 1..3 {
        assert_eq!(members.seal(index).await.unwrap().key(), one.key());
    }
    // And a new one after a rotation, wherever that was asked for.
    let key = members.handle(2).secrets().rotate().await.unwrap();
    members.opens(0, &members.seal(2).await.unwrap()).await;
    assert_eq!(members.seal(0).await.unwrap().key(), key);
    members.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_outlives_the_node_that_has_sealed_it() {
    let mut members = Members::start(3, 21).await;
    members.stop(2).await;
    let sealed = members.seal(0).await.unwrap();
    members.lose(0).await;
    // This one has never seen the key.
    members.run(2).await;
    members.opens(2, &sealed).await;
    members.opens(1, &sealed).await;
    // The first one comes back as another node, which has nothing.
    members.have_voters(3).await;
    let removed = async || members.handle(1).remove_node("a".to_owned(), true).await;
    wait::until("the lost node to be removed", removed).await;
    members.run(0).await;
    members.have_voters(3).await;
    members.opens(0, &sealed).await;
    // All are restarted at once.
    members.stop_all().await;
    for index in [1, 2, 0] {
        members.run(index).await;
        assert!(members.handle(index).secrets().has(sealed.key()));
    }
    members.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_nothing_is_sealed() {
    let mut members = Members::start(3, 31).await;
    let before = members.seal(0).await.unwrap();
    members.stop(1).await;
    members.stop(2).await;
    // With a key that all have, a secret may be sealed; no change that uses it is accepted.
    assert_eq!(members.seal(0).await.unwrap().key(), before.key());
    let refused = members.handle(0).secrets().rotate().await.unwrap_err();
    let text = refused.to_string();
    assert!(matches!(refused, SecretsError::NotShared { .. }), "{text}");
    for missing in ["missing at b (127.0.0.1:", ", c (127.0.0.1:"] {
        assert!(text.contains(missing), "{text}");
    }
    assert!(members.seal(0).await.is_err());
    members.run(1).await;
    let after = members.seal(0).await.unwrap();
    assert_ne!(after.key(), before.key());
    members.opens(1, &after).await;
    members.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_joins_gets_the_keys_before_it_needs_them() {
    let mut members = Members::start(3, 41).await;
    let sealed = members.seal(1).await.unwrap();
    members.run(3).await;
    let secrets = members.handle(3).secrets();
    wait::until("the key", async || {
        secrets.has(sealed.key()).then_some(()).ok_or("no key yet")
    })
    .await;
    members.opens(3, &sealed).await;
    members.stop_all().await;
}

/// What an operator does after a backup was restored on a new cluster: `docs/secrets.md`.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_keys_that_is_added_at_one_node_opens_old_secrets_at_all() {
    let mut old = Members::start(1, 71).await;
    let sealed = old.seal(0).await.unwrap();
    old.stop_all().await;
    let mut new = Members::start(3, 74).await;
    let own = new.seal(2).await.unwrap();
    new.opens(1, &own).await;
    for index in 0..3 {
        let opened = new.handle(index).secrets().open(PURPOSE, &sealed);
        let error = opened.unwrap_err().to_string();
        let says = format!(
            "it is sealed with key {}, which this node does not have",
            sealed.key()
        );
        assert!(error.starts_with(&says), "{error}");
    }
    let file = |node: &Member| node.directory.join("sealing.keys");
    let copy = std::fs::read(file(&old.nodes[0])).unwrap();
    let appended = File::options().append(true).open(file(&new.nodes[1]));
    appended.unwrap().write_all(&copy).unwrap();
    new.handle(1).reload_files().await;
    for index in 0..3 {
        new.opens(index, &sealed).await;
        new.opens(index, &own).await;
    }
    new.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_voters_get_the_keys() {
    let mut members = Members::start(3, 51).await;
    let sealed = members.seal(0).await.unwrap();
    // As a member, with the key of that member.
    let of_c = Credentials::of_node(&members.nodes[2].directory);
    let claim_of_c = members.claim(members.id("c").await).await;
    let mut peer_c = members.channel(&of_c).await;
    let given = ask(&mut peer_c, &claim_of_c).await.unwrap();
    assert_eq!(given.len(), 1);
    let known = v1::SealingKeysRequest {
        known: vec![sealed.key().to_string()],
    };
    let given = peer_c.client.sealing_keys(claim_of_c.on(known)).await;
    assert!(given.unwrap().into_inner().keys.is_empty());

    // As anybody, whatever he says.
    let anybody = Credentials::new();
    let mut peer = members.channel(&anybody).await;
    is_refused(ask(&mut peer, &Claim::default()).await);
    is_refused(ask(&mut peer, &claim_of_c).await);
    // With the secret of the cluster, before it joins.
    let mut joiner = Claim {
        sender: 77,
        ..Claim::default()
    };
    joiner.proof = peer.proof(PASSWORD, &joiner);
    is_refused(ask(&mut peer, &joiner).await);
    let mut claim = members.claim(77).await;
    claim.proof = peer.proof(PASSWORD, &claim);
    is_refused(ask(&mut peer, &claim).await);
    // As one that has joined and answers nobody, so that it never votes.
    let member = v1::Member {
        id: 77,
        name: "impostor".to_owned(),
        address: "127.0.9.99:9".to_owned(),
        keys: vec![anybody.fingerprint().into()],
    };
    peer.join(PASSWORD, member).await.unwrap();
    let report = members
        .claim(77)
        .await
        .on(v1::ReportRequest { servers: false });
    peer.client.report(report).await.expect("it is a member");
    is_refused(ask(&mut peer, &members.claim(77).await).await);
    let keep = v1::KeepSealingKeyRequest {
        id: sealed.key().to_string(),
    };
    let kept = peer
        .client
        .keep_sealing_key(members.claim(77).await.on(keep));
    assert_eq!(kept.await.unwrap_err().code(), Code::PermissionDenied);

    // As a node that was removed, on the channel that it had, and on a new one.
    members.stop(2).await;
    wait::until("c to be removed", async || {
        members.handle(0).remove_node("c".to_owned(), true).await
    })
    .await;
    is_refused(ask(&mut peer_c, &claim_of_c).await);
    let mut again = members.channel(&of_c).await;
    is_refused(ask(&mut again, &claim_of_c).await);
    members.stop_all().await;
}

/// The ways in which bytes may be written.
fn forms(bytes: &[u8]) -> Vec<Vec<u8>> {
    let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let list: Vec<String> = bytes.iter().map(ToString::to_string).collect();
    let mut forms = vec![
        bytes.to_vec(),
        hex.to_uppercase().into(),
        hex.into(),
        list.join(",").into(),
    ];
    // Base64, wherever in a longer text the bytes begin, without what depends on their neighbours.
    for lead in 0..3 {
        let text = STANDARD.encode([&vec![0; lead], bytes].concat());
        forms.push(text.as_bytes()[4..text.len() - 4].to_vec());
    }
    forms
}

fn has(content: &[u8], part: &[u8]) -> bool {
    content.windows(part.len()).any(|window| window == part)
}

/// The files below a directory but those of the sealing keys, with their content.
fn stored(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut stored = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            stored.extend(self::stored(&path));
        } else if path.file_name().unwrap() != "sealing.keys" {
            stored.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    stored
}

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::too_many_lines,
    reason = "one secret, from its making to each place where it may be found"
)]
async fn keys_and_secrets_are_in_no_database_in_no_backup_and_on_no_wire() {
    let mut members = Members::start(3, 61).await;
    let recordings: Vec<_> = members
        .nodes
        .iter()
        .map(|node| node.relay.record())
        .collect();
    // Connections that are made from now on are recorded from their first byte.
    for index in 0..3 {
        members.stop(index).await;
        members.run(index).await;
        members.have_voters(3).await;
    }
    let ticket = [0xb7; SecretEpoch::SECRET];
    let secrets = members.handle(0).secrets();
    let secret = secrets
        .seal(&SecretSeries::Tickets.purpose(1), &ticket)
        .await
        .unwrap();
    let key = secret.key();
    let cipher = secret.bytes().to_vec();
    let command = Command::RotateTickets { after: 0, secret };
    members.handle(0).propose(command).await.unwrap();
    members.run(3).await;
    for index in 0..4 {
        let (handle, secrets) = (members.handle(index), members.handle(index).secrets());
        wait::until("the secret at each node", async || {
            let state = handle.current();
            let newest = state
                .ticket_epochs
                .newest()
                .ok_or("no secret yet".to_owned())?;
            let opened = secrets.open(&SecretSeries::Tickets.purpose(1), &newest.secret);
            let plain = opened.map_err(|error| error.to_string())?;
            assert_eq!(*plain, ticket);
            Ok::<(), String>(())
        })
        .await;
    }
    let backup = Backup::of(&members.handle(1).current()).to_file().unwrap();
    members.stop_all().await;

    let key_file = std::fs::read_to_string(members.nodes[0].directory.join("sealing.keys"));
    let key_file = key_file.unwrap();
    let line = key_file
        .lines()
        .find(|line| line.contains(&key.to_string()));
    let text = line.unwrap().rsplit(' ').next().unwrap();
    let key = STANDARD.decode(text).unwrap();
    let searched: Vec<Vec<u8>> = [forms(&key), forms(&ticket)].concat();
    assert!(
        searched.iter().any(|form| has(key_file.as_bytes(), form)),
        "the search is blind"
    );

    let sealed = &forms(&cipher)[4..];
    let mut with_sealed = 0;
    let mut contents = vec![(PathBuf::from("backup"), backup)];
    for node in &members.nodes {
        contents.extend(stored(&node.directory));
    }
    for (path, content) in &contents {
        with_sealed += usize::from(sealed.iter().any(|form| has(content, form)));
        for form in &searched {
            assert!(!has(content, form), "{} has {form:?}", path.display());
        }
    }
    assert_eq!(with_sealed, 5, "the backup and four databases");

    let recorded: Vec<Vec<u8>> = recordings.iter().flat_map(Recording::bytes).collect();
    assert!(
        recorded.iter().any(|bytes| has(bytes, b"weldr-node/2")),
        "nothing is recorded"
    );
    for bytes in &recorded {
        for form in searched.iter().chain(sealed) {
            assert!(!has(bytes, form), "{form:?} is on the wire");
        }
    }
}
