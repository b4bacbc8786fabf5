//! The ids by which a request can be traced: `X-Request-Id` and `traceparent` (W3C Trace Context, level 1).

use std::ops::Range;

use crate::http1::Span;

/// The ids for a request that has none; both made from one number, so that logs with either id can be matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) struct Ids {
    trace: u128,
    parent: u64,
}

impl Ids {
    /// Makes the ids from random numbers; zero is not a valid id.
    pub(in crate::proxy) fn new(trace: u128, parent: u64) -> Self {
        Self {
            trace: trace.max(1),
            parent: parent.max(1),
        }
    }

    /// The digits of the trace id.
    pub(super) fn trace_digits(&self) -> [u8; 32] {
        #[expect(clippy::cast_possible_truncation, reason = "its lower half")]
        let halves = [(self.trace >> 64) as u64, self.trace as u64];
        let mut digits = [0; 32];
        for (digits, half) in digits.chunks_exact_mut(16).zip(halves) {
            digits.copy_from_slice(hex(half).as_flattened());
        }
        digits
    }

    /// Appends the field `X-Request-Id` with the digits of the trace id, and gives where its value is.
    pub(super) fn write_request_id(out: &mut Vec<u8>, trace_digits: &[u8; 32]) -> Span {
        const ID: Range<usize> = 14..46;
        let place = out.len();
        let mut line = *b"X-Request-Id: 00000000000000000000000000000000\r\n";
        line[ID].copy_from_slice(trace_digits);
        out.extend_from_slice(&line);
        Span::new(place + ID.start, place + ID.end)
    }

    /// Appends the field `traceparent`, which is not sampled: nothing is recorded here. Gives where its value is.
    pub(super) fn write_traceparent(&self, out: &mut Vec<u8>, trace_digits: &[u8; 32]) -> Span {
        const VALUE: Range<usize> = 13..68;
        let place = out.len();
        let mut line = *b"traceparent: 00-00000000000000000000000000000000-0000000000000000-00\r\n";
        line[16..48].copy_from_slice(trace_digits);
        line[49..65].copy_from_slice(hex(self.parent).as_flattened());
        out.extend_from_slice(&line);
        Span::new(place + VALUE.start, place + VALUE.end)
    }
}

/// The digits of a number, those of its upper half first. Eight at a time, and not one by one: there are eighty of them
/// for a request.
fn hex(number: u64) -> [[u8; 8]; 2] {
    [number >> 32, number & 0xffff_ffff].map(|half| {
        let half = (half | half << 16) & 0x0000_ffff_0000_ffff;
        let half = (half | half << 8) & 0x00ff_00ff_00ff_00ff;
        let nibbles = (half | half << 4) & 0x0f0f_0f0f_0f0f_0f0f;
        let is_letter = ((nibbles + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
        let letters = is_letter * u64::from(b'a' - b'0' - 10);
        (nibbles + 0x3030_3030_3030_3030 + letters).to_be_bytes()
    })
}

/// An id that may be passed on and written into logs: visible characters, and not many.
pub(super) fn is_request_id(value: &[u8]) -> bool {
    (1..=128).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic)
}

/// `version "-" trace-id "-" parent-id "-" flags`; a later version may have more after them.
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
    fn generated_ids_are_valid() {
        for (trace, parent) in [
            (0, 0),
            (u128::MAX, u64::MAX),
            (0x0123_4567_89ab_cdef_fedc_ba98_7654_3210, 0x90a),
        ] {
            let (mut id, mut both) = (Vec::new(), Vec::new());
            let ids = Ids::new(trace, parent);
            Ids::write_request_id(&mut id, &ids.trace_digits());
            ids.write_traceparent(&mut both, &ids.trace_digits());
            let (trace, parent) = (trace.max(1), parent.max(1));
            assert_eq!(
                String::from_utf8(id).unwrap(),
                format!("X-Request-Id: {trace:032x}\r\n")
            );
            let traceparent = format!("00-{trace:032x}-{parent:016x}-00");
            assert!(is_traceparent(traceparent.as_bytes()));
            assert_eq!(
                String::from_utf8(both).unwrap(),
                format!("traceparent: {traceparent}\r\n")
            );
        }
    }

    #[test]
    fn invalid_traceparents_are_replaced() {
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
