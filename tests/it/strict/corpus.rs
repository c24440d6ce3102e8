//! The cases of `http_desync_guardian`, read where cargo keeps them. How each went is in
//! `tests/corpus/REPORT.md`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tokio::task::JoinSet;
use yaml_rust2::{Yaml, YamlLoader};

use super::{answers, assert_healthy, converse, world};
use crate::support::skip;
use crate::support::strict::{Request, reading};

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus");

/// Cases that go otherwise than the corpus asks for, and why that is right.
const DEVIATIONS: [(&str, &str); 13] = [
    ("Correct TE OK", CODING),
    ("Transfer-Encoding: identity and chunked OK", CODING),
    (
        "Multiple transfer encoding headers in a single request OK",
        CODING,
    ),
    ("TE with custom parameters OK", CODING),
    ("Different Transfer-Encoding headers", CODING),
    ("Different Transfer-Encoding headers combined", CODING),
    (
        "Transfer-Encoding with a param: chunked;custom_param",
        CODING,
    ),
    (
        "Compliant URL",
        "a target has no fragment (RFC 9112 section 3.2), and readers differ on where one begins",
    ),
    ("International in URI", "a target is ASCII (RFC 3986)"),
    ("Empty URI", "a request line has a target"),
    ("%09 in URI is OK", CONTROL),
    ("%0D in URI is OK", CONTROL),
    ("%0A in URI is OK", CONTROL),
];
const CODING: &str = "any transfer coding but one `chunked` is refused: a recipient that forgets one frames the body otherwise";
const CONTROL: &str =
    "an encoded control character may be decoded further on and split what it lies in";

/// A case, as bytes.
struct Case {
    name: String,
    tier: String,
    head: Vec<u8>,
}

/// What became of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// In no form did anything of it reach the upstream.
    Refused,
    /// In some form it reached the upstream, as exactly what RFC 9112 reads.
    Forwarded,
}

#[tokio::test]
async fn each_case_of_the_corpus_is_refused_or_forwarded_as_the_rfc_reads_it() {
    let Some(corpus) = corpus() else {
        return skip(
            "the corpus",
            "`cargo fetch --manifest-path tests/corpus/Cargo.toml` fetches it",
        );
    };
    let cases = cases(&corpus);
    let (recorder, sidebearer) = world("");
    let sidebearer = Arc::new(sidebearer);
    let mut exchanges = JoinSet::new();
    let mut ended = Vec::new();
    let mut runs = Vec::new();
    for (case, Case { head, .. }) in cases.iter().enumerate() {
        for body in bodies(head) {
            let run = runs.len();
            let sent = message(head, &body, run);
            runs.push((case, sent.clone()));
            let sidebearer = Arc::clone(&sidebearer);
            if exchanges.len() == 24 {
                ended.push(exchanges.join_next().await.unwrap().unwrap());
            }
            exchanges.spawn(async move { (run, converse(&sidebearer, &sent).await) });
        }
    }
    ended.extend(exchanges.join_all().await);
    ended.sort();

    let arrived = recorder.requests();
    let mut outcomes = vec![Outcome::Refused; cases.len()];
    let mut accounted = 0;
    for ((run, raw), (case, sent)) in ended.iter().zip(&runs) {
        let of_run = |request: &&Request| request.value("x-run") == run.to_string();
        let arrived: Vec<_> = arrived.iter().filter(of_run).collect();
        accounted += arrived.len();
        let (sent_requests, why) = reading(sent);
        let start = &sent[..sent.len().min(2_000)];
        let told = format!("{}: {why}: {}", cases[*case].name, start.escape_ascii());
        let targets: Vec<_> = arrived.iter().map(|arrived| &arrived.target).collect();
        assert!(
            arrived.len() <= sent_requests.len(),
            "{targets:?} for {told}"
        );
        for (arrived, sent) in arrived.iter().zip(&sent_requests) {
            assert_same(arrived, sent, &told);
        }
        assert_answered(&arrived, raw, &told);
        if !arrived.is_empty() {
            outcomes[*case] = Outcome::Forwarded;
        }
    }
    assert_eq!(accounted, arrived.len(), "requests out of nowhere");
    assert_healthy(&recorder, &sidebearer).await;
    compare_report(&report(&cases, &outcomes, runs.len(), arrived.len()));
}

