//! The files of a CA: who may read them, and what becomes of them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::ca::key_directory::files;

pub(super) fn directory() -> (TempDir, KeyDirectory) {
    let dir = tempfile::tempdir().unwrap();
    let directory = KeyDirectory::new(dir.path().join("ca"));
    (dir, directory)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn example() -> Vec<String> {
    domains(&["example.com"])
}

/// What is said, with the directory left out.
pub(super) fn refused<T>(directory: &KeyDirectory, result: Result<T, KeyDirectoryError>) -> String {
    let Err(error) = result else {
        panic!("it was taken");
    };
    error
        .to_string()
        .replace(&directory.path().display().to_string(), "CA")
}

#[test]
fn a_directory_or_key_that_others_can_use_is_refused() {
    let (_dir, directory) = directory();
    directory.create(&example()).unwrap();
    let key = directory.file(KEY_FILE);
    for (path, mode, expected) in [
        (
            directory.path(),
            0o755,
            "CA: every user of the machine can look into it; take that away: chmod o= CA",
        ),
        (
            directory.path(),
            0o701,
            "CA: every user of the machine can look into it; take that away: chmod o= CA",
        ),
        (
            directory.path(),
            0o720,
            "CA: a group of users can replace the files in it; take that away: chmod g-w CA",
        ),
        (
            &key,
            0o604,
            "CA/issuer.key: every user of the machine can use the key; take that away: chmod 0600 CA/issuer.key",
        ),
        (
            &key,
            0o602,
            "CA/issuer.key: every user of the machine can use the key; take that away: chmod 0600 CA/issuer.key",
        ),
        (
            &key,
            0o620,
            "CA/issuer.key: a group of users can use the key; take that away: chmod 0600 CA/issuer.key (a key of root may be readable by a group)",
        ),
    ] {
        let before = fs::metadata(path).unwrap().permissions();
        set_mode(path, mode);
        assert_eq!(refused(&directory, directory.read()), expected);
        assert_eq!(
            refused(&directory, directory.read_or_create(&example())),
            expected
        );
        fs::set_permissions(path, before).unwrap();
        directory.read().unwrap();
    }
    // The key of the successor is as good as a key.
    directory.create_successor(&example()).unwrap();
    set_mode(&directory.file(NEXT_KEY_FILE), 0o644);
    assert!(refused(&directory, directory.read()).starts_with("CA/next.key: every user"));
}

#[test]
fn what_another_user_owns_is_refused_to_all_but_root() {
    let (root, we, other) = (0, 1000, 1001);
    for (user, owner, is_foreign) in [
        (we, we, false),
        (we, root, false),
        (we, other, true),
        // It works for those to whom it belongs.
        (root, other, false),
    ] {
        assert_eq!(files::is_foreign(user, owner), is_foreign, "{user} {owner}");
    }
}

#[test]
fn what_is_there_is_never_replaced_but_by_a_switch() {
    let (_dir, directory) = directory();
    let missing = "CA/issuer.pem is missing: without an issuer there is nothing to succeed; make one without --successor";
    assert_eq!(
        refused(&directory, directory.create_successor(&example())),
        missing
    );
    directory.create(&example()).unwrap();
    let key = fs::read(directory.file(KEY_FILE)).unwrap();
    assert_eq!(
        refused(&directory, directory.create(&example())),
        "CA/issuer.key is there already; nothing was changed"
    );
    directory.create_successor(&example()).unwrap();
    let again = refused(&directory, directory.create_successor(&example()));
    assert_eq!(again, "CA/next.key is there already; nothing was changed");
    assert_eq!(fs::read(directory.file(KEY_FILE)).unwrap(), key);
    // What is left of one that was ended in the middle does not keep the next from its work.
    let (_dir, directory) = self::directory();
    fs::create_dir(directory.path()).unwrap();
    set_mode(directory.path(), 0o700);
    fs::write(directory.file(".issuer.key.new"), "half of a k").unwrap();
    directory.create(&example()).unwrap();
    directory.read().unwrap();
}

#[test]
fn half_of_an_issuer_is_refused_and_not_completed() {
    for (gone, left) in [(KEY_FILE, CHAIN_FILE), (CHAIN_FILE, KEY_FILE)] {
        let (_dir, directory) = directory();
        directory.create(&example()).unwrap();
        fs::remove_file(directory.file(gone)).unwrap();
        let expected =
            format!("CA/{left} is there without {gone}: put both there, or take it away");
        assert_eq!(
            refused(&directory, directory.read_or_create(&example())),
            expected
        );
        assert!(!directory.file(gone).exists());
    }
}

#[test]
fn a_ca_whose_making_was_interrupted_is_completed() {
    let (_dir, directory) = directory();
    directory.create(&example()).unwrap();
    let chain = fs::read(directory.file(CHAIN_FILE)).unwrap();
    let prepared = directory.file(".issuer.pem.new");
    fs::rename(directory.file(CHAIN_FILE), &prepared).unwrap();
    // Nothing is changed by looking.
    assert!(directory.read().unwrap().1.is_none());
    assert!(prepared.exists());
    let (_, issuer) = directory.read_or_create(&example()).unwrap();
    assert_eq!(issuer.chain, chain);
    assert!(directory.read().unwrap().1.is_some());
    assert!(!prepared.exists());

    // A chain that is not of this key is none of its own.
    let (_other, other) = self::directory();
    other.create(&example()).unwrap();
    fs::rename(other.file(CHAIN_FILE), &prepared).unwrap();
    fs::remove_file(directory.file(CHAIN_FILE)).unwrap();
    let refused = refused(&directory, directory.read_or_create(&example()));
    assert!(refused.contains("without issuer.pem"), "{refused}");
}

#[test]
fn a_command_that_was_interrupted_leaves_nothing_to_the_next() {
    type Make = fn(&KeyDirectory, &[String]) -> Result<(), KeyDirectoryError>;
    let commands: [(Make, &str, &str); 2] = [
        (KeyDirectory::create, KEY_FILE, CHAIN_FILE),
        (
            KeyDirectory::create_successor,
            NEXT_KEY_FILE,
            NEXT_CHAIN_FILE,
        ),
    ];
    for (make, key, chain) in commands {
        // What of the two files had its place, and how much of the others had been written.
        for (key_is_put, whole) in [(false, false), (false, true), (true, true)] {
            let (_dir, directory) = directory();
            if key == NEXT_KEY_FILE {
                directory.create(&example()).unwrap();
            }
            make(&directory, &example()).unwrap();
            let expected = held(&directory);
            let prepared = |name: &str| directory.file(&format!(".{name}.new"));
            fs::rename(directory.file(chain), prepared(chain)).unwrap();
            let first = fs::read(directory.file(key)).unwrap();
            if !key_is_put {
                fs::rename(directory.file(key), prepared(key)).unwrap();
            }
            if !whole {
                fs::write(prepared(chain), "-----BEGIN CERT").unwrap();
            }
            // For other domains than before.
            make(&directory, &["example.org".to_owned()]).unwrap();
            assert_eq!(held(&directory), expected, "{key} {key_is_put} {whole}");
            assert_ne!(fs::read(directory.file(key)).unwrap(), first);
            directory.read().unwrap();
            if key == NEXT_KEY_FILE {
                let switched = directory.switch(SystemTime::now(), FewerNames::Allowed);
                assert_eq!(switched.unwrap(), Switched::Whole);
            }
        }
        // A key whose chain is nowhere is somebody's.
        let (_dir, directory) = directory();
        if key == NEXT_KEY_FILE {
            directory.create(&example()).unwrap();
        }
        make(&directory, &example()).unwrap();
        fs::remove_file(directory.file(chain)).unwrap();
        let refused = refused(&directory, make(&directory, &example()));
        assert_eq!(
            refused,
            format!("CA/{key} is there already; nothing was changed")
        );
    }
}

/// The names of all files, in order.
pub(super) fn held(directory: &KeyDirectory) -> Vec<std::ffi::OsString> {
    let files = fs::read_dir(directory.path()).unwrap();
    let mut names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_switch_that_was_interrupted_is_finished() {
    let now = SystemTime::now();
    let (_dir, directory) = directory();
    directory.create(&example()).unwrap();
    let missing = "CA/next.pem is missing: `sidebearer ca create --successor` makes it";
    assert_eq!(
        refused(&directory, directory.switch(now, FewerNames::Refused)),
        missing
    );
    let old = certificates(&fs::read(directory.file(CHAIN_FILE)).unwrap()).unwrap();
    directory.create_successor(&example()).unwrap();
    let next = fs::read(directory.file(NEXT_CHAIN_FILE)).unwrap();

    // A successor without its key is not switched to.
    let key = fs::read(directory.file(NEXT_KEY_FILE)).unwrap();
    fs::remove_file(directory.file(NEXT_KEY_FILE)).unwrap();
    let half = "CA/next.pem is there without next.key: put both there, or take it away";
    assert_eq!(
        refused(&directory, directory.switch(now, FewerNames::Refused)),
        half
    );
    // Interrupted when the key had its place.
    fs::write(directory.file(KEY_FILE), &key).unwrap();
    assert_eq!(
        directory.switch(now, FewerNames::Refused).unwrap(),
        Switched::Finished
    );
    assert_eq!(fs::read(directory.file(CHAIN_FILE)).unwrap(), next);
    let kept = certificates(&fs::read(directory.file(PREVIOUS_FILE)).unwrap()).unwrap();
    assert_eq!(kept, old[1..]);
    assert!(!directory.file(NEXT_CHAIN_FILE).exists());

    // The roots of all before it stay.
    directory.create_successor(&example()).unwrap();
    assert_eq!(
        directory.switch(now, FewerNames::Refused).unwrap(),
        Switched::Whole
    );
    let kept = certificates(&fs::read(directory.file(PREVIOUS_FILE)).unwrap()).unwrap();
    assert_eq!(kept.len(), 2);
    let (others, issuer) = directory.read().unwrap();
    assert!(others.next.is_none() && issuer.is_some());
}
