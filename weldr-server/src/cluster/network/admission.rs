//! Which connections of other nodes stay when there are too many. Pure, but for the token that ends a connection.
//!
//! A connection is *unproven* until a call on it proves who the caller is: a member, or a node that has the secret. Unproven
//! connections have a share of their own, and a share of that for each address. A new connection takes the place of the
//! unproven one that has come least far, and of those the place of the oldest. TLS handshakes under way have a share as well,
//! within which a new one takes the place of the oldest: they cost memory and computing time, and what has passed its
//! handshake does not give way to them. So however many connections a stranger opens, a node gets in, and the connections
//! of nodes stay.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use tokio_util::sync::CancellationToken;

/// Unproven connections have this fraction of all, and one address this fraction of that.
const UNPROVEN_FRACTION: usize = 4;
const ADDRESS_FRACTION: usize = 2;
/// Handshakes under way have this fraction of the unproven connections, but not less than the nodes of a large cluster need
/// that all call a node which has just come back.
const HANDSHAKE_FRACTION: usize = 4;
const FEWEST_HANDSHAKES: usize = 8;

/// The connections that are open.
#[derive(Debug)]
pub(super) struct Table {
    most_unproven: usize,
    most_of_address: usize,
    most_handshakes: usize,
    most_proven: usize,
    next: u64,
    /// By age, the oldest first.
    unproven: BTreeMap<u64, Unproven>,
    proven: usize,
}

#[derive(Debug)]
struct Unproven {
    ip: IpAddr,
    stage: Stage,
    cut: CancellationToken,
}

/// How far an unproven connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// It has sent nothing.
    Silent,
    /// Its TLS handshake has not ended.
    Handshake,
    /// It can make calls.
    Open,
}

impl Table {
    /// For `limit` connections, those that are being closed included.
    pub(super) fn new(limit: usize) -> Self {
        let most_unproven = limit / UNPROVEN_FRACTION;
        Self {
            most_unproven,
            most_of_address: (most_unproven / ADDRESS_FRACTION).max(1),
            most_handshakes: (most_unproven / HANDSHAKE_FRACTION).max(FEWEST_HANDSHAKES),
            most_proven: limit - most_unproven - 1,
            next: 0,
            unproven: BTreeMap::new(),
            proven: 0,
        }
    }

    /// Enters a connection from `ip`, which `cut` ends. Returns its id.
    pub(super) fn enter(&mut self, ip: IpAddr, cut: CancellationToken) -> u64 {
        let of_address = self.of_addresses(|_| true);
        if of_address.get(&ip).copied().unwrap_or(0) >= self.most_of_address {
            self.cut_one(Some(ip));
        } else if self.unproven.len() >= self.most_unproven {
            self.cut_one(busiest(&of_address));
        }
        let id = self.next;
        self.next += 1;
        let stage = Stage::Silent;
        self.unproven.insert(id, Unproven { ip, stage, cut });
        id
    }

    /// A TLS handshake begins. At the limit, the oldest one of the address with most of them is cut.
    pub(super) fn handshake_begins(&mut self, id: u64) {
        let under_way = |unproven: &Unproven| unproven.stage == Stage::Handshake;
        let of_address = self.of_addresses(under_way);
        if of_address.values().sum::<usize>() >= self.most_handshakes {
            let busiest = busiest(&of_address);
            self.cut_first(|unproven| under_way(unproven) && busiest == Some(unproven.ip));
        }
        self.reaches(id, Stage::Handshake);
    }

    /// The connection can make calls.
    pub(super) fn is_open(&mut self, id: u64) {
        self.reaches(id, Stage::Open);
    }

    /// Whether the connection may stay, now that a call on it has proven who calls.
    pub(super) fn prove(&mut self, id: u64) -> bool {
        if self.proven >= self.most_proven || self.unproven.remove(&id).is_none() {
            return false;
        }
        self.proven += 1;
        true
    }

    /// The connection has ended.
    pub(super) fn leave(&mut self, id: u64, was_proven: bool) {
        if was_proven {
            self.proven -= 1;
        } else {
            self.unproven.remove(&id);
        }
    }

    /// Cuts an unproven connection (of `ip`, if given): one that has come least far, and of those the oldest.
    pub(super) fn cut_one(&mut self, ip: Option<IpAddr>) {
        let of_ip = |unproven: &Unproven| ip.is_none_or(|ip| unproven.ip == ip);
        let candidates = self.unproven.values().filter(|unproven| of_ip(unproven));
        if let Some(least) = candidates.map(|unproven| unproven.stage).min() {
            self.cut_first(|unproven| unproven.stage == least && of_ip(unproven));
        }
    }

