//! `weldr vip-guard` alone, with a hook that writes down when it is called.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use weldr_tests::{
    process::{Process, Program},
    wait,
};

/// A guard of one address.
pub(super) struct Guard {
    process: Process,
    calls: PathBuf,
}

impl Guard {
    /// Starts it, with what `prepare` adds.
    pub(super) async fn start(prepare: impl FnOnce(Program) -> Program) -> Self {
        let program = Program::new("weldr").arg("vip-guard").with_input();
        let hook = program.directory().join("hook");
        let calls = program.directory().join("calls");
        // Hooks write to standard error too.
        let script = format!(
            "#!/bin/sh\necho for the log >&2\necho $1 >> {}\n",
            calls.display()
        );
        fs::write(&hook, script).unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
        let mut process = prepare(program).start();
        let orders = serde_json::json!({
            "process": std::process::id(), "addresses": ["10.0.0.100/24"], "interface": "eth0", "hook": hook
        });
        process.tell(&orders.to_string()).await;
        Self { process, calls }
    }

    /// The process.
    pub(super) fn process(&self) -> &Process {
        &self.process
    }

    /// Says that the lease is over, and waits until the hook was called so often.
    pub(super) async fn releases(&mut self, times: usize) {
        self.process.tell("{\"Until\":0}").await;
        let expected = "release\n".repeat(times);
        wait::until(
            "the address to be released",
            async || match fs::read_to_string(&self.calls) {
                Ok(calls) if calls == expected => Ok(()),
                other => Err(format!("{other:?}")),
            },
        )
        .await;
    }

    /// Ends its input as a node does that ends, and waits for its end.
    pub(super) async fn ends(self) {
        let finished = self.process.end_of_input().finished().await;
        assert_eq!(finished.code(), Some(0), "{finished:#?}");
    }
}
