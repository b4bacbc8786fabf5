//! The statistics of listeners, rules and pools, as tables.

use weldr_proto::v1::{ListenerStats, PoolStats, StatusClasses};

use super::{
    figures::{self, NONE},
    style::{Paint, Tint},
    table::{self, Cell, Column, figures as figure, words as word},
    totals::reasons,
};

/// The columns of statuses, of which the first is the number of all.
const STATUSES: [Column; 5] = [
    figure("REQUESTS"),
    figure("2XX"),
    figure("3XX"),
    figure("4XX"),
    figure("5XX"),
];

fn statuses(classes: Option<StatusClasses>) -> Vec<Cell> {
    let classes = classes.unwrap_or_default();
    let StatusClasses {
        informational,
        success,
        redirection,
        client_error,
        server_error,
    } = classes;
    let all = informational + success + redirection + client_error + server_error;
    let failed = (server_error > 0).then_some(Tint::Bad);
    let mut cells: Vec<Cell> = [all, success, redirection, client_error]
        .map(|count| count.to_string().into())
        .into();
    cells.push(Cell::tinted(server_error.to_string(), failed));
    cells
}

/// Each part of the columns, and more columns if the table is wide.
fn columns(first: &[Column], rest: &[Column], more: &[Column], is_wide: bool) -> Vec<Column> {
    let more = if is_wide { more } else { &[] };
    [first, &STATUSES, rest, more].concat()
}

/// One line for each listener.
pub(crate) fn listeners(listeners: &[ListenerStats], is_wide: bool, paint: Paint) -> String {
    let rest = [
        figure("IN FLIGHT"),
        figure("CONNECTIONS"),
        figure("RETRIES"),
        figure("RECEIVED"),
        figure("SENT"),
    ];
    let more = [word("FAILURES"), word("LOCAL REPLIES")];
    let rows = listeners.iter().map(|listener| {
        let mut row = vec![listener.name.as_str().into()];
        row.extend(statuses(listener.statuses));
        row.extend([
            listener.in_flight.to_string().into(),
            listener.connections.to_string().into(),
            listener.retries.to_string().into(),
            figures::bytes(listener.bytes_received).into(),
            figures::bytes(listener.bytes_sent).into(),
        ]);
        if is_wide {
            row.push(reasons(&listener.failures).into());
            row.push(reasons(&listener.local_replies).into());
        }
        row
    });
    let columns = columns(&[word("LISTENER")], &rest, &more, is_wide);
    table::render(&columns, rows.collect(), paint)
}

/// One line for each rule of these listeners.
pub(crate) fn rules(listeners: &[ListenerStats], is_wide: bool, paint: Paint) -> String {
    let first = [word("LISTENER"), figure("PRIORITY")];
    let rest = [figure("RETRIES"), figure("RECEIVED"), figure("SENT")];
    let rules = listeners
        .iter()
        .flat_map(|listener| listener.rules.iter().map(move |rule| (listener, rule)));
    let rows = rules.map(|(listener, rule)| {
        let mut row = vec![
            listener.name.as_str().into(),
            rule.priority.to_string().into(),
        ];
        row.extend(statuses(rule.statuses));
        row.extend([
            rule.retries.to_string().into(),
            figures::bytes(rule.bytes_received).into(),
            figures::bytes(rule.bytes_sent).into(),
        ]);
        if is_wide {
            row.push(rule.id.to_string().into());
        }
        row
    });
    let columns = columns(&first, &rest, &[figure("ID")], is_wide);
    table::render(&columns, rows.collect(), paint)
}

