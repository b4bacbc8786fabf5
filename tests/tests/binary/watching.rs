//! The streams of the API, and `weldrctl` on top of them.

use std::time::Duration;

use serde_json::Value;
use weldr_proto::v1::{
    HealthState, StreamStatsRequest, WatchServersRequest, WatchServersResponse,
    server_change::Kind, watch_servers_response::Event,
};
use weldr_tests::{
    daemon::Daemon,
    origin::Origin,
    process::Signal,
    raw,
    wait::{self, bounded},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_is_told_the_state_and_then_the_life_of_a_server() {
    let (first, second) = (Origin::saying("first"), Origin::saying("second"));
    let weldr = Daemon::start().await;
    weldr.add(first.address()).await;
    let mut client = weldr.client();
    let watch = client.watch_servers(WatchServersRequest::default());
    let mut events = watch.await.unwrap().into_inner();
    let mut next = async || -> WatchServersResponse {
        let message = bounded("an event", events.message()).await;
        message.unwrap().expect("the stream goes on")
    };

    let WatchServersResponse {
        mut revision,
        event: Some(Event::State(state)),
    } = next().await
    else {
        panic!("the state comes first")
    };
    assert_eq!(state.servers.len(), 1);
    assert!(state.settings.is_some());

    let address = second.address();
    weldr.add(address).await;
    weldr.ctl(&["drain", &address.to_string()]).await;
    weldr.ctl(&["remove", &address.to_string(), "--now"]).await;
    let mut seen = Vec::new();
    while seen.last() != Some(&Kind::Removed) {
        let message = next().await;
        assert!(message.revision >= revision, "revisions never go back");
        revision = message.revision;
        let Some(Event::Change(change)) = message.event else {
            panic!("{message:?}")
        };
        let server = change.server.clone().unwrap();
        assert_eq!(server.address, address.to_string());
        if change.kind() == Kind::Health && seen.last() == Some(&Kind::Added) {
            assert_eq!(server.health.unwrap().state(), HealthState::Healthy);
        }
        seen.push(change.kind());
    }
    assert_eq!(seen.first(), Some(&Kind::Added), "{seen:?}");
    assert!(seen.contains(&Kind::Health), "{seen:?}");
    assert!(seen.contains(&Kind::Updated), "{seen:?}");
    assert_eq!(weldr.terminate().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_stream_at_the_interval_that_was_asked_for_and_only_grow() {
    let origin = Origin::saying("hi");
    let weldr = Daemon::start().await;
    weldr.add(origin.address()).await;
    let mut client = weldr.client();
    let stream = client.stream_stats(StreamStatsRequest {
        interval: Duration::from_millis(100).try_into().ok(),
        ..Default::default()
    });
    let mut samples = stream.await.unwrap().into_inner();
    let mut counted = 0;
    for requests in 1..=3 {
        raw::get(weldr.proxy(), "/").await;
        wait::until(format!("{requests} requests"), async || {
            let sample = samples.message().await.unwrap().expect("a sample");
            let client = sample.stats.unwrap().client.unwrap();
            assert!(client.success >= counted, "counts never go back");
            counted = client.success;
            if counted >= requests {
                Ok(())
            } else {
                Err(counted)
            }
        })
        .await;
    }
    assert_eq!(weldr.terminate().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn weldrctl_watch_prints_a_line_an_event() {
    let origin = Origin::saying("hi");
    let address = origin.address().to_string();
    let weldr = Daemon::start().await;
    let text = weldr.weldrctl(&["watch"]).start();
    let json = weldr.weldrctl(&["watch", "--output", "json"]).start();
    for watch in [&text, &json] {
        watch.prints("settings").await;
    }
    weldr.add(origin.address()).await;
    weldr.ctl(&["remove", &address, "--now"]).await;
    for watch in [&text, &json] {
        for event in ["added", "healthy", "removed"] {
            watch.prints(event).await;
        }
    }
    // When the node stops, so does the stream: that is told, and is no success.
    assert_eq!(weldr.terminate().await.code(), Some(0));
    let (text, json) = (text.finished().await, json.finished().await);
    assert_eq!((text.code(), json.code()), (Some(3), Some(3)));
    assert!(
        text.stdout.lines().all(|line| line.contains('Z')),
        "{text:?}"
    );
    let mut revision = 0;
    for line in json.stdout.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        let of_event = event["revision"].as_u64().unwrap();
        assert!(of_event >= revision, "{line}");
        revision = of_event;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn weldrctl_stats_prints_a_line_a_sample_into_a_pipe() {
    let origin = Origin::saying("hi");
    let weldr = Daemon::start().await;
    weldr.add(origin.address()).await;
    raw::get(weldr.proxy(), "/").await;
    wait::until("the request to be counted", async || {
        match weldr.stats().await.client.unwrap_or_default().success {
            1 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    let args = ["stats", "--watch", "--interval", "100ms", "--count", "2"];
    let lines = weldr.ctl(&args).await;
    assert_eq!(lines.lines().count(), 2, "{lines}");
    assert!(!lines.contains('\u{1b}'), "{lines}");
    let pairs: Vec<_> = lines.lines().next().unwrap().split(' ').skip(1).collect();
    assert!(pairs.iter().all(|pair| pair.contains('=')), "{pairs:?}");
    assert!(pairs.contains(&"client_success=1"), "{pairs:?}");
    assert!(pairs.contains(&"healthy=1/1"), "{pairs:?}");
    assert_eq!(weldr.terminate().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn weldrctl_stats_redraws_a_terminal_in_place_and_gives_it_back() {
    const ENTER: &str = "\u{1b}[?1049h";
    const LEAVE: &str = "\u{1b}[?1049l";
    const TOP: &str = "\u{1b}[H";
    let origin = Origin::saying("hi");
    let weldr = Daemon::start().await;
    weldr.add(origin.address()).await;
    let args = ["stats", "--watch", "--interval", "100ms"];
    let stats = weldr.weldrctl(&args).on_terminal(24, 120).start();
    wait::until("three frames", async || {
        match stats.stdout().matches(TOP).count() {
            3.. => Ok(()),
            few => Err(few),
        }
    })
    .await;
    stats.signal(Signal::INT);
    let shown = stats.finished().await;
    assert_eq!(shown.code(), Some(0), "{shown:#?}");
    assert!(shown.stdout.starts_with(ENTER), "{shown:#?}");
    let (_, after) = shown.stdout.split_once(LEAVE).expect("given back");
    assert!(after.contains(&origin.address().to_string()), "{after}");
    assert!(!after.contains(TOP), "{after}");
    assert_eq!(weldr.terminate().await.code(), Some(0));
}
