//! The work, who does it, and what Weldr is to reach with it.

use serde::Serialize;

use crate::{
    figures::Metric,
    roles::load::spec::Shape,
    target::{Against, Bound, Target, When},
    weldr::{Changes, Setup},
};

/// One kind of work.
#[derive(Debug)]
pub(crate) struct Scenario {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// What it is.
    pub(crate) about: &'static str,
    /// Connections of clients.
    pub(crate) connections: usize,
    /// What each of them does.
    pub(crate) shape: Shape,
    /// How fast.
    pub(crate) speed: Speed,
    /// Who does the work.
    pub(crate) field: Field,
    /// What it is about: the ratios in the table are of this.
    pub(crate) metric: Metric,
    /// What Weldr is to reach.
    pub(crate) targets: &'static [Target],
}

/// How fast requests come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Speed {
    /// As fast as they are completed.
    Full,
    /// At half of what the best of the peers can serve, measured first.
    HalfOfBestPeer,
}

/// Who takes turns.
#[derive(Debug)]
pub(crate) enum Field {
    /// The floor, Weldr, and the peers.
    Everyone,
    /// Weldr, set up in several ways.
    Variants(&'static [(&'static str, Setup)]),
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The label of Weldr beside others.
pub(crate) const WELDR: &str = "weldr";

const fn weldr(metric: Metric, against: Against, bound: Bound) -> Target {
    Target {
        of: WELDR,
        metric,
        against,
        bound,
        when: When::Always,
    }
}

const fn variant(of: &'static str, metric: Metric, than: &'static str, bound: Bound) -> Target {
    Target {
        of,
        metric,
        against: Against::Subject(than),
        bound,
        when: When::Always,
    }
}

const CPU_BELOW_BEST: &[Target] = &[weldr(
    Metric::CpuMicros,
    Against::BestPeer,
    Bound::AtMost(0.95),
)];

const fn everyone(
    name: &'static str,
    about: &'static str,
    connections: usize,
    shape: Shape,
    targets: &'static [Target],
) -> Scenario {
    Scenario {
        name,
        about,
        connections,
        shape,
        speed: Speed::Full,
        field: Field::Everyone,
        metric: Metric::CpuMicros,
        targets,
    }
}

const fn variants(
    name: &'static str,
    about: &'static str,
    variants: &'static [(&'static str, Setup)],
    targets: &'static [Target],
) -> Scenario {
    Scenario {
        field: Field::Variants(variants),
        ..everyone(name, about, 64, Shape::Download(128), targets)
    }
}

/// A pool whose servers come and go.
const COMING_AND_GOING: Setup = Setup {
    changes: Changes::Servers,
    ..Setup::DEFAULT
};

/// A pool whose servers are checked once a minute, so that 10,000 of them are not 2,000 checks a second.
const POOL: Setup = Setup {
    arguments: &["--check-interval", "1m"],
    ..Setup::DEFAULT
};

