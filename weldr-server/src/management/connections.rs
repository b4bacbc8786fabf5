//! The connections of the management API that are open, and which give way when there are too many.
//!
//! A new connection is always let in as long as another one can give way: the one that has been without a request for
//! longest, else the one whose request has been running for longest. A connection with a stream does not give way, so the
//! number of streams is limited, to less than the number of connections. Probes of `/readyz` and new callers get in
//! however many connections a client keeps open. A connection on which an administrator has called does not give way to others:
//! a quarter of the places is for those. TLS handshakes under way have a share: within it, a new one takes the place of the oldest
//! one of the address with most of them, so that they neither fill the memory nor displace connections with requests. Pure, but
//! for the token that ends a connection.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// Connections that were cut and are not closed yet.
const CLOSING: usize = 2;
/// The most streams, however many connections there may be.
const MOST_STREAMS: usize = 256;

/// Handshakes under way have this fraction of the connections, but not less than a few callers at once need.
const HANDSHAKE_FRACTION: usize = 8;
const FEWEST_HANDSHAKES: usize = 4;

/// All connections. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Connections(Arc<Mutex<Table>>);

#[derive(Debug)]
struct Table {
    limits: Limits,
    next: u64,
    /// Grows with each begin and end of a request. Gives the order of what happened.
    now: u64,
    entries: BTreeMap<u64, Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    connections: usize,
    /// Connections of administrators that do not give way.
    reserved: usize,
    connections_of_address: usize,
    handshakes: usize,
    streams: usize,
    streams_of_address: usize,
}

#[derive(Debug)]
struct Entry {
    /// `None` for a process of this machine, by the Unix socket.
    ip: Option<IpAddr>,
    /// Requests whose response has not ended.
    running: usize,
    /// How many of them are streams.
    streams: usize,
    /// Whether its TLS handshake has not ended.
    is_handshake: bool,
    /// When the last request began or ended.
    since: u64,
    /// Whether an administrator has called on it.
    is_reserved: bool,
    cut: CancellationToken,
}

/// A stream is refused: there are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooManyStreams {
    /// How many there may be, of all clients or of this client's address.
    pub(super) limit: usize,
}

impl Connections {
    /// For `limit` connections, those that are being closed included.
    pub(super) fn new(limit: usize) -> Self {
        let connections = limit.saturating_sub(CLOSING).max(1);
        let streams = MOST_STREAMS.min(connections / 2).max(1);
        Self(Arc::new(Mutex::new(Table {
            limits: Limits {
                connections,
                reserved: connections / 4,
                connections_of_address: (connections - connections / 4).max(1),
                handshakes: (connections / HANDSHAKE_FRACTION).max(FEWEST_HANDSHAKES),
                streams,
                streams_of_address: (streams / 2).max(1),
            },
            next: 0,
            now: 0,
            entries: BTreeMap::new(),
        })))
    }

    /// Enters a connection that was accepted from `ip`, which a Unix socket has not; `None` if it has to be closed, because no other gives way.
    pub(super) fn enter(&self, ip: Option<IpAddr>) -> Option<Seat> {
        let cut = CancellationToken::new();
        let ip = ip.map(|ip| ip.to_canonical());
        let id = self.table().enter(ip, cut.clone())?;
        let connections = self.clone();
        Some(Seat {
            id,
            cut,
            connections,
        })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn enter(&mut self, ip: Option<IpAddr>, cut: CancellationToken) -> Option<u64> {
        let of_address = self.entries.values().filter(|entry| entry.ip == ip).count();
        if ip.is_some() && of_address >= self.limits.connections_of_address {
            self.cut_one(ip)?;
        } else if self.entries.len() >= self.limits.connections {
            self.cut_one(None)?;
        }
        let (id, since) = (self.next, self.tick());
        self.next += 1;
        let entry = Entry {
            ip,
            running: 0,
            streams: 0,
            is_handshake: false,
            since,
            is_reserved: false,
            cut,
        };
        self.entries.insert(id, entry);
        Some(id)
    }

    /// Cuts a connection (of `ip`, if given); `None` if none gives way.
    fn cut_one(&mut self, ip: Option<IpAddr>) -> Option<()> {
        let candidates = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.streams == 0 && !entry.is_reserved)
            .filter(|(_, entry)| ip.is_none() || entry.ip == ip);
        let (id, _) = candidates.min_by_key(|(_, entry)| (entry.running > 0, entry.since))?;
        let id = *id;
        self.cut(id);
        Some(())
    }

    fn cut(&mut self, id: u64) {
        if let Some(entry) = self.entries.remove(&id) {
            entry.cut.cancel();
        }
    }

