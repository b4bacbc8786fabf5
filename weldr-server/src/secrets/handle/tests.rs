use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

use tempfile::TempDir;

use super::*;

const SECRET: &[u8] = b"a private key";
const PURPOSE: &str = "certificate/shop";

fn in_memory() -> Secrets {
    Secrets::load(None).unwrap()
}

fn on_disk(directory: &TempDir) -> Secrets {
    Secrets::load(Some(directory.path())).unwrap()
}

fn key(generation: u32, byte: u8) -> SealingKey {
    SealingKey::new(generation, &[byte; 32]).unwrap()
}

fn is_unknown(opened: &Result<Zeroizing<Vec<u8>>, SecretsError>) -> bool {
    matches!(opened, Err(SecretsError::UnknownKey { .. }))
}

/// Other members, as a test wants them.
#[derive(Clone, Default)]
struct Others(Arc<OthersState>);

#[derive(Default)]
struct OthersState {
    /// The node that asks, and the key that they give it.
    gives: OnceLock<(Secrets, u8)>,
    refuse: AtomicBool,
    asked: AtomicUsize,
}

impl KeyHolders for Others {
    fn ask(&self) -> BoxFuture<'_, ()> {
        self.0.asked.fetch_add(1, SeqCst);
        Box::pin(async {
            if let Some((secrets, byte)) = self.0.gives.get() {
                secrets.keep(vec![key(1, *byte)]).await.unwrap();
            }
        })
    }

    fn share(&self, id: SealingKeyId) -> BoxFuture<'_, Result<(), SecretsError>> {
        let refuse = self.0.refuse.load(SeqCst);
        let missing = vec!["b (127.0.0.1:1)".to_owned()];
        let refused = SecretsError::NotShared { id, missing };
        Box::pin(async move { if refuse { Err(refused) } else { Ok(()) } })
    }
}

#[tokio::test]
async fn a_key_is_made_once_and_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let secrets = on_disk(&directory);
    let sealed = tokio::join!(secrets.seal(PURPOSE, SECRET), secrets.seal(PURPOSE, SECRET));
    let (one, two) = (sealed.0.unwrap(), sealed.1.unwrap());
    assert_eq!(one.key(), two.key());
    let again = on_disk(&directory);
    assert!(again.has(one.key()));
    for sealed in [one, two] {
        assert_eq!(*again.open(PURPOSE, &sealed).unwrap(), SECRET);
    }
    let without_a_disk = in_memory();
    let sealed = without_a_disk.seal(PURPOSE, SECRET).await.unwrap();
    assert_eq!(*without_a_disk.open(PURPOSE, &sealed).unwrap(), SECRET);
}

#[tokio::test]
async fn a_missing_key_is_searched_and_its_arrival_is_told() {
    let (one, other) = (in_memory(), in_memory());
    let sealed = one.seal(PURPOSE, SECRET).await.unwrap();
    let mut arrivals = other.arrivals();
    assert!(other.due().is_empty());
    assert!(is_unknown(&other.open(PURPOSE, &sealed)));
    assert_eq!(other.due(), [sealed.key()]);
    // The search begins at once.
    time::timeout(DISK_PATIENCE, other.search_begins(Duration::MAX))
        .await
        .unwrap();
    assert_eq!(other.not_found(sealed.key()), 1);
    assert!(other.due().is_empty());
    let keys = one.beyond(&other.ids());
    let keys = keys.iter().map(|key| SealingKey::new(1, key.expose()));
    other.keep(keys.flatten().collect()).await.unwrap();
    assert!(arrivals.has_changed().unwrap());
    arrivals.mark_unchanged();
    assert_eq!(*other.open(PURPOSE, &sealed).unwrap(), SECRET);
    assert!(other.due().is_empty());
    assert!(one.beyond(&other.ids()).is_empty());
    // The same key again is no news.
    assert!(other.keep(vec![]).await.unwrap().is_empty());
    assert!(!arrivals.has_changed().unwrap());
}

