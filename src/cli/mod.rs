//! The command line: what can be asked, and how it ends.
//!
//! Results go to stdout, text for people to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage
//! or configuration. `exec` ends as the program that it runs, or with 125 to 127.

mod admin_address;
mod arguments;
mod ca;
mod check;
mod completions;
mod confirmation;
pub mod demo;
mod exec;
mod explain;
mod health;
mod init;
mod man;
mod online;
mod output;
mod probe;
pub mod redirect;
mod reload;
mod request;
pub mod run;
mod schema;
mod terminal;
pub mod token;

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand, ValueHint};
use url::Url;

pub use self::admin_address::AdminAddress;
pub use self::arguments::{ConfigArguments, ConfigChoice, ConfigPath};
pub use self::ca::{CaCommand, CreateCa};
pub use self::exec::StandIn;
pub use self::init::InitArguments;
pub use self::output::{CommandError, conclude, print_note};
use self::output::{block_on, print};
use crate::explanation::Question;
use crate::process::{self, Inherited};
use crate::{build_info, config};

/// Gives unmodified services OAuth 2.0: a sidecar and reverse proxy that obtains tokens, renews
/// them and injects them into the requests that pass through it.
#[derive(Debug, Parser)]
#[command(
    name = "sidebearer",
    version = build_info::VERSION,
    long_version = build_info::DESCRIPTION,
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
    Run(ConfigChoice),
    /// Check the configuration: every problem, or "ok"
    Check {
        /// The configuration.
        #[command(flatten)]
        config: ConfigChoice,
        /// Fetch each token and connect to each upstream too
        #[arg(long)]
        online: bool,
        /// Send GET with its token too, and show how that is answered; may be repeated
        #[arg(long = "try", value_name = "UPSTREAM=/PATH", requires = "online")]
        tries: Vec<probe::ProbeTarget>,
    },
    /// Write the smallest configuration, and try it; asks on a terminal for what no argument says
    Init(InitArguments),
    /// Fetch one token and show its type, lifetime and decoded claims
    Token {
        /// The credential: NAME in [credentials.NAME]
        name: String,
        /// The configuration.
        #[command(flatten)]
        config: ConfigChoice,
        /// Show the token itself, a secret
        #[arg(long)]
        reveal: bool,
    },
    /// Tell what would become of a request, and why
    Explain {
        /// The method of the request
        method: String,
        /// A path, as in /crm/v2/x; for a forward or redirected listener a whole URL
        url: String,
        /// The listener that it comes to; default: each one that could take it
        #[arg(long, value_name = "NAME")]
        listener: Option<String>,
        /// Who sends it: NAME in [callers.NAME]
        #[arg(long, value_name = "NAME")]
        caller: Option<String>,
        /// The configuration. It comes before `live`, on which it depends what it may say: what is read is taken away.
        #[command(flatten)]
        config: ConfigChoice,
        /// Ask the running sidebearer, and show tokens, connections and limits as they are now
        #[arg(id = arguments::LIVE, long)]
        live: bool,
        /// What to ask, /explain if it has no path; default: /explain at --admin or SIDEBEARER_ADMIN, else at the admin address
        /// of the configuration
        #[arg(long = "url", value_name = "URL", requires = "live")]
        asked: Option<Url>,
    },
    /// Run a program whose requests get tokens; ends with its exit code
    #[command(
        after_help = "Exit codes: those of the program, 128 and the number of the signal that ended it; \
                            125 it was not started, 126 it cannot be executed, 127 it was not found."
    )]
    Exec {
        /// The configuration.
        #[command(flatten)]
        config: ConfigPath,
        /// How long the tokens may take before the program is started
        #[arg(long, value_name = "TIME", default_value = "30s", value_parser = config::parse_duration)]
        ready_timeout: Duration,
        /// Log as the table `log` of the configuration says, not failures alone
        #[arg(long)]
        verbose: bool,
        /// The program and its arguments
        #[arg(value_name = "COMMAND", trailing_var_arg = true, required = true, value_hint = ValueHint::CommandWithArguments)]
        command: Vec<OsString>,
    },
    /// Start an authorization server, a protected API and sidebearer between them, on loopback
    Demo {
        /// Send one request through, print the answer and exit
        #[arg(long)]
        once: bool,
    },
    /// Make the CA of interception beforehand, or replace it
    #[command(subcommand)]
    Ca(CaCommand),
    /// Have the system lead connections to a listener of kind "redirected"
    Redirect {
        /// What to do about it.
        #[command(subcommand)]
        command: redirect::RedirectCommand,
    },
    /// Have a running sidebearer read its configuration again; exit 2 if it is refused
    Reload {
        /// What to ask, /reload if it has no path; default: /reload at the admin address of the configuration
        #[arg(long, value_name = "URL")]
        url: Option<Url>,
        /// Where a process without a configuration file has its admin address.
        #[command(flatten)]
        admin: AdminAddress,
        /// The configuration.
        #[command(flatten)]
        config: ConfigPath,
    },
    /// Exit 0 when sidebearer is ready: a probe for images without a shell
    Health {
        /// What to ask, /readyz if it has no path; default: /readyz at the admin address of the configuration
        #[arg(long, value_name = "URL")]
        url: Option<Url>,
        /// Where a process without a configuration file has its admin address.
        #[command(flatten)]
        admin: AdminAddress,
        /// The configuration.
        #[command(flatten)]
        config: ConfigPath,
    },
    /// Print what a shell completes commands and options by
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the page of the manual, in roff
    Man,
    /// Print the JSON Schema of the configuration, by which editors complete and check it
    Schema,
}