    /// Cuts the oldest unproven connection that `gives_way`.
    fn cut_first(&mut self, gives_way: impl Fn(&Unproven) -> bool) {
        let mut candidates = self.unproven.iter();
        let id = candidates.find(|(_, unproven)| gives_way(unproven));
        let id = id.map(|(id, _)| *id);
        if let Some(unproven) = id.and_then(|id| self.unproven.remove(&id)) {
            unproven.cut.cancel();
        }
    }

    fn reaches(&mut self, id: u64, stage: Stage) {
        // A connection that was cut ends in a moment.
        if let Some(unproven) = self.unproven.get_mut(&id) {
            unproven.stage = stage;
        }
    }

    /// How many unproven connections that are `counted` each address has.
    fn of_addresses(&self, counted: impl Fn(&Unproven) -> bool) -> HashMap<IpAddr, usize> {
        let mut of_address = HashMap::<IpAddr, usize>::new();
        for unproven in self.unproven.values().filter(|unproven| counted(unproven)) {
            *of_address.entry(unproven.ip).or_default() += 1;
        }
        of_address
    }
}

/// The address with most connections.
fn busiest(of_address: &HashMap<IpAddr, usize>) -> Option<IpAddr> {
    let busiest = of_address.iter().max_by_key(|(_, count)| **count);
    busiest.map(|(ip, _)| *ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection, and what was done to it.
    struct Entered {
        id: u64,
        cut: CancellationToken,
    }

    fn enter(table: &mut Table, ip: [u8; 4]) -> Entered {
        let cut = CancellationToken::new();
        let id = table.enter(ip.into(), cut.clone());
        Entered { id, cut }
    }

    fn shake_hands(table: &mut Table, ip: [u8; 4]) -> Entered {
        let entered = enter(table, ip);
        table.handshake_begins(entered.id);
        entered
    }

    fn is_cut(entered: &Entered) -> bool {
        entered.cut.is_cancelled()
    }

    fn left(of: &[Entered]) -> usize {
        of.iter().filter(|entered| !is_cut(entered)).count()
    }

    const FLOOD: [u8; 4] = [10, 0, 0, 1];
    const NODE: [u8; 4] = [10, 0, 0, 2];

    #[test]
    fn strangers_give_way_to_each_other_and_never_take_the_place_of_a_node() {
        let mut table = Table::new(64);
        let node = enter(&mut table, NODE);
        assert!(table.prove(node.id));
        let starting = enter(&mut table, NODE);
        let flood: Vec<_> = (0..1_000).map(|_| enter(&mut table, FLOOD)).collect();
        assert_eq!(left(&flood), 8, "half of the quarter of 64");
        assert!(!is_cut(&node) && !is_cut(&starting));
        assert!(table.prove(starting.id), "it came before all of them");
    }

    #[test]
    fn who_has_come_least_far_gives_way_and_then_the_oldest() {
        let mut table = Table::new(64);
        let node = enter(&mut table, FLOOD);
        table.is_open(node.id);
        let handshake = shake_hands(&mut table, FLOOD);
        let mut flood: Vec<_> = (0..100).map(|_| enter(&mut table, FLOOD)).collect();
        assert!(!is_cut(&node) && !is_cut(&handshake));
        flood.retain(|entered| !is_cut(entered));
        for entered in &flood {
            table.is_open(entered.id);
        }
        let silent = enter(&mut table, FLOOD);
        assert!(is_cut(&handshake) && !is_cut(&node));
        table.is_open(silent.id);
        let _one_more = enter(&mut table, FLOOD);
        assert!(is_cut(&node), "the oldest of those that can call");
        assert!(!table.prove(node.id), "what was cut stays cut");
    }

    #[test]
    fn handshakes_under_way_have_a_limit_and_take_no_other_place() {
        let mut table = Table::new(256);
        let open = enter(&mut table, FLOOD);
        table.is_open(open.id);
        let silent = enter(&mut table, FLOOD);
        let flood: Vec<_> = (0..1_000).map(|_| shake_hands(&mut table, FLOOD)).collect();
        assert_eq!(left(&flood), 16, "a quarter of the quarter of 256");
        assert!(flood[..984].iter().all(is_cut), "the oldest were cut");
        assert!(!is_cut(&open) && !is_cut(&silent));
        let node = shake_hands(&mut table, NODE);
        let _more: Vec<_> = (0..1_000).map(|_| shake_hands(&mut table, FLOOD)).collect();
        assert!(!is_cut(&node), "of another address than the others");
        table.is_open(node.id);
        assert!(table.prove(node.id));
    }

    #[test]
    fn the_address_with_most_connections_gives_way() {
        let mut table = Table::new(64);
        let mut entered = vec![enter(&mut table, NODE)];
        for n in 0..15 {
            entered.push(enter(&mut table, [10, 0, 1, n / 3]));
        }
        let _one_more = enter(&mut table, [10, 0, 2, 1]);
        assert!(!is_cut(&entered[0]));
        assert_eq!(left(&entered), 15);
    }
}
