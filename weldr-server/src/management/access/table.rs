//! The role that each method of gRPC and each path of REST requires. What is not here is refused.
//!
//! A test fails for a method of the proto, and for a path of REST, without an entry.

use http::Method;

use crate::model::Role;

use Required::{Any, Least, Nothing};
use Role::{Admin, Metrics, Operator, Viewer};

/// What a call requires of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::management) enum Required {
    /// Nothing: no credential either.
    Nothing,
    /// A valid credential if authentication is on, of any role.
    Any,
    /// At least this role.
    Least(Role),
}

/// Each service of gRPC with its methods.
pub(in crate::management) const GRPC: &[(&str, &[(&str, Required)])] = &[
    (
        "weldr.v1.Management",
        &[
            ("AddServer", Least(Operator)),
            ("UpdateServer", Least(Operator)),
            ("RemoveServer", Least(Operator)),
            ("GetServer", Least(Viewer)),
            ("ListServers", Least(Viewer)),
            ("WatchServers", Least(Viewer)),
            ("GetStats", Least(Metrics)),
            ("StreamStats", Least(Metrics)),
            ("GetPool", Least(Viewer)),
            ("UpdatePool", Least(Admin)),
        ],
    ),
    (
        "weldr.v1.Cluster",
        &[
            ("GetCluster", Least(Viewer)),
            ("RemoveNode", Least(Admin)),
            ("TransferLeadership", Least(Admin)),
            ("CreateInvite", Least(Admin)),
            ("ListInvites", Least(Admin)),
            ("RevokeInvite", Least(Admin)),
            ("RotateNodeKey", Least(Admin)),
            ("ListHealth", Least(Metrics)),
            ("GetHistory", Least(Viewer)),
            ("Rollback", Least(Admin)),
            ("Backup", Least(Admin)),
            ("Restore", Least(Admin)),
        ],
    ),
    (
        "weldr.v1.Routing",
        &[
            ("CreatePool", Least(Admin)),
            ("DeletePool", Least(Admin)),
            ("ListPools", Least(Viewer)),
            ("CreateListener", Least(Admin)),
            ("UpdateListener", Least(Admin)),
            ("DeleteListener", Least(Admin)),
            ("GetListener", Least(Viewer)),
            ("ListListeners", Least(Viewer)),
            ("CreateRule", Least(Admin)),
            ("UpdateRule", Least(Admin)),
            ("DeleteRule", Least(Admin)),
            ("MoveRule", Least(Admin)),
            ("ListRules", Least(Viewer)),
            ("ExplainRoute", Least(Viewer)),
            ("Apply", Least(Admin)),
            ("Export", Least(Viewer)),
        ],
    ),
    (
        "weldr.v1.Observation",
        &[
            ("GetObjectStats", Least(Metrics)),
            // Principals are sent to administrators only.
            ("WatchObjects", Least(Viewer)),
        ],
    ),
    (
        "weldr.v1.Certificates",
        &[
            ("CreateCertificate", Least(Admin)),
            ("UpdateCertificate", Least(Admin)),
            ("DeleteCertificate", Least(Admin)),
            ("GetCertificate", Least(Viewer)),
            ("ListCertificates", Least(Viewer)),
            ("RenewCertificate", Least(Admin)),
            ("ListTlsPolicies", Least(Viewer)),
            ("SetAcmeAccount", Least(Admin)),
            ("GetAcmeAccount", Least(Viewer)),
            ("DeleteAcmeAccount", Least(Admin)),
        ],
    ),
    (
        "weldr.v1.Access",
        &[
            ("CreateToken", Least(Admin)),
            ("ListTokens", Least(Admin)),
            ("RevokeToken", Least(Admin)),
            ("WhoAmI", Any),
        ],
    ),
    (
        "grpc.health.v1.Health",
        &[("Check", Nothing), ("List", Nothing), ("Watch", Nothing)],
    ),
    (
        "grpc.reflection.v1.ServerReflection",
        &[("ServerReflectionInfo", Any)],
    ),
    (
        "grpc.reflection.v1alpha.ServerReflection",
        &[("ServerReflectionInfo", Any)],
    ),
];

