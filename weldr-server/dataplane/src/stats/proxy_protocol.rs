//! Connections that were refused for want of a header of the PROXY protocol.

use super::Counter;

/// Why a connection to a listener that requires a header was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProxyProtocolRefusal {
    /// The peer is in none of the networks that may name clients.
    NotAllowed,
    /// It does not begin with a header.
    Missing,
    /// Its header is not accepted.
    Invalid,
    /// The header was not complete in time.
    Timeout,
    /// The connection ended before the header was complete.
    Closed,
}

/// How many connections were refused, by reason.
pub type ProxyProtocolTotals = [u64; ProxyProtocolRefusal::ALL.len()];

impl ProxyProtocolRefusal {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 5] = [
        Self::NotAllowed,
        Self::Missing,
        Self::Invalid,
        Self::Timeout,
        Self::Closed,
    ];

    /// The name in the statistics and in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotAllowed => "not_allowed",
            Self::Missing => "missing",
            Self::Invalid => "invalid",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
        }
    }
}

/// One worker's counters of refused connections.
#[derive(Debug, Default)]
pub struct ProxyProtocolRefusals([Counter; ProxyProtocolRefusal::ALL.len()]);

impl ProxyProtocolRefusals {
    /// Counts one.
    pub fn refused(&self, reason: ProxyProtocolRefusal) {
        self.0[reason as usize].add(1);
    }

    /// How many there were, by reason.
    pub fn get(&self) -> ProxyProtocolTotals {
        std::array::from_fn(|index| self.0[index].get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_under_their_own_reason() {
        for (index, reason) in ProxyProtocolRefusal::ALL.into_iter().enumerate() {
            let refusals = ProxyProtocolRefusals::default();
            refusals.refused(reason);
            let expected = std::array::from_fn(|other| u64::from(other == index));
            assert_eq!(refusals.get(), expected, "{}", reason.name());
        }
    }
}
