//! The routing table run through HAProxy and nginx, in the equivalents of its rules that these have.
//!
//! Where one of them answers otherwise, [`DIFFERENCES`] has what it says and why.

use std::{fmt::Write as _, net::SocketAddr};

use weldr_tests::{
    origin::Origin,
    other_proxy::{free_address, started},
};

use super::{
    ask, origin,
    table::{RULES, TABLE},
    told,
};

/// HAProxy compares the bytes that came; `normalize-uri` would change what the server gets, and is an experiment.
const BYTES: &str = "HAProxy compares the bytes of the path as they came";
const ONE_READING: &str =
    "both read the path in one way, and servers may read it in another: Weldr refuses it";
const ROOT_DOT: &str = "HAProxy does not take the dot of the root for a part of the same name";
const TWO_HOSTS: &str = "HAProxy refuses a Host that is not that of the target; RFC 9112, section 3.2.2, has it ignored";
const PARTS: &str =
    "HAProxy has no port for a Host without one, and neither leaves the `?` of an empty query out";
const QUOTE: &str = "neither encodes in a location what a URI may not have";
const ASTERISK: &str = "nginx does not know the asterisk form";
const HOST: &str = "both take any bytes for the name of a host, which no rule has";

/// The request, what nginx says, what HAProxy says, and why that is not what Weldr says. An empty text: the same as Weldr.
#[rustfmt::skip]
const DIFFERENCES: [(&str, &str, &str, &str); 21] = [
    ("GET /v1/a HTTP/1.1\nHost: API.example.com.:81", "", "200 site /v1/a", ROOT_DOT),
    ("GET http://api.example.com/v1/b HTTP/1.1\nHost: other", "", "400", TWO_HOSTS),
    ("GET /x/../v1/./%61 HTTP/1.1\nHost: api.example.com", "", "200 site /x/../v1/./%61", BYTES),
    ("GET /moved HTTP/1.1\nHost: a", "308 http://new.example:80/moved?", "308 http://new.example:0/moved?", PARTS),
    ("GET /old/a\"b HTTP/1.1\nHost: a", "301 https://a/new/a\"b", "301 https://a/new/a\"b", QUOTE),
    ("GET /p%69ng HTTP/1.1\nHost: a", "", "200 site /p%69ng", BYTES),
    ("OPTIONS * HTTP/1.1\nHost: a", "400", "", ASTERISK),
    ("GET /x/../admin HTTP/1.1\nHost: a", "", "200 site /x/../admin", BYTES),
    ("GET /%61dmin/x HTTP/1.1\nHost: a", "", "200 site /%61dmin/x", BYTES),
    ("GET //admin/x HTTP/1.1\nHost: a", "403 no", "200 site //admin/x", ONE_READING),
    ("GET /x/%2e%2e/admin HTTP/1.1\nHost: a", "403 no", "200 site /x/%2e%2e/admin", ONE_READING),
    ("GET /x%2f..%2fadmin HTTP/1.1\nHost: a", "403 no", "200 site /x%2f..%2fadmin", ONE_READING),
    ("GET /admin%2fx HTTP/1.1\nHost: a", "403 no", "200 site /admin%2fx", ONE_READING),
    ("GET /admin;x HTTP/1.1\nHost: a", "200 site /admin;x", "200 site /admin;x", ONE_READING),
    ("GET /\\admin HTTP/1.1\nHost: a", "200 site /\\admin", "200 site /\\admin", ONE_READING),
    ("GET /%c0%af/admin HTTP/1.1\nHost: a", "200 site /%c0%af/admin", "200 site /%c0%af/admin", ONE_READING),
    ("GET /../admin HTTP/1.1\nHost: a", "", "200 site /../admin", ONE_READING),
    ("GET /%2561dmin HTTP/1.1\nHost: a", "200 site /%2561dmin", "200 site /%2561dmin", ONE_READING),
    ("GET /%25%36%31dmin HTTP/1.1\nHost: a", "200 site /%25%36%31dmin", "200 site /%25%36%31dmin", ONE_READING),
    ("GET /%252561dmin HTTP/1.1\nHost: a", "200 site /%252561dmin", "200 site /%252561dmin", ONE_READING),
    ("GET / HTTP/1.1\nHost: %61pi.example.com", "200 site /", "200 site /", HOST),
];

