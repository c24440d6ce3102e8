//! Lists in the documents are those of the product: none is left out, and none is invented.

use std::collections::BTreeSet;

use clap::CommandFactory;
use sidebearer::cli::Cli;
use sidebearer::config::ARGUMENT_KEYS;
use sidebearer::proxy::{Blame, ErrorKind};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{Document, root};
use crate::support::api::Api;
use crate::support::client::{get, raw};
use crate::support::idp::Idp;
use crate::support::process::Process;
use crate::support::server::read_head;
use crate::support::sidebearer::Sidebearer;
use crate::support::{any_port, eventually, smallest, tls};

/// The cells of the rows of the table that begins with this line.
pub(super) fn table<'d>(text: &'d str, head: &str) -> Vec<Vec<&'d str>> {
    let (_, rows) = text
        .split_once(head)
        .unwrap_or_else(|| panic!("no table {head}"));
    let rows = rows
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let cells = |row: &'d str| row.trim_matches('|').split('|').map(str::trim).collect();
    rows.map(cells).collect()
}

#[test]
fn the_readme_is_short() {
    let lines = Document::read("README.md").text.lines().count();
    assert!(lines <= 200, "{lines} lines");
}

#[test]
fn the_variables_that_make_tests_larger_are_in_the_documents() {
    let run = std::fs::read_to_string(root().join(".ci/run")).unwrap();
    let (_, full_size) = run.split_once("full_size() {").unwrap();
    let (full_size, _) = full_size.split_once("\n}").unwrap();
    let variables = full_size.lines().filter_map(|line| line.split_once('='));
    let variables: BTreeSet<_> = variables.map(|(name, _)| name.trim()).collect();
    assert!(variables.len() >= 4, "{variables:?}");
    let document = Document::read("CONTRIBUTING.md");
    for name in &variables {
        assert!(document.text.contains(name), "{name}");
    }
}

#[test]
fn the_arguments_of_a_configuration_are_those_of_the_product() {
    let document = Document::read("docs/configuration.md");
    let rows = table(
        &document.text,
        "| argument | variable | what it says | key |",
    );
    let documented: Vec<_> = rows
        .iter()
        .map(|row| (row[0], row[1].to_owned(), row[2]))
        .collect();
    let known = ARGUMENT_KEYS.iter().map(|key| {
        let variable = format!("`{}`", key.variable);
        (key, variable, key.help)
    });
    assert_eq!(documented.len(), known.len());
    for ((argument, variable, help), (key, known_variable, known_help)) in
        documented.into_iter().zip(known)
    {
        assert_eq!((variable, help), (known_variable, known_help));
        let is_named = argument.trim_matches('`').split(' ').next() == Some(&key.flag());
        assert!(
            is_named || argument == "none" && key.is_variable_only(),
            "{argument}"
        );
    }
}

#[test]
fn the_errors_are_those_of_the_product() {
    let document = Document::read("docs/errors.md");
    let rows = table(
        &document.text,
        "| code | status | gRPC | fault | repeat | when |",
    );
    let documented: Vec<_> = rows.iter().map(|row| row[..5].join(" ")).collect();
    let known = ErrorKind::ALL.map(|kind| {
        let fault = match kind.blame() {
            Blame::Client => "client",
            Blame::Upstream => "API",
            Blame::TokenEndpoint => "authorization server",
            Blame::Us => "sidebearer",
        };
        let repeat = if kind.retry_safe() { "safe" } else { "unknown" };
        format!(
            "`{}` {} {} {fault} {repeat}",
            kind.code(),
            kind.status().as_u16(),
            kind.grpc_status()
        )
    });
    assert_eq!(documented, known);
    let (_, advice) = document.text.split_once("## What to do").unwrap();
    for kind in ErrorKind::ALL {
        let heading =
            |line: &str| line.starts_with("### ") && line.contains(&format!("`{}`", kind.code()));
        assert!(
            advice.lines().any(heading),
            "nothing to do about {}",
            kind.code()
        );
    }
}

#[tokio::test]
async fn the_example_of_an_error_is_what_the_product_answers() {
    let document = Document::read("docs/errors.md");
    let blocks = document.blocks();
    let example = blocks.iter().find(|b| b.text.starts_with("HTTP/1.1 404"));
    let (head, body) = example.unwrap().text.trim_end().split_once("\n\n").unwrap();
    let sidebearer = Sidebearer::start(&smallest(&Api::open(), &Idp::start()));
    let request = "GET / HTTP/1.1\r\nHost: elsewhere.example.com\r\nConnection: close\r\n\r\n";
    let answer = raw(sidebearer.address(), request).await;
    let (answered, answer) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, answer);
    for line in head.lines() {
        assert!(
            answered.lines().any(|other| other == line),
            "{line}: {answered}"
        );
    }
}

