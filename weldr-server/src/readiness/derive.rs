//! From what is observed to whether the node is ready. Pure.

use super::{Code, Status};

/// What is observed of a node at one moment.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an observation of its own, and none excludes another"
)]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observations {
    /// It shuts down.
    pub stopping: bool,
    /// No worker is left.
    pub no_worker: bool,
    /// The tasks that are not well.
    pub tasks: Vec<(String, TaskObservation)>,
    /// The consensus engine does not run, and has not for a while.
    pub engine_stopped: bool,
    /// What the disk said when it refused a write, until it has taken writes again for a while.
    pub disk_failure: Option<String>,
    /// A write to the disk has not ended for a while.
    pub disk_stalled: bool,
    /// No connection could be accepted for a while, because no file descriptor is left.
    pub descriptors_exhausted: bool,
    /// The interface of the virtual addresses, if it has no link.
    pub no_link: Option<String>,
    /// Why the node applies nothing any more.
    pub outdated: Option<String>,
    /// It was removed from the cluster.
    pub removed: bool,
    /// Another cluster with the same secret that has the better claim to the virtual addresses, in a sentence.
    pub other_cluster: Option<String>,
    /// It does not vote yet.
    pub joining: bool,
    /// How many servers wait for their first check, where the pool serves nothing before.
    pub first_checks_pending: usize,
}

/// Why a task is not well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskObservation {
    /// It has ended.
    Ended,
    /// It makes no progress.
    Stalled,
}

/// What follows from [`Observations`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// In one word.
    pub status: Status,
    /// Why not ready, the gravest first.
    pub findings: Vec<Finding>,
    /// Whether there is a data path at all.
    pub data_path: bool,
}

/// A reason before it is known since when it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// For programs.
    pub code: Code,
    /// What it is about, where there may be several: the name of a task.
    pub subject: String,
    /// For people.
    pub description: String,
}

impl Finding {
    fn new(code: Code, description: impl Into<String>) -> Self {
        Self {
            code,
            subject: String::new(),
            description: description.into(),
        }
    }
}

/// Whether a node of which this is observed is ready, and why not.
pub fn derive(observed: &Observations) -> Verdict {
    let data_path = !observed.no_worker;
    if observed.stopping {
        // What ends now does so by intent.
        let stopping = Finding::new(Code::Stopping, "the node shuts down");
        return Verdict {
            status: Status::Stopping,
            findings: vec![stopping],
            data_path,
        };
    }
    let mut findings = findings(observed);
    findings.sort_by_key(|finding| finding.code);
    Verdict {
        status: status(&findings),
        findings,
        data_path,
    }
}

fn findings(observed: &Observations) -> Vec<Finding> {
    let mut findings: Vec<Finding> = observed.tasks.iter().map(of_task).collect();
    let mut add = |holds: bool, code, description: &str| {
        if holds {
            findings.push(Finding::new(code, description));
        }
    };
    add(
        observed.no_worker,
        Code::NoWorker,
        "no worker is left: nothing is served",
    );
    add(
        observed.engine_stopped,
        Code::EngineStopped,
        "the consensus engine does not run: no change is applied",
    );
    add(
        observed.disk_stalled,
        Code::DiskStalled,
        "a write to the data directory does not end: changes wait",
    );
    add(
        observed.descriptors_exhausted,
        Code::DescriptorsExhausted,
        "no file descriptor is left: new connections wait",
    );
    add(
        observed.removed,
        Code::Removed,
        "the node was removed from the cluster: no change is applied",
    );
    add(
        observed.joining,
        Code::Joining,
        "the node does not vote yet: it receives the log",
    );
    if let Some(failure) = &observed.disk_failure {
        let description = format!("the data directory cannot be written: {failure}");
        findings.push(Finding::new(Code::DiskFailed, description));
    }
    if let Some(description) = &observed.other_cluster {
        findings.push(Finding::new(Code::OtherCluster, description));
    }
    if let Some(interface) = &observed.no_link {
        let description = format!("the interface {interface} of the virtual addresses has no link");
        findings.push(Finding::new(Code::NoLink, description));
    }
    if let Some(why) = &observed.outdated {
        let description = format!("this weldr is older than its log: {why}");
        findings.push(Finding::new(Code::Outdated, description));
    }
    if observed.first_checks_pending > 0 {
        let description = format!(
            "{} servers wait for their first check, and the pool does not fail open",
            observed.first_checks_pending
        );
        findings.push(Finding::new(Code::FirstChecksPending, description));
    }
    findings
}

fn of_task((name, observation): &(String, TaskObservation)) -> Finding {
    let (code, what) = match observation {
        TaskObservation::Ended => (Code::TaskEnded, "has ended"),
        TaskObservation::Stalled => (Code::TaskStalled, "makes no progress"),
    };
    Finding {
        code,
        subject: name.clone(),
        description: format!("{name} {what}"),
    }
}

