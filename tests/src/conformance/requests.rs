//! Runs a case of a request.

use super::{
    Bench, Measure,
    case::{Check, Outcome, RequestCase},
    recorder::Arrivals,
    report::{Verdict, proxy_error},
    session::{Received, Session},
    wire::{End, Message},
};

/// What was seen of a case.
#[derive(Debug)]
struct Seen {
    received: Received,
    arrivals: Arrivals,
}

/// Runs `case` of `table` against the proxy of `bench`.
pub async fn run(
    bench: &Bench<'_>,
    table: &'static str,
    case: &RequestCase,
    number: usize,
) -> Verdict {
    bench.origin.begin(Vec::new());
    let mut problems = Vec::new();
    let mut session = Session::connect(bench.proxy).await;
    let goal = case.required.iter().map(Outcome::responses).max();
    let goal = goal.unwrap_or(1);
    let mut received = session
        .exchange(&case.send, case.finishes, |seen| {
            seen.responses.len() >= goal || seen.invalid.is_some()
        })
        .await;
    let closes = received.responses.last().is_some_and(Message::closes);
    if closes || case.finishes {
        received = session.until_closed().await;
    } else if received.end.is_none() && received.responses.len() >= goal {
        problems.extend(session.probe(2 * number).await.err());
    }
    drop(session);
    // By the time the probe is complete, all that the proxy wrote before has arrived.
    let mut another = Session::connect(bench.proxy).await;
    let alive = another.probe(2 * number + 1).await.err();
    problems.extend(alive.map(|why| format!("another client: {why}")));

    let arrivals = bench.origin.arrivals();
    let seen = Seen { received, arrivals };
    problems.extend(wrong(bench.measure, case, &seen));
    let observed = format!(
        "client: {}; server: {}",
        seen.received.in_words(),
        seen.arrivals.in_words()
    );
    Verdict {
        table,
        name: case.name.clone(),
        rule: case.rule.clone(),
        bytes: case.send.clone(),
        required: case.requirement.clone(),
        observed,
        problems,
    }
}

fn wrong(measure: Measure, case: &RequestCase, seen: &Seen) -> Vec<String> {
    let mut problems = Vec::new();
    problems.extend(
        seen.arrivals
            .invalid
            .iter()
            .map(|why| format!("the server got {why}")),
    );
    if let Some(why) = &seen.received.invalid {
        problems.push(format!("the client got what is no response: {why}"));
    }
    let permitted: &[Outcome] = match measure {
        Measure::Weldr => &[],
        Measure::Peer => &case.permitted,
    };
    let mut misses = Vec::new();
    for outcome in case.required.iter().chain(permitted) {
        match judge(measure, outcome, &case.checks, seen) {
            Ok(()) => return problems,
            Err(why) => misses.push(why),
        }
    }
    problems.extend(misses);
    problems
}

fn judge(measure: Measure, outcome: &Outcome, checks: &[Check], seen: &Seen) -> Result<(), String> {
    match outcome {
        Outcome::Refused(statuses) => {
            nothing_arrived(seen)?;
            one_refusal(measure, statuses, &seen.received, 0)
        }
        Outcome::Broken(statuses) => {
            if let [(_, first), ..] = &seen.arrivals.requests[..] {
                return Err(format!("the server got {} whole", first.start_line()));
            }
            one_refusal(measure, statuses, &seen.received, 0)
        }
        Outcome::Responded(statuses) => {
            nothing_arrived(seen)?;
            match &seen.received.responses[..] {
                [response] if is_wanted(measure, statuses, response.status()) => Ok(()),
                others => Err(format!(
                    "{} responses, not one of {statuses:?}",
                    others.len()
                )),
            }
        }
        Outcome::Forwarded(count, refused) => {
            forwarded(*count, refused.is_some(), seen)?;
            if let Some(statuses) = refused {
                one_refusal(measure, statuses, &seen.received, *count)?;
            }
            hold(checks, &seen.arrivals)
        }
    }
}

