use clap::FromArgMatches as _;

use super::*;
use crate::{
    args::{Args, Options, Subcommands},
    model::CheckKind,
    policy::AccessLogField,
};

fn config(text: &str) -> Result<Config, ConfigError> {
    Config::from_options(&toml::from_str(text).unwrap())
}

#[test]
fn given_options_override_the_file_and_the_file_overrides_the_defaults() {
    let file: Options = toml::from_str("workers = 3\nconnect_timeout = '7s'").unwrap();
    let given = Options {
        workers: Some(5),
        ..Options::default()
    };
    let config = Config::from_options(&given.over(file)).unwrap();
    assert_eq!(config.workers, 5);
    assert_eq!(config.timeouts.connect, Duration::from_secs(7));
    assert_eq!(
        config.timeouts.stream_idle,
        Config::default().timeouts.stream_idle
    );
}

#[test]
fn ephemeral_overrides_a_directory_in_the_file_and_a_directory_overrides_ephemeral() {
    let directory: Options = toml::from_str("data_dir = '/somewhere'").unwrap();
    let given = Options {
        ephemeral: Some(true),
        ..Options::default()
    };
    assert_eq!(
        Config::from_options(&given.over(directory))
            .unwrap()
            .storage,
        Storage::Ephemeral
    );
    let ephemeral: Options = toml::from_str("ephemeral = true").unwrap();
    let given = Options {
        data_dir: Some("/here".into()),
        ..Options::default()
    };
    let config = Config::from_options(&given.over(ephemeral)).unwrap();
    assert_eq!(config.storage, Storage::Directory("/here".into()));
}

#[test]
fn the_effective_configuration_is_a_configuration_file() {
    let text = "listen = ['127.0.0.1:1', '[::1]:2']\nephemeral = true\ncheck_path = '/health'\n\
                deregister_after = '1h'\nbalancing = 'least_requests'\nmax_headers = 7";
    let config = config(text).unwrap();
    let printed = toml::to_string(&Options::from(&config)).unwrap();
    assert_eq!(
        super::Config::from_options(&toml::from_str(&printed).unwrap()).unwrap(),
        config
    );
}

#[test]
fn an_http_option_implies_http_checks() {
    let config = config("check_expect = '200,404'").unwrap();
    let CheckKind::Http(http) = config.pool.check.kind else {
        panic!("not an HTTP check")
    };
    assert_eq!(
        (http.path.as_str(), http.expected_status.contains(404)),
        ("/", true)
    );
}

