//! `man`: one page of the manual about all commands.

use std::collections::BTreeSet;
use std::io;

use clap::ArgAction;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::output::{CommandError, print};

/// What every command ends with.
const EXIT_CODES: &[(&str, &str)] = &[
    ("0", "Done."),
    ("1", "It was tried and failed."),
    ("2", "Wrong usage, or a configuration that is refused."),
    ("125", "exec: the program was not started."),
    ("126", "exec: the program cannot be executed."),
    ("127", "exec: the program was not found."),
    (
        "others",
        "exec: that of the program, or 128 and the number of the signal that ended it.",
    ),
];

/// What is read of the environment beside what stands at the options.
const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "http_proxy, https_proxy, no_proxy, all_proxy",
        "The proxies that proxy = \"environment\" stands for.",
    ),
    (
        "SSL_CERT_FILE, SSL_CERT_DIR",
        "Where the certificates of CAs are in place of those of the system.",
    ),
    (
        "NOTIFY_SOCKET, WATCHDOG_USEC",
        "How the service manager is told of ready, reloading and stopping, and that all threads answer.",
    ),
    (
        "LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES",
        "run: the sockets that the service manager has opened.",
    ),
    (
        "OTEL_*",
        "The collector of traces and what it is told, where [tracing] says nothing.",
    ),
    ("NO_COLOR", "If it is not empty, the log has no colours."),
];

const FILES: &[(&str, &str)] = &[
    (
        "/etc/sidebearer/sidebearer.toml",
        "The configuration, unless --config names another one.",
    ),
    (
        "/usr/share/sidebearer/config.schema.json",
        "Its JSON Schema, which the command schema prints.",
    ),
    (
        "/var/lib/sidebearer/ca, /run/sidebearer/trust",
        "The CA of interception, and what clients need to trust it.",
    ),
];

const SIGNALS: &[(&str, &str)] = &[
    (
        "SIGTERM, SIGINT",
        "run: ends when the requests in flight have ended. A second one ends it at once.",
    ),
    ("SIGHUP", "run: reads the configuration again."),
];

/// Prints the page about `command` and all commands below it.
pub(super) fn run(command: clap::Command) -> Result<(), CommandError> {
    let page = page(command);
    print(page.map_err(|error| CommandError::Failed(format!("cannot write the page: {error}")))?)
}

fn page(command: clap::Command) -> io::Result<String> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let man = Man::new(command.clone())
        .title("SIDEBEARER")
        .manual("User Commands");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    page.extend(section("COMMANDS", &[]).bytes());
    let mut variables = BTreeSet::new();
    commands(&command, &mut page, &mut variables)?;
    let variables: Vec<_> = variables
        .into_iter()
        .map(|(name, option)| (name, format!("In place of {option}.")))
        .collect();
    let variables = variables.iter();
    let variables = variables.map(|(name, option)| (name.as_str(), option.as_str()));
    let environment: Vec<_> = variables.chain(ENVIRONMENT.iter().copied()).collect();
    for (name, entries) in [
        ("EXIT STATUS", EXIT_CODES),
        ("ENVIRONMENT", &environment),
        ("FILES", FILES),
        ("SIGNALS", SIGNALS),
    ] {
        page.extend(section(name, entries).bytes());
    }
    String::from_utf8(page).map_err(io::Error::other)
}

/// Every command that can be given, with what it takes, and the variables that stand for its options.
fn commands(
    command: &clap::Command,
    page: &mut Vec<u8>,
    variables: &mut BTreeSet<(String, String)>,
) -> io::Result<()> {
    for argument in command.get_arguments().filter(|one| !one.is_hide_set()) {
        if let (Some(variable), Some(option)) = (argument.get_env(), argument.get_long()) {
            let variable = variable.to_string_lossy().into_owned();
            variables.insert((variable, format!("--{option}")));
        }
    }
    let below = command.get_subcommands().filter(|one| !one.is_hide_set());
    for command in below {
        if !command.has_subcommands() {
            let man = Man::new(command.clone().mut_arg("help", |help| help.hide(true)));
            let name = command.get_bin_name().unwrap_or(command.get_name());
            page.extend(Roff::new().control("SS", [name]).to_roff().bytes());
            page.extend(body(|page| man.render_description_section(page))?);
            page.extend(b".PP\n");
            page.extend(synopsis(command).bytes());
            page.extend(body(|page| man.render_options_section(page))?);
            if command.get_after_help().is_some() {
                page.extend(b".PP\n");
                page.extend(body(|page| man.render_extra_section(page))?);
            }
        }
        commands(command, page, variables)?;
    }
    Ok(())
}

