//! Consistent hashing: the same key goes to the same server, and a change of the servers moves only the keys that it must.
//!
//! Each server has points on a circle, as many as its weight demands, at places that depend on nothing but its address. A
//! key goes to the server with the next point. A server that leaves gives each of its keys to the next of the others, and
//! one that comes takes its share and nothing else (Karger et al., "Consistent Hashing and Random Trees", 1997). All nodes
//! of a cluster, and a node that was restarted, choose the same server for a key.
//!
//! The circle is a tree whose versions share what they have in common, so that a change of one server costs its own points.

use std::net::SocketAddr;

use rpds::RedBlackTreeMapSync;

/// Points of a server for each unit of its weight. With 128, the shares of servers of weight 1 differ by 9 % (standard
/// deviation), and those of heavier ones by less.
const POINTS: u32 = 128;
/// The most points of one server, which bounds the memory. A heavier server has the share of a weight of 64.
const MOST_POINTS: u32 = 64 * POINTS;

/// A circle of servers.
#[derive(Debug, Clone)]
pub struct HashRing {
    points: RedBlackTreeMapSync<u64, SocketAddr>,
}

impl Default for HashRing {
    fn default() -> Self {
        Self {
            points: RedBlackTreeMapSync::new_sync(),
        }
    }
}

impl HashRing {
    /// Adds the points of a server that is not there.
    pub fn add(&mut self, server: SocketAddr, weight: u32) {
        for point in points_of(server, weight) {
            // Two servers at one point: the lesser address has it, whichever came first.
            match self.points.get(&point) {
                Some(present) if *present < server => {}
                _ => self.points.insert_mut(point, server),
            }
        }
    }

    /// Takes the points of a server away that was added with this weight. A point at which two servers met, one in 10^19,
    /// is lost to the one that stays.
    pub fn remove(&mut self, server: SocketAddr, weight: u32) {
        for point in points_of(server, weight) {
            if self.points.get(&point) == Some(&server) {
                self.points.remove_mut(&point);
            }
        }
    }

    /// The servers for a key in the order in which they are tried; each may come several times.
    pub fn walk(&self, key: u64) -> impl Iterator<Item = SocketAddr> {
        let after = self.points.range(key..);
        let before = self.points.range(..key);
        after.chain(before).map(|(_, server)| *server)
    }

    /// Whether no server is there.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }
}

fn points_of(server: SocketAddr, weight: u32) -> impl Iterator<Item = u64> {
    let count = weight.saturating_mul(POINTS).min(MOST_POINTS);
    let address = match server {
        SocketAddr::V4(v4) => u64::from(v4.ip().to_bits()),
        SocketAddr::V6(v6) => {
            let [high, low] = halves(v6.ip().octets());
            mix(mix(high) ^ low)
        }
    };
    let begin = mix(address ^ u64::from(server.port()).rotate_left(48));
    (0..count).map(move |number| mix(begin ^ u64::from(number)))
}

fn halves(octets: [u8; 16]) -> [u64; 2] {
    let mut halves = [0; 2];
    for (place, octet) in octets.into_iter().enumerate() {
        halves[place / 8] = halves[place / 8] << 8 | u64::from(octet);
    }
    halves
}

/// The place of a key on the circle. It is the same on each node and in each version of Weldr that has this function.
pub fn hash_key(key: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    // FNV-1a, mixed: its upper bits alone are too alike for keys that differ in the last byte.
    let hash = key.iter().fold(OFFSET, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(PRIME)
    });
    mix(hash)
}

/// The finalizer of `SplitMix64` (Steele, Lea and Flood, 2014): a bijection in which each bit depends on all.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use std::{cmp::Ordering, collections::BTreeMap};

    use proptest::prelude::*;

    use super::*;

    fn server(number: u16) -> SocketAddr {
        ([10, 0, 0, 1], 8000 + number).into()
    }

    fn ring(weights: &BTreeMap<u16, u32>) -> HashRing {
        let mut ring = HashRing::default();
        for (&number, &weight) in weights {
            ring.add(server(number), weight);
        }
        ring
    }

    fn chosen(ring: &HashRing, key: u32) -> Option<SocketAddr> {
        ring.walk(hash_key(&key.to_be_bytes())).next()
    }

    #[test]
    fn shares_are_as_the_weights() {
        let weights = BTreeMap::from([(1, 1), (2, 2), (3, 4)]);
        let ring = ring(&weights);
        let mut counts = BTreeMap::<_, u32>::new();
        for key in 0..70_000 {
            *counts.entry(chosen(&ring, key).unwrap()).or_default() += 1;
        }
        for (number, weight) in weights {
            let count = counts[&server(number)];
            let share = weight * 10_000;
            assert!(
                count.abs_diff(share) < share / 4,
                "{number}: {count} instead of {share}"
            );
        }
    }

    #[test]
    fn all_servers_are_tried_in_the_end() {
        let ring = ring(&(1..=9).map(|number| (number, 1)).collect());
        let mut tried: Vec<_> = ring.walk(hash_key(b"key")).collect();
        tried.sort_unstable();
        tried.dedup();
        assert_eq!(tried.len(), 9);
        assert!(HashRing::default().walk(1).next().is_none());
    }

    /// A change of this function moves the keys of all pools at the upgrade: it must not happen by accident.
    #[test]
    fn places_are_the_same_in_each_version() {
        assert_eq!(hash_key(b"198.51.100.7"), 0x1a37_d5a3_2dc6_f5fc);
        let mut ipv6 = points_of("[2001:db8::7]:80".parse().unwrap(), 1);
        assert_eq!(ipv6.next(), Some(0xa034_90aa_48d4_d513));
        assert_eq!(points_of(server(1), 1).next(), Some(0xfe86_ba12_1fba_0cd4));
    }

    #[test]
    fn the_points_of_one_server_are_bounded() {
        assert_eq!(points_of(server(1), 256).count(), MOST_POINTS as usize);
        assert_eq!(points_of(server(1), 0).count(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// Whatever changes, a key moves only from a server that lost points, or to one that gained some.
        #[test]
        fn only_the_keys_of_the_change_move(
            weights in prop::collection::btree_map(0_u16..12, 1_u32..4, 2..10),
            changed in 0_u16..12,
            weight in 0_u32..4,
        ) {
            let before = ring(&weights);
            let mut after = before.clone();
            let old = weights.get(&changed).copied().unwrap_or(0);
            after.remove(server(changed), old);
            after.add(server(changed), weight);
            for key in 0..500 {
                let (was, is) = (chosen(&before, key), chosen(&after, key));
                let moves = match weight.cmp(&old) {
                    Ordering::Greater => is == Some(server(changed)),
                    Ordering::Less => was == Some(server(changed)),
                    Ordering::Equal => false,
                };
                prop_assert!(was == is || moves);
            }
            let anew = {
                let mut weights = weights.clone();
                weights.insert(changed, weight);
                ring(&weights)
            };
            let places = |ring: &HashRing| ring.walk(0).collect::<Vec<_>>();
            prop_assert_eq!(places(&after), places(&anew));
        }
    }
}
