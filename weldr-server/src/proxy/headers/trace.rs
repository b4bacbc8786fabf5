//! The ids that a request can be followed by: `X-Request-Id` and `traceparent` (W3C Trace Context, level 1).

/// The ids for a request that has none; both from one number, so that logs of both kinds meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) struct Ids {
    trace: u128,
    parent: u64,
}

impl Ids {
    /// Made of random numbers; zero is not an id.
    pub(in crate::proxy) fn new(trace: u128, parent: u64) -> Self {
        Self {
            trace: trace.max(1),
            parent: parent.max(1),
        }
    }

    /// As `X-Request-Id`.
    pub(in crate::proxy) fn request_id(&self) -> [u8; 32] {
        hex(self.trace)
    }

    /// As `traceparent`, and not sampled: nothing is recorded here.
    pub(super) fn traceparent(&self) -> [u8; 55] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        text[3..35].copy_from_slice(&hex::<32>(self.trace));
        text[36..52].copy_from_slice(&hex::<16>(u128::from(self.parent)));
        text
    }
}

fn hex<const DIGITS: usize>(mut number: u128) -> [u8; DIGITS] {
    let mut digits = [0; DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
    digits
}

/// An id that may be passed on and written into logs: visible characters, and not many.
pub(super) fn is_request_id(value: &[u8]) -> bool {
    (1..=128).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic)
}

/// `version "-" trace-id "-" parent-id "-" flags`; a later version may say more behind them.
pub(super) fn is_traceparent(value: &[u8]) -> bool {
    const LENGTH: usize = 55;
    let Some((known, more)) = value.split_at_checked(LENGTH) else {
        return false;
    };
    let version = &known[..2];
    let is_hex = |part: &[u8]| {
        part.iter()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte))
    };
    let is_zero = |part: &[u8]| part.iter().all(|&byte| byte == b'0');
    let (trace, parent, flags) = (&known[3..35], &known[36..52], &known[53..]);
    [2, 35, 52].iter().all(|&at| known[at] == b'-')
        && [version, trace, parent, flags].into_iter().all(is_hex)
        && version != b"ff"
        && !is_zero(trace)
        && !is_zero(parent)
        && (more.is_empty() || (version != b"00" && more[0] == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_valid() {
        for ids in [
            Ids::new(0, 0),
            Ids::new(u128::MAX, u64::MAX),
            Ids::new(7, 9),
        ] {
            assert!(is_traceparent(&ids.traceparent()));
            assert!(is_request_id(&ids.request_id()));
            assert_eq!(ids.traceparent()[3..35], ids.request_id());
        }
    }

    #[test]
    fn other_traceparents_are_not_passed_on() {
        let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(is_traceparent(valid.as_bytes()));
        assert!(is_traceparent(valid.replacen("00", "01", 1).as_bytes()));
        assert!(is_traceparent(
            format!("{}-x", valid.replacen("00", "01", 1)).as_bytes()
        ));
        for invalid in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            assert!(!is_traceparent(invalid.as_bytes()), "{invalid}");
        }
    }
}
