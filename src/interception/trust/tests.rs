//! The files for clients, and the variables that name them.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;

use super::*;
use crate::ca::{self, BUNDLE_FILE, CA_FILE, SHELL_FILE, TRUSTSTORE_FILE};

fn roots() -> Vec<CertificateDer<'static>> {
    let made = ca::create(&["example.com".to_owned()], SystemTime::now()).unwrap();
    ca::certificates(made.chain.as_bytes())
        .unwrap()
        .split_off(1)
}

fn read(directory: &Path, name: &str) -> Vec<CertificateDer<'static>> {
    ca::certificates(&fs::read(directory.join(name)).unwrap()).unwrap()
}

#[test]
fn files_are_replaced_as_a_whole_and_only_when_they_would_change() {
    let dir = tempfile::tempdir().unwrap();
    let trust = dir.path().join("run/trust");
    let (own, others) = (roots(), [roots(), roots()].concat());
    // One of ours that the system has, too, is there once.
    let others = [others, own.clone()].concat();
    write(&trust, &own, &others).unwrap();
    assert_eq!(read(&trust, CA_FILE), own);
    assert_eq!(fs::metadata(&trust).unwrap().mode() & 0o777, 0o755);
    assert_eq!(read(&trust, BUNDLE_FILE), [&own[..], &others[..2]].concat());
    let all = [CA_FILE, BUNDLE_FILE, TRUSTSTORE_FILE, SHELL_FILE];
    let states = || {
        all.map(|name| {
            let found = fs::metadata(trust.join(name)).unwrap();
            assert_eq!(found.mode() & 0o777, 0o644, "{name}");
            (found.ino(), found.mtime_nsec())
        })
    };
    let before = states();
    write(&trust, &own, &others).unwrap();
    assert_eq!(states(), before);
    // Half of a file, as a full disk leaves it to others.
    let whole: Vec<_> = all
        .iter()
        .map(|name| fs::read(trust.join(name)).unwrap())
        .collect();
    for (name, whole) in all.iter().zip(&whole) {
        fs::write(trust.join(name), &whole[..whole.len() / 2]).unwrap();
    }
    write(&trust, &own, &others).unwrap();
    for (name, whole) in all.iter().zip(&whole) {
        assert_eq!(&fs::read(trust.join(name)).unwrap(), whole, "{name}");
    }
    assert_eq!(fs::read_dir(&trust).unwrap().count(), all.len());
}

/// What a POSIX shell has exported after it has read `env.sh` in `directory`, twice.
fn exported(directory: &Path, variable: &str, inherited: Option<&str>) -> OsString {
    use std::os::unix::ffi::OsStringExt;
    let mut shell = Command::new("sh");
    shell
        .arg("-euc")
        .arg(". \"$1\"; . \"$1\"; printenv \"$2\"")
        .arg("sh");
    shell
        .arg(directory.join(SHELL_FILE))
        .arg(variable)
        .env_remove(variable);
    if let Some(inherited) = inherited {
        shell.env(variable, inherited);
    }
    let output = shell.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut shown = output.stdout;
    assert_eq!(shown.pop(), Some(b'\n'));
    OsString::from_vec(shown)
}

#[test]
fn a_shell_gets_the_same_variables_whatever_the_directory_is_called() {
    let dir = tempfile::tempdir().unwrap();
    for name in [
        "plain",
        "with space",
        "it's",
        "$HOME `id` \\ \"quoted\" *",
        "new\nline",
    ] {
        let trust = dir.path().join(name);
        write(&trust, &roots(), &[]).unwrap();
        let set = variables(&trust, |_| None).unwrap();
        assert_eq!(set.len(), 11);
        for (variable, value) in set {
            assert_eq!(
                exported(&trust, variable, None),
                value,
                "{variable} in {name:?}"
            );
        }
        let options = exported(&trust, "JAVA_TOOL_OPTIONS", Some("-Xmx1g"));
        let [(_, appended)] = &variables(&trust, |name| {
            (name == "JAVA_TOOL_OPTIONS").then(|| "-Xmx1g".into())
        })
        .unwrap()[10..] else {
            panic!("no variable");
        };
        assert_eq!(&options, appended);
    }
}

#[test]
fn files_that_a_program_trusts_already_go_on_to_count() {
    let dir = tempfile::tempdir().unwrap();
    let trust = dir.path().join("trust");
    let (own, others, theirs) = (roots(), roots(), roots());
    write(&trust, &own, &others).unwrap();
    let named = dir.path().join("theirs.pem");
    // Without a line break at its end.
    fs::write(&named, ca::to_pem(&theirs).trim_end()).unwrap();
    let inherited = |name: &str| match name {
        "SSL_CERT_FILE" | "NODE_EXTRA_CA_CERTS" => Some(named.clone().into_os_string()),
        "PIP_CERT" => Some(OsString::new()),
        "CURL_CA_BUNDLE" => Some(trust.join(BUNDLE_FILE).into_os_string()),
        _ => None,
    };
    let set = variables(&trust, inherited).unwrap();
    let value = |name: &str| -> &OsStr { &set.iter().find(|(known, _)| *known == name).unwrap().1 };
    for name in ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"] {
        let held = ca::certificates(&fs::read(value(name)).unwrap()).unwrap();
        assert_eq!(held, [&theirs[..], &own[..]].concat(), "{name}");
    }
    assert_eq!(value("PIP_CERT"), trust.join(BUNDLE_FILE));
    assert_eq!(value("CURL_CA_BUNDLE"), trust.join(BUNDLE_FILE));
    assert_eq!(value("DENO_CERT"), trust.join(BUNDLE_FILE));
}

#[test]
fn a_directory_counts_with_its_files_and_what_is_not_there_with_none() {
    let dir = tempfile::tempdir().unwrap();
    let (trust, named) = (dir.path().join("trust"), dir.path().join("certs"));
    let (own, others, theirs) = (roots(), roots(), roots());
    write(&trust, &own, &others).unwrap();
    fs::create_dir_all(named.join("java")).unwrap();
    fs::write(named.join("a.0"), ca::to_pem(&theirs)).unwrap();
    fs::write(named.join("README"), "no certificate").unwrap();
    let held = |path: &Path| {
        let set = variables(&trust, |name| {
            (name == "REQUESTS_CA_BUNDLE").then(|| path.into())
        })?;
        let (_, bundle) = set
            .iter()
            .find(|(name, _)| *name == "REQUESTS_CA_BUNDLE")
            .unwrap();
        Ok::<_, std::io::Error>(ca::certificates(&fs::read(bundle)?).unwrap())
    };
    assert_eq!(held(&named).unwrap(), [&theirs[..], &own[..]].concat());
    assert_eq!(held(Path::new("/nowhere/ca.pem")).unwrap(), own);
    let endless = held(Path::new("/dev/zero")).unwrap_err().to_string();
    assert!(
        endless.starts_with("REQUESTS_CA_BUNDLE: /dev/zero: it is no file"),
        "{endless}"
    );
}

#[test]
fn the_truststore_is_the_same_whenever_its_certificates_are() {
    let roots = [roots(), roots()].concat();
    let all: Vec<_> = roots.iter().collect();
    let store = truststore::truststore(&all);
    assert_eq!(store, truststore::truststore(&all));
    assert_ne!(store, truststore::truststore(&all[..1]));
    for root in &roots {
        assert!(store.windows(root.len()).any(|window| window == &root[..]));
    }
}