fn nothing_arrived(seen: &Seen) -> Result<(), String> {
    if seen.arrivals.is_nothing() {
        return Ok(());
    }
    Err(format!("the server got {}", seen.arrivals.in_words()))
}

fn is_wanted(measure: Measure, statuses: &[u16], status: u16) -> bool {
    match measure {
        Measure::Weldr => statuses.contains(&status),
        Measure::Peer => status >= 400 || statuses.contains(&status),
    }
}

/// After `before` responses there must be one refusal, and then the end.
fn one_refusal(
    measure: Measure,
    statuses: &[u16],
    received: &Received,
    before: usize,
) -> Result<(), String> {
    match received.responses.get(before..) {
        // A closed connection is as safe as a refusal, though it explains nothing.
        Some([]) if measure == Measure::Peer && received.end.is_some() => Ok(()),
        Some([response]) if is_wanted(measure, statuses, response.status()) => {
            if received.end.is_none() {
                return Err("the connection stays open".into());
            }
            if measure == Measure::Weldr {
                explains(response)?;
            }
            Ok(())
        }
        Some([response]) => Err(format!("got {}, not {statuses:?}", response.status())),
        Some([]) => Err(format!("no refusal: {}", received.in_words())),
        Some(more) => Err(format!("{} responses instead of a refusal", more.len())),
        None => Err("too few responses".into()),
    }
}

/// A refusal says what it is: RFC 9209, RFC 9112 section 9.6, RFC 9110 section 15.5.
fn explains(response: &Message) -> Result<(), String> {
    let status = response.fields.all("proxy-status").join(", ");
    let error = proxy_error(&status);
    let is_of_client = (400..500).contains(&response.status());
    if error.is_none() || (is_of_client && error != Some("http_request_error")) {
        return Err(format!("Proxy-Status {status:?}"));
    }
    if !response.closes() {
        return Err("no Connection: close".into());
    }
    if response.body.is_empty() || response.fields.all("content-type").len() != 1 {
        return Err("no body, or a body of no type".into());
    }
    Ok(())
}

fn forwarded(count: usize, then_refused: bool, seen: &Seen) -> Result<(), String> {
    if seen.arrivals.requests.len() != count {
        let arrived = seen.arrivals.in_words();
        return Err(format!(
            "the server got {arrived} instead of {count} requests"
        ));
    }
    if !seen.arrivals.partial.is_empty() {
        return Err(format!("the server got {}", seen.arrivals.in_words()));
    }
    let responses = &seen.received.responses;
    if responses.len() != count + usize::from(then_refused) {
        return Err(format!("{} responses to {count} requests", responses.len()));
    }
    // Responses come in the order of the requests: each holds the target of its own.
    for ((_, request), response) in seen.arrivals.requests.iter().zip(responses) {
        let is_head = request.start[0] == b"HEAD";
        if response.status() != 200 || (!is_head && response.body != request.start[1]) {
            return Err(format!(
                "{} got {}",
                request.start_line(),
                response.status()
            ));
        }
    }
    if seen.received.end == Some(End::Reset) && !then_refused {
        return Err("reset after the response".into());
    }
    Ok(())
}

fn hold(checks: &[Check], arrivals: &Arrivals) -> Result<(), String> {
    let Some((_, first)) = arrivals.requests.first() else {
        return Ok(());
    };
    match checks.iter().find(|check| !check.holds(first)) {
        None => Ok(()),
        Some(check) => {
            let start = first.start_line();
            Err(format!(
                "not so: {}, in {start}, {}",
                check.text,
                one_line(first)
            ))
        }
    }
}

/// The fields of `message` for people.
pub(super) fn one_line(message: &Message) -> String {
    let field = |(name, value): &(Vec<u8>, Vec<u8>)| {
        let value = super::recorder::shortened(value);
        format!("{}: {value}", name.escape_ascii())
    };
    let fields: Vec<_> = message.fields.0.iter().map(field).collect();
    fields.join(" | ")
}
