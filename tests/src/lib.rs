//! The test harness of Weldr: what an integration test needs around the proxy that it looks at.
//!
//! * [`origin`]: a scripted server behind the proxy, which records what reaches it.
//! * [`raw`]: a client that sees bytes, and [`http1`], its strict reader of HTTP/1.1.
//! * [`load`]: keep-alive clients that count what failed while something else happens.
//! * [`node`]: a Weldr node in this process. [`daemon`]: the same of the real binary. [`process`]: any of
//!   the real binaries, on a terminal too.
//! * [`cluster`]: several of them, and [`relay`], the network between them, which can be cut.
//! * [`chaos`]: a cluster that is harmed at random, and [`linearizable`], the judge of what its clients see.
//! * [`wait`]: the only place where a test waits for time to pass.
//! * [`address_cluster`]: a cluster behind a virtual address, and [`address_clients`], who use that.
//! * [`netns`]: machines on a switch, made of network namespaces, for root.
//! * [`document`]: the commands of a page of the documentation, and [`site`], the machines on which they are run.
//! * [`soak`]: many requests, each accounted for. [`account`]: the table of that. [`stalled`]: bodies that do not move.
//! * [`conformance`]: the judge of HTTP/1.1, its tables of cases and what runs them.
//! * [`faults`]: a link that resets, cuts, delays and corrupts.
//! * [`machine_faults`]: a disk that freezes and a clock that is wrong.
//! * [`fuzz`]: the cases of the tables, changed at random.
//! * [`greeter`]: the paths that the `test-server` binary serves.
//! * [`print`](mod@print): what the binaries print.
//!
//! Everything listens on port 0 of the loopback interface, and everything that waits has a bound: a test
//! fails with a sentence, it does not hang.
//!
//! The harness panics where a test would: a broken expectation is its way to say so.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a harness fails a test by panicking"
)]

pub mod account;
pub mod address_clients;
pub mod address_cluster;
pub mod chaos;
pub mod cluster;
pub mod conformance;
pub mod daemon;
pub mod data_plane;
pub mod document;
pub mod faults;
pub mod fuzz;
pub mod greeter;
pub mod hostile;
pub mod http1;
pub mod linearizable;
pub mod load;
pub mod machine_faults;
pub mod netns;
pub mod node;
pub mod origin;
pub mod other_proxy;
pub mod pebble;
pub mod print;
pub mod process;
pub mod prometheus;
pub mod raw;
pub mod relay;
pub mod serve;
pub mod site;
pub mod small_disk;
pub mod soak;
pub mod stalled;
pub mod tls;
pub mod wait;

mod terminal;
