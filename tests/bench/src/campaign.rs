//! A whole run: who is there, and who has a turn when.

use std::{
    io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde::Serialize;

use crate::{
    args::{Binaries, Options},
    figures::Metric,
    machine::Cores,
    peers::{self, PEERS, Peer},
    print::complain,
    results::{Results, Row},
    roles::load::spec::{Pace, Shape, Until},
    scenario::{self, Field, SCENARIOS, Scenario, Speed, WELDR},
    turn::{self, Proxy, Subject, Work},
    weldr::{self, Setup, WeldrError},
};

/// Descriptors of the busiest process: a proxy with 10,000 servers and a connection to each, or a bare forwarder
/// with 5,000 clients, and some.
const DESCRIPTORS: u64 = 16_384;

/// How long a turn is counted, in seconds: short, because a machine that changes its speed within a round spoils the
/// round.
const SECONDS: u64 = 1;

/// Why there is no run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CampaignError {
    /// No such scenario.
    #[error("there is no scenario {0:?}; --list names those that there are")]
    NoSuchScenario(String),
    /// No such peer.
    #[error(
        "there is no peer {0:?}; nginx, haproxy, caddy, envoy, sozu and pingora are known, or none"
    )]
    NoSuchPeer(String),
    /// Weldr is not there.
    #[error(transparent)]
    Weldr(#[from] WeldrError),
    /// The machine cannot be asked.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A peer that is here.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Installed {
    /// What it is called.
    pub(crate) name: &'static str,
    /// What it says of itself.
    pub(crate) version: String,
    #[serde(skip)]
    peer: &'static Peer,
    #[serde(skip)]
    binary: PathBuf,
}

/// What was asked for, and what there is.
#[derive(Debug)]
pub(crate) struct Campaign {
    /// What runs.
    pub(crate) scenarios: Vec<&'static Scenario>,
    /// Turns of each.
    pub(crate) rounds: u32,
    /// How long each turn is counted.
    pub(crate) counted: Duration,
    /// How long each turn warms up.
    pub(crate) warm_up: Duration,
    /// Who does what.
    pub(crate) cores: Cores,
    /// Descriptors that a process may have.
    pub(crate) descriptors: u64,
    /// Peers that are here.
    pub(crate) peers: Vec<Installed>,
    /// Peers that are not, and how to get them.
    pub(crate) missing: Vec<(&'static str, &'static str)>,
    weldr: PathBuf,
    has_access_log: bool,
}

impl Campaign {
    /// Looks around; builds Weldr.
    pub(crate) fn prepare(options: &Options) -> Result<Self, CampaignError> {
        let scenarios = scenarios(&options.scenarios)?;
        let (peers, missing) = find_peers(options.peers.as_deref(), &options.binaries)?;
        let weldr = weldr::binary(options.binaries.weldr.as_deref())?;
        let (rounds, warm_up) = if options.quick { (3, 300) } else { (15, 1000) };
        Ok(Self {
            scenarios,
            rounds: options.rounds.unwrap_or(rounds),
            counted: Duration::from_secs(options.seconds.unwrap_or(SECONDS)),
            warm_up: Duration::from_millis(warm_up),
            cores: Cores::of_this_machine()?,
            descriptors: crate::machine::raise_descriptor_limit(DESCRIPTORS),
            peers,
            missing,
            has_access_log: weldr::has_access_log(&weldr)?,
            weldr,
        })
    }

    /// Why a scenario cannot run here.
    pub(crate) fn obstacle(&self, scenario: &Scenario) -> Option<String> {
        let Field::Variants(variants) = scenario.field else {
            return None;
        };
        if variants.iter().any(|(_, setup)| setup.access_log) && !self.has_access_log {
            return Some("this weldr has no --access-log-file".to_owned());
        }
        let servers = variants.iter().map(|(_, setup)| setup.servers).max()?;
        let needed = servers as u64 + 1000;
        (needed > self.descriptors).then(|| {
            format!(
                "it needs {needed} descriptors a process and may have {} (ulimit -n)",
                self.descriptors
            )
        })
    }

    /// About how long all of it takes.
    pub(crate) fn duration(&self) -> Duration {
        let turn = self.warm_up + self.counted + Duration::from_millis(500);
        let turns = |scenario: &&Scenario| match scenario.field {
            Field::Everyone => 2 + self.peers.len(),
            Field::Variants(variants) => variants.len(),
        };
        let turns: usize = self.scenarios.iter().map(turns).sum();
        turn * self.rounds * u32::try_from(turns).unwrap_or(u32::MAX)
    }

    /// Runs one scenario: everyone in turn, round after round.
    pub(crate) async fn run(&self, scenario: &Scenario) -> Results {
        let subjects = self.subjects(scenario);
        let pace = self.pace(scenario, &subjects).await;
        let work = self.work(scenario, pace);
        let mut rows: Vec<Row> = subjects
            .iter()
            .map(|subject| Row {
                label: subject.label.clone(),
                kind: subject.proxy.kind(),
                samples: Vec::new(),
                failures: 0,
                trouble: None,
            })
            .collect();
        for round in 0..self.rounds as usize {
            for (subject, row) in subjects.iter().zip(&mut rows) {
                // Who failed once has no further turn: its rounds would not be those of the others.
                if row.samples.len() == round {
                    self.take_turn(scenario, subject, work, row).await;
                }
            }
        }
        Results::new(scenario.name, scenario.metric, rows)
    }

