use proptest::prelude::*;

use super::*;

#[test]
fn canonical_paths_are_borrowed() {
    for path in [
        "/",
        "//",
        "/crm/x",
        "/crm/",
        "/a%2Fb",
        "/a%20b",
        "/%C3%A9",
        "/a;b=c/d",
        "/a;v=..",
        "/.well-known/x",
        "/...",
        "//a",
        "/a./b../...",
        "/a/.b;c",
        "/~x/-_.!$&'()*+,;=:@|^\"{}",
        "/%252E%252E/",
        "/%252e",
    ] {
        match canonical_path(path) {
            Ok(Cow::Borrowed(canonical)) => assert_eq!(canonical, path),
            other => panic!("{path}: {other:?}"),
        }
    }
}

#[test]
fn other_spellings_become_canonical() {
    for (path, canonical) in [
        ("/%61%2d%2E%5F%7e%39", "/a-._~9"),
        ("/a%2fb", "/a%2Fb"),
        ("/%c3%a9", "/%C3%A9"),
        ("/%41%2f%42", "/A%2FB"),
        ("/x%2Ehtml", "/x.html"),
        ("/%7euser/%61", "/~user/a"),
        ("/a%2fb%c3%a4", "/a%2Fb%C3%A4"),
        ("/%2e%2e%2e", "/..."),
        ("/%25%32%65", "/%252e"),
        ("/a%3bb", "/a%3Bb"),
    ] {
        assert_eq!(canonical_path(path).as_deref(), Ok(canonical), "{path}");
    }
}

#[test]
fn dot_segments_are_refused_in_every_spelling() {
    for path in [
        "/.",
        "/..",
        "/./",
        "/../",
        "/a/..",
        "/a/../b",
        "/a/./b",
        "/%2e",
        "/%2E%2e/a",
        "/.%2e/a",
        "/%2e./a",
        "/a/..;/b",
        "/a/..;x=y/b",
        "/..;a=b",
        "/a/.;",
        "/a/..%2f",
        "/..%2f",
        "/..%2Fa",
        "/a%2f..",
        "/a%2f..%2fb",
        "/a%2F%2e%2e%2Fb",
        "/a/..%3b/b",
        "/a/%2e%2e%3Bx",
        "/a/..;%2fb",
        "//..",
    ] {
        assert_eq!(canonical_path(path), Err(PathError::DotSegment), "{path}");
    }
}

#[test]
fn bytes_that_parsers_disagree_on_are_refused() {
    for path in [
        "/a\\b", "/\u{e9}", "/a b", "/a\tb", "/a\u{7f}", "/a#b", "/#", "/a\0", "/\u{80}", "/\u{e4}",
    ] {
        assert_eq!(canonical_path(path), Err(PathError::Character), "{path:?}");
    }
}

#[test]
fn encoded_controls_and_backslashes_are_refused() {
    for path in [
        "/%00", "/a%5Cb", "/a%5cb", "/%0d%0a", "/%1F", "/%7f", "/%7F", "/%09",
    ] {
        assert_eq!(
            canonical_path(path),
            Err(PathError::EncodedControl),
            "{path}"
        );
    }
}

#[test]
fn broken_escapes_are_refused() {
    for path in [
        "/%", "/%4", "/%zz", "/%4g", "/%%41", "/%+1", "/a%u0041", "/% 1",
    ] {
        let expected = if path.contains(' ') {
            PathError::Character
        } else {
            PathError::Escape
        };
        assert_eq!(canonical_path(path), Err(expected), "{path}");
    }
}

#[test]
fn only_what_begins_with_a_slash_is_a_path() {
    for path in ["", "*", "a", "?", "%2F"] {
        assert_eq!(canonical_path(path), Err(PathError::NotAbsolute), "{path}");
    }
}

#[test]
fn a_query_passes_as_it_came_unless_its_bytes_are_ambiguous() {
    for query in [
        "",
        "a=b&c",
        "q=%5c%0A%zz%",
        "../..",
        "a=%2e%2e/",
        "x?y/z",
        "\"{}|^`",
    ] {
        assert_eq!(check_query(query), Ok(()), "{query}");
    }
    for query in ["a\\b", "\u{e9}", "a b", "a#b", "\u{7f}", "\n"] {
        assert_eq!(check_query(query), Err(PathError::Character), "{query:?}");
    }
    assert_eq!(check_query("a=%00"), Err(PathError::EncodedControl));
}

#[test]
fn overlong_utf_8_is_refused() {
    for path in [
        "/%C0%AE",
        "/%c0%ae%c0%ae/",
        "/%C0%AF",
        "/a%C1%81",
        "/%c1%9c",
        "/%E0%80%AE",
        "/%e0%9f%bf",
        "/%F0%80%80%AE",
        "/%f0%8f%bf%bf",
        "/%F8%80%80%80%AE",
        "/%FC%80%80%80%80%AE",
        "/%E4%C0%AE",
    ] {
        assert_eq!(canonical_path(path), Err(PathError::Overlong), "{path}");
        assert_eq!(Path::read(path), Err(PathError::Overlong), "{path}");
    }
    for path in [
        "/%C3%A9",
        "/%E0%A0%80",
        "/%F0%90%80%80",
        "/%EF%BF%BD",
        // Latin-1.
        "/%E4",
        "/%C0/%AE",
        "/%C0a%AE",
        "/%C1gua",
    ] {
        assert_eq!(canonical_path(path).as_deref(), Ok(path));
    }
}

