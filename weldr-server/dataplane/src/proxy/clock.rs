//! The time of day, as HTTP writes it.

use std::{
    cell::Cell,
    io::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::clock::dates;

/// An IMF-fixdate: RFC 9110, section 5.6.7.
pub(super) type HttpDate = [u8; 29];

/// Writes each second once.
#[derive(Debug)]
pub(super) struct Clock(Cell<(u64, HttpDate)>);

impl Default for Clock {
    fn default() -> Self {
        Self(Cell::new((0, written(UNIX_EPOCH))))
    }
}

impl Clock {
    /// Now.
    pub(super) fn date(&self) -> HttpDate {
        self.now().1
    }

    /// Now, and that as a date.
    pub(super) fn now(&self) -> (SystemTime, HttpDate) {
        let now = SystemTime::now();
        let second = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let (last, mut date) = self.0.get();
        if second != last {
            date = written(now);
            self.0.set((second, date));
        }
        (now, date)
    }
}

fn written(time: SystemTime) -> HttpDate {
    let mut date = [b' '; 29];
    let time = dates::writable(time);
    // Writing a date of that length to an array of its length cannot fail.
    let _ = write!(&mut date[..], "{}", httpdate::HttpDate::from(time));
    date
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_date_is_as_http_has_it() {
        let time = UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(&written(time), b"Sun, 06 Nov 1994 08:49:37 GMT");
    }

    /// The clock of a machine may be set to anything.
    #[test]
    fn a_date_that_cannot_be_written_is_the_nearest_that_can() {
        let before_1970 = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(&written(before_1970), b"Thu, 01 Jan 1970 00:00:00 GMT");
        let year_10000 = UNIX_EPOCH + Duration::from_hours(70_389_528);
        assert_eq!(&written(year_10000), b"Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn the_clock_shows_the_time() {
        let clock = Clock::default();
        let before = SystemTime::now() - Duration::from_secs(1);
        let date = String::from_utf8(clock.date().to_vec()).unwrap();
        assert!(httpdate::parse_http_date(&date).unwrap() >= before - Duration::from_secs(1));
    }
}
