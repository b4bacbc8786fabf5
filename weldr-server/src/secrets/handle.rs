//! The interface for the rest of the program: seal a secret, open one, and learn that a key has come.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard},
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use tokio::{
    sync::{Notify, watch},
    task, time,
};
use zeroize::Zeroizing;

use crate::model::{Sealed, SealingKeyId};

use super::{
    error::{KeyFileError, SecretsError},
    key::SealingKey,
    key_file::KeyFile,
    key_ring::{KeyRing, MOST_KEYS},
    searches::Searches,
};

/// How long the disk may take to write the file of the keys.
const DISK_PATIENCE: Duration = Duration::from_secs(5);

/// The other nodes, as those who keep the keys.
pub(crate) trait KeyHolders: Send + Sync {
    /// Asks the other members for the keys that this node lacks.
    fn ask(&self) -> BoxFuture<'_, ()>;
    /// Returns when a majority of the members keep the key on their disks. Members that lack it get it.
    fn share(&self, key: SealingKeyId) -> BoxFuture<'_, Result<(), SecretsError>>;
}

/// Seals secrets and opens them, with the keys of this node. Cheap to clone.
#[derive(Clone)]
pub struct Secrets(Arc<Inner>);

struct Inner {
    ring: RwLock<KeyRing>,
    /// Locked while the file is read and written, so that at most one thread waits for the disk.
    file: Arc<tokio::sync::Mutex<KeyFile>>,
    /// Locked while a key is made, so that a node makes one at a time.
    making: tokio::sync::Mutex<()>,
    /// `None` for a node that is not part of a cluster yet.
    holders: OnceLock<Box<dyn KeyHolders>>,
    searches: Mutex<Searches>,
    /// Notified when a key is to be searched.
    needed: Notify,
    /// How often keys have come.
    arrivals: watch::Sender<u64>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Secrets").field(&*self.ring()).finish()
    }
}

impl Secrets {
    /// The keys in the file of `directory`, which may not exist yet; `None` keeps all keys in memory. Waits for the disk.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub fn load(directory: Option<&Path>) -> Result<Self, KeyFileError> {
        let file = KeyFile::in_directory(directory);
        let mut ring = KeyRing::default();
        for key in file.read()? {
            ring.add(Arc::new(key));
        }
        Ok(Self(Arc::new(Inner {
            ring: RwLock::new(ring),
            file: Arc::new(tokio::sync::Mutex::new(file)),
            making: tokio::sync::Mutex::default(),
            holders: OnceLock::new(),
            searches: Mutex::default(),
            needed: Notify::new(),
            arrivals: watch::Sender::new(0),
        })))
    }

    /// Seals a secret for `purpose`, which names its object: `certificate/shop`. It opens for the same purpose only.
    ///
    /// Makes a key if there is none. When this returns, a majority of the members keep the key on disk, so what is sealed does
    /// not depend on the disk of one node. Takes some seconds if members do not answer.
    ///
    /// # Errors
    /// Also if no majority keeps the key. Then nothing was sealed.
    pub async fn seal(&self, purpose: &str, plain: &[u8]) -> Result<Sealed, SecretsError> {
        let key = match self.current() {
            Some(key) => key,
            None => self.first_key().await?,
        };
        self.share(key.id()).await?;
        key.seal(purpose, plain)
    }

    /// Opens a value that was sealed for `purpose`. Waits for nothing.
    ///
    /// # Errors
    /// [`SecretsError::UnknownKey`] if this node lacks the key. It asks the other nodes for it from then on, and
    /// [`arrivals`](Self::arrivals) changes when the key has come: open the value again then.
    pub fn open(&self, purpose: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, SecretsError> {
        let id = sealed.key();
        let key = self.ring().get(id).cloned();
        let Some(key) = key else {
            self.need(id);
            return Err(SecretsError::UnknownKey { id });
        };
        key.open(purpose, sealed)
    }

    /// Whether this node has the key.
    pub fn has(&self, id: SealingKeyId) -> bool {
        self.ring().get(id).is_some()
    }

    /// Changes each time that this node gets keys.
    pub fn arrivals(&self) -> watch::Receiver<u64> {
        self.0.arrivals.subscribe()
    }

    /// Makes a new key, which seals from now on, and gives it to the other nodes. Values that are sealed stay as they are.
    ///
    /// # Errors
    /// Also if no majority keeps the new key. It is tried again with the next secret.
    pub async fn rotate(&self) -> Result<SealingKeyId, SecretsError> {
        let id = {
            let _making = self.0.making.lock().await;
            self.ask_holders().await;
            let generation = self.ring().next_generation();
            self.make(generation).await?.id()
        };
        self.share(id).await?;
        Ok(id)
    }

    fn ring(&self) -> RwLockReadGuard<'_, KeyRing> {
        self.0.ring.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn searches(&self) -> MutexGuard<'_, Searches> {
        let searches = self.0.searches.lock();
        searches.unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Option<Arc<SealingKey>> {
        self.ring().current().cloned()
    }

    /// A key of another member, or else a new one.
    async fn first_key(&self) -> Result<Arc<SealingKey>, SecretsError> {
        let _making = self.0.making.lock().await;
        if self.current().is_none() {
            self.ask_holders().await;
        }
        match self.current() {
            Some(key) => Ok(key),
            None => self.make(1).await,
        }
    }

    async fn make(&self, generation: u32) -> Result<Arc<SealingKey>, SecretsError> {
        if self.ring().is_full() {
            return Err(SecretsError::TooManyKeys { most: MOST_KEYS });
        }
        let key = SealingKey::random(generation)?;
        let id = key.id();
        self.keep(vec![key]).await?;
        tracing::info!(key = %id, generation, "a key for the secrets of the desired state was made");
        let kept = self.ring().get(id).cloned();
        kept.ok_or(SecretsError::TooManyKeys { most: MOST_KEYS })
    }

    async fn ask_holders(&self) {
        if let Some(holders) = self.0.holders.get() {
            holders.ask().await;
        }
    }

    async fn share(&self, id: SealingKeyId) -> Result<(), SecretsError> {
        match self.0.holders.get() {
            Some(holders) => holders.share(id).await,
            None => Ok(()),
        }
    }
}

