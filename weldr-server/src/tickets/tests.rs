use tokio::time;

use super::*;
use crate::{
    cluster::{self, Opened, StoreOptions},
    model::{PoolSettings, SealingKeyId},
};

/// Secrets of `epochs`, sealed by `secrets`.
async fn tickets(secrets: &Secrets, epochs: u64) -> Arc<TicketSecrets> {
    let mut state = DesiredState::new(PoolSettings::default());
    for after in 0..epochs {
        let purpose = TicketSecret::purpose(after + 1);
        let secret = secrets.seal(&purpose, &[7; TicketSecret::LENGTH]).await;
        let secret = secret.unwrap();
        let command = Command::RotateTickets { after, secret };
        state.apply(command).unwrap();
    }
    state.ticket_secrets
}

fn in_memory() -> Secrets {
    Secrets::load(None).unwrap()
}

#[tokio::test]
async fn an_epoch_is_over_after_twelve_hours_since_it_was_seen() {
    let secrets = in_memory();
    let begun = Instant::now();
    let mut epoch = Epoch::begun(0, begun);
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
    assert!(epoch.is_over(seen + EPOCH));
    let second = tickets(&secrets, 2).await;
    epoch.look(&second, &secrets, seen + EPOCH);
    assert!(!epoch.is_over(seen + EPOCH));
}

#[tokio::test]
async fn an_epoch_whose_secret_cannot_be_opened_is_over_soon() {
    let (secrets, other) = (in_memory(), in_memory());
    let foreign = tickets(&other, 1).await;
    let begun = Instant::now();
    let mut epoch = Epoch::begun(0, begun);
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
    let epochs = |opened: &[OpenTicketSecret]| -> Vec<u64> {
        opened.iter().map(|open| open.epoch).collect()
    };
    let open = opened(&sealed, &secrets);
    assert_eq!(epochs(&open), [4, 3, 2]);
    assert_eq!(*open[0].secret, [7; TicketSecret::LENGTH]);
    assert!(!format!("{open:?}").contains('7'));
    assert!(opened(&sealed, &other).is_empty());
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
    let unwanted = rotate(handle.clone(), |_| false, Tick::unwatched());
    assert!(
        time::timeout(Duration::from_millis(200), unwanted)
            .await
            .is_err()
    );
    assert!(handle.current().ticket_secrets.is_empty());
    let task = tokio::spawn(rotate(handle.clone(), |_| true, Tick::unwatched()));
    let mut states = handle.watch();
    let first = states.wait_for(|state| state.ticket_secrets.epoch() == 1);
    let first = time::timeout(Duration::from_secs(10), first).await;
    let state = Arc::clone(&first.unwrap().unwrap());
    let open = super::opened(&state.ticket_secrets, &handle.secrets());
    assert_eq!(open[0].secret.len(), TicketSecret::LENGTH);
    // A second look does not begin another one.
    time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(handle.current().ticket_secrets.epoch(), 1);
    let what = &handle.history(1)[0].what;
    assert!(
        matches!(what, cluster::What::RotateTickets { epoch: 1 }),
        "{what:?}"
    );
    task.abort();
    log.stop().await;
}