/// Each path of REST with its methods. A part in braces is any one segment.
pub(in crate::management) const REST: &[(&str, &[(Method, Required)])] = &[
    ("/", &[(Method::GET, Any)]),
    (
        "/servers",
        &[
            (Method::GET, Least(Viewer)),
            (Method::POST, Least(Operator)),
        ],
    ),
    (
        "/servers/{ip}/{port}",
        &[
            (Method::GET, Least(Viewer)),
            (Method::PATCH, Least(Operator)),
            (Method::DELETE, Least(Operator)),
        ],
    ),
    (
        "/pool",
        &[(Method::GET, Least(Viewer)), (Method::PATCH, Least(Admin))],
    ),
    (
        "/pools",
        &[(Method::GET, Least(Viewer)), (Method::POST, Least(Admin))],
    ),
    (
        "/pools/{name}",
        &[
            (Method::GET, Least(Viewer)),
            (Method::PATCH, Least(Admin)),
            (Method::DELETE, Least(Admin)),
        ],
    ),
    ("/pools/{name}/stats", &[(Method::GET, Least(Metrics))]),
    (
        "/pools/{name}/servers",
        &[
            (Method::GET, Least(Viewer)),
            (Method::POST, Least(Operator)),
        ],
    ),
    (
        "/listeners",
        &[(Method::GET, Least(Viewer)), (Method::POST, Least(Admin))],
    ),
    (
        "/listeners/{name}",
        &[
            (Method::GET, Least(Viewer)),
            (Method::PATCH, Least(Admin)),
            (Method::DELETE, Least(Admin)),
        ],
    ),
    ("/listeners/{name}/stats", &[(Method::GET, Least(Metrics))]),
    (
        "/listeners/{name}/rules",
        &[(Method::GET, Least(Viewer)), (Method::POST, Least(Admin))],
    ),
    (
        "/listeners/{name}/rules/{priority}",
        &[
            (Method::PATCH, Least(Admin)),
            (Method::DELETE, Least(Admin)),
        ],
    ),
    (
        "/certificates",
        &[(Method::GET, Least(Viewer)), (Method::POST, Least(Admin))],
    ),
    (
        "/certificates/{name}",
        &[
            (Method::GET, Least(Viewer)),
            (Method::PUT, Least(Admin)),
            (Method::DELETE, Least(Admin)),
        ],
    ),
    (
        "/certificates/{name}/renewal",
        &[(Method::POST, Least(Admin))],
    ),
    (
        "/acme",
        &[
            (Method::GET, Least(Viewer)),
            (Method::PUT, Least(Admin)),
            (Method::DELETE, Least(Admin)),
        ],
    ),
    ("/tls-policies", &[(Method::GET, Least(Viewer))]),
    (
        "/configuration",
        &[(Method::GET, Least(Viewer)), (Method::PUT, Least(Admin))],
    ),
    ("/route", &[(Method::POST, Least(Viewer))]),
    ("/cluster", &[(Method::GET, Least(Viewer))]),
    ("/cluster/nodes/{name}", &[(Method::DELETE, Least(Admin))]),
    ("/history", &[(Method::GET, Least(Viewer))]),
    ("/metrics", &[(Method::GET, Least(Metrics))]),
    ("/stats", &[(Method::GET, Least(Metrics))]),
    ("/stats/detail", &[(Method::GET, Least(Metrics))]),
    ("/stats/objects", &[(Method::GET, Least(Metrics))]),
    (
        "/tokens",
        &[(Method::GET, Least(Admin)), (Method::POST, Least(Admin))],
    ),
    ("/tokens/{name}", &[(Method::DELETE, Least(Admin))]),
    ("/whoami", &[(Method::GET, Any)]),
];

