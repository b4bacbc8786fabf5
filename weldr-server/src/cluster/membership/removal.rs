//! Whether a node may be removed. Pure.

use std::fmt;

/// A voter, as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cluster) struct Voter {
    pub(in crate::cluster) id: u64,
    pub(in crate::cluster) name: String,
    /// Whether the leader heard from it just now.
    pub(in crate::cluster) responds: bool,
}

/// The removal of a node would leave a cluster without a quorum.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", Sentence(self))]
pub(in crate::cluster) struct NoQuorumLeft {
    /// The node to remove.
    name: String,
    /// The voters that would remain and respond.
    responding: Vec<String>,
    /// The voters that would remain and do not respond.
    silent: Vec<String>,
    /// The silent voters that have to be removed first, so that the node can be removed after them.
    first: Vec<String>,
}

/// Checks that a majority of the voters responds after the removal of the node with this id. A node that does not vote can
/// always be removed.
pub(in crate::cluster) fn check(voters: &[Voter], id: u64) -> Result<(), NoQuorumLeft> {
    let Some(removed) = voters.iter().find(|voter| voter.id == id) else {
        return Ok(());
    };
    let remaining = voters.iter().filter(|voter| voter.id != id);
    let (responding, silent): (Vec<&Voter>, Vec<&Voter>) =
        remaining.partition(|voter| voter.responds);
    let is_quorum = |silent: usize| responding.len() > silent;
    if is_quorum(silent.len()) {
        return Ok(());
    }
    let excess = silent.len() + 1 - responding.len();
    let names = |voters: &[&Voter]| voters.iter().map(|voter| voter.name.clone()).collect();
    Err(NoQuorumLeft {
        name: removed.name.clone(),
        responding: names(&responding),
        silent: names(&silent),
        first: names(&silent[..excess.min(silent.len())]),
    })
}

struct Sentence<'a>(&'a NoQuorumLeft);

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NoQuorumLeft {
            name,
            responding,
            silent,
            first,
        } = self.0;
        let (all, alive) = (responding.len() + silent.len(), responding.len());
        write!(
            f,
            "{name} is not removed: {} would remain, and {} not respond, so there would be no quorum ({alive} of {all}) \
             and nothing could be changed any more. ",
            List(&[&responding[..], &silent[..]].concat()),
            Subject(silent),
        )?;
        if responding.is_empty() {
            return write!(f, "Start {} first", List(silent));
        }
        let is_are = if first.len() == 1 { "is" } else { "are" };
        write!(
            f,
            "Remove {} first, which {is_are} down (weldrctl cluster remove {}), or start {} again; --force removes \
             {name} all the same",
            List(first),
            first[0],
            if first.len() == 1 { "it" } else { "them" },
        )
    }
}

/// `a does`, `a and b do`.
struct Subject<'a>(&'a [String]);

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.0.len() == 1 { "does" } else { "do" };
        write!(f, "{} {verb}", List(self.0))
    }
}

/// `a`, `a and b`, `a, b and c`.
struct List<'a>(&'a [String]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            let separator = match index {
                0 => "",
                _ if index + 1 == self.0.len() => " and ",
                _ => ", ",
            };
            write!(f, "{separator}{name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The voters by name; those in upper case do not respond.
    fn voters(names: &str) -> Vec<Voter> {
        let voter = |name: char| Voter {
            id: u64::from(name.to_ascii_lowercase()),
            name: name.to_ascii_lowercase().to_string(),
            responds: name.is_ascii_lowercase(),
        };
        names.chars().map(voter).collect()
    }

    fn removes(names: &str, removed: char) -> bool {
        check(&voters(names), u64::from(removed)).is_ok()
    }

    #[test]
    fn what_leaves_a_quorum_is_removed() {
        for (names, removed) in [
            ("abc", 'b'),
            ("abC", 'c'),
            ("ab", 'b'),
            ("abcDE", 'd'),
            ("abcdE", 'e'),
            ("abcdE", 'd'),
            ("a", 'x'),
            ("abC", 'x'),
        ] {
            assert!(removes(names, removed), "{removed} of {names}");
        }
    }

    #[test]
    fn what_leaves_no_quorum_is_not() {
        for (names, removed) in [("abC", 'b'), ("abcDE", 'c'), ("abcDEF", 'c')] {
            assert!(!removes(names, removed), "{removed} of {names}");
        }
    }

    #[test]
    fn the_order_that_works_is_told() {
        let refused = check(&voters("abC"), u64::from('b')).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "b is not removed: a and c would remain, and c does not respond, so there would be no quorum (1 of 2) and \
             nothing could be changed any more. Remove c first, which is down (weldrctl cluster remove c), or start it \
             again; --force removes b all the same"
        );
    }

    #[test]
    fn removing_in_the_order_that_is_told_works() {
        for (names, removed) in [("abC", 'b'), ("abcDE", 'c'), ("abcDEF", 'c')] {
            let mut left = voters(names);
            let refused = check(&left, u64::from(removed)).unwrap_err();
            for name in &refused.first {
                let dead = left.iter().position(|voter| voter.name == *name).unwrap();
                left.remove(dead);
            }
            assert_eq!(check(&left, u64::from(removed)), Ok(()), "{names}");
        }
    }
}
