//! Runs a case of a response.

use std::time::Duration;

use tokio::time;

use super::{
    Bench, Measure,
    case::{ResponseCase, Step, View},
    recorder::Arrivals,
    report::{Verdict, proxy_error},
    requests::one_line,
    session::{Received, Session},
    wire::{End, Message},
};

/// How long a script may take to its end after the client has its response.
const PATIENCE: Duration = Duration::from_secs(3);

/// Runs `case` of `table` against the proxy of `bench`.
pub async fn run(
    bench: &Bench<'_>,
    table: &'static str,
    case: &ResponseCase,
    number: usize,
) -> Verdict {
    bench.origin.begin(case.script.clone());
    let mut problems = Vec::new();
    let mut session = Session::connect(bench.proxy).await;
    let mut received = session
        .exchange(&case.send, false, |seen| {
            !seen.responses.is_empty() || seen.invalid.is_some()
        })
        .await;
    bench.origin.client_has_response();
    if case.script.contains(&Step::WhenResponded) {
        let played = time::timeout(PATIENCE, bench.origin.has_played()).await;
        problems.extend(played.err().map(|_| "the script did not end".to_owned()));
    }
    let closes = received.responses.last().is_some_and(Message::closes);
    if closes {
        received = session.until_closed().await;
    } else if received.end.is_none() && !received.responses.is_empty() {
        problems.extend(session.probe(2 * number).await.err());
    }
    drop(session);
    let mut another = Session::connect(bench.proxy).await;
    let alive = another.probe(2 * number + 1).await.err();
    problems.extend(alive.map(|why| format!("another client: {why}")));

    let arrivals = bench.origin.arrivals();
    problems.extend(wrong(bench.measure, case, &received, &arrivals));
    let observed = format!(
        "client: {}; server: {}",
        received.in_words(),
        arrivals.in_words()
    );
    Verdict {
        table,
        name: case.name.clone(),
        rule: case.rule.clone(),
        bytes: case.sent().to_vec(),
        required: case.requirement.clone(),
        observed,
        problems,
    }
}

fn wrong(
    measure: Measure,
    case: &ResponseCase,
    received: &Received,
    arrivals: &Arrivals,
) -> Vec<String> {
    let mut problems = Vec::new();
    problems.extend(
        arrivals
            .invalid
            .iter()
            .map(|why| format!("the server got {why}")),
    );
    if let Some(why) = &received.invalid {
        problems.push(format!("the client got what is no response: {why}"));
    }
    let permitted: &[View] = match measure {
        Measure::Weldr => &[],
        Measure::Peer => &case.permitted,
    };
    let head = case.send.starts_with(b"HEAD ");
    let mut misses = Vec::new();
    for view in case.required.iter().chain(permitted) {
        match judge(measure, view, case, received, head) {
            Ok(()) => {
                misses.clear();
                // What went wrong with a connection is not tried on it again.
                let whole = matches!(view, View::Whole(_) | View::AfterAny(_));
                if !whole || case.checks.iter().any(super::case::Check::is_discard) {
                    problems.extend(used_again(arrivals));
                }
                break;
            }
            Err(why) => misses.push(why),
        }
    }
    problems.extend(misses);
    problems
}

fn used_again(arrivals: &Arrivals) -> Option<String> {
    let (first, _) = arrivals.requests.first()?;
    let again = arrivals.probes.contains(first);
    again.then(|| "the server's connection was used again".to_owned())
}

fn judge(
    measure: Measure,
    view: &View,
    case: &ResponseCase,
    received: &Received,
    head: bool,
) -> Result<(), String> {
    match view {
        View::Whole(statuses) => {
            let seen: Vec<_> = received.all.iter().map(Message::status).collect();
            if seen != *statuses {
                return Err(format!("got {}", received.in_words()));
            }
            if received.end == Some(End::Reset) {
                return Err("reset after the response".into());
            }
            let ours = received
                .responses
                .last()
                .filter(|response| is_of_weldr(response));
            if measure == Measure::Weldr && ours.is_some() && !statuses.contains(&502) {
                return Err("the response is the proxy's, not the server's".into());
            }
            hold(case, received)
        }
        View::AfterAny(status) => match &received.responses[..] {
            [response] if response.status() == *status => Ok(()),
            _ => Err(format!("got {}", received.in_words())),
        },
        View::Failed(statuses) => match &received.responses[..] {
            [response] if statuses.contains(&response.status()) => failure(measure, response, head),
            [response] if measure == Measure::Peer && response.status() >= 500 => Ok(()),
            _ => Err(format!("got {}", received.in_words())),
        },
        View::Cut(status) => match (&received.responses[..], &received.partial, received.end) {
            ([], Some(partial), Some(_)) if partial.status() == *status => Ok(()),
            ([], None, Some(_)) if measure == Measure::Peer => Ok(()),
            (_, _, None) => Err(format!("not cut, and open: {}", received.in_words())),
            _ => Err(format!("not cut: {}", received.in_words())),
        },
    }
}

fn is_of_weldr(response: &Message) -> bool {
    let status = response.fields.all("proxy-status").join(", ");
    proxy_error(&status).is_some()
}

fn failure(measure: Measure, response: &Message, head: bool) -> Result<(), String> {
    if measure == Measure::Peer {
        return Ok(());
    }
    if !is_of_weldr(response) {
        return Err(format!("no Proxy-Status in {}", one_line(response)));
    }
    if response.body.is_empty() && !head {
        return Err("no body that explains".into());
    }
    Ok(())
}

fn hold(case: &ResponseCase, received: &Received) -> Result<(), String> {
    let last = received.all.len().saturating_sub(1);
    for (index, response) in received.all.iter().enumerate() {
        for check in &case.checks {
            if (check.is_of_all() || index == last) && !check.holds(response) {
                return Err(format!("not so: {}, in {}", check.text, one_line(response)));
            }
        }
    }
    Ok(())
}