/// Where cargo keeps the corpus, if it does.
fn corpus() -> Option<PathBuf> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--locked", "--format-version", "1"])
        .args(["--manifest-path", &format!("{HERE}/Cargo.toml")])
        .output()
        .unwrap();
    if !output.status.success() {
        return None;
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let guardian = packages
        .iter()
        .find(|p| p["name"] == "http_desync_guardian");
    let manifest = guardian.unwrap()["manifest_path"].as_str().unwrap();
    Some(Path::new(manifest).with_file_name("tests"))
}

fn cases(corpus: &Path) -> Vec<Case> {
    let mut files: Vec<_> = std::fs::read_dir(corpus)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let documents = YamlLoader::load_from_str(&text).unwrap();
        cases.extend(documents[0].as_vec().unwrap().iter().map(case));
    }
    assert!(cases.len() > 100, "{} cases in {corpus:?}", cases.len());
    cases
}

fn case(yaml: &Yaml) -> Case {
    let mut head = Vec::new();
    for (field, end) in [("method", " "), ("uri", " "), ("version", "\r\n")] {
        head.extend(bytes(&yaml[field]));
        head.extend_from_slice(end.as_bytes());
    }
    let mut has_host = false;
    for header in yaml["headers"].as_vec().into_iter().flatten() {
        let name = bytes(&header["name"]);
        has_host |= name.eq_ignore_ascii_case(b"host");
        head.extend(name);
        head.extend_from_slice(b": ");
        head.extend(bytes(&header["value"]));
        head.extend_from_slice(b"\r\n");
    }
    if !has_host {
        // Few cases have one, and without it every one would be refused for that alone.
        head.extend_from_slice(b"Host: localhost\r\n");
    }
    Case {
        name: yaml["name"].as_str().unwrap().to_owned(),
        tier: yaml["expected"]["tier"].as_str().unwrap().to_owned(),
        head,
    }
}

/// What a value of the corpus means: `\x80` is a byte, also where YAML does not take it for one.
fn bytes(yaml: &Yaml) -> Vec<u8> {
    let text = match yaml {
        Yaml::Integer(number) => number.to_string(),
        text => text.as_str().unwrap().to_owned(),
    };
    let mut bytes = Vec::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let c = match c {
            '\\' => match rest.next().unwrap() {
                'x' => {
                    let digits: String = rest.by_ref().take(2).collect();
                    char::from(u8::from_str_radix(&digits, 16).unwrap())
                }
                'b' => '\x08',
                'f' => '\x0C',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                other => other,
            },
            c => c,
        };
        match u8::try_from(c) {
            Ok(byte) => bytes.push(byte),
            Err(_) => bytes.extend(c.to_string().bytes()),
        }
    }
    bytes
}

/// The corpus has heads alone. What follows decides whether a difference in framing shows: nothing,
/// a chunked body, and one as long as any length in the head says.
fn bodies(head: &[u8]) -> Vec<Vec<u8>> {
    let mut bodies = vec![Vec::new(), b"5\r\nhello\r\n0\r\n\r\n".to_vec()];
    let text = String::from_utf8_lossy(head).to_lowercase();
    for (at, name) in text.match_indices("content-length") {
        let behind = &text[at + name.len()..];
        let line = behind.lines().next().unwrap_or_default();
        let digits = line.trim_start_matches(|c: char| !c.is_ascii_digit());
        let digits: String = digits.chars().take_while(char::is_ascii_digit).collect();
        match digits.parse() {
            Ok(length @ 1..=5_000_000) => bodies.push(vec![b'x'; length]),
            _ => continue,
        }
    }
    bodies.dedup();
    bodies
}

/// The head and body, and a request behind them that must never be mistaken.
fn message(head: &[u8], body: &[u8], run: usize) -> Vec<u8> {
    let probe = format!(
        "GET /probe HTTP/1.1\r\nHost: localhost\r\nX-Run: {run}\r\nConnection: close\r\n\r\n"
    );
    let marked = format!("X-Run: {run}\r\n\r\n");
    [head, marked.as_bytes(), body, probe.as_bytes()].concat()
}