/// One line for each pool.
pub(crate) fn pools(pools: &[PoolStats], is_wide: bool, paint: Paint) -> String {
    let rest = [
        figure("ATTEMPTS"),
        figure("FAILED"),
        figure("RETRIES"),
        figure("IN FLIGHT"),
        figure("QUEUED"),
        figure("P50"),
        figure("P99"),
    ];
    let more = [
        figure("CONNECTIONS"),
        figure("SENT"),
        figure("RECEIVED"),
        word("FAILURES"),
    ];
    let rows = pools.iter().map(|pool| {
        let servers = pool.servers.clone().unwrap_or_default();
        let attempts = servers.outcomes.unwrap_or_default();
        let latency = servers.latency.filter(|latency| latency.count > 0);
        let shown = |pick: fn(&weldr_proto::v1::Latency) -> Option<prost_types::Duration>| {
            let time = latency.as_ref().and_then(pick);
            time.map_or_else(|| NONE.to_owned(), figures::latency)
        };
        let failed = (attempts.failed > 0).then_some(Tint::Bad);
        let mut row = vec![pool.name.as_str().into()];
        row.extend(statuses(pool.statuses));
        row.extend([
            (attempts.success + attempts.failed).to_string().into(),
            Cell::tinted(attempts.failed.to_string(), failed),
            pool.retries.to_string().into(),
            servers.in_flight.to_string().into(),
            pool.queued.to_string().into(),
            shown(|latency| latency.p50).into(),
            shown(|latency| latency.p99).into(),
        ]);
        if is_wide {
            row.extend([
                servers.connections.to_string().into(),
                figures::bytes(servers.bytes_sent).into(),
                figures::bytes(servers.bytes_received).into(),
                reasons(&pool.failures).into(),
            ]);
        }
        row
    });
    let columns = columns(&[word("POOL")], &rest, &more, is_wide);
    table::render(&columns, rows.collect(), paint)
}

#[cfg(test)]
mod tests {
    use weldr_proto::v1::{Latency, Outcomes, RuleStats, ServerSums};

    use super::*;

    const CLASSES: Option<StatusClasses> = Some(StatusClasses {
        informational: 0,
        success: 7,
        redirection: 0,
        client_error: 2,
        server_error: 1,
    });

    #[test]
    fn listeners_and_their_rules_are_lines() {
        let listener = ListenerStats {
            name: "web".to_owned(),
            statuses: CLASSES,
            in_flight: 3,
            connections: 4,
            retries: 5,
            bytes_received: 1_500,
            bytes_sent: 94_000,
            local_replies: [("redirect".to_owned(), 2), ("client_timeout".to_owned(), 9)].into(),
            rules: vec![RuleStats {
                priority: 10,
                id: 77,
                statuses: CLASSES,
                ..RuleStats::default()
            }],
            ..ListenerStats::default()
        };
        assert_eq!(
            listeners(std::slice::from_ref(&listener), true, Paint::PLAIN),
            "LISTENER  REQUESTS  2XX  3XX  4XX  5XX  IN FLIGHT  CONNECTIONS  RETRIES  RECEIVED   SENT  FAILURES  LOCAL REPLIES\n\
             web             10    7    0    2    1          3            4        5    1.5 kB  94 kB            9 client_timeout, 2 redirect\n"
        );
        assert_eq!(
            rules(&[listener], true, Paint::PLAIN),
            "LISTENER  PRIORITY  REQUESTS  2XX  3XX  4XX  5XX  RETRIES  RECEIVED  SENT  ID\n\
             web             10        10    7    0    2    1        0       0 B   0 B  77\n"
        );
    }

    #[test]
    fn a_pool_is_a_line_with_its_latency() {
        let millis = |millis: i32| {
            Some(prost_types::Duration {
                seconds: 0,
                nanos: millis * 1_000_000,
            })
        };
        let pool = PoolStats {
            name: "api".to_owned(),
            statuses: CLASSES,
            retries: 1,
            servers: Some(ServerSums {
                outcomes: Some(Outcomes {
                    success: 9,
                    failed: 2,
                }),
                latency: Some(Latency {
                    count: 11,
                    p50: millis(2),
                    p99: millis(35),
                    ..Latency::default()
                }),
                ..ServerSums::default()
            }),
            ..PoolStats::default()
        };
        let empty = PoolStats {
            name: "b".to_owned(),
            ..PoolStats::default()
        };
        assert_eq!(
            pools(&[pool, empty], false, Paint::PLAIN),
            "POOL  REQUESTS  2XX  3XX  4XX  5XX  ATTEMPTS  FAILED  RETRIES  IN FLIGHT  QUEUED    P50   P99\n\
             api         10    7    0    2    1        11       2        1          0       0  2.0ms  35ms\n\
             b            0    0    0    0    0         0       0        0          0       0      -     -\n"
        );
    }
}
