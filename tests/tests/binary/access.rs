//! Who may call a `weldr` process, as an operator sets it up with `weldrctl`.

mod figures;

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use weldr_tests::{
    daemon::Daemon,
    hostile::Connections,
    process::{Finished, Process, Program, Signal, binary},
    raw,
};

const DENIED: Option<i32> = Some(5);

/// A directory for the files of a test.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::with_prefix("weldr-access-").unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}

fn weldr(files: &Files) -> Program {
    Program::weldr_bare()
        .args(["--management-auth", "on", "--workers", "1"])
        .args(["--data-dir", &files.path("data")])
}

/// `weldrctl` by the Unix socket.
fn local(files: &Files, args: &[&str]) -> Program {
    let socket = format!("unix:{}", files.path("data/management.sock"));
    Program::new("weldrctl")
        .args(["--endpoint", &socket])
        .args(args)
}

/// A new token, in a file.
async fn token(files: &Files, name: &str, args: &[&str]) -> String {
    let create = local(files, &[&["token", "create", name], args].concat());
    let created = create.run().await.expect_success();
    assert_eq!(created.lines().count(), 1, "only the token: {created}");
    files.write(name, &created)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sets_up_tokens_by_the_socket() {
    let files = Files::new();
    let node = Daemon::run(weldr(&files)).await;
    let refused = node.weldrctl(&["list"]).run().await;
    assert_eq!(refused.code(), DENIED, "{refused:?}");
    assert!(
        refused.stderr.contains("a token is required"),
        "{refused:?}"
    );

    let admin = token(&files, "boss", &["--role", "admin"]).await;
    let with = |file: &str, args: &[&str]| {
        let program = node.weldrctl(&["--token-file", file]);
        program.args(args.iter().copied())
    };
    let me = with(&admin, &["whoami"]).run().await.expect_success();
    assert!(me.starts_with("token:boss at node "), "{me}");
    assert!(me.trim_end().ends_with(": admin"), "{me}");

    let args = ["--role", "operator", "--pool", "blue", "--expires", "90d"];
    let blue = token(&files, "blue", &args).await;
    let refused = with(&blue, &["add", "127.0.0.1:9"]).run().await;
    assert_eq!(refused.code(), DENIED, "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("of blue, not those of pool default")
    );
    let refused = with(&blue, &["pool", "set", "--fail-open", "true"])
        .run()
        .await;
    assert!(
        refused.stderr.contains("needs the role admin"),
        "{refused:?}"
    );

    let listed = with(&admin, &["token", "list"])
        .run()
        .await
        .expect_success();
    assert!(
        listed.contains("blue") && listed.contains("operator"),
        "{listed}"
    );
    let secret = fs::read_to_string(&blue).unwrap();
    let by_variable = node.weldrctl(&["whoami"]).env("WELDR_TOKEN", &secret);
    let me = by_variable.run().await.expect_success();
    assert!(me.contains("token:blue"), "{me}");

    with(&admin, &["token", "revoke", "blue"])
        .run()
        .await
        .expect_success();
    let revoked = with(&blue, &["list"]).run().await;
    assert_eq!(revoked.code(), DENIED, "{revoked:?}");
    assert!(revoked.stderr.contains("it was revoked"), "{revoked:?}");

    let history = with(&admin, &["history"]).run().await.expect_success();
    for words in [
        "token:boss",
        "revoke token blue",
        "create token boss (admin)",
        "unix:",
    ] {
        assert!(history.contains(words), "{words} in {history}");
    }
    node.process().logs("authentication failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_kept_from_others() {
    let files = Files::new();
    let wide = files.write("token", "weldr_00000000_x\n");
    fs::set_permissions(&wide, fs::Permissions::from_mode(0o644)).unwrap();
    let away = Program::new("weldrctl")
        .args(["--endpoint", "http://192.0.2.1:8687", "--token-file", &wide])
        .arg("list");
    let refused = away.run().await;
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    for words in ["everybody on the way could read it", "chmod 600"] {
        assert!(refused.stderr.contains(words), "{refused:?}");
    }
    assert!(!refused.stderr.contains("weldr_0000"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn contexts_have_endpoints_and_tokens() {
    let files = Files::new();
    let node = Daemon::run(weldr(&files)).await;
    let token = token(&files, "boss", &["--role", "admin"]).await;
    let ctl = |args: &[&str]| {
        Program::new("weldrctl")
            .env("XDG_CONFIG_HOME", &files.path("config"))
            .args(args.iter().copied())
    };
    let endpoint = format!("http://{}", node.management());
    let add = [
        "context",
        "add",
        "prod",
        "--endpoint",
        &endpoint,
        "--token-file",
        &token,
    ];
    ctl(&add).run().await.expect_success();
    let mode = fs::metadata(files.path("config/weldr/contexts.toml")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    let me = ctl(&["whoami"]).run().await.expect_success();
    assert!(
        me.starts_with("token:boss"),
        "the first is the current one: {me}"
    );

    let socket = format!("unix:{}", files.path("data/management.sock"));
    ctl(&["context", "add", "local", "--endpoint", &socket])
        .run()
        .await
        .expect_success();
    ctl(&["context", "use", "local"])
        .run()
        .await
        .expect_success();
    let me = ctl(&["whoami"]).run().await.expect_success();
    assert!(me.starts_with("unix:"), "{me}");
    let me = ctl(&["--context", "prod", "whoami"])
        .run()
        .await
        .expect_success();
    assert!(me.starts_with("token:boss"), "{me}");

    ctl(&["context", "use", "prod"])
        .run()
        .await
        .expect_success();
    let elsewhere = ctl(&["--endpoint", &endpoint, "list"]).run().await;
    assert_eq!(
        elsewhere.code(),
        DENIED,
        "the token of a context goes to its endpoints only: {elsewhere:?}"
    );
    let listed = ctl(&["context", "list"]).run().await.expect_success();
    assert!(listed.contains("*        prod"), "{listed}");
    ctl(&["context", "remove", "prod"])
        .run()
        .await
        .expect_success();
    let gone = ctl(&["--context", "prod", "whoami"]).run().await;
    assert_eq!(gone.code(), Some(2), "{gone:?}");
    assert!(gone.stderr.contains("there are local"), "{gone:?}");
}

/// An authority whose certificates are in files.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
}

impl Authority {
    fn new(files: &Files) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "test authority");
        let key = KeyPair::generate().unwrap();
        files.write("ca.pem", &params.self_signed(&key).unwrap().pem());
        Self { params, key }
    }

    /// Writes `NAME.pem` and `NAME.key`.
    fn write(&self, files: &Files, name: &str, names: &[&str]) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        files.write(&format!("{name}.pem"), &certificate.pem());
        files.write(&format!("{name}.key"), &key.serialize_pem());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_client_certificates_from_the_command_line() {
    let files = Files::new();
    let authority = Authority::new(&files);
    authority.write(&files, "node", &["127.0.0.1"]);
    authority.write(&files, "deploy", &["deploy.example"]);
    let [cert, key, ca] = ["node.pem", "node.key", "ca.pem"].map(|name| files.path(name));
    let program = weldr(&files)
        .args(["--management-tls-cert", &cert, "--management-tls-key", &key])
        .args(["--management-client-ca", &ca]);
    let mut process = program.start();
    let address = process.management_address().await;
    let subject = ["--role", "operator", "--subject", "deploy.example"];
    let create = local(
        &files,
        &[&["token", "create", "deploy"], &subject[..]].concat(),
    );
    let created = create.run().await.expect_success();
    assert!(
        created.contains("certificate of deploy.example"),
        "{created}"
    );

    let endpoint = format!("https://{address}");
    let ctl = |args: &[&str]| {
        let program = Program::new("weldrctl").args(["--endpoint", &endpoint]);
        program.args(args.iter().copied())
    };
    let unknown = ctl(&["list"]).run().await;
    assert_eq!(unknown.code(), Some(3), "{unknown:?}");
    assert!(unknown.stderr.contains("--ca"), "{unknown:?}");
    let none = ctl(&["--ca", &ca, "list"]).run().await;
    assert_eq!(none.code(), DENIED, "{none:?}");
    let [own, own_key] = ["deploy.pem", "deploy.key"].map(|name| files.path(name));
    let identity = ["--ca", &ca, "--client-cert", &own, "--client-key", &own_key];
    let me = ctl(&[&identity[..], &["whoami"]].concat())
        .run()
        .await
        .expect_success();
    assert!(me.starts_with("certificate:deploy at node "), "{me}");

    // SIGHUP reads the files again, and keeps what it has if they cannot be used.
    files.write("node.pem", "no certificate");
    process.signal(Signal::HUP);
    process.logs("stay as they are").await;
    ctl(&[&identity[..], &["whoami"]].concat())
        .run()
        .await
        .expect_success();
    authority.write(&files, "node", &["localhost"]);
    process.signal(Signal::HUP);
    process.logs("were read again").await;
    let other_name = ctl(&[&identity[..], &["whoami"]].concat()).run().await;
    assert_eq!(other_name.code(), Some(3), "{other_name:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_on_the_network_needs_tls_and_tokens() {
    let refused = |args: &[&str]| {
        let program = Program::new("weldr").args(["--listen", "127.0.0.1:0", "--ephemeral"]);
        program.args(args.iter().copied()).run()
    };
    for (args, words) in [
        (
            &["--management", "0.0.0.0:0"] as &[&str],
            "--management-tls-cert",
        ),
        (
            &[
                "--management",
                "0.0.0.0:0",
                "--management-insecure",
                "--management-auth",
                "off",
            ],
            "callers need a token",
        ),
        (&["--management-tls-cert", "x"], "belong together"),
        (&["--management-client-ca", "x"], "needs TLS"),
        (&["--management-host", "a b"], "a DNS name without a port"),
    ] {
        let refused: Finished = refused(args).await;
        assert_eq!(refused.code(), Some(2), "{refused:?}");
        assert!(refused.stderr.contains(words), "{words}: {refused:?}");
    }
    let files = Files::new();
    let program = Program::new("weldr")
        .args(["--listen", "127.0.0.1:0", "--management", "0.0.0.0:0"])
        .args(["--management-insecure", "--data-dir", &files.path("data")]);
    let mut process: Process = program.start();
    let address = process.management_address().await;
    process.logs("management has no TLS").await;
    let open = std::net::SocketAddr::from(([127, 0, 0, 1], address.port()));
    assert_eq!(raw::get(open, "/servers").await.status, 401);
    assert_eq!(raw::get(open, "/readyz").await.status, 200);
    local(&files, &["list"]).run().await.expect_success();
}

/// The tour needs no token, and the log says so in one line.
#[tokio::test(flavor = "multi_thread")]
async fn on_loopback_nothing_is_needed_unless_it_is_asked_for() {
    let node = Daemon::start().await;
    assert_eq!(raw::get(node.management(), "/servers").await.status, 200);
    node.process().logs("management needs no token").await;
    let lines = node.process().stderr();
    let said = lines.lines().filter(|line| line.contains("needs no token"));
    assert_eq!(said.count(), 1, "{lines}");
}

/// Silent connections from many addresses, and failed attempts, keep neither an administrator nor a probe out.
#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_and_probes_get_in_during_exhaustion() {
    let files = Files::new();
    let node = Daemon::run(weldr(&files)).await;
    let admin = token(&files, "boss", &["--role", "admin"]).await;
    let mut hostile = Vec::new();
    for last in 2..8 {
        let from = ([127, 0, 0, last], 0).into();
        let guess =
            b"GET /servers HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer weldr_x\r\n\r\n";
        let silent = Connections::open(200, from, node.management(), b"").await;
        let guessing = Connections::open(100, from, node.management(), guess).await;
        hostile.push((silent, guessing));
        assert_eq!(raw::get(node.management(), "/readyz").await.status, 200);
        let list = node.weldrctl(&["--token-file", &admin, "list"]).run().await;
        list.expect_success();
        local(&files, &["list"]).run().await.expect_success();
    }
    let open: usize = hostile.iter().map(|(silent, _)| silent.still_open()).sum();
    assert!(open <= 1024, "{open} are open");
}

/// The program needs no root: without any capability it serves ports above 1023.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_rights_runs_a_node() {
    const USER: &str = "65534";
    let is_root = rustix_is_root();
    let reachable = Path::new("/tmp").join(format!("weldr-{}", std::process::id()));
    if !is_root || fs::copy(binary("weldr"), &reachable).is_err() {
        return;
    }
    let files = Files::new();
    let data = files.path("data");
    fs::create_dir(&data).unwrap();
    for path in [files.0.path().to_str().unwrap(), &data] {
        std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
    }
    let program = Program::at("setpriv", Path::new("/usr/bin/setpriv"))
        .args(["--reuid", USER, "--regid", USER, "--clear-groups"])
        .args(["--bounding-set", "-all", "--inh-caps", "-all"])
        .arg(&reachable)
        .args(["--listen", "127.0.0.1:0", "--management", "127.0.0.1:0"])
        .args([
            "--management-auth",
            "on",
            "--workers",
            "1",
            "--data-dir",
            &data,
        ])
        .in_directory(files.0.path());
    let mut process = program.start();
    let address = process.management_address().await;
    let _ = fs::remove_file(&reachable);
    assert_eq!(raw::get(address, "/readyz").await.status, 200);
    let me = local(&files, &["whoami"]).run().await.expect_success();
    assert!(me.starts_with("unix:root at node"), "root may, too: {me}");
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let capabilities = status.lines().find(|line| line.starts_with("CapEff:"));
    assert_eq!(capabilities, Some("CapEff:\t0000000000000000"));
}

fn rustix_is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.starts_with("Uid:\t0\t"))
}