#[tokio::test]
async fn a_copy_that_is_appended_while_the_node_runs_is_used_and_stays() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sealed = on_disk(&old).seal(PURPOSE, SECRET).await.unwrap();
    let secrets = on_disk(&new);
    let own = secrets.seal(PURPOSE, SECRET).await.unwrap();
    let path = |directory: &TempDir| directory.path().join("sealing.keys");
    let both = [path(&new), path(&old)].map(|path| fs::read_to_string(path).unwrap());
    fs::write(path(&new), both.concat()).unwrap();
    assert!(is_unknown(&secrets.open(PURPOSE, &sealed)));
    // Another key comes before anybody looks into the file.
    secrets.keep(vec![key(1, 9)]).await.unwrap();
    for secrets in [secrets, on_disk(&new)] {
        assert_eq!(*secrets.open(PURPOSE, &sealed).unwrap(), SECRET);
        assert_eq!(*secrets.open(PURPOSE, &own).unwrap(), SECRET);
        assert!(secrets.has(key(1, 9).id()));
    }
}

#[tokio::test]
async fn a_damaged_file_is_not_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let secrets = on_disk(&directory);
    secrets.seal(PURPOSE, SECRET).await.unwrap();
    let path = directory.path().join("sealing.keys");
    let damaged = fs::read_to_string(&path)
        .unwrap()
        .replace("\n1 1 ", "\n1 1 x");
    fs::write(&path, &damaged).unwrap();
    let refused = secrets.keep(vec![key(1, 1)]).await.unwrap_err();
    assert!(matches!(
        refused,
        SecretsError::File(KeyFileError::Damaged { .. })
    ));
    assert!(!secrets.has(key(1, 1).id()), "it is not on disk");
    assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
    let refused = Secrets::load(Some(directory.path())).unwrap_err();
    assert!(
        matches!(refused, KeyFileError::Damaged { line: 3, .. }),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_key_that_cannot_be_written_seals_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let secrets = on_disk(&directory);
    let path = directory.path().to_owned();
    drop(directory);
    let refused = secrets.seal(PURPOSE, SECRET).await.unwrap_err();
    assert!(matches!(
        refused,
        SecretsError::File(KeyFileError::Unusable { .. })
    ));
    assert!(secrets.ids().is_empty());
    fs::create_dir(&path).unwrap();
    secrets.seal(PURPOSE, SECRET).await.unwrap();
    fs::remove_dir_all(&path).unwrap();
}

#[tokio::test]
async fn the_key_of_another_member_is_used_before_one_is_made() {
    let (secrets, others) = (in_memory(), Others::default());
    _ = others.0.gives.set((secrets.clone(), 7));
    secrets.held_by(Box::new(others.clone()));
    let sealed = secrets.seal(PURPOSE, SECRET).await.unwrap();
    assert_eq!(sealed.key(), key(1, 7).id());
    assert_eq!(secrets.ids().len(), 1);
    secrets.seal(PURPOSE, SECRET).await.unwrap();
    assert_eq!(others.0.asked.load(SeqCst), 1, "it has a key");
}

#[tokio::test]
async fn without_a_majority_that_keeps_the_key_nothing_is_sealed() {
    let (secrets, others) = (in_memory(), Others::default());
    others.0.refuse.store(true, SeqCst);
    secrets.held_by(Box::new(others.clone()));
    let refused = secrets.seal(PURPOSE, SECRET).await.unwrap_err();
    assert!(
        refused
            .to_string()
            .ends_with("it is missing at b (127.0.0.1:1)"),
        "{refused}"
    );
    let made = secrets.ids();
    others.0.refuse.store(false, SeqCst);
    let sealed = secrets.seal(PURPOSE, SECRET).await.unwrap();
    assert_eq!(made, [sealed.key()], "the key that was made is used");
}

#[tokio::test]
async fn after_a_rotation_the_new_key_seals_and_the_old_one_opens() {
    let secrets = in_memory();
    let before = secrets.seal(PURPOSE, SECRET).await.unwrap();
    let new = secrets.rotate().await.unwrap();
    let after = secrets.seal(PURPOSE, SECRET).await.unwrap();
    assert_ne!(before.key(), new);
    assert_eq!(after.key(), new);
    for sealed in [before, after] {
        assert_eq!(*secrets.open(PURPOSE, &sealed).unwrap(), SECRET);
    }
}

#[tokio::test]
async fn what_is_logged_of_it_holds_no_key() {
    let secrets = in_memory();
    secrets.keep(vec![key(1, 0xab)]).await.unwrap();
    let shown = format!("{secrets:?}");
    assert!(shown.contains(&key(1, 0xab).id().to_string()), "{shown}");
    assert!(!shown.contains("171"), "{shown}");
    assert!(!shown.contains("abab"), "{shown}");
}
