use tokio::time;

use super::*;
use crate::{
    cluster::{self, Opened, StoreOptions},
    model::{PoolSettings, SealingKeyId},
    secrets::SealingKey,
};

/// Secrets of `epochs`, sealed by `secrets`.
async fn tickets(secrets: &Secrets, epochs: u64) -> Arc<SecretEpochs> {
    let mut state = DesiredState::new(PoolSettings::default());
    for after in 0..epochs {
        let purpose = SecretSeries::Tickets.purpose(after + 1);
        let secret = secrets.seal(&purpose, &[7; SecretEpoch::SECRET]).await;
        let secret = secret.unwrap();
        let command = Command::RotateTickets { after, secret };
        state.apply(command).unwrap();
    }
    state.ticket_epochs
}

fn in_memory() -> Secrets {
    Secrets::load(None).unwrap()
}

#[tokio::test]
async fn an_epoch_is_over_after_twelve_hours_since_it_was_seen() {
    let secrets = in_memory();
    let begun = Instant::now();
    let mut epoch = SeenEpoch::begun(SecretSeries::Tickets, 0, begun);
    epoch.look(&Arc::default(), &secrets, begun);
    assert!(epoch.is_over(begun), "there is none");
    let first = tickets(&secrets, 1).await;
    let seen = begun + Duration::from_secs(5);
    epoch.look(&first, &secrets, seen);
    for hours in [0, 11] {
        let later = Duration::from_hours(hours);
        epoch.look(&first, &secrets, seen + later);
        assert!(!epoch.is_over(seen + later));
    }
    assert!(epoch.is_over(seen + epoch_length(SecretSeries::Tickets)));
    let second = tickets(&secrets, 2).await;
    epoch.look(
        &second,
        &secrets,
        seen + epoch_length(SecretSeries::Tickets),
    );
    assert!(!epoch.is_over(seen + epoch_length(SecretSeries::Tickets)));
}

#[tokio::test]
async fn an_epoch_whose_secret_cannot_be_opened_is_over_soon() {
    let (secrets, other) = (in_memory(), in_memory());
    let foreign = tickets(&other, 1).await;
    let begun = Instant::now();
    let mut epoch = SeenEpoch::begun(SecretSeries::Tickets, 0, begun);
    epoch.look(&foreign, &secrets, begun);
    assert!(!epoch.is_over(begun));
    epoch.look(&foreign, &secrets, begun + PATIENCE);
    assert!(epoch.is_over(begun + PATIENCE));
    // The key comes in time.
    epoch.look(&foreign, &other, begun + PATIENCE);
    assert!(!epoch.is_over(begun + PATIENCE));
}

#[tokio::test]
async fn secrets_without_a_key_are_left_out_and_their_key_is_asked_for() {
    let (secrets, other) = (in_memory(), in_memory());
    let sealed = tickets(&secrets, 4).await;
    let open = opened(SecretSeries::Tickets, &sealed, &secrets);
    let numbers: Vec<u32> = open.iter().map(|secret| secret.number).collect();
    assert_eq!(numbers, [4, 3, 2]);
    assert_eq!(open[0].bytes, [7; SecretEpoch::SECRET]);
    assert!(opened(SecretSeries::Tickets, &sealed, &other).is_empty());
    let key: SealingKeyId = sealed.newest().unwrap().secret.key();
    assert_eq!(other.due(), [key]);
}

/// At a node that leads, in a state that wants tickets or does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_begins_the_first_epoch_if_the_state_wants_tickets() {
    let options = StoreOptions {
        name: "test".to_owned(),
        ..StoreOptions::default()
    };
    let opened = tokio::task::spawn_blocking(|| cluster::open(options));
    let Opened { handle, log, .. } = opened.await.unwrap().unwrap();
    let mut leadership = handle.leadership();
    leadership.wait_for(Option::is_some).await.unwrap();
    let unwanted = rotate(
        handle.clone(),
        SecretSeries::Tickets,
        |_| false,
        Tick::unwatched(),
    );
    assert!(
        time::timeout(Duration::from_millis(500), unwanted)
            .await
            .is_err()
    );
    assert!(handle.current().ticket_epochs.is_empty());
    let task = tokio::spawn(rotate(
        handle.clone(),
        SecretSeries::Tickets,
        |_| true,
        Tick::unwatched(),
    ));
    let mut states = handle.watch();
    let first = states.wait_for(|state| state.ticket_epochs.last() == 1);
    let first = time::timeout(Duration::from_secs(10), first).await;
    let state = Arc::clone(&first.unwrap().unwrap());
    let open = super::opened(
        SecretSeries::Tickets,
        &state.ticket_epochs,
        &handle.secrets(),
    );
    assert_eq!(open[0].number, 1);
    // A second look does not begin another one.
    time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(handle.current().ticket_epochs.last(), 1);
    let what = &handle.history(1)[0].what;
    assert!(
        matches!(what, cluster::What::RotateTickets { epoch: 1 }),
        "{what:?}"
    );
    task.abort();
    log.stop().await;
}

/// The listeners get the secrets that can be opened, also when the key comes after them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_get_the_secrets_when_they_can_be_opened() {
    let options = StoreOptions {
        name: "test".to_owned(),
        ..StoreOptions::default()
    };
    let opened = tokio::task::spawn_blocking(|| cluster::open(options));
    let Opened { handle, log, .. } = opened.await.unwrap().unwrap();
    let tickets = TicketSecrets::default();
    tickets.set_local();
    let task = tokio::spawn(follow(handle.clone(), tickets.clone()));
    let elsewhere = in_memory();
    for (after, secrets) in [(0, &elsewhere), (1, &handle.secrets())] {
        let purpose = SecretSeries::Tickets.purpose(after + 1);
        let secret = secrets.seal(&purpose, &[7; SecretEpoch::SECRET]).await;
        let secret = secret.unwrap();
        assert_eq!(format!("{tickets:?}"), "TicketSecrets([0])");
        let command = Command::RotateTickets { after, secret };
        handle.propose(command).await.unwrap();
    }
    let have = async |numbers: &str| {
        let expected = format!("TicketSecrets({numbers})");
        let wait = async {
            while format!("{tickets:?}") != expected {
                time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = time::timeout(Duration::from_secs(10), wait).await;
        waited.unwrap_or_else(|_| panic!("{tickets:?} is not {expected}"));
    };
    have("[2]").await;
    let keys = elsewhere.beyond(&[]);
    let keys = keys.iter().map(|key| SealingKey::new(1, key.expose()));
    handle
        .secrets()
        .keep(keys.flatten().collect())
        .await
        .unwrap();
    have("[2, 1]").await;
    task.abort();
    log.stop().await;
}