/// How the command is written, with the values of its options.
fn synopsis(command: &clap::Command) -> String {
    let mut roff = Roff::new();
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let mut line = vec![bold(name)];
    let shown = command.get_arguments().filter(|one| {
        let is_help = matches!(one.get_action(), ArgAction::Help);
        !one.is_hide_set() && !is_help
    });
    for argument in shown {
        // Between what is fixed stands what is for the user to fill in.
        let written = argument.to_string();
        let (fixed, value) = written.split_at(written.find(['<', '[']).unwrap_or(written.len()));
        let brackets = if argument.is_required_set() || argument.is_positional() {
            ["", ""]
        } else {
            ["[", "]"]
        };
        let [before, after] = brackets.map(roman);
        line.extend([roman(" "), before]);
        if !fixed.is_empty() {
            line.push(bold(fixed.trim_end()));
            line.push(roman(&fixed[fixed.trim_end().len()..]));
        }
        if !value.is_empty() {
            line.push(italic(value));
        }
        line.push(after);
    }
    roff.text(line);
    roff.to_roff()
}

/// What is rendered, without what stands before the first section and without the heading of that. Others become headings
/// within the command.
fn body(render: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<Vec<u8>> {
    let mut rendered = Vec::new();
    render(&mut rendered)?;
    let lines = rendered.split_inclusive(|byte| *byte == b'\n');
    let lines = lines.skip_while(|line| !line.starts_with(b".SH")).skip(1);
    Ok(lines.fold(Vec::new(), |mut body, line| {
        match line.strip_prefix(b".SH ") {
            Some(heading) => body.extend([b".PP\n.B ", heading].concat()),
            None => body.extend(line),
        }
        body
    }))
}

fn section(name: &str, entries: &[(&str, &str)]) -> String {
    let mut roff = Roff::new();
    roff.control("SH", [name]);
    for (name, meaning) in entries {
        roff.control("TP", []);
        roff.text([bold(*name)]);
        roff.text([roman(*meaning)]);
    }
    roff.to_roff()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_command_option_and_variable_is_on_the_page() {
        fn check(command: &clap::Command, page: &str) {
            for option in command.get_arguments() {
                let long = option.get_long().map(|long| long.replace('-', "\\-"));
                if let Some(long) = long {
                    assert!(page.contains(&format!("\\-\\-{long}")), "{long}");
                }
                if let Some(variable) = option.get_env() {
                    let variable = variable.to_str().unwrap();
                    assert!(page.contains(&format!("\\fB{variable}\\fR")), "{variable}");
                }
            }
            for below in command.get_subcommands() {
                if !below.has_subcommands() {
                    let name = below.get_bin_name().unwrap();
                    assert!(page.contains(&format!(".SS \"{name}\"\n")), "{name}");
                }
                check(below, page);
            }
        }
        let mut command = Cli::command().disable_help_subcommand(true);
        let page = page(command.clone()).unwrap();
        command.build();
        check(&command, &page);
        for section in [
            "NAME",
            "SYNOPSIS",
            "OPTIONS",
            "COMMANDS",
            "EXIT STATUS",
            "FILES",
        ] {
            let heading = [format!(".SH {section}\n"), format!(".SH \"{section}\"\n")];
            assert!(heading.iter().any(|one| page.contains(one)), "{section}");
        }
        assert_eq!(page.matches(".TH ").count(), 1);
        // All commands stand in one section.
        let (_, after) = page.split_once(".SH COMMANDS\n").unwrap();
        let (commands, _) = after.split_once(".SH ").unwrap();
        assert!(commands.contains(".SS \"sidebearer man\"\n"));
        assert!(commands.contains("IN PLACE OF A FILE"));
        let run = "\\fBsidebearer run\\fR [\\fB\\-\\-config\\fR \\fI<PATH>\\fR] ";
        assert!(commands.contains(run), "{commands}");
        let token = "\\fBsidebearer token\\fR \\fI<NAME>\\fR ";
        assert!(commands.contains(token), "{commands}");
    }
}
