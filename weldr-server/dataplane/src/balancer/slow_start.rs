//! Slow start: a server that has become healthy gets a share of the requests that grows, so that its caches, connections
//! and compilers are warm before it has its whole share.
//!
//! A server that is chosen takes the request with a probability that grows from a tenth to one, else the next one is asked.
//! So it works with each algorithm, and needs no state but the time since the server became healthy. If all servers start
//! at once, each gets its share from the begin.

use std::time::Duration;

/// The share at the begin.
const FIRST: f64 = 0.1;

/// The probability with which a server takes a request, `since` it has become healthy.
pub fn share(since: Duration, slow_start: Duration) -> f64 {
    if since >= slow_start {
        return 1.0;
    }
    let passed = since.as_secs_f64() / slow_start.as_secs_f64();
    FIRST + (1.0 - FIRST) * passed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_grows_from_a_tenth_to_all() {
        let minute = Duration::from_mins(1);
        let after = |seconds| share(Duration::from_secs(seconds), minute);
        assert!((after(0) - 0.1).abs() < 1e-9);
        assert!((after(30) - 0.55).abs() < 1e-9);
        assert!(after(59) < 1.0);
        for seconds in [60, 61, 100_000] {
            assert!((after(seconds) - 1.0).abs() < 1e-9);
        }
        assert!(
            (share(Duration::ZERO, Duration::ZERO) - 1.0).abs() < 1e-9,
            "switched off"
        );
    }
}
