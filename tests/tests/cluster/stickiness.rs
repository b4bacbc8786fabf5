//! A session keeps its server at every node, and after all of them were started again.

use weldr_tests::{cluster::TestCluster, http1::Response, origin::Origin, raw::Client, wait};

async fn ask(cluster: &TestCluster, index: usize, cookie: &str) -> Response {
    let mut client = Client::connect(cluster.proxy(index)).await;
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n");
    client.exchange("GET", head).await
}

fn cookie_of(response: &Response) -> Option<String> {
    let set = response.fields.get("set-cookie")?;
    Some(set.split(';').next()?.to_owned())
}

/// Asserts that each node sends the session to `server` as soon as it has all that it needs.
async fn stays(cluster: &TestCluster, cookie: &str, server: &str) {
    for index in 0..3 {
        wait::until("the session at each node", async || {
            // One of them may be right by chance.
            for _ in 0..12 {
                let response = ask(cluster, index, cookie).await;
                match (response.text(), cookie_of(&response)) {
                    (text, None) if text == server => {}
                    other => return Err(format!("node {index}: {other:?}")),
                }
            }
            Ok(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_outlives_a_change_of_the_node_and_a_restart_of_all() {
    let origins = ["one", "two", "three"].map(Origin::saying);
    let mut cluster = TestCluster::start(3).await;
    let set = "pool set --sticky-cookie SRV --sticky-duration 1h";
    let set = cluster.weldrctl(0).args(set.split(' ')).run().await;
    set.expect_success();
    for origin in &origins {
        cluster.add(0, origin.address().port()).await.unwrap();
    }
    let (cookie, server) = wait::until("a cookie", async || {
        let response = ask(&cluster, 0, "a=b").await;
        let cookie = cookie_of(&response).ok_or("none")?;
        Ok::<_, &str>((cookie, response.text()))
    })
    .await;
    stays(&cluster, &cookie, &server).await;
    for index in 0..3 {
        cluster.kill(index).await;
    }
    for index in 0..3 {
        cluster.run(index).await;
    }
    stays(&cluster, &cookie, &server).await;
    let header = format!("Cookie: {cookie}");
    let explain = ["route", "explain", "http://a/", "--header", &header];
    let told = cluster.weldrctl(1).args(explain).run().await;
    assert!(told.expect_success().contains(", by cookie:SRV"));
    // The secret is nowhere in words, and its rotation is in the history.
    let history = cluster.weldrctl(2).arg("history").run().await;
    let history = history.expect_success();
    let rotated = "rotate the secret of sticky cookies (epoch 1)";
    assert!(history.contains(rotated), "{history}");
}