#[tokio::test]
async fn the_metrics_are_those_of_the_product() {
    let api = Api::open();
    let forward = format!(
        "[[listeners]]\nname = \"proxy\"\naddress = \"{}\"\nkind = \"forward\"\nupstreams = [\"far\"]\n[upstreams.far]\nurl = \"https://{}\"\n\
         [callers.shop]\nservice_account = \"shop/app\"\n[kubernetes]\nreview = true\n",
        any_port(),
        api.address
    );
    let reporting = format!(
        "[[listeners]]\nname = \"known\"\naddress = \"{}\"\nupstream = \"far\"\ncallers = [\"billing\"]\n\
         enforcement = \"report\"\n[callers.billing]\nuser = \"12345\"\n",
        any_port()
    );
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "s3cret").unwrap();
    let intercepting = format!(
        "[[listeners]]\nname = \"intercepting\"\naddress = \"{}\"\nkind = \"forward\"\nintercept = true\nupstreams = []\n",
        any_port()
    );
    let interception = format!(
        "[[listeners]]\nname = \"inside\"\naddress = \"{}\"\nkind = \"forward\"\nupstreams = [\"far\"]\nintercept = true\n\
         [interception]\nkey_directory = \"ca\"\ntrust_directory = \"trust\"\ndomains = [\"{}\"]\n",
        any_port(),
        api.address.ip()
    );
    let config = smallest(&api, &Idp::start())
        + &forward
        + &tls::secured(dir.path())
        + &reporting
        + &intercepting
        + &interception;
    let sidebearer = Sidebearer::start_in(dir, &config);
    // Of durations and tunnels a series begins with the first one.
    assert_eq!(get(sidebearer.address_of("app"), "/").await.status, 200);
    let connect = format!("CONNECT {} HTTP/1.1\r\nHost: x\r\n\r\n", api.address);
    let mut tunnel = TcpStream::connect(sidebearer.address_of("proxy"))
        .await
        .unwrap();
    tunnel.write_all(connect.as_bytes()).await.unwrap();
    assert!(read_head(&mut tunnel).await.contains(" 200 "));
    let page = sidebearer.page("/metrics").await;
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let known: BTreeSet<_> = types.map(|line| line.split(' ').next().unwrap()).collect();
    let document = Document::read("docs/operations.md");
    let rows = table(&document.text, "| metric | labels | |");
    let documented: BTreeSet<_> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(documented, known);
}

#[tokio::test]
async fn the_access_line_is_that_of_the_product() {
    let config = smallest(&Api::open(), &Idp::start());
    let log = "[log]\nformat = \"json\"\naccess = \"all\"\n";
    let process = Process::start(&format!("{log}{config}")).await;
    assert_eq!(get(process.address(), "/hello").await.status, 200);
    let mut line = serde_json::Value::Null;
    eventually("the access line", async || {
        let log = process.log();
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let mut lines = lines.filter(|line: &serde_json::Value| line["path"] == "/hello");
        line = lines.next().unwrap_or_default();
        line.is_object()
    })
    .await;
    let document = Document::read("docs/operations.md");
    let (_, example) = document.blocks_of("json").remove(0);
    let example: serde_json::Value = serde_json::from_str(&example).unwrap();
    let keys = |line: &serde_json::Value| {
        let keys = line.as_object().unwrap().keys().cloned();
        keys.collect::<BTreeSet<_>>()
    };
    assert_eq!(keys(&example), keys(&line));
}

#[test]
fn the_commands_are_those_of_the_product() {
    let document = Document::read("docs/operations.md");
    let blocks = document.blocks();
    let usage = blocks
        .iter()
        .find(|block| block.text.starts_with("sidebearer run"));
    let usage = &usage.unwrap().text;
    let lines = usage.lines().filter(|line| line.starts_with("sidebearer "));
    let documented: BTreeSet<_> = lines.map(|line| line.split(' ').nth(1).unwrap()).collect();
    let cli = Cli::command();
    let known = cli.get_subcommands();
    assert_eq!(documented, known.map(clap::Command::get_name).collect());
    for command in cli.get_subcommands() {
        // Those that stand in place of a file have a table of their own.
        let takes_arguments = command.get_arguments().any(|it| it.get_id() == "upstream");
        let known =
            |long: &str| takes_arguments && ARGUMENT_KEYS.iter().any(|key| key.name == long);
        let shown = command.get_arguments().filter(|it| !it.is_hide_set());
        for long in shown.filter_map(clap::Arg::get_long) {
            let option = format!("--{long}");
            if known(long) {
                continue;
            }
            assert!(usage.contains(&option), "{}: {option}", command.get_name());
        }
    }
}

#[test]
fn every_path_in_the_documents_exists() {
    for document in Document::all() {
        let text = document
            .text
            .replace(['`', '(', ')', ',', ':', ';', '|'], " ");
        for word in text.split_whitespace() {
            let path = word.trim_end_matches('.');
            if path.starts_with("src/") && !path.contains(['*', '…', '{']) {
                let place = document.path.display();
                assert!(root().join(path).exists(), "{place}: {path}");
            }
        }
    }
}

/// The index of the fakes, in `tests/it/support/mod.rs`: every module is in it, and what it links to exists.
#[test]
fn the_index_of_the_fakes_is_complete() {
    let support = root().join("tests/it/support");
    let read = |file: &str| std::fs::read_to_string(support.join(file)).unwrap();
    let text = read("mod.rs");
    let index: String = text
        .lines()
        .filter(|line| line.starts_with("//!"))
        .collect();
    let links: Vec<_> = index.split("[`").skip(1).collect();
    let links: Vec<_> = links
        .iter()
        .filter_map(|rest| rest.split_once("`]"))
        .collect();
    let modules = text
        .lines()
        .filter_map(|line| line.strip_prefix("pub(crate) mod "));
    for module in modules.map(|rest| rest.trim_end_matches(';')) {
        let in_index = |(link, _): &(&str, &str)| link.split("::").next() == Some(module);
        assert!(
            links.iter().any(in_index),
            "{module} is not in the index of the fakes"
        );
    }
    assert!(links.len() > 20, "only {} links", links.len());
    for (link, _) in links {
        let mut parts = link.split("::");
        let code = read(&format!("{}.rs", parts.next().unwrap()));
        for name in parts {
            let is_defined = code
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|word| word == name);
            assert!(
                is_defined,
                "{link} is in the index of the fakes, and nowhere else"
            );
        }
    }
}