/// The conditions of a rule, each a name with its alternatives.
fn conditions(rule: &str) -> Vec<(&str, Vec<&str>)> {
    let parts = rule.split(' ').filter(|part| !part.is_empty());
    let pairs = parts.map(|part| part.split_once('=').unwrap());
    pairs
        .map(|(name, values)| (name, values.split('|').collect()))
        .collect()
}

/// A regular expression for a glob.
fn regex(glob: &str) -> String {
    let mut regex = String::new();
    for part in glob.chars() {
        match part {
            '*' => regex.push_str(".*"),
            '.' => regex.push_str("[.]"),
            part => regex.push(part),
        }
    }
    regex
}

fn alternatives(values: &[&str]) -> String {
    let values: Vec<String> = values.iter().map(|value| regex(value)).collect();
    format!("({})", values.join("|"))
}

/// The configuration of HAProxy: a variable has the number of the first rule that matches.
fn haproxy(address: SocketAddr, pools: &[(&str, SocketAddr)]) -> String {
    let mut text = format!(
        "defaults\n  mode http\n  timeout client 10s\n  timeout server 10s\n  timeout connect 2s\n\
         frontend f\n  bind {address}\n"
    );
    for (number, (rule, _)) in RULES.iter().enumerate() {
        let all = conditions(rule).into_iter().map(|(name, values)| {
            let any = alternatives(&values);
            match name.split_once(':').unwrap_or((name, "")) {
                ("host", _) => format!("{{ req.hdr(host),host_only,lower -m reg ^{any}$ }}"),
                ("path", _) => format!("{{ path -m reg ^{any}$ }}"),
                ("method", _) => format!("{{ method {} }}", values.join(" ")),
                ("header", field) => format!("{{ req.hdr({field}) -m reg ^{any}$ }}"),
                ("query", parameter) => format!("{{ url_param({parameter}) -m reg ^{any}$ }}"),
                ("source", _) => format!("{{ src {} }}", values.join(" ")),
                other => panic!("{other:?}"),
            }
        });
        let all: Vec<String> = all.collect();
        let _ = writeln!(
            text,
            "  http-request set-var(txn.rule) int({number}) if !{{ var(txn.rule) -m found }} {}",
            all.join(" ")
        );
    }
    for (number, (_, action)) in RULES.iter().enumerate() {
        let only = format!("if {{ var(txn.rule) -m int {number} }}");
        let words: Vec<&str> = action.split(' ').collect();
        let line = match words[..] {
            ["respond", status, body] => format!(
                "http-request return status {status} content-type text/plain string {body} {only}"
            ),
            ["redirect", status, location] => {
                let location = location
                    .replace("{scheme}", "http")
                    .replace("{host}", "%[req.hdr(host),host_only]")
                    .replace("{port}", "%[req.hdr(host),port_only]")
                    .replace("{path}", "%[path]")
                    .replace("{query}", "%[query]")
                    .replace("{rest}", "%[path,regsub(^/old/,)]");
                format!("http-request redirect location {location} code {status} {only}")
            }
            ["forward", pool] => format!("use_backend {pool} {only}"),
            ref other => panic!("{other:?}"),
        };
        let _ = writeln!(text, "  {line}");
    }
    text.push_str("  default_backend site\nbackend none\n");
    for (pool, server) in pools {
        let _ = writeln!(text, "backend {pool}\n  server s {server}");
    }
    text
}

/// Appends a map for each rule, whose variable is `1` where the rule matches; returns all these variables, one after another.
fn nginx_conditions(text: &mut String) -> String {
    let mut digits = String::new();
    for (number, (rule, _)) in RULES.iter().enumerate() {
        let (mut values, mut pattern) = (String::new(), String::new());
        for (name, alternative) in conditions(rule) {
            let mut any = alternatives(&alternative);
            let value = match name.split_once(':').unwrap_or((name, "")) {
                ("host", _) => "$host".to_owned(),
                ("path", _) => "$uri".to_owned(),
                ("method", _) => "$request_method".to_owned(),
                ("header", field) => format!("$http_{}", field.replace('-', "_")),
                ("query", parameter) => format!("$arg_{parameter}"),
                ("source", _) => {
                    // Of these networks of eight bits.
                    any = format!("{}[.].*", alternative[0].split('.').next().unwrap());
                    "$remote_addr".to_owned()
                }
                other => panic!("{other:?}"),
            };
            values.extend([value.as_str(), "\\n"]);
            pattern.extend([any.as_str(), "\\n"]);
        }
        let _ = writeln!(
            text,
            "map \"{values}\" $r{number} {{ default 0; \"~^{pattern}$\" 1; }}"
        );
        let _ = write!(digits, "$r{number}");
    }
    digits
}

