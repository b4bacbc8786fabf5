//! `export`, `diff` and `apply`.

use std::{fs, path::PathBuf};

use tempfile::TempDir;
use weldr_proto::v1::{ApplyRequest, Configuration, ExportRequest, PoolConfiguration};
use weldr_tests::daemon::Daemon;

use super::routing_at;

const FILE: &str = "
pools:
  - name: api
    settings:
      check: {path: /health}
      balancing: least_requests
    servers:
      - {address: '10.0.0.7:8080', weight: 5}
      - {address: '10.0.0.8:8080'}
  - name: site
listeners:
  - name: web
    address: 127.0.0.1:1
    default_route: {forward: [{pool: site}]}
    rules:
      - priority: 10
        conditions: {hosts: [api.example.com], paths: ['/v1/*']}
        route: {forward: [{pool: api}]}
      - priority: 20
        conditions: {paths: ['/old/*']}
        route: {redirect: {location: 'https://{host}/new/{rest}', status: 301}}
";

/// The file of an operator.
struct Kept {
    _directory: TempDir,
    path: PathBuf,
}

impl Kept {
    fn new(text: &str) -> Self {
        let directory = TempDir::with_prefix("weldr-file-").unwrap();
        let path = directory.path().join("weldr.yaml");
        fs::write(&path, text).unwrap();
        Self {
            _directory: directory,
            path,
        }
    }

    fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_applied_as_one_revision_and_then_changes_nothing() {
    let weldr = Daemon::start().await;
    let file = Kept::new(FILE);
    let diff = weldr.ctl(&["diff", "-f", file.path()]).await;
    for line in [
        "+ pool api\n",
        "+ pool site\n",
        "+ server 10.0.0.7:8080 of pool api: weight 1 → 5\n",
        "+ listener web\n",
        "+ rule 10 of listener web\n",
        "compared with revision 0\n",
    ] {
        assert!(diff.contains(line), "{line} in {diff}");
    }
    let dry = weldr.ctl(&["apply", "-f", file.path(), "--dry-run"]).await;
    assert!(
        dry.ends_with("nothing was changed, at revision 0\n"),
        "{dry}"
    );
    let applied = weldr.ctl(&["apply", "-f", file.path()]).await;
    assert!(applied.ends_with("applied, revision 1\n"), "{applied}");
    let again = weldr.ctl(&["apply", "-f", file.path()]).await;
    assert_eq!(again, "everything was as the file says, revision 1\n");
    assert!(weldr.ctl(&["history"]).await.contains("apply 7 changes"));

    // What a file does not name stays; with --prune it goes.
    let smaller = FILE.replace("      - {address: '10.0.0.8:8080'}\n", "");
    let smaller = smaller.replace("weight: 5", "weight: 6");
    let smaller = Kept::new(&smaller);
    let kept = weldr.ctl(&["diff", "-f", smaller.path()]).await;
    assert_eq!(
        kept,
        "~ server 10.0.0.7:8080 of pool api: weight 5 → 6\ncompared with revision 1\n"
    );
    let pruned = weldr.ctl(&["apply", "-f", smaller.path(), "--prune"]).await;
    assert!(
        pruned.contains("- server 10.0.0.8:8080 of pool api\n"),
        "{pruned}"
    );
    // Back to revision 1, and the first file changes nothing again.
    weldr.ctl(&["rollback", "--to-revision", "1"]).await;
    let diff = weldr.ctl(&["diff", "-f", file.path()]).await;
    assert!(diff.starts_with("compared with"), "{diff}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_exports_another_applies() {
    let (one, other) = (Daemon::start().await, Daemon::start().await);
    let file = Kept::new(FILE);
    one.ctl(&["apply", "-f", file.path()]).await;
    one.ctl(&[
        "pool",
        "set",
        "site",
        "--retries",
        "2",
        "--fail-open",
        "false",
    ])
    .await;
    one.ctl(&[
        "rule",
        "add",
        "--listener",
        "web",
        "--path",
        "/p",
        "--respond",
        "200",
        "--body",
        "yes",
    ])
    .await;
    for format in [&["export"] as &[&str], &["export", "--output", "json"]] {
        let exported = Kept::new(&one.ctl(format).await);
        let same = one.ctl(&["diff", "-f", exported.path(), "--prune"]).await;
        assert!(same.starts_with("compared with"), "{same}");
        other
            .ctl(&["apply", "-f", exported.path(), "--prune"])
            .await;
        let there = other.ctl(&["export", "--output", "json"]).await;
        assert_eq!(there, one.ctl(&["export", "--output", "json"]).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_is_refused_as_a_whole_with_the_reason() {
    let weldr = Daemon::start().await;
    let file = Kept::new(FILE);
    weldr.ctl(&["apply", "-f", file.path()]).await;
    let bad_value = FILE.replace("status: 301", "status: 200");
    let bad_name = FILE.replace("pool: site", "pool: none");
    let bad_key = FILE.replace("weight: 5", "wieght: 5");
    let without_api = FILE.replace("name: api\n", "name: other\n");
    let emptied = FILE.replace(
        "10.0.0.7:8080', weight: 5}\n      - {address: '10.0.0.8:8080'",
        "10.0.0.9:8080'",
    );
    for (text, code, told) in [
        (
            bad_value.as_str(),
            1,
            "listeners.web.rules.20.route.redirect.status",
        ),
        (
            &bad_name,
            1,
            "the default action of listener web names pool none, which does not exist",
        ),
        (&bad_key, 2, "wieght"),
        (&without_api, 1, "names pool api, which does not exist"),
        ("pools: [{name: api}, {name: api}]", 1, "each pool once"),
        ("pools: [{name: ''}]", 1, "a name"),
    ] {
        let file = Kept::new(text);
        let refused = weldr
            .weldrctl(&["apply", "-f", file.path(), "--prune"])
            .run()
            .await;
        // A rule of the file that was there before is not a change: then the guard speaks.
        let guard = "pool api is named by rule 10 of listener web";
        let is_told = refused.stderr.contains(told) || refused.stderr.contains(guard);
        assert_eq!(refused.code(), Some(code), "{text}: {refused:?}");
        assert!(is_told, "{told}: {refused:?}");
    }
    // Both servers are replaced, so the pool is never empty.
    let replaced = Kept::new(&emptied);
    weldr
        .ctl(&["apply", "-f", replaced.path(), "--prune"])
        .await;
    let stale = weldr
        .weldrctl(&["apply", "-f", file.path(), "--expected-revision", "1"])
        .run()
        .await;
    assert_eq!(stale.code(), Some(1), "{stale:?}");
    assert!(
        stale
            .stderr
            .contains("the desired state has changed at revision "),
        "{stale:?}"
    );
    weldr
        .ctl(&["apply", "-f", file.path(), "--any-revision"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_apply_over_grpc() {
    let weldr = Daemon::start().await;
    let mut client = routing_at(weldr.management());
    let configuration = Configuration {
        pools: vec![PoolConfiguration {
            name: "api".to_owned(),
            ..PoolConfiguration::default()
        }],
        ..Configuration::default()
    };
    let request = ApplyRequest {
        configuration: Some(configuration),
        ..ApplyRequest::default()
    };
    let applied = client.apply(request.clone()).await.unwrap().into_inner();
    assert_eq!((applied.revision, applied.changes.len()), (1, 1));
    let stale = ApplyRequest {
        expected_revision: 1,
        ..request
    };
    assert!(
        client
            .apply(stale.clone())
            .await
            .unwrap()
            .into_inner()
            .changes
            .is_empty()
    );
    weldr.ctl(&["pool", "add", "other"]).await;
    let refused = client.apply(stale).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Aborted, "{refused}");
    let exported = client
        .export(ExportRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(exported.configuration.unwrap().pools.len(), 3);
}
