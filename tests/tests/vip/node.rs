//! The real binary as a cluster of one, behind an address.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    time::Duration,
};

use super::*;

/// `weldr` on a machine, with an origin beside it in the pool.
struct Service {
    weldr: Process,
    _origin: Process,
}

impl Service {
    async fn start(host: &Host, options: &[&str]) -> Self {
        Self::start_as(host, Program::on(host, "weldr"), options).await
    }

    async fn start_as(host: &Host, weldr: Program, options: &[&str]) -> Self {
        let mut origin = Program::on(host, "test-server").arg("0").start();
        let origin_address = origin.logged_address("listening").await.to_string();
        let weldr = weldr
            .args([
                "--ephemeral",
                "--listen",
                "0.0.0.0:8080",
                "--listen",
                "[::]:8080",
                "--management",
                "127.0.0.1:0",
            ])
            .args([
                "--server",
                &origin_address,
                "--vip-interface",
                Host::INTERFACE,
                "--vip",
                V4,
                "--vip",
                V6,
            ])
            .args(options)
            .start();
        weldr.logs("management listening").await;
        Self {
            weldr,
            _origin: origin,
        }
    }
}

/// Waits until a GET through `ip` is sent to the origin and its response arrives.
async fn serves(client: &Host, ip: IpAddr) {
    wait::until(format!("a response through {ip}"), async || {
        let get = move || -> std::io::Result<String> {
            let mut stream =
                TcpStream::connect_timeout(&SocketAddr::new(ip, 8080), Duration::from_secs(1))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream
                .write_all(b"GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n")?;
            let mut response = String::new();
            stream.read_to_string(&mut response)?;
            Ok(response)
        };
        match client.namespace().run(get).join().unwrap() {
            Ok(response) if response.starts_with("HTTP/1.1 200") => Ok(()),
            Ok(response) => Err(response),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
}

#[tokio::test]
async fn a_cluster_of_one_serves_through_its_addresses_until_it_stops() {
    let Some(stage) = Stage::set() else { return };
    let service = Service::start(&stage.a, &[]).await;
    serves(&stage.client, ip_of(V4)).await;
    serves(&stage.client, ip_of(V6)).await;
    let finished = service.weldr.terminate().await;
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    assert!(!stage.a.has(ip_of(V4)) && !stage.a.has(ip_of(V6)));
    assert_eq!(
        finished.stderr.matches("virtual address dropped").count(),
        2,
        "{finished:?}"
    );
}

/// The effective capabilities of a process, as the kernel prints them.
fn capabilities(process: u32) -> String {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.unwrap().trim().to_owned()
}

/// What `docs/security.md` says that a node behind an address needs: two capabilities, and no root.
#[tokio::test]
async fn a_user_with_two_capabilities_holds_an_address_and_its_guard_removes_it() {
    let Some(stage) = Stage::set() else { return };
    let files = tempfile::Builder::new()
        .prefix("weldr-nobody-")
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir_in("/tmp")
        .unwrap();
    let binary = files.path().join("weldr");
    fs::copy(weldr_tests::process::binary("weldr"), &binary).unwrap();
    let needed = ["net_admin", "net_raw"];
    let weldr = Program::on_as_nobody(&stage.a, &needed, "weldr", &binary);
    let service = Service::start_as(&stage.a, weldr, &[]).await;
    serves(&stage.client, ip_of(V4)).await;
    serves(&stage.client, ip_of(V6)).await;
    let [guard] = service.weldr.children()[..] else {
        panic!("one guard: {:?}", service.weldr.children());
    };
    for process in [service.weldr.id(), guard] {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        assert!(status.contains("\nUid:\t65534\t65534\t"), "{status}");
        // Bits 12 and 13.
        assert_eq!(capabilities(process), "0000000000003000");
    }
    service.weldr.kill().await;
    loses(&stage.a, ip_of(V4)).await;
    loses(&stage.a, ip_of(V6)).await;
}

#[tokio::test]
async fn after_a_kill_the_next_start_serves_again() {
    let Some(stage) = Stage::set() else { return };
    let service = Service::start(&stage.a, &[]).await;
    serves(&stage.client, ip_of(V4)).await;
    service.weldr.kill().await;
    loses(&stage.a, ip_of(V4)).await;
    let _service = Service::start(&stage.a, &[]).await;
    serves(&stage.client, ip_of(V4)).await;
}