/// Does what this process was started for. What it ends with.
///
/// # Errors
/// What [`CommandError`] says; nothing has been printed about it yet.
pub fn execute() -> Result<u8, CommandError> {
    // Before there is any other thread, and before anything is written.
    let inherited = Inherited::keep();
    Cli::from_arguments().command.execute(inherited)
}

impl Cli {
    /// The arguments of this process. After wrong ones it ends with 2, for `exec` with 125: 2 may be what the program
    /// ends with. Where they ask for help or the version it says that, and ends.
    fn from_arguments() -> Self {
        Self::try_parse().unwrap_or_else(|answer| {
            let ended = if answer.use_stderr() {
                // If it cannot be written, there is nowhere left to say it.
                let _ = answer.print();
                Err(answer.exit_code())
            } else {
                let printed = print(answer.render());
                printed.map_err(|failure| conclude(Err(failure)).into())
            };
            let is_exec = std::env::args_os()
                .nth(1)
                .is_some_and(|name| name == "exec");
            std::process::exit(match ended {
                Ok(()) => 0,
                Err(_) if is_exec => exec::FAILED.into(),
                Err(code) => code,
            })
        })
    }
}

impl Command {
    /// Does it, by a process that was started with what is `inherited`. Returns when it is done what the process ends
    /// with.
    fn execute(self, inherited: io::Result<Inherited>) -> Result<u8, CommandError> {
        const WHAT: &str = "cannot set signals and the umask";
        match self {
            // It keeps the limits of the process for the program.
            Self::Exec {
                config,
                ready_timeout,
                verbose,
                command,
            } => {
                let request = exec::Request {
                    path: config.path,
                    ready_timeout,
                    verbose,
                    command,
                };
                exec::run(request, inherited.map_err(exec::failed(WHAT))?)
            }
            other => {
                inherited.map_err(|error| CommandError::Failed(format!("{WHAT}: {error}")))?;
                other.execute_alone().map(|()| 0)
            }
        }
    }

