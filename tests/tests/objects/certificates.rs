//! Certificates, as operators work with them, and where their private keys are not.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;
use tempfile::TempDir;
use weldr_tests::{
    daemon::{Daemon, QUICK_CHECKS},
    process::Program,
};

const REFUSED: Option<i32> = Some(1);

/// The files of an operator.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::with_prefix("weldr-certificates-").unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// Writes `NAME.pem` and `NAME.key`, and gives the key.
    fn pair(&self, name: &str, host: &str) -> KeyPair {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        fs::write(self.path(&format!("{name}.pem")), certificate).unwrap();
        let path = self.path(&format!("{name}.key"));
        fs::write(&path, key.serialize_pem()).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        key
    }

    /// `certificate add NAME` or `set NAME` with the files of `of`.
    fn command(&self, verb: &str, name: &str, of: &str) -> Vec<String> {
        let (cert, key) = (
            self.path(&format!("{of}.pem")),
            self.path(&format!("{of}.key")),
        );
        let words = ["certificate", verb, name, "--cert", &cert, "--key", &key];
        words.map(str::to_owned).to_vec()
    }
}

async fn ctl(weldr: &Daemon, words: &[String]) -> String {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    weldr.ctl(&words).await
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_added_listed_replaced_and_removed() {
    let weldr = Daemon::start().await;
    let files = Files::new();
    files.pair("shop", "shop.example");
    files.pair("blog", "blog.example");
    let added = ctl(&weldr, &files.command("add", "shop", "shop")).await;
    assert!(
        added.starts_with("certificate shop added, revision 1: shop.example, expires 4096-01-01"),
        "{added}"
    );
    ctl(&weldr, &files.command("add", "blog", "blog")).await;
    let listener = "listener add secure --address 127.0.0.1:1 --protocol https --certificate shop --certificate blog \
                    --tls-policy modern --strict-sni true";
    let words: Vec<&str> = listener.split_whitespace().collect();
    weldr.ctl(&words).await;
    let listed = weldr.ctl(&["certificate", "list"]).await;
    for part in ["shop.example", "ECDSA P-256", "uploaded", "listener secure"] {
        assert!(listed.contains(part), "{part} in {listed}");
    }
    let listeners = weldr.ctl(&["listener", "list"]).await;
    assert!(listeners.contains("shop, blog"), "{listeners}");
    let shown = weldr.ctl(&["listener", "get", "secure"]).await;
    assert!(shown.contains("policy modern"), "{shown}");
    assert!(shown.contains("strict SNI"), "{shown}");
    let removed = weldr
        .weldrctl(&["certificate", "remove", "shop"])
        .run()
        .await;
    assert_eq!(removed.code(), REFUSED, "{removed:?}");
    let words = "certificate shop is named by listener secure: change that first";
    assert!(removed.stderr.contains(words), "{removed:?}");

    files.pair("new", "new.shop.example");
    let set = ctl(&weldr, &files.command("set", "shop", "new")).await;
    assert!(
        set.contains("updated, revision 4: new.shop.example"),
        "{set}"
    );
    let shown = weldr.ctl(&["certificate", "get", "shop"]).await;
    assert!(shown.contains("-----BEGIN CERTIFICATE-----"), "{shown}");
    let json = weldr
        .ctl(&["certificate", "list", "--output", "json"])
        .await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["certificates"][1]["dns_names"][0], "new.shop.example");
    assert!(json["certificates"][1]["days_left"].as_i64() > Some(700_000));
    weldr
        .ctl(&["listener", "set", "secure", "--certificate", "blog"])
        .await;
    weldr.ctl(&["certificate", "remove", "shop"]).await;
    let history = weldr.ctl(&["history"]).await;
    for change in [
        "add certificate shop",
        "set certificate shop",
        "remove certificate shop",
    ] {
        assert!(history.contains(change), "{change} in {history}");
    }
    weldr.ctl(&["rollback", "--to-revision", "5"]).await;
    let listed = weldr.ctl(&["certificate", "list"]).await;
    assert!(listed.contains("new.shop.example"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_certificate_is_refused_and_a_public_key_file_is_a_warning() {
    let weldr = Daemon::start().await;
    let files = Files::new();
    let key = files.pair("shop", "shop.example");
    files.pair("other", "other.example");
    fs::write(files.path("der.pem"), key.serialize_der()).unwrap();
    fs::copy(files.path("shop.key"), files.path("der.key")).unwrap();
    fs::copy(files.path("shop.pem"), files.path("mixed.pem")).unwrap();
    fs::copy(files.path("other.key"), files.path("mixed.key")).unwrap();
    for (of, words) in [
        ("der", "openssl x509 -inform der"),
        ("mixed", "does not belong to the certificate"),
    ] {
        let command = files.command("add", "x", of);
        let words_of_command: Vec<&str> = command.iter().map(String::as_str).collect();
        let refused = weldr.weldrctl(&words_of_command).run().await;
        assert_ne!(refused.code(), Some(0), "{refused:?}");
        assert!(refused.stderr.contains(words), "{refused:?}");
    }
    let path = files.path("shop.key");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let command = files.command("add", "shop", "shop");
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let added = weldr.weldrctl(&command).run().await;
    assert_eq!(added.code(), Some(0), "{added:?}");
    let warning =
        format!("can be read by other users of this machine (mode 644): chmod 600 {path}");
    assert!(added.stderr.contains(&warning), "{added:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_does_not_verify_its_servers_says_so_everywhere() {
    let weldr = Daemon::start().await;
    let files = Files::new();
    files.pair("ca", "ca.example");
    let ca = files.path("ca.pem");
    weldr.ctl(&["pool", "add", "api"]).await;
    let set = [
        "pool",
        "set",
        "api",
        "--protocol",
        "https",
        "--verify-ca",
        &ca,
    ];
    let words = [&set[..], &["--server-name", "api.internal"]].concat();
    let shown = weldr.ctl(&words).await;
    for part in [
        "protocol          https\n",
        "server name       api.internal",
        "1 of its own",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    weldr.ctl(&["pool", "set", "api", "--insecure"]).await;
    let pools = weldr.ctl(&["pool", "list"]).await;
    assert!(pools.contains("https (insecure)"), "{pools}");
    let list = weldr.weldrctl(&["--pool", "api", "list"]).run().await;
    assert!(
        list.stderr.contains("are not verified (insecure)"),
        "{list:?}"
    );
    let shown = weldr.ctl(&["pool", "get", "api"]).await;
    assert!(shown.contains("are not verified (insecure)"), "{shown}");
    weldr.ctl(&["pool", "set", "api", "--insecure=false"]).await;
    let pools = weldr.ctl(&["pool", "list"]).await;
    assert!(!pools.contains("insecure"), "{pools}");
    let policies = weldr.ctl(&["tls", "policies"]).await;
    assert!(
        policies.starts_with("modern\n  versions        TLSv1.3\n"),
        "{policies}"
    );
}

/// Every file below a directory.
fn files_below(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
}

/// Parts of a key that are in whatever has the key: of its bytes, and of its text in any place of a line.
fn parts_of(key: &KeyPair) -> Vec<Vec<u8>> {
    /// Where in PKCS #8 of P-256 the private number is.
    const SECRET: std::ops::Range<usize> = 36..68;
    let der = key.serialize_der();
    let secret = &der[SECRET];
    let hex = secret.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let text = key.serialize_pem();
    let line = text.lines().nth(1).unwrap();
    let numbers: Vec<String> = secret[..8].iter().map(u8::to_string).collect();
    vec![
        secret[..16].to_vec(),
        hex[..32].into(),
        // Another line length would break it.
        line[16..48].into(),
        line[44..60].into(),
        numbers.join(",").into(),
    ]
}

fn assert_absent(parts: &[Vec<u8>], bytes: &[u8], place: &str) {
    for part in parts {
        let found = bytes.windows(part.len()).any(|window| window == part);
        assert!(!found, "a key is in {place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_private_key_is_on_disk_or_in_anything_that_is_printed() {
    let files = Files::new();
    let directory = files.path("data");
    let start = || {
        Program::weldr_bare()
            .args(QUICK_CHECKS)
            .args(["--data-dir", &directory])
    };
    let weldr = Daemon::run(start().env("RUST_LOG", "weldr=trace")).await;
    let keys = [
        files.pair("first", "a.example"),
        files.pair("second", "b.example"),
    ];
    let parts: Vec<Vec<u8>> = keys.iter().flat_map(parts_of).collect();
    // What is looked for is in what has the keys.
    let given = fs::read(files.path("first.key")).unwrap();
    assert!(std::panic::catch_unwind(|| assert_absent(&parts, &given, "its file")).is_err());
    let mut printed = ctl(&weldr, &files.command("add", "shop", "first")).await;
    printed += &ctl(&weldr, &files.command("set", "shop", "second")).await;
    let backup = files.path("backup.json");
    weldr.ctl(&["cluster", "backup", &backup]).await;
    for command in [
        "export",
        "history --output json",
        "certificate get shop --output json",
        "certificate list --output json",
        "listener list --output json",
        "cluster status --output json",
    ] {
        let words: Vec<&str> = command.split(' ').collect();
        printed += &weldr.ctl(&words).await;
    }
    // Snapshots and the log of the engine are written by then.
    let finished = weldr.terminate().await;
    assert_absent(&parts, printed.as_bytes(), "what weldrctl prints");
    assert_absent(&parts, finished.stderr.as_bytes(), "the log");
    assert_absent(&parts, &fs::read(&backup).unwrap(), "a backup");
    let mut on_disk = Vec::new();
    files_below(Path::new(&directory), &mut on_disk);
    assert!(!on_disk.is_empty());
    let mut found = false;
    for path in on_disk {
        let bytes = fs::read(&path).unwrap();
        assert_absent(&parts, &bytes, &path.display().to_string());
        found |= bytes.windows(12).any(|window| window == b"\"certificate");
    }
    assert!(found, "the certificate is in no file");
    // It is there after a restart, and its key can be opened.
    let weldr = Daemon::run(start()).await;
    let listed = weldr
        .ctl(&["certificate", "list", "--output", "json"])
        .await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["certificates"][0]["dns_names"][0], "b.example");
    assert_eq!(listed["certificates"][0]["last_error"], "");
}
