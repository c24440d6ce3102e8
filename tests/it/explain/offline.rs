//! `sidebearer explain` without a process that runs.

use tempfile::TempDir;

use crate::support::api::Api;
use crate::support::idp::Idp;
use crate::support::process::{Ended, command, run};
use crate::support::{loopback, smallest};

fn directory(config: &str) -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "s3cret\n").unwrap();
    let path = dir.path().join("sidebearer.toml");
    std::fs::write(&path, config).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}

async fn explain(path: &str, arguments: &[&str]) -> Ended {
    let arguments = [&["explain"], arguments, &["--config", path]].concat();
    run(command(&arguments)).await
}

#[tokio::test]
async fn nothing_is_fetched_connected_to_or_written() {
    let (api, idp) = (Api::open(), Idp::start());
    let more = "\n[audit]\nfile = \"records\"\n\n[interception]\nkey_directory = \"ca\"\ntrust_directory = \"trust\"\ndomains = [\"example.com\"]\n\n\
                [[listeners]]\nname = \"proxy\"\naddress = \"127.0.0.1:0\"\nkind = \"forward\"\nintercept = true\n";
    let (dir, path) = directory(&(smallest(&api, &idp) + more));
    let explained = explain(&path, &["GET", "/v2/x"]).await;
    assert_eq!(explained.code, 0, "{explained:?}");
    assert!(
        explained.stdout.contains("\ncredential    api\n"),
        "{}",
        explained.stdout
    );
    assert!(
        explained.stdout.contains("Authorization: Bearer ***"),
        "{}",
        explained.stdout
    );
    assert_eq!((idp.requests(), api.seen().len()), (0, 0));
    let mut files: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, ["secret", "sidebearer.toml"]);
}

#[tokio::test]
async fn a_question_without_an_answer_ends_with_2_and_names_what_there_is() {
    let (api, idp) = (Api::open(), Idp::start());
    let (_dir, path) = directory(&smallest(&api, &idp));
    for (arguments, said) in [
        (
            &["get", "/"][..],
            "method: methods are told by their case: write GET",
        ),
        (&["GE T", "/"], "method: expected the method of a request"),
        (
            &["GET", "crm/x"],
            "url: expected a path, as in /crm/v2/x, or a whole URL",
        ),
        (
            &["GET", "ftp://crm.example.com/"],
            "url: expected a URL that begins with http:// or https://",
        ),
        (
            &["GET", "https://user:pw@crm.example.com/"],
            "url: leave out the user and password",
        ),
        (&["GET", "/a b"], "url: expected no spaces"),
        (
            &["GET", "https://crm.example.com/x"],
            "the listeners are: app",
        ),
        (
            &["CONNECT", "crm.example.com:443"],
            "the listeners are: app",
        ),
        (
            &["GET", "/", "--listener", "ap"],
            "there is no listener \"ap\"; did you mean `app`? there are: app",
        ),
        (
            &["GET", "/", "--caller", "x"],
            "there is no caller \"x\"; there is none",
        ),
    ] {
        let ended = explain(&path, arguments).await;
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (2, ""),
            "{arguments:?}: {ended:?}"
        );
        assert!(
            ended.stderr.contains(said),
            "{arguments:?}: {}",
            ended.stderr
        );
        assert!(!ended.stderr.contains("pw@"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn the_winner_and_the_loser_are_named_with_the_reason() {
    let (api, idp) = (Api::open(), Idp::start());
    let more = |routes: &str| {
        format!(
            "{}\n[[listeners]]\nname = \"proxy\"\naddress = \"{}\"\nkind = \"forward\"\n{routes}",
            smallest(&api, &idp),
            loopback()
        )
    };
    let route = |lines: &str| format!("[[routes]]\n{lines}\nupstream = \"api\"\n");
    for (routes, method, url, lines) in [
        (
            route("path = \"/crm\""),
            "GET",
            "/crm/x",
            &[
                "route         */crm\n",
                "not           */ (to api): its path \"/\" is shorter than \"/crm\"\n",
            ][..],
        ),
        (
            route("path = \"/crm\"\nmethods = [\"POST\", \"PUT\"]"),
            "GET",
            "/crm/x",
            &[
                "route         */, for the listener app\n",
                "not           */crm (to api): it is for POST, PUT alone, and not for GET\n",
            ],
        ),
        (
            route("host = \"*.example.com\"\npath = \"/a\"")
                + &route("host = \"x.example.com\"\npath = \"/a\""),
            "GET",
            "http://x.example.com/a",
            &[
                "route         x.example.com/a\n",
                "not           *.example.com/a (to api): its host *.example.com is less specific than x.example.com\n",
            ],
        ),
        (
            route("host = \"x.example.com\"\npath = \"/a\""),
            "GET",
            "http://x.example.com/b",
            &[
                "refused       403 destination_denied",
                "not           x.example.com/a (to api): its path \"/a\" does not begin \"/b\"\n",
            ],
        ),
        (
            route("host = \"x.example.com\"\npath = \"/a\""),
            "GET",
            "http://y.example.com/a",
            &[
                "not           x.example.com/a (to api): its host x.example.com is not \"y.example.com\"\n",
            ],
        ),
        (
            route("path = \"/crm/\"\nmethods = [\"GET\"]"),
            "GET",
            "/crm",
            &["route         */, for the listener app\n"],
        ),
    ] {
        let (_dir, path) = directory(&more(&routes));
        let ended = explain(&path, &[method, url]).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        for line in lines {
            assert!(
                ended.stdout.contains(line),
                "{url}: {line:?} in\n{}",
                ended.stdout
            );
        }
    }
}