    /// A handshake begins. At the limit, the oldest one of the address with most of them is cut.
    fn handshake_begins(&mut self, id: u64) {
        let mut of_address = HashMap::<Option<IpAddr>, Vec<u64>>::new();
        let under_way = self.entries.iter().filter(|(_, entry)| entry.is_handshake);
        for (id, entry) in under_way {
            of_address.entry(entry.ip).or_default().push(*id);
        }
        let most = of_address.values().max_by_key(|ids| ids.len());
        let oldest = most.and_then(|ids| ids.first().copied());
        let under_way: usize = of_address.values().map(Vec::len).sum();
        if let Some(oldest) = oldest.filter(|_| under_way >= self.limits.handshakes) {
            self.cut(oldest);
        }
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.is_handshake = true;
        }
    }

    fn handshake_ends(&mut self, id: u64) {
        // A connection that was cut ends in a moment.
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.is_handshake = false;
        }
    }

    fn begin(&mut self, id: u64, is_stream: bool) -> Result<(), TooManyStreams> {
        let now = self.tick();
        if let Some(entry) = self.entries.get(&id)
            && is_stream
        {
            let entries = || self.entries.values();
            let of_address = entries().filter(|other| other.ip == entry.ip);
            let of_address: usize = of_address.map(|entry| entry.streams).sum();
            let of_all: usize = entries().map(|entry| entry.streams).sum();
            for (count, limit) in [
                (of_address, self.limits.streams_of_address),
                (of_all, self.limits.streams),
            ] {
                if count >= limit {
                    return Err(TooManyStreams { limit });
                }
            }
        }
        // A connection that was cut ends in a moment.
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.running += 1;
            entry.streams += usize::from(is_stream);
            entry.since = now;
        }
        Ok(())
    }

    fn end(&mut self, id: u64, is_stream: bool) {
        let now = self.tick();
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.running = entry.running.saturating_sub(1);
            entry.streams = entry.streams.saturating_sub(usize::from(is_stream));
            entry.since = now;
        }
    }

    /// Reserves the place of a connection. When as many are reserved as may be, the longest idle of them gives way again.
    fn reserve(&mut self, id: u64) {
        match self.entries.get(&id) {
            Some(entry) if !entry.is_reserved => {}
            _ => return,
        }
        let reserved = self.entries.iter().filter(|(_, entry)| entry.is_reserved);
        let reserved: Vec<_> = reserved
            .map(|(id, entry)| (entry.running > 0, entry.since, *id))
            .collect();
        let idlest = reserved.iter().min();
        if reserved.len() >= self.limits.reserved
            && let Some((_, _, idlest)) = idlest
            && let Some(entry) = self.entries.get_mut(idlest)
        {
            entry.is_reserved = false;
        }
        let has_room = self.limits.reserved > 0;
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.is_reserved = has_room;
        }
    }

    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }
}

/// The entry of one connection. Dropping it makes room.
#[derive(Debug)]
pub(super) struct Seat {
    id: u64,
    cut: CancellationToken,
    connections: Connections,
}

impl Seat {
    /// Ends when the connection has to give way to another one.
    pub(super) async fn cut(&self) {
        self.cut.cancelled().await;
    }

    /// Notes that a TLS handshake begins. Another one may have to give way.
    pub(super) fn handshake_begins(&self) {
        self.connections.table().handshake_begins(self.id);
    }

    /// Notes that there is no handshake any more.
    pub(super) fn handshake_ends(&self) {
        self.connections.table().handshake_ends(self.id);
    }

    /// What reserves the place of this connection.
    pub(super) fn reserve(&self) -> Reserve {
        Reserve {
            id: self.id,
            connections: self.connections.clone(),
        }
    }

    /// Notes that a request begins. It ends when what this returns is dropped.
    pub(super) fn begin(&self, is_stream: bool) -> Result<Running, TooManyStreams> {
        self.connections.table().begin(self.id, is_stream)?;
        Ok(Running {
            id: self.id,
            is_stream,
            connections: self.connections.clone(),
        })
    }
}

/// Reserves the place of a connection, for the response to whose request it is known.
#[derive(Debug, Clone)]
pub(super) struct Reserve {
    id: u64,
    connections: Connections,
}

impl Reserve {
    /// The connection does not give way any more: an administrator has called on it.
    pub(super) fn reserve(&self) {
        self.connections.table().reserve(self.id);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.connections.table().entries.remove(&self.id);
    }
}

/// A request whose response has not ended.
#[derive(Debug)]
pub(super) struct Running {
    id: u64,
    is_stream: bool,
    connections: Connections,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.connections.table().end(self.id, self.is_stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u8) -> Option<IpAddr> {
        let ip = IpAddr::from([10, 0, 0, n]);
        (!ip.is_unspecified()).then_some(ip)
    }

    fn is_cut(seat: &Seat) -> bool {
        seat.cut.is_cancelled()
    }

    fn full(connections: &Connections) -> Vec<Seat> {
        (0..8).map(|n| connections.enter(ip(n)).unwrap()).collect()
    }