    /// Does it, if it runs no program.
    fn execute_alone(self) -> Result<(), CommandError> {
        if let Err(error) = process::forbid_core_dumps() {
            print_note(format_args!(
                "warning: core dumps cannot be switched off: {error}"
            ));
        }
        match self {
            Self::Run(config) => run::run(config.origin),
            Self::Check {
                config,
                online,
                tries,
            } => check::run(config.origin, online, &tries),
            Self::Init(request) => init::run(request),
            Self::Token {
                name,
                config,
                reveal,
            } => token::run(config.origin, &name, reveal),
            Self::Explain {
                method,
                url,
                listener,
                caller,
                live,
                asked,
                config,
            } => {
                let question = Question {
                    method,
                    url,
                    listener,
                    caller,
                };
                if live {
                    let page = || admin_address::page_of(&config, "/explain");
                    let asked = asked.map(|url| admin_address::page_of_url(url, "/explain"));
                    let url = asked.map_or_else(page, Ok)?;
                    block_on(explain::run_live(&question, url))?
                } else {
                    explain::run(&question, config.origin)
                }
            }
            Self::Ca(command) => ca::run(&command),
            Self::Exec { .. } => Ok(()),
            Self::Demo { once } => demo::start(once),
            Self::Redirect { command } => redirect::run(command),
            Self::Reload { url, admin, config } => {
                let url = url.map(|url| admin_address::page_of_url(url, "/reload"));
                let url = url.map_or_else(|| admin.page(&config, "/reload"), Ok)?;
                block_on(reload::run(url))?
            }
            Self::Health { url, admin, config } => {
                let url = url.map(|url| admin_address::page_of_url(url, "/readyz"));
                let url = url.map_or_else(|| admin.page(&config, "/readyz"), Ok)?;
                block_on(health::run(url))?
            }
            Self::Completions { shell } => completions::run(shell, &Cli::command()),
            Self::Man => man::run(Cli::command()),
            Self::Schema => schema::run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigOrigin, Diagnostics};

    fn parse(arguments: &str) -> Result<Command, clap::Error> {
        let arguments = ["sidebearer"].into_iter().chain(arguments.split(' '));
        Cli::try_parse_from(arguments).map(|cli| cli.command)
    }

    #[test]
    fn every_command_of_the_manual_is_understood() {
        Cli::command().debug_assert();

        assert!(matches!(
            parse("run --config /c.toml").unwrap(),
            Command::Run(ConfigChoice { origin: ConfigOrigin::Path(path), .. }) if path.as_os_str() == "/c.toml"
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
            parse("explain GET /crm/v2/x --listener app --caller billing").unwrap(),
            Command::Explain {
                caller: Some(_),
                ..
            }
        ));
        assert!(matches!(
            parse("demo --once").unwrap(),
            Command::Demo { once: true }
        ));
        assert!(matches!(
            parse("completions zsh").unwrap(),
            Command::Completions {
                shell: clap_complete::Shell::Zsh
            }
        ));
        assert!(matches!(parse("man").unwrap(), Command::Man));
        assert!(matches!(parse("schema").unwrap(), Command::Schema));
        assert!(matches!(
            parse("ca create --domain example.com --domain example.org --out /ca --successor").unwrap(),
            Command::Ca(CaCommand::Create(CreateCa { domains, successor: true, .. })) if domains.len() == 2
        ));
        assert!(matches!(
            parse("ca switch /ca").unwrap(),
            Command::Ca(CaCommand::Switch { directory, fewer_names: false }) if directory.as_os_str() == "/ca"
        ));
        assert!(matches!(
            parse("redirect print --to 15001 --ports 80,443 --uid 64201").unwrap(),
            Command::Redirect { .. }
        ));
        assert!(matches!(
            parse("reload --config /c.toml").unwrap(),
            Command::Reload { url: None, config: ConfigPath { path }, .. } if path.as_os_str() == "/c.toml"
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
            "explain /crm",
            "check --try crm=/me",
            "check --online --try crm",
            "health --url nonsense",
            "ca",
            "ca create --out /ca",
            "ca create --domain example.com",
            "ca switch",
            "completions",
            "completions tcsh",
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
