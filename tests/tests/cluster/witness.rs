//! Witnesses: nodes that vote and serve nothing.

use std::net::SocketAddr;

use tempfile::TempDir;
use weldr_proto::v1::{GetClusterRequest, GetClusterResponse, Node, NodeRole};
use weldr_tests::{
    cluster::members_of,
    process::{Finished, Process, Program},
    wait,
};

/// Two nodes, a and b, and a witness.
struct Site {
    files: TempDir,
    nodes: Vec<Running>,
}

struct Running {
    name: &'static str,
    process: Process,
    management: SocketAddr,
    cluster: SocketAddr,
}

impl Site {
    fn new() -> Self {
        let files = TempDir::with_prefix("weldr-witness-").unwrap();
        std::fs::write(files.path().join("secret"), "open sesame, open sesame").unwrap();
        let nodes = Vec::new();
        Self { files, nodes }
    }

    /// Starts a node; the first one founds the cluster, and the others join it.
    async fn add(&mut self, name: &'static str, options: &[&str]) {
        let mut program = Program::new("weldr")
            .args(["--node-name", name, "--ephemeral", "--workers", "1"])
            .args(["--cluster", "127.0.0.1:0", "--management", "127.0.0.1:0"])
            .arg("--cluster-secret-file")
            .arg(self.files.path().join("secret"))
            .args(options);
        program = match self.nodes.first() {
            None => program.arg("--found-cluster"),
            Some(first) => program.args(["--join", &first.cluster.to_string()]),
        };
        let mut process = program.start();
        let cluster = process.logged_address("cluster listening").await;
        let management = process.management_address().await;
        self.nodes.push(Running {
            name,
            process,
            management,
            cluster,
        });
    }

    fn node(&self, name: &str) -> &Running {
        self.nodes.iter().find(|node| node.name == name).unwrap()
    }

    async fn kill(&mut self, name: &str) {
        let index = self
            .nodes
            .iter()
            .position(|node| node.name == name)
            .unwrap();
        self.nodes.remove(index).process.kill().await;
    }

    async fn weldrctl(&self, at: &str, args: &[&str]) -> Finished {
        let endpoint = self.node(at).management.to_string();
        let program = Program::new("weldrctl").args(["--endpoint", &endpoint]);
        program.args(args).run().await
    }

    /// Waits until the roles at a node are these, in the order of the names.
    async fn has_roles(&self, at: &str, roles: &[NodeRole]) -> GetClusterResponse {
        wait::until(format!("{roles:?}"), async || {
            let mut client = members_of(self.node(at).management, wait::LIMIT);
            let status = client.get_cluster(GetClusterRequest {}).await;
            let status = status.map_err(|error| error.to_string())?.into_inner();
            let found: Vec<_> = status.nodes.iter().map(Node::role).collect();
            if found == roles && status.quorum {
                Ok(status)
            } else {
                Err(format!("{status:?}"))
            }
        })
        .await
    }
}

const LISTEN: [&str; 2] = ["--listen", "127.0.0.1:0"];
const WITNESS: [&str; 1] = ["--witness"];

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_gives_the_leadership_to_a_node_that_serves_and_never_gets_it_back() {
    let mut site = Site::new();
    site.add("w", &WITNESS).await;
    site.has_roles("w", &[NodeRole::Leader]).await;
    site.add("a", &LISTEN).await;
    site.has_roles("w", &[NodeRole::Leader, NodeRole::Witness])
        .await;
    let refused = site.weldrctl("a", &["cluster", "transfer", "w"]).await;
    assert_ne!(refused.code(), Some(0), "{refused:?}");
    assert!(refused.stderr.contains("a witness"), "{refused:?}");
    site.has_roles("w", &[NodeRole::Leader, NodeRole::Witness])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_and_a_witness_go_on_without_the_other_node() {
    let mut site = Site::new();
    site.add("a", &LISTEN).await;
    site.add("b", &LISTEN).await;
    site.add("w", &WITNESS).await;
    let all = [NodeRole::Leader, NodeRole::Follower, NodeRole::Witness];
    site.has_roles("b", &all).await;
    let log = site.node("w").process.stderr();
    assert!(!log.contains("proxy listening"), "{log}");
    wait::until("a cluster that is well", async || {
        let status = site.weldrctl("b", &["cluster", "status"]).await;
        let is_well = status.code() == Some(0) && status.stdout.contains(" witness ");
        if is_well {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;

    site.kill("a").await;
    let rest = [NodeRole::Unspecified, NodeRole::Leader, NodeRole::Witness];
    site.has_roles("w", &rest).await;
    let added = site.weldrctl("w", &["add", "127.0.0.1:1001"]).await;
    added.expect_success();
    let list = site.weldrctl("b", &["list"]).await.expect_success();
    assert!(list.contains("127.0.0.1:1001"), "{list}");
}