#[test]
fn a_path_is_kept_as_it_came() {
    for (path, canonical) in [
        ("/%e4", "/%E4"),
        ("/%41", "/A"),
        ("/a%2fb/%7Euser", "/a%2Fb/~user"),
        ("/%2e%2e%2e", "/..."),
        ("/a/.b", "/a/.b"),
    ] {
        let read = Path::read(path).unwrap();
        assert_eq!((&*read.written, &*read.canonical), (path, canonical));
        assert!(matches!(read.written, Cow::Borrowed(_)));
    }
}

#[test]
fn a_lone_dot_is_taken_away_and_nothing_else_is() {
    for (path, written, canonical) in [
        ("/.", "/", "/"),
        ("/./", "/", "/"),
        ("/././.", "/", "/"),
        ("/repo/./Packages", "/repo/Packages", "/repo/Packages"),
        ("/a/.", "/a/", "/a/"),
        ("/a/%2e/%e4/%2E", "/a/%e4/", "/a/%E4/"),
        ("//./a", "//a", "//a"),
        ("/.//a", "//a", "//a"),
        ("/./%41", "/%41", "/A"),
    ] {
        let read = Path::read(path).unwrap();
        let spellings = (&*read.written, &*read.canonical);
        assert_eq!(spellings, (written, canonical), "{path}");
        assert_eq!(canonical_path(path), Err(PathError::DotSegment), "{path}");
    }
    for path in [
        "/..", "/a/../b", "/./..", "/%2e./a", "/a/.;x/b", "/a%2f./b", "/.%2Fa", "/a/.%3B",
    ] {
        assert_eq!(Path::read(path), Err(PathError::DotSegment), "{path}");
    }
}

#[test]
fn what_is_matched_of_a_path_is_found_in_what_came() {
    let read = Path::read("/%63r%6D/%e4/./%2f%41").unwrap();
    assert_eq!(read.canonical, "/crm/%E4/%2FA");
    for (canonical, written) in [
        ("", ""),
        ("/", "/"),
        ("/crm", "/%63r%6D"),
        ("/crm/", "/%63r%6D/"),
        ("/crm/%E4", "/%63r%6D/%e4"),
        ("/crm/%E4/%2FA", "/%63r%6D/%e4/%2f%41"),
    ] {
        let length = read.written_len(canonical.len());
        assert_eq!(read.written[..length], *written);
    }
}

/// What a lenient upstream might do: decode everything, then split, then cut at `;`.
fn climbs(path: &str) -> bool {
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    decoded
        .split(['/', '\\'])
        .map(|segment| segment.split(';').next().unwrap_or_default())
        .any(|name| name == "." || name == "..")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_canonical_form_is_its_own(path in "/[ -~\u{e9}]{0,20}|/([a-z./;%]|%[0-9a-fA-F]{2}|%2[eEfF]|\\.\\.){0,12}") {
        if let Ok(once) = canonical_path(&path) {
            let twice = canonical_path(&once);
            prop_assert_eq!(twice.as_deref(), Ok(&*once));
            prop_assert!(matches!(twice, Ok(Cow::Borrowed(_))));
        }
    }

    #[test]
    fn no_accepted_path_climbs_once_decoded(path in "/(%2[eEfF]|%3[bB]|%5[cC]|[./;a]){0,8}") {
        if let Ok(canonical) = canonical_path(&path) {
            prop_assert!(!climbs(&canonical));
        }
    }

    #[test]
    fn the_canonical_form_means_the_same(path in "/([a-zA-Z0-9/_~-]|%[0-9a-fA-F]{2}){0,12}") {
        if let Ok(canonical) = canonical_path(&path) {
            let decode = |path: &str| -> Vec<u8> {
                percent_encoding::percent_decode_str(path).collect()
            };
            prop_assert_eq!(decode(&canonical), decode(&path));
            prop_assert_eq!(canonical.matches('/').count(), path.matches('/').count());
        }
    }

    #[test]
    fn what_is_sent_has_the_canonical_form_that_is_matched(path in "/([a-cA-C./]|%[0-9a-fA-F]{2}|%2[eEfF]){0,12}") {
        if let Ok(read) = Path::read(&path) {
            let again = canonical_path(&read.written);
            prop_assert_eq!(again.as_deref(), Ok(&*read.canonical));
            for (at, _) in read.canonical.match_indices('/') {
                let length = read.written_len(at);
                let before = format!("/{}", &read.written[..length]);
                prop_assert_eq!(canonical_path(&before).unwrap(), format!("/{}", &read.canonical[..at]));
                prop_assert!(read.written[length..].starts_with('/'));
            }
        }
    }

    #[test]
    fn arbitrary_text_never_panics(path in any::<String>()) {
        let _ = Path::read(&path);
        let _ = Path::read(&format!("/{path}"));
        let _ = check_query(&path);
    }
}
