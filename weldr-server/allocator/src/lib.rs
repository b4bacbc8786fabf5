//! The allocator of Weldr's processes, and how soon it gives memory back.
//!
//! A crate of its own because setting an option of the allocator is the one thing in Weldr that Rust cannot check.

use std::{ffi::c_long, time::Duration};

use libmimalloc_sys::{mi_option_set, mi_option_t};
pub use mimalloc::MiMalloc as Allocator;

/// `mi_option_purge_delay` of `mimalloc.h`, which the bindings do not name.
const PURGE_DELAY: mi_option_t = 15;

/// Has memory that was freed go back to the system after `delay`, in whole milliseconds, instead of a second.
///
/// It goes when memory is next asked for or freed: a process that does nothing keeps what it had last. To be called
/// before the process has a second thread.
pub fn give_back_after(delay: Duration) {
    let millis = c_long::try_from(delay.as_millis()).unwrap_or(c_long::MAX);
    // SAFETY: the option exists, and takes any number; nobody else sets or reads options while there is one thread.
    #[expect(unsafe_code, reason = "mimalloc has no safe way to set an option")]
    unsafe {
        mi_option_set(PURGE_DELAY, millis);
    }
}

#[cfg(test)]
mod tests {
    use libmimalloc_sys::mi_option_get;

    use super::*;

    fn delay() -> c_long {
        // SAFETY: as above; the only test here.
        #[expect(unsafe_code, reason = "mimalloc has no safe way to read an option")]
        unsafe {
            mi_option_get(PURGE_DELAY)
        }
    }

    /// A new version of mimalloc may count its options differently.
    #[test]
    fn the_option_is_the_one_that_is_meant() {
        assert_eq!(
            delay(),
            1000,
            "its default, unless MIMALLOC_PURGE_DELAY is set"
        );
        give_back_after(Duration::from_millis(10));
        assert_eq!(delay(), 10);
    }
}