fn assert_same(arrived: &Request, sent: &Request, told: &str) {
    assert_eq!(arrived.method, sent.method, "{told}");
    assert_eq!(arrived.body, sent.body, "{told}");
    // The path arrives in its one spelling.
    let plain =
        |target: &str| -> Vec<u8> { percent_encoding::percent_decode_str(target).collect() };
    assert_eq!(plain(&arrived.target), plain(&sent.target), "{told}");
    assert!(arrived.value("authorization").starts_with("Bearer token-"));
}

/// The client got the answer to each request that arrived, in order, and behind them at most the
/// one that says what was wrong.
fn assert_answered(arrived: &[&Request], raw: &[u8], told: &str) {
    let answers = answers(raw);
    let theirs: Vec<_> = answers.iter().filter(|answer| !answer.is_ours()).collect();
    assert_eq!(theirs.len(), arrived.len(), "{answers:?} for {told}");
    for (answer, arrived) in theirs.iter().zip(arrived) {
        let expected = match arrived.method.as_str() {
            "HEAD" => String::new(),
            method => format!("{method} {}", arrived.target),
        };
        assert_eq!((answer.status, &answer.body), (200, &expected), "{told}");
    }
    let ours = &answers[theirs.len()..];
    assert!(ours.len() <= 1, "{ours:?} for {told}");
    for refusal in ours {
        assert!(
            refusal.is_ours() && (400..500).contains(&refusal.status),
            "{refusal:?} for {told}"
        );
    }
    assert!(!answers.is_empty(), "closed without a word: {told}");
}

fn report(cases: &[Case], outcomes: &[Outcome], runs: usize, arrived: usize) -> String {
    let mut report = format!(
        "# `http_desync_guardian` 0.1.3 against sidebearer\n\n\
         Written by `tests/it/strict/corpus.rs`, which fails when it is no longer true.\n\n\
         {} cases were sent in {runs} forms: with nothing behind the head, with a chunked body, and with one of each length\n\
         that the head names; each with a second request behind it. {arrived} requests reached the upstream, each of them one\n\
         that RFC 9112 reads in what was sent; none was smuggled, none got the answer to another.\n\n\
         | Tier of the corpus | Cases | Refused in every form | Forwarded as RFC 9112 reads it |\n\
         | --- | ---: | ---: | ---: |\n",
        cases.len(),
    );
    let all = || cases.iter().zip(outcomes);
    for tier in ["Compliant", "Acceptable", "Ambiguous", "Severe"] {
        let of_tier = |outcome| {
            let matching =
                |(case, found): &(&Case, &Outcome)| case.tier == tier && **found == outcome;
            all().filter(matching).count()
        };
        let (refused, forwarded) = (of_tier(Outcome::Refused), of_tier(Outcome::Forwarded));
        let count = refused + forwarded;
        writeln!(report, "| {tier} | {count} | {refused} | {forwarded} |").unwrap();
    }
    report.push_str(
        "\nThe corpus wants what is compliant to pass and what is severe to be refused. It goes otherwise here:\n\n",
    );
    let mut deviating = Vec::new();
    for (case, outcome) in all() {
        let deviates = match case.tier.as_str() {
            "Compliant" => *outcome == Outcome::Refused,
            "Severe" => *outcome == Outcome::Forwarded,
            _ => false,
        };
        if !deviates {
            continue;
        }
        deviating.push(case.name.as_str());
        let why = DEVIATIONS.iter().find(|(name, _)| *name == case.name);
        let why = why.map_or("UNEXPLAINED", |(_, why)| why);
        writeln!(
            report,
            "- {} ({}, {outcome:?}): {why}",
            case.name, case.tier
        )
        .unwrap();
    }
    for (name, _) in DEVIATIONS {
        assert!(deviating.contains(&name), "no deviation any more: {name}");
    }
    report
}

fn compare_report(report: &str) {
    let path = format!("{HERE}/REPORT.md");
    if std::env::var_os("UPDATE_REPORT").is_some() {
        std::fs::write(&path, report).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        kept, report,
        "run this test with UPDATE_REPORT=1 and look at the difference"
    );
    assert!(!report.contains("UNEXPLAINED"), "{report}");
}