/// The configuration of nginx: a map makes the number of the first rule that matches from those of all rules.
fn nginx(directory: &str, address: SocketAddr, pools: &[(&str, SocketAddr)]) -> String {
    let mut text = format!(
        "daemon off;\nmaster_process off;\npid {directory}/pid;\nerror_log {directory}/error;\n\
         events {{ }}\nhttp {{\naccess_log off;\nclient_body_temp_path {directory}/body;\n\
         proxy_temp_path {directory}/proxy;\nfastcgi_temp_path {directory}/fastcgi;\n\
         uwsgi_temp_path {directory}/uwsgi;\nscgi_temp_path {directory}/scgi;\n\
         default_type text/plain;\n"
    );
    for (pool, server) in pools {
        let _ = writeln!(text, "upstream {pool} {{ server {server}; }}");
    }
    // Nothing listens there.
    text.push_str("upstream none { server 127.0.0.1:1; }\n");
    let digits = nginx_conditions(&mut text);
    let mut numbers = String::new();
    let (mut upstreams, mut returns) = (String::new(), String::new());
    for (number, (_, action)) in RULES.iter().enumerate() {
        let _ = write!(numbers, "\"~^{}1\" n{number}; ", "0".repeat(number));
        let words: Vec<&str> = action.split(' ').collect();
        let only = format!("if ($rule = n{number})");
        match words[..] {
            ["respond", status, body] => {
                let _ = writeln!(returns, "{only} {{ return {status} {body}; }}");
            }
            ["redirect", status, location] => {
                let location = location
                    .replace("{scheme}", "http")
                    .replace("{host}", "$host")
                    .replace("{port}", "$port_of_host")
                    .replace("{path}", "$uri")
                    .replace("{query}", "$args")
                    .replace("{rest}", "$rest");
                let _ = writeln!(returns, "{only} {{ return {status} {location}; }}");
            }
            ["forward", pool] => {
                let _ = write!(upstreams, "n{number} {pool}; ");
            }
            ref other => panic!("{other:?}"),
        }
    }
    let _ = write!(
        text,
        "map \"{digits}\" $rule {{ default none; {numbers}}}\nmap $rule $upstream {{ default site; {upstreams}}}\n\
         map $uri $rest {{ default ''; \"~^/old/(?<r>.*)$\" $r; }}\n\
         map $http_host $port_of_host {{ default 80; \"~:(?<p>[0-9]+)$\" $p; }}\n\
         server {{ listen {address}; absolute_redirect off;\n{returns}\
         location / {{ proxy_http_version 1.1; proxy_pass http://$upstream; }} }} }}\n"
    );
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_proxies_do_the_same_or_the_difference_is_named() {
    let origins = ["site", "api", "beta"].map(origin);
    let [site, api, beta] = origins.each_ref().map(Origin::address);
    let pools = [("site", site), ("api", api), ("beta", beta)];
    let addresses = [free_address(), free_address()];
    let peers = [
        started("nginx", "-c", addresses[0], |directory| {
            nginx(directory, addresses[0], &pools)
        })
        .await,
        started("haproxy", "-f", addresses[1], |_| {
            haproxy(addresses[1], &pools)
        })
        .await,
    ];
    let mut wrong = Vec::new();
    for (index, (address, peer)) in addresses.into_iter().zip(&peers).enumerate() {
        if peer.is_none() {
            continue;
        }
        for (request, expected) in TABLE {
            let named = DIFFERENCES.iter().find(|(named, ..)| *named == request);
            let named = named.map(|(_, nginx, haproxy, _)| [*nginx, *haproxy][index]);
            let expected = named.filter(|said| !said.is_empty()).unwrap_or(expected);
            let said = told(&ask(address, request).await);
            if said != expected {
                wrong.push((["nginx", "haproxy"][index], request, expected, said));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