/// The word for the gravest finding.
fn status(findings: &[Finding]) -> Status {
    match findings.first().map(|finding| finding.code) {
        None => Status::Ready,
        Some(Code::Stopping) => Status::Stopping,
        Some(Code::Outdated) => Status::Outdated,
        Some(Code::FirstChecksPending | Code::Joining) => Status::Starting,
        Some(
            Code::NoWorker
            | Code::TaskEnded
            | Code::TaskStalled
            | Code::EngineStopped
            | Code::DiskFailed
            | Code::DiskStalled
            | Code::DescriptorsExhausted
            | Code::Removed
            | Code::OtherCluster
            | Code::NoLink,
        ) => Status::Unready,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(verdict: &Verdict) -> Vec<Code> {
        verdict
            .findings
            .iter()
            .map(|finding| finding.code)
            .collect()
    }

    #[test]
    fn a_node_of_which_nothing_bad_is_observed_is_ready() {
        let verdict = derive(&Observations::default());
        assert_eq!((verdict.status, codes(&verdict)), (Status::Ready, vec![]));
        assert!(verdict.data_path);
    }

    type Change = fn(&mut Observations);

    fn each_is_a_reason(cases: &[(Change, Code, Status, &str)]) {
        for &(change, code, status, words) in cases {
            let mut observed = Observations::default();
            change(&mut observed);
            let verdict = derive(&observed);
            assert_eq!((verdict.status, codes(&verdict)), (status, vec![code]));
            let description = &verdict.findings[0].description;
            assert!(description.contains(words), "{words:?} in {description}");
            assert_eq!(verdict.data_path, code != Code::NoWorker);
        }
    }

    #[test]
    fn each_observation_is_a_reason_of_its_own() {
        let cases: [(Change, Code, Status, &str); 9] = [
            (
                |o| o.no_worker = true,
                Code::NoWorker,
                Status::Unready,
                "no worker",
            ),
            (
                |o| o.tasks = vec![("worker 3".to_owned(), TaskObservation::Ended)],
                Code::TaskEnded,
                Status::Unready,
                "worker 3 has ended",
            ),
            (
                |o| o.tasks = vec![("reconciler".to_owned(), TaskObservation::Stalled)],
                Code::TaskStalled,
                Status::Unready,
                "reconciler makes no progress",
            ),
            (
                |o| o.engine_stopped = true,
                Code::EngineStopped,
                Status::Unready,
                "engine",
            ),
            (
                |o| o.disk_failure = Some("no space left".to_owned()),
                Code::DiskFailed,
                Status::Unready,
                "no space left",
            ),
            (
                |o| o.disk_stalled = true,
                Code::DiskStalled,
                Status::Unready,
                "does not end",
            ),
            (
                |o| o.descriptors_exhausted = true,
                Code::DescriptorsExhausted,
                Status::Unready,
                "descriptor",
            ),
            (
                |o| o.outdated = Some("record 7".to_owned()),
                Code::Outdated,
                Status::Outdated,
                "record 7",
            ),
            (
                |o| o.first_checks_pending = 2,
                Code::FirstChecksPending,
                Status::Starting,
                "2 servers",
            ),
        ];
        each_is_a_reason(&cases);
    }

    #[test]
    fn what_the_node_is_in_its_cluster_is_a_reason() {
        each_is_a_reason(&[
            (
                |o| o.removed = true,
                Code::Removed,
                Status::Unready,
                "removed",
            ),
            (
                |o| o.other_cluster = Some("two clusters".to_owned()),
                Code::OtherCluster,
                Status::Unready,
                "two clusters",
            ),
            (
                |o| o.joining = true,
                Code::Joining,
                Status::Starting,
                "does not vote",
            ),
        ]);
    }

    #[test]
    fn an_interface_without_a_link_is_named() {
        let verdict = derive(&Observations {
            no_link: Some("eth7".to_owned()),
            ..Observations::default()
        });
        assert_eq!(verdict.status, Status::Unready);
        assert_eq!(codes(&verdict), [Code::NoLink]);
        let description = &verdict.findings[0].description;
        assert!(description.contains("the interface eth7"), "{description}");
        assert!(verdict.data_path);
    }

    #[test]
    fn the_gravest_reason_comes_first_and_gives_the_word() {
        let observed = Observations {
            first_checks_pending: 1,
            outdated: Some("record 7".to_owned()),
            disk_failure: Some("no space left".to_owned()),
            tasks: vec![("worker 0".to_owned(), TaskObservation::Stalled)],
            ..Observations::default()
        };
        let verdict = derive(&observed);
        let expected = [
            Code::TaskStalled,
            Code::DiskFailed,
            Code::Outdated,
            Code::FirstChecksPending,
        ];
        assert_eq!(codes(&verdict), expected);
        assert_eq!(verdict.status, Status::Unready);
    }

    #[test]
    fn what_ends_while_the_node_stops_is_no_reason() {
        let observed = Observations {
            stopping: true,
            no_worker: true,
            tasks: vec![("worker 0".to_owned(), TaskObservation::Ended)],
            ..Observations::default()
        };
        let verdict = derive(&observed);
        assert_eq!(
            (verdict.status, codes(&verdict)),
            (Status::Stopping, vec![Code::Stopping])
        );
    }
}