/// The paths that are served without REST and on the port for health.
pub(in crate::management) const HEALTH: &[(&str, &[(Method, Required)])] = &[
    ("/healthz", &[(Method::GET, Nothing)]),
    ("/readyz", &[(Method::GET, Nothing)]),
];

/// The calls whose response does not end by itself.
const STREAMS: [&str; 6] = [
    "/weldr.v1.Management/WatchServers",
    "/weldr.v1.Management/StreamStats",
    "/weldr.v1.Observation/WatchObjects",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// What the table says of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::management) enum Entry {
    /// The call exists.
    Call(Required),
    /// The path exists, without this method; the methods that it has, as in `Allow`.
    OtherMethods(String),
    /// There is no such path.
    Missing,
}

/// Looks a request up; without `rest`, only gRPC and health.
pub(in crate::management) fn find(method: &Method, path: &str, rest: bool) -> Entry {
    if let Some(required) = grpc(path) {
        return Entry::Call(required);
    }
    let rest = if rest { REST } else { &[] };
    let mut paths = HEALTH.iter().chain(rest);
    let Some((_, methods)) = paths.find(|(pattern, _)| matches(pattern, path)) else {
        return Entry::Missing;
    };
    let asked = if method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    match methods.iter().find(|(method, _)| method == asked) {
        Some((_, required)) => Entry::Call(*required),
        None => Entry::OtherMethods(allowed(methods)),
    }
}

/// Whether the response to a call of this path does not end by itself.
pub(in crate::management) fn is_stream(path: &str) -> bool {
    STREAMS.contains(&path)
}

/// Whether the body of a call of this path does not end by itself: only reflection lets a client ask again and again.
pub(in crate::management) fn has_endless_body(path: &str) -> bool {
    path.starts_with("/grpc.reflection.") && is_stream(path)
}

/// The entry of `/SERVICE/METHOD`.
fn grpc(path: &str) -> Option<Required> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let (_, methods) = GRPC.iter().find(|(name, _)| *name == service)?;
    let (_, required) = methods.iter().find(|(name, _)| *name == method)?;
    Some(*required)
}

