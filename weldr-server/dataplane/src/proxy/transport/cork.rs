//! Whether the kernel may hold bytes back.

/// Whether the kernel may hold bytes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Cork {
    /// The bytes are sent at once.
    Off,
    /// The bytes may wait for others, which must follow at once.
    UntilMore,
    /// The bytes may wait for the end of this side, which must follow at once: both are then one packet. Without it they
    /// would wait for 200 ms.
    UntilFinish,
}