/// For the cluster, which brings keys and takes them to other members.
impl Secrets {
    /// From now on, keys are shared with `holders`.
    pub(crate) fn held_by(&self, holders: Box<dyn KeyHolders>) {
        // A node is part of one cluster.
        let _ = self.0.holders.set(holders);
    }

    /// The ids of all keys of this node.
    pub(crate) fn ids(&self) -> Vec<SealingKeyId> {
        self.ring().all().map(|key| key.id()).collect()
    }

    /// The keys of this node that are not among `known`.
    pub(crate) fn beyond(&self, known: &[SealingKeyId]) -> Vec<Arc<SealingKey>> {
        let ring = self.ring();
        let others = ring.all().filter(|key| !known.contains(&key.id()));
        others.cloned().collect()
    }

    /// Writes keys to the file and then uses them, together with those that an operator has added to the file. Returns the ids
    /// of those that are new.
    pub(crate) async fn keep(
        &self,
        keys: Vec<SealingKey>,
    ) -> Result<Vec<SealingKeyId>, SecretsError> {
        let secrets = self.clone();
        let kept = async {
            let file = Arc::clone(&self.0.file).lock_owned().await;
            // Dropping the future leaves this running, and the keys are kept then.
            task::spawn_blocking(move || secrets.keep_blocking(&file, keys)).await
        };
        match time::timeout(DISK_PATIENCE, kept).await {
            Ok(Ok(kept)) => kept,
            // The runtime ends.
            Ok(Err(_)) => Err(SecretsError::ShuttingDown),
            Err(_) => Err(SecretsError::SlowDisk),
        }
    }

    fn keep_blocking(
        &self,
        file: &KeyFile,
        keys: Vec<SealingKey>,
    ) -> Result<Vec<SealingKeyId>, SecretsError> {
        let in_file = file.read()?;
        let is_in_file = |id| in_file.iter().any(|key| key.id() == id);
        let mut after = KeyRing::default();
        for key in self.ring().all() {
            after.add(Arc::clone(key));
        }
        let written = after.all().all(|key| is_in_file(key.id()))
            && keys.iter().all(|key| is_in_file(key.id()));
        let mut new = Vec::new();
        for key in keys.into_iter().chain(in_file) {
            let id = key.id();
            if after.add(Arc::new(key)) {
                new.push(id);
            }
        }
        if !written {
            file.write(after.all().map(AsRef::as_ref))?;
        }
        *self.0.ring.write().unwrap_or_else(PoisonError::into_inner) = after;
        if !new.is_empty() {
            let mut searches = self.searches();
            for id in &new {
                searches.end(*id);
            }
            drop(searches);
            self.0.arrivals.send_modify(|arrivals| *arrivals += 1);
        }
        Ok(new)
    }

    /// Notes that this node needs a key that it lacks.
    pub(crate) fn need(&self, id: SealingKeyId) {
        if !self.has(id) && self.searches().begin(id, Instant::now()) {
            self.0.needed.notify_one();
        }
    }

    /// The keys that the other nodes are to be asked for now.
    pub(crate) fn due(&self) -> Vec<SealingKeyId> {
        let due = self.searches().due(Instant::now());
        // One may have come in the moment in which its search began.
        let (there, missing) = due.into_iter().partition(|id| self.has(*id));
        let there: Vec<SealingKeyId> = there;
        for id in there {
            self.searches().end(id);
        }
        missing
    }

    /// Notes that no node that responds has a key. Returns how often that was so.
    pub(crate) fn not_found(&self, id: SealingKeyId) -> u32 {
        self.searches().failed(id, Instant::now())
    }

    /// Returns when a key is to be searched, and after `longest` in any case.
    pub(crate) async fn search_begins(&self, longest: Duration) {
        let next = self.searches().next();
        let left = next.map_or(longest, |next| {
            next.saturating_duration_since(Instant::now()).min(longest)
        });
        // It is looked at in any case.
        let _ = time::timeout(left, self.0.needed.notified()).await;
    }
}

#[cfg(test)]
mod tests;
