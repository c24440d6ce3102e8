//! The command line: what can be asked, and how it ends.
//!
//! Results go to stdout, text for people to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage
//! or configuration.

mod ca;
mod check;
mod confirmation;
pub mod demo;
mod health;
mod output;
mod probe;
mod reload;
mod request;
pub mod run;
pub mod token;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use url::Url;

pub use self::ca::{CaCommand, CreateCa};
use self::output::block_on;
pub use self::output::{CommandError, conclude, print_note};
use crate::process;

/// Gives unmodified services OAuth 2.0: a sidecar and reverse proxy that obtains tokens, renews
/// them and injects them into the requests that pass through it.
#[derive(Debug, Parser)]
#[command(
    name = "sidebearer",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.\n\
                  New here? Try: sidebearer demo"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// One file for each command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve until SIGTERM; reload on SIGHUP and when a file changes
    Run(ConfigPath),
    /// Check the configuration: every problem, or "ok"
    Check {
        /// The configuration.
        #[command(flatten)]
        config: ConfigPath,
        /// Fetch each token and connect to each upstream too
        #[arg(long)]
        online: bool,
        /// Send GET with its token too, and show how that is answered; may be repeated
        #[arg(long = "try", value_name = "UPSTREAM=/PATH", requires = "online")]
        tries: Vec<probe::ProbeTarget>,
    },
    /// Fetch one token and show its type, lifetime and decoded claims
    Token {
        /// The credential: NAME in [credentials.NAME]
        name: String,
        /// The configuration.
        #[command(flatten)]
        config: ConfigPath,
        /// Show the token itself, a secret
        #[arg(long)]
        reveal: bool,
    },
    /// Start an authorization server, a protected API and sidebearer between them, on loopback
    Demo {
        /// Send one request through, print the answer and exit
        #[arg(long)]
        once: bool,
    },
    /// Make the CA of [interception] beforehand, or replace it
    #[command(subcommand)]
    Ca(CaCommand),
    /// Have a running sidebearer read its configuration again; exit 2 if it is refused
    Reload {
        /// What to ask; default: /reload at the admin address of the configuration
        #[arg(long, value_name = "URL")]
        url: Option<Url>,
        /// The configuration.
        #[command(flatten)]
        config: ConfigPath,
    },
    /// Exit 0 when sidebearer is ready: a probe for images without a shell
    Health {
        /// What to ask; default: /readyz at the admin address of the configuration
        #[arg(long, value_name = "URL")]
        url: Option<Url>,
        /// The configuration.
        #[command(flatten)]
        config: ConfigPath,
    },
}

/// Which configuration.
#[derive(Debug, Args)]
pub struct ConfigPath {
    /// Configuration file, or a directory of *.toml files
    #[arg(
        long = "config",
        value_name = "PATH",
        env = "SIDEBEARER_CONFIG",
        hide_env_values = true,
        default_value = "/etc/sidebearer/sidebearer.toml"
    )]
    pub path: PathBuf,
}

impl Command {
    /// Does it. Returns when it is done.
    ///
    /// # Errors
    /// What [`CommandError`] says; nothing has been printed about it yet.
    pub fn execute(self) -> Result<(), CommandError> {
        if let Err(error) = process::forbid_core_dumps() {
            print_note(format_args!(
                "warning: core dumps cannot be switched off: {error}"
            ));
        }
        match self {
            Self::Run(config) => run::run(&config.path),
            Self::Check {
                config,
                online,
                tries,
            } => check::run(&config.path, online, &tries),
            Self::Token {
                name,
                config,
                reveal,
            } => token::run(&config.path, &name, reveal),
            Self::Ca(command) => ca::run(&command),
            Self::Demo { once } => demo::start(once),
            Self::Reload { url, config } => block_on(reload::run(url, &config.path))?,
            Self::Health { url, config } => block_on(health::run(url, &config.path))?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Diagnostics;

    fn parse(arguments: &str) -> Result<Command, clap::Error> {
        let arguments = ["sidebearer"].into_iter().chain(arguments.split(' '));
        Cli::try_parse_from(arguments).map(|cli| cli.command)
    }

    #[test]
    fn every_command_of_the_manual_is_understood() {
        use clap::CommandFactory;
        Cli::command().debug_assert();

        assert!(matches!(
            parse("run --config /c.toml").unwrap(),
            Command::Run(ConfigPath { path }) if path.as_os_str() == "/c.toml"
        ));
        assert!(matches!(
            parse("check --online").unwrap(),
            Command::Check { online: true, .. }
        ));
        assert!(matches!(
            parse("check --online --try crm=/v2/me --try erp=/").unwrap(),
            Command::Check { tries, .. } if tries.len() == 2
        ));
        assert!(matches!(
            parse("token crm --config /c.toml --reveal").unwrap(),
            Command::Token { name, reveal: true, .. } if name == "crm"
        ));
        assert!(matches!(
            parse("demo --once").unwrap(),
            Command::Demo { once: true }
        ));
        assert!(matches!(
            parse("ca create --domain example.com --domain example.org --out /ca --successor").unwrap(),
            Command::Ca(CaCommand::Create(CreateCa { domains, successor: true, .. })) if domains.len() == 2
        ));
        assert!(matches!(
            parse("ca switch /ca").unwrap(),
            Command::Ca(CaCommand::Switch { directory }) if directory.as_os_str() == "/ca"
        ));
        assert!(matches!(
            parse("reload --config /c.toml").unwrap(),
            Command::Reload { url: None, config: ConfigPath { path } } if path.as_os_str() == "/c.toml"
        ));
        assert!(matches!(
            parse("health --url http://127.0.0.1:1/readyz").unwrap(),
            Command::Health { url: Some(url), .. } if url.port() == Some(1)
        ));
    }

    #[test]
    fn wrong_usage_ends_with_2() {
        for arguments in [
            "",
            "serve",
            "token",
            "run --conf x",
            "check --try crm=/me",
            "check --online --try crm",
            "health --url nonsense",
            "ca",
            "ca create --out /ca",
            "ca create --domain example.com",
            "ca switch",
        ] {
            assert_eq!(parse(arguments).unwrap_err().exit_code(), 2, "{arguments}");
        }
        assert_eq!(
            CommandError::Configuration(Diagnostics::default()).exit_code(),
            2
        );
        assert_eq!(CommandError::Usage(String::new()).exit_code(), 2);
        assert_eq!(CommandError::Failed(String::new()).exit_code(), 1);
    }
}