#[test]
fn an_error_names_its_option() {
    for (text, option) in [
        ("workers = 0", "workers"),
        ("max_header_bytes = 100", "max_header_bytes"),
        ("connect_timeout = '0s'", "connect_timeout"),
        ("check_interval = '1ms'", "check_interval"),
        ("unhealthy_threshold = 0", "unhealthy_threshold"),
        ("check_path = 'health'", "check_path"),
        ("check_expect = '1000'", "check_expect"),
        ("check_port = 0", "check_port"),
        ("deregister_after = '1ms'", "deregister_after"),
        ("listen = []", "listen"),
    ] {
        match config(text) {
            Err(ConfigError::Invalid(invalid)) => assert_eq!(invalid.field, option, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn contradictions_are_refused() {
    let tcp_with_path = config("check_type = 'tcp'\ncheck_path = '/health'");
    assert!(matches!(tcp_with_path, Err(ConfigError::Contradiction(_))));
    assert!(
        toml::from_str::<Options>("conect_timeout = '1s'").is_err(),
        "a typo is not ignored"
    );
}

#[test]
fn management_on_other_addresses_than_loopback_has_to_be_allowed() {
    let open = config("management = '0.0.0.0:8687'");
    assert!(matches!(open, Err(ConfigError::ManagementOpen(_))));
    let insecure = "management = '0.0.0.0:8687'\nmanagement_insecure = true";
    let allowed = config(insecure).unwrap();
    assert!(allowed.management_authentication(), "also without TLS");
    let without = config(&format!("{insecure}\nmanagement_auth = 'off'"));
    assert!(matches!(
        without,
        Err(ConfigError::ManagementWithoutAuthentication(_))
    ));
    let tls = "management_tls_cert = 'a'\nmanagement_tls_key = 'b'";
    assert!(config(&format!("management = '0.0.0.0:8687'\n{tls}")).is_ok());
    assert!(config("management = '[::1]:8687'").is_ok());
}

#[test]
fn on_loopback_authentication_and_the_socket_are_a_choice() {
    let open = config("").unwrap();
    assert!(!open.management_authentication());
    let socket = |text: &str| config(text).unwrap().management_socket();
    let default = ("./weldr-data/management.sock".into(), false);
    assert_eq!(socket(""), Some(default));
    assert_eq!(socket("ephemeral = true"), None);
    assert_eq!(socket("management_socket = 'off'"), None);
    let named = Some(("/run/x".into(), true));
    assert_eq!(
        socket("ephemeral = true\nmanagement_socket = '/run/x'"),
        named
    );
    let closed = config("management_auth = 'on'").unwrap();
    assert!(closed.management_authentication());
    assert!(config("management_tls_cert = 'a'").is_err());
    assert!(config("management_client_ca = 'a'").is_err());
}

#[test]
fn a_listener_may_have_another_address_on_a_node() {
    let text = "listener_address = ['web=127.0.0.1:81', 'api=[::1]:82']";
    let addresses = config(text).unwrap().listener_addresses;
    assert_eq!(
        addresses[&"web".parse().unwrap()],
        ([127, 0, 0, 1], 81).into()
    );
    assert_eq!(addresses.len(), 2);
    for refused in [
        "127.0.0.1:81",
        "=127.0.0.1:81",
        "web=81",
        "a b=127.0.0.1:81",
    ] {
        let text = format!("listener_address = ['{refused}']");
        assert!(toml::from_str::<Options>(&text).is_err(), "{refused}");
    }
    let error = config("listener_address = ['default=127.0.0.1:81']").unwrap_err();
    let ConfigError::Invalid(invalid) = error else {
        panic!("{error:?}")
    };
    assert_eq!(invalid.field, "listener_address");
}

#[test]
fn an_address_of_a_listener_is_given_once_and_is_of_no_other() {
    for (text, told) in [
        (
            "listener_address = ['web=127.0.0.1:81', 'web=127.0.0.1:82']",
            "each listener once",
        ),
        (
            "listener_address = ['a=127.0.0.1:81', 'b=127.0.0.1:81']",
            "that of listener a",
        ),
        (
            "listen = ['127.0.0.1:81']\nlistener_address = ['web=127.0.0.1:81']",
            "listener default",
        ),
        (
            "management = '127.0.0.1:81'\nlistener_address = ['web=127.0.0.1:81']",
            "management API",
        ),
    ] {
        let error = config(text).unwrap_err();
        let ConfigError::Invalid(invalid) = error else {
            panic!("{error:?}")
        };
        assert_eq!(invalid.field, "listener_address");
        assert!(invalid.accepted.contains(told), "{invalid}");
    }
}

#[test]
fn help_shows_the_defaults_in_effect() {
    let defaults = Options::from(&Config::default());
    let help = Args::described(&defaults).render_long_help().to_string();
    let options: Vec<String> = help
        .split("\n      --")
        .map(|option| option.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    for (flag, default) in [
        ("listen", "0.0.0.0:8080"),
        ("management", "127.0.0.1:8687"),
        ("data-dir", "./weldr-data"),
        ("workers", "one per CPU core"),
        ("fail-open", "true"),
        ("balancing", "round_robin"),
        ("check-path", "/"),
        ("healthy-threshold", "2"),
        ("deregister-after", "0s"),
        ("connect-timeout", "2s"),
        ("max-body-bytes", "0"),
        ("desync-mode", "strict"),
        ("access-log", "off"),
        ("access-log-fields", "all"),
        ("access-log-sample", "1"),
    ] {
        let about = options
            .iter()
            .find(|option| option.starts_with(&format!("{flag} ")))
            .unwrap();
        assert!(about.contains(&format!("[default: {default}]")), "{about}");
    }
    for argument in Args::described(&defaults).get_arguments() {
        let help = argument.get_help().unwrap().to_string();
        assert!(help.matches("[default: ").count() <= 1, "{help}");
    }
}

#[test]
fn a_switch_needs_no_value_and_takes_no_word_that_follows() {
    let defaults = Options::default();
    let parse = |line: &[&str]| {
        let matches = Args::described(&defaults)
            .try_get_matches_from(line)
            .unwrap();
        Args::from_arg_matches(&matches).unwrap()
    };
    for switch in [
        "--ephemeral",
        "--recover-from-lost-majority",
        "--found-cluster",
        "--no-rest",
    ] {
        let args = parse(&["weldr", switch, "check-config"]);
        assert_eq!(args.command, Some(Subcommands::CheckConfig), "{switch}");
        let off = parse(&["weldr", &format!("{switch}=false")]);
        assert_ne!(args.options, off.options, "{switch}");
    }
}

#[test]
fn a_witness_serves_nothing() {
    let witness = "witness = true\ncluster = '127.0.0.1:8688'\n";
    let accepted = config(witness).unwrap();
    assert_eq!((accepted.listen.len(), accepted.running_workers()), (0, 0));
    let printed = toml::to_string(&Options::from(&accepted)).unwrap();
    assert_eq!(config(&printed).unwrap(), accepted);
    for (text, word) in [
        ("witness = true".to_owned(), "cluster is missing"),
        (
            format!("{witness}vip = ['10.0.0.100/24']\nvip_interface = 'eth0'"),
            "witness and vip contradict each other",
        ),
        (
            format!("{witness}listen = ['0.0.0.0:8080']"),
            "witness and listen contradict each other",
        ),
        (
            format!("{witness}demo = true"),
            "witness and demo contradict each other",
        ),
    ] {
        let refused = config(&text).unwrap_err().to_string();
        assert!(refused.contains(word), "{text}: {refused}");
    }
}

#[test]
fn the_access_log_has_fields_a_sample_and_one_destination() {
    let text = "access_log = 'logfmt'\naccess_log_fields = ['status', 'client']\naccess_log_sample = 0.01\n\
                access_log_syslog = 'udp://127.0.0.1:514'";
    let accepted = config(text).unwrap();
    let fields: Vec<_> = accepted.access_log.fields.iter().collect();
    assert_eq!(fields, [AccessLogField::Client, AccessLogField::Status]);
    assert_eq!(accepted.access_log.sample.to_string(), "0.01");
    let printed = toml::to_string(&Options::from(&accepted)).unwrap();
    assert_eq!(config(&printed).unwrap(), accepted);
    assert!(config("access_log = 'json'\naccess_log_sample = 1").is_ok());
    for (text, told) in [
        ("access_log_file = 'x'", "access_log_file is given"),
        (
            "access_log_syslog = 'udp://[::1]:1'",
            "access_log_syslog is",
        ),
        (
            "access_log_fields = ['status']",
            "access_log_fields is given",
        ),
        ("access_log_sample = 0", "access_log_sample is given"),
        (
            "access_log = 'combined'\naccess_log_fields = ['status']",
            "are fixed",
        ),
        (
            "access_log = 'json'\naccess_log_file = 'x'\naccess_log_syslog = 'unix:///dev/log'",
            "contradict each other",
        ),
    ] {
        let refused = config(text).unwrap_err().to_string();
        assert!(refused.contains(told), "{text}: {refused}");
    }
    let none = config("access_log = 'json'\naccess_log_fields = []").unwrap_err();
    let ConfigError::Invalid(invalid) = none else {
        panic!("{none:?}")
    };
    assert_eq!(invalid.field, "access_log_fields");
}

#[test]
fn a_refused_option_of_the_access_log_says_what_is_accepted() {
    for (text, told) in [
        ("access_log_fields = ['colour']", ["colour", "`status`"]),
        ("access_log_sample = 1.5", ["1.5", "from 0 to 1"]),
        (
            "access_log_syslog = 'tcp://a'",
            ["access_log_syslog", "udp://ip:port"],
        ),
    ] {
        let refused = toml::from_str::<Options>(text).unwrap_err().to_string();
        let has_all = told.iter().all(|part| refused.contains(part));
        assert!(has_all, "{text}: {refused}");
    }
    let refused = |option: &str, value: &str| {
        let parsed =
            Args::described(&Options::default()).try_get_matches_from(["weldr", option, value]);
        parsed.unwrap_err().to_string()
    };
    let fields = refused("--access-log-fields", "status,colour");
    assert!(
        fields.contains("'colour'") && fields.contains("trace_id"),
        "{fields}"
    );
    let sample = refused("--access-log-sample", "2");
    assert!(sample.contains("from 0 to 1"), "{sample}");
    let syslog = refused("--access-log-syslog", "localhost");
    assert!(syslog.contains("unix:///dev/log"), "{syslog}");
}