    async fn take_turn(&self, scenario: &Scenario, subject: &Subject, work: Work, row: &mut Row) {
        let turn = row.samples.len() + 1;
        complain!(
            "{} {turn}/{}: {}",
            scenario.name,
            self.rounds,
            subject.label
        );
        match turn::take(&subject.proxy, work, &self.cores).await {
            Ok(taken) => {
                row.samples.push(taken.sample);
                row.failures += taken.failures;
                row.trouble = row.trouble.take().or(taken.failure);
            }
            Err(error) => {
                complain!("{} is out: {error}", subject.label);
                row.trouble = Some(error.to_string());
            }
        }
    }

    fn work(&self, scenario: &Scenario, pace: Pace) -> Work {
        Work {
            connections: scenario.connections,
            shape: scenario.shape,
            pace,
            warm_up: self.warm_up,
            until: Until::Elapsed(self.counted),
        }
    }

    /// At half load: half of what the best peer responses when it is asked as fast as it responses.
    async fn pace(&self, scenario: &Scenario, subjects: &[Subject]) -> Pace {
        if scenario.speed == Speed::Full {
            return Pace::Closed;
        }
        let has_peers = !self.peers.is_empty();
        let mut best: f64 = 0.0;
        for subject in subjects {
            if matches!(subject.proxy, Proxy::Peer(..)) || (subject.label == WELDR && !has_peers) {
                complain!("{}, how fast: {}", scenario.name, subject.label);
                let work = self.work(scenario, Pace::Closed);
                if let Ok(taken) = turn::take(&subject.proxy, work, &self.cores).await {
                    let rate = taken.sample.get(&Metric::RequestsPerSecond);
                    best = best.max(rate.copied().unwrap_or_default());
                }
            }
        }
        complain!("{}: {:.0} requests/s", scenario.name, best / 2.0);
        Pace::Rate((best / 2.0).max(1.0))
    }

    fn subjects(&self, scenario: &Scenario) -> Vec<Subject> {
        let weldr = |label: &str, setup| Subject {
            label: label.to_owned(),
            proxy: Proxy::Weldr(setup, self.weldr.clone()),
        };
        match scenario.field {
            Field::Variants(variants) => variants
                .iter()
                .map(|(label, setup)| weldr(label, *setup))
                .collect(),
            Field::Everyone => {
                let floor = Subject {
                    label: "floor".to_owned(),
                    proxy: Proxy::Floor,
                };
                let peers = self.peers.iter().map(|installed| Subject {
                    label: installed.name.to_owned(),
                    proxy: Proxy::Peer(installed.peer, installed.binary.clone()),
                });
                [floor, weldr(WELDR, Setup::DEFAULT)]
                    .into_iter()
                    .chain(peers)
                    .collect()
            }
        }
    }

    /// What this Weldr says of itself.
    pub(crate) fn weldr_version(&self) -> String {
        version(&self.weldr, "--version")
    }
}

fn scenarios(names: &[String]) -> Result<Vec<&'static Scenario>, CampaignError> {
    if names.is_empty() {
        return Ok(SCENARIOS.iter().collect());
    }
    let find = |name: &String| {
        scenario::named(name).ok_or_else(|| CampaignError::NoSuchScenario(name.clone()))
    };
    names.iter().map(find).collect()
}

type Found = (Vec<Installed>, Vec<(&'static str, &'static str)>);

fn find_peers(wanted: Option<&[String]>, binaries: &Binaries) -> Result<Found, CampaignError> {
    let wanted: Vec<&Peer> = match wanted {
        None => PEERS.iter().collect(),
        Some([none]) if none == "none" => Vec::new(),
        Some(names) => names
            .iter()
            .map(|name| peers::named(name).ok_or_else(|| CampaignError::NoSuchPeer(name.clone())))
            .collect::<Result<_, _>>()?,
    };
    let (mut installed, mut missing) = (Vec::new(), Vec::new());
    for peer in PEERS
        .iter()
        .filter(|peer| wanted.iter().any(|one| one.name == peer.name))
    {
        let named = binaries.of(peer.name).map(PathBuf::as_path);
        match peer.find(named) {
            None => missing.push((peer.name, peer.install)),
            Some(binary) => installed.push(Installed {
                name: peer.name,
                version: version(&binary, peer.version),
                peer,
                binary,
            }),
        }
    }
    Ok((installed, missing))
}

/// The first line that a binary says of itself, on whatever output.
fn version(binary: &Path, argument: &str) -> String {
    if argument.is_empty() {
        return String::new();
    }
    let Ok(said) = Command::new(binary).arg(argument).output() else {
        return String::new();
    };
    let text = [said.stdout, said.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.next().unwrap_or_default().to_owned()
}

/// The load of a turn in which requests are counted and nothing else.
pub(crate) fn counted_requests(count: u64) -> Work {
    Work {
        connections: 1,
        shape: Shape::Download(128),
        pace: Pace::Closed,
        warm_up: Duration::ZERO,
        until: Until::Requests(count),
    }
}
