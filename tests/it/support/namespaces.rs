//! Commands in namespaces of their own, which `unshare` of util-linux makes.

use std::process::{Command, Stdio};

/// Namespaces that a command gets for itself.
pub(crate) struct Namespaces {
    options: &'static [&'static str],
    /// What a test is skipped for the want of.
    shown: &'static str,
}

/// Of users: all others are shown as one that has no number there.
pub(crate) const USERS: Namespaces = Namespaces {
    options: &["-U"],
    shown: "namespaces of users",
};

/// Of processes: the command is the first one. All of them end with `unshare`.
pub(crate) const PROCESSES: Namespaces = Namespaces {
    options: &["-Urpf", "--mount-proc", "--kill-child"],
    shown: "namespaces of users and processes",
};

/// Of mounts: nobody else sees what the command mounts.
pub(crate) const MOUNTS: Namespaces = Namespaces {
    options: &["-m"],
    shown: "mount namespaces",
};

impl Namespaces {
    /// Whether they can be had. If not, it has been told, past the harness, that a test is skipped.
    pub(crate) fn can_be_had(&self) -> bool {
        let mut command = self.around(&Command::new("true"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let can = command.status().is_ok_and(|status| status.success());
        if !can {
            super::skip(self.shown, "unshare does not make them");
        }
        can
    }

    /// The command in them, with its directory and environment.
    pub(crate) fn around(&self, command: &Command) -> Command {
        self.made(&[], command)
    }

    /// A script in them, whose `"$@"` is the command.
    pub(crate) fn around_script(&self, script: &str, command: &Command) -> Command {
        self.made(&["sh", "-c", script, "sh"], command)
    }

    fn made(&self, before: &[&str], command: &Command) -> Command {
        let mut unshare = Command::new("unshare");
        unshare.args(self.options).args(before).stdin(Stdio::null());
        unshare.arg(command.get_program()).args(command.get_args());
        if let Some(directory) = command.get_current_dir() {
            unshare.current_dir(directory);
        }
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => unshare.env(name, value),
                None => unshare.env_remove(name),
            };
        }
        unshare
    }
}
