//! The keys of a node, and which of them seals. Pure.

use std::{collections::BTreeMap, sync::Arc};

use crate::model::SealingKeyId;

use super::key::SealingKey;

/// How many keys there may be. Each rotation adds one, and none is removed: revisions of the history may need it.
pub(crate) const MOST_KEYS: usize = 256;

/// The keys by their ids.
#[derive(Debug, Default)]
pub(super) struct KeyRing(BTreeMap<SealingKeyId, Arc<SealingKey>>);

impl KeyRing {
    /// Adds a key, if there is room; whether it was added.
    pub(super) fn add(&mut self, key: Arc<SealingKey>) -> bool {
        if self.0.contains_key(&key.id()) || self.0.len() >= MOST_KEYS {
            return false;
        }
        self.0.insert(key.id(), key);
        true
    }

    pub(super) fn get(&self, id: SealingKeyId) -> Option<&Arc<SealingKey>> {
        self.0.get(&id)
    }

    /// The key that seals: that of the highest generation. Nodes that made keys of the same generation at the same time agree
    /// on one as soon as each has both.
    pub(super) fn current(&self) -> Option<&Arc<SealingKey>> {
        self.all().max_by_key(|key| (key.generation(), key.id()))
    }

    /// The generation of the next key.
    pub(super) fn next_generation(&self) -> u32 {
        self.current().map_or(1, |key| key.generation() + 1)
    }

    /// All keys, ordered by their ids.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<SealingKey>> {
        self.0.values()
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MOST_KEYS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(generation: u32, byte: u8) -> Arc<SealingKey> {
        Arc::new(SealingKey::new(generation, &[byte; 32]).unwrap())
    }

    #[test]
    fn nodes_with_the_same_keys_seal_with_the_same_one() {
        let keys = [key(1, 1), key(2, 2), key(2, 3), key(1, 4)];
        let (mut one, mut other) = (KeyRing::default(), KeyRing::default());
        for key in &keys {
            assert!(one.add(Arc::clone(key)));
            assert!(!one.add(Arc::clone(key)), "it is there already");
        }
        for key in keys.iter().rev() {
            other.add(Arc::clone(key));
        }
        let current = one.current().unwrap();
        assert_eq!(current.generation(), 2);
        assert_eq!(current.id(), other.current().unwrap().id());
        assert_eq!(one.next_generation(), 3);
        assert_eq!(KeyRing::default().next_generation(), 1);
    }

    #[test]
    fn their_number_has_a_bound() {
        let mut ring = KeyRing::default();
        for n in 1..=MOST_KEYS + 1 {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&n.to_be_bytes());
            let key = SealingKey::new(1, &bytes).unwrap();
            assert_eq!(ring.add(Arc::new(key)), n <= MOST_KEYS);
        }
        assert!(ring.is_full());
        assert_eq!(ring.all().count(), MOST_KEYS);
    }
}