/// Whether `path`, with or without a slash at its end, has the form of `pattern`.
fn matches(pattern: &str, path: &str) -> bool {
    if pattern == "/" {
        return path == "/";
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some(wanted), Some(segment)) => {
                let fits = if wanted.starts_with('{') {
                    !segment.is_empty()
                } else {
                    wanted == segment
                };
                if !fits {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

fn allowed(methods: &[(Method, Required)]) -> String {
    let mut names = Vec::new();
    for (method, _) in methods {
        names.push(method.as_str());
        if method == Method::GET {
            names.push("HEAD");
        }
    }
    names.join(",")
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    /// All methods of the services on the management port.
    fn methods_of_the_proto() -> Vec<(String, String)> {
        let sets = [
            weldr_proto::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let mut methods = Vec::new();
        for set in sets {
            let set = prost_types::FileDescriptorSet::decode(set).unwrap();
            // The service for other nodes is on another port.
            let files = set.file.iter();
            for file in files.filter(|file| !file.package().starts_with("weldr.raft")) {
                for service in &file.service {
                    for method in &service.method {
                        let name = format!("{}.{}", file.package(), service.name());
                        methods.push((name, method.name().to_owned()));
                    }
                }
            }
        }
        methods
    }

    #[test]
    fn every_method_of_the_proto_has_its_required_role() {
        let methods = methods_of_the_proto();
        assert!(methods.len() > 20, "the descriptors are incomplete");
        let missing: Vec<_> = methods
            .iter()
            .filter(|(service, method)| {
                let entry = find(&Method::POST, &format!("/{service}/{method}"), false);
                !matches!(entry, Entry::Call(_))
            })
            .map(|(service, method)| format!("{service}/{method}"))
            .collect();
        assert!(
            missing.is_empty(),
            "these methods are refused to everybody, because management/access/table.rs has no entry for them in GRPC. \
             Add each with the least role that may call it: {}",
            missing.join(", ")
        );
    }

    #[test]
    fn every_entry_is_a_method_of_the_proto() {
        let methods = methods_of_the_proto();
        for (service, entries) in GRPC {
            for (method, _) in *entries {
                let name = ((*service).to_owned(), (*method).to_owned());
                // The generated descriptors of the health service may lack its newest method.
                let is_optional = *method == "List";
                assert!(methods.contains(&name) || is_optional, "{service}/{method}");
            }
        }
    }

    #[test]
    fn requests_are_found_by_path_and_method() {
        let call = |required| Entry::Call(required);
        let other = |allow: &str| Entry::OtherMethods(allow.to_owned());
        for (method, path, entry) in [
            (Method::GET, "/", call(Any)),
            (Method::GET, "/servers", call(Least(Viewer))),
            (Method::HEAD, "/servers/", call(Least(Viewer))),
            (Method::POST, "/servers", call(Least(Operator))),
            (Method::PUT, "/servers", other("GET,HEAD,POST")),
            (Method::DELETE, "/servers/::1/80", call(Least(Operator))),
            (
                Method::POST,
                "/servers/::1/80",
                other("GET,HEAD,PATCH,DELETE"),
            ),
            (Method::GET, "/servers/::1", Entry::Missing),
            (Method::GET, "/servers/::1/80/x", Entry::Missing),
            (Method::GET, "//servers", Entry::Missing),
            (Method::GET, "/servers//80", Entry::Missing),
            (Method::GET, "/SERVERS", Entry::Missing),
            (Method::GET, "", Entry::Missing),
            (Method::DELETE, "/tokens/a", call(Least(Admin))),
            (Method::GET, "/readyz", call(Nothing)),
            (
                Method::POST,
                "/weldr.v1.Cluster/Restore",
                call(Least(Admin)),
            ),
            (Method::POST, "/weldr.v1.Cluster/Other", Entry::Missing),
            (Method::POST, "/weldr.v1.Cluster/Restore/", Entry::Missing),
        ] {
            assert_eq!(find(&method, path, true), entry, "{method} {path}");
        }
        assert_eq!(find(&Method::GET, "/servers", false), Entry::Missing);
        assert_eq!(find(&Method::GET, "/healthz", false), call(Nothing));
    }

    #[test]
    fn no_other_body_is_endless_than_those_of_the_proto() {
        let sets = [
            weldr_proto::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let mut endless = 0;
        for set in sets {
            let set = prost_types::FileDescriptorSet::decode(set).unwrap();
            let files = set.file.iter();
            for file in files.filter(|file| !file.package().starts_with("weldr.raft")) {
                for service in &file.service {
                    for method in &service.method {
                        let path =
                            format!("/{}.{}/{}", file.package(), service.name(), method.name());
                        assert_eq!(has_endless_body(&path), method.client_streaming(), "{path}");
                        endless += usize::from(method.client_streaming());
                    }
                }
            }
        }
        assert_eq!(endless, 2);
    }

    /// A streaming call that is missing in the list would not be limited.
    #[test]
    fn all_streaming_calls_are_known() {
        let sets = [
            weldr_proto::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
        ];
        let mut found = 0;
        for set in sets {
            let set = prost_types::FileDescriptorSet::decode(set).unwrap();
            // The service for other nodes is on another port.
            let files = set
                .file
                .iter()
                .filter(|file| !file.package().starts_with("weldr.raft"));
            for file in files {
                for service in &file.service {
                    for method in service
                        .method
                        .iter()
                        .filter(|method| method.server_streaming())
                    {
                        let path =
                            format!("/{}.{}/{}", file.package(), service.name(), method.name());
                        assert!(is_stream(&path), "{path}");
                        found += 1;
                    }
                }
            }
        }
        assert_eq!(found, 4);
    }
}