/// All there are.
pub(crate) const SCENARIOS: &[Scenario] = &[
    everyone(
        "keep-alive-128",
        "responses of 128 B on 64 kept connections",
        64,
        Shape::Download(128),
        &[
            weldr(Metric::CpuMicros, Against::Floor, Bound::AtMost(1.22)),
            weldr(Metric::CpuMicros, Against::BestPeer, Bound::AtMost(0.95)),
        ],
    ),
    everyone(
        "keep-alive-16k",
        "responses of 16 KiB on 64 kept connections",
        64,
        Shape::Download(16 * KIB),
        CPU_BELOW_BEST,
    ),
    everyone(
        "keep-alive-1m",
        "responses of 1 MiB on 16 kept connections",
        16,
        Shape::Download(MIB),
        CPU_BELOW_BEST,
    ),
    everyone(
        "upload-1m",
        "uploads of 1 MiB on 16 kept connections",
        16,
        Shape::Upload(MIB),
        CPU_BELOW_BEST,
    ),
    everyone(
        "new-connection",
        "responses of 128 B, each on a new connection, 64 at a time",
        64,
        Shape::Reconnect(128),
        &[weldr(
            Metric::CpuMicros,
            Against::BestPeer,
            Bound::AtMost(1.0),
        )],
    ),
    everyone(
        "connections-1",
        "responses of 128 B on one kept connection",
        1,
        Shape::Download(128),
        &[],
    ),
    everyone(
        "connections-1000",
        "responses of 128 B on 1,000 kept connections",
        1000,
        Shape::Download(128),
        &[],
    ),
    everyone(
        "websocket",
        "messages of 128 B echoed over 64 WebSockets",
        64,
        Shape::Echo(128),
        &[],
    ),
    Scenario {
        metric: Metric::IdleConnectionBytes,
        ..everyone(
            "idle-5000",
            "5,000 connections that asked once and do nothing",
            5000,
            Shape::Idle,
            &[weldr(
                Metric::IdleConnectionBytes,
                Against::Itself,
                Bound::AtMost(2048.0),
            )],
        )
    },
    Scenario {
        metric: Metric::MemoryBytes,
        ..everyone(
            "streams-memory",
            "memory under 64 streams of 1 MiB",
            64,
            Shape::Download(MIB),
            &[weldr(
                Metric::MemoryBytes,
                Against::BestPeer,
                Bound::AtMost(1.0),
            )],
        )
    },
    Scenario {
        speed: Speed::HalfOfBestPeer,
        metric: Metric::P99Micros,
        ..everyone(
            "half-load",
            "responses of 128 B at half of the best peer's rate; latency counts from when a request is due",
            64,
            Shape::Download(128),
            &[weldr(
                Metric::P99Micros,
                Against::BestPeer,
                Bound::AtMost(1.0),
            )],
        )
    },
    variants(
        "pool-size",
        "keep-alive-128 with 1, 100 and 10,000 servers, all in use, checked once a minute",
        &[
            ("1 server", POOL),
            (
                "100 servers",
                Setup {
                    servers: 100,
                    ..POOL
                },
            ),
            (
                "10000 servers",
                Setup {
                    servers: 10_000,
                    ..POOL
                },
            ),
        ],
        &[variant(
            "10000 servers",
            Metric::CpuMicros,
            "1 server",
            Bound::AtMost(1.03),
        )],
    ),
    variants(
        "pool-changes",
        "keep-alive-128 while the pool is changed 100 times a second: weights, or 50 servers that each stay for a second",
        &[
            ("no change", Setup::DEFAULT),
            (
                "as many servers",
                Setup {
                    servers: COMING_AND_GOING.at_first(),
                    ..Setup::DEFAULT
                },
            ),
            (
                "100 new weights/s",
                Setup {
                    changes: Changes::Weights,
                    ..Setup::DEFAULT
                },
            ),
            ("50 added and removed/s", COMING_AND_GOING),
        ],
        &[
            variant(
                "100 new weights/s",
                Metric::CpuMicros,
                "no change",
                Bound::AtMost(1.03),
            ),
            variant(
                "50 added and removed/s",
                Metric::CpuMicros,
                "no change",
                Bound::AtMost(1.03),
            ),
        ],
    ),
    variants(
        "two-workers",
        "keep-alive-128 with one worker and with two",
        &[
            ("1 worker", Setup::DEFAULT),
            (
                "2 workers",
                Setup {
                    workers: 2,
                    ..Setup::DEFAULT
                },
            ),
        ],
        &[
            Target {
                when: When::LoadHasACore,
                ..variant(
                    "2 workers",
                    Metric::RequestsPerSecond,
                    "1 worker",
                    Bound::AtLeast(1.9),
                )
            },
            Target {
                when: When::LoadHasNoCore,
                ..variant(
                    "2 workers",
                    Metric::CpuMicros,
                    "1 worker",
                    Bound::AtMost(1.05),
                )
            },
        ],
    ),
    variants(
        "access-log",
        "keep-alive-128 with the JSON access log and without",
        &[
            ("no access log", Setup::DEFAULT),
            (
                "JSON access log",
                Setup {
                    access_log: true,
                    ..Setup::DEFAULT
                },
            ),
        ],
        &[variant(
            "JSON access log",
            Metric::CpuMicros,
            "no access log",
            Bound::AtMost(1.10),
        )],
    ),
];

/// The scenario of this name.
pub(crate) fn named(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Field, SCENARIOS, WELDR};
    use crate::target::Against;

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), SCENARIOS.len());
    }

    #[test]
    fn targets_name_participants() {
        for scenario in SCENARIOS {
            let labels = match scenario.field {
                Field::Everyone => vec![WELDR],
                Field::Variants(variants) => variants.iter().map(|(label, _)| *label).collect(),
            };
            for target in scenario.targets {
                assert!(labels.contains(&target.of), "{}", scenario.name);
                if let Against::Subject(label) = target.against {
                    assert!(labels.contains(&label), "{}", scenario.name);
                }
            }
        }
    }
}