    #[test]
    fn the_longest_idle_connection_gives_way() {
        let connections = Connections::new(10);
        let seats = full(&connections);
        let busy = seats[0].begin(false).unwrap();
        drop(seats[1].begin(false).unwrap());
        let _new = connections.enter(ip(9)).unwrap();
        assert!(is_cut(&seats[2]), "the first two did something since");
        drop(busy);
        let mut new = Vec::new();
        for (n, gone) in (10..).zip([3, 4, 5, 6, 7, 1]) {
            assert!(!is_cut(&seats[gone]));
            new.push(connections.enter(ip(n)).unwrap());
            assert!(is_cut(&seats[gone]), "{gone}");
        }
    }

    #[test]
    fn without_an_idle_one_the_longest_running_request_gives_way_and_streams_stay() {
        let connections = Connections::new(10);
        let seats = full(&connections);
        let _streams: Vec<_> = [0, 1].map(|n| seats[n].begin(true).unwrap()).into();
        let _busy: Vec<_> = (2..8)
            .rev()
            .map(|n| seats[n].begin(false).unwrap())
            .collect();
        let _new = connections.enter(ip(9)).unwrap();
        let cut: Vec<_> = (0..8).filter(|n| is_cut(&seats[*n])).collect();
        assert_eq!(cut, [7]);
    }

    #[test]
    fn one_address_gives_way_to_itself() {
        let connections = Connections::new(10);
        let other = connections.enter(ip(1)).unwrap();
        let mut own: Vec<_> = (0..6).map(|_| connections.enter(ip(2)).unwrap()).collect();
        for _ in 0..100 {
            own.push(connections.enter(ip(2)).unwrap());
        }
        assert!(!is_cut(&other));
        assert_eq!(own.iter().filter(|seat| !is_cut(seat)).count(), 6);
    }

    #[test]
    fn streams_are_limited_for_an_address_and_in_total_and_end() {
        let connections = Connections::new(10);
        let seats = full(&connections);
        let mut streams: Vec<_> = (0..2).map(|_| seats[0].begin(true).unwrap()).collect();
        let refused = seats[0].begin(true).unwrap_err();
        assert_eq!(refused, TooManyStreams { limit: 2 });
        assert!(seats[0].begin(false).is_ok(), "another request is served");
        streams.push(seats[1].begin(true).unwrap());
        streams.push(seats[2].begin(true).unwrap());
        let refused = seats[3].begin(true).unwrap_err();
        assert_eq!(refused, TooManyStreams { limit: 4 });
        streams.pop();
        assert!(seats[3].begin(true).is_ok());
    }

    #[test]
    fn with_the_fewest_descriptors_a_new_connection_still_gets_in() {
        let connections = Connections::new(6);
        let mut seats = Vec::new();
        for n in 0..4 {
            seats.push(connections.enter(ip(n)).unwrap());
        }
        let _streams: Vec<_> = seats.iter().map(|seat| seat.begin(true)).collect();
        assert!(connections.enter(ip(9)).is_some());
    }

    #[test]
    fn handshakes_under_way_have_a_limit_and_take_no_other_place() {
        let connections = Connections::new(66);
        let idle = connections.enter(ip(1)).unwrap();
        let shake_hands = |n| {
            let seat = connections.enter(ip(n)).unwrap();
            seat.handshake_begins();
            seat
        };
        let flood: Vec<_> = (0..1_000).map(|_| shake_hands(1)).collect();
        assert!(flood[..992].iter().all(is_cut), "the oldest of 8 is cut");
        assert!(!flood[992..].iter().any(is_cut) && !is_cut(&idle));
        let caller = shake_hands(2);
        let more: Vec<_> = (0..100).map(|_| shake_hands(1)).collect();
        assert!(!is_cut(&caller) && !is_cut(&idle));
        more[99].handshake_ends();
        let _one_more = shake_hands(1);
        assert!(!more[93..].iter().any(is_cut), "there was room again");
    }

    #[test]
    fn the_connections_of_administrators_stay() {
        let connections = Connections::new(10);
        let admin = connections.enter(ip(1)).unwrap();
        admin.reserve().reserve();
        let hostile: Vec<_> = (0..100)
            .map(|n| connections.enter(ip(n % 5)).unwrap())
            .collect();
        assert!(!is_cut(&admin));
        assert_eq!(hostile.iter().filter(|seat| !is_cut(seat)).count(), 7);
        // Only a quarter can be reserved: of three, the longest idle one gives way.
        hostile[99].reserve().reserve();
        hostile[98].reserve().reserve();
        let _more: Vec<_> = (0..20).map(|n| connections.enter(ip(n))).collect();
        assert!(is_cut(&admin));
        assert!(!is_cut(&hostile[99]) && !is_cut(&hostile[98]));
    }
}
