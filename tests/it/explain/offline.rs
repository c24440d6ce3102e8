//! `sidebearer explain` without a process that runs.

use crate::support::api::Api;
use crate::support::idp::Idp;
use crate::support::process::{Ended, command, run};
use crate::support::sidebearer::directory;
use crate::support::{loopback, smallest};

pub(super) async fn explain(path: &str, arguments: &[&str]) -> Ended {
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
            &["GE T", "/"][..],
            "method: expected the method of a request",
        ),
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
        (&["GET", "/a#frag"], "url: leave out the fragment"),
        (
            &["GET", "http://crm.example.com/#"],
            "url: leave out the fragment",
        ),
        (
            &["CONNECT", "crm.example.com:443/x"],
            "url: CONNECT names a host and a port alone",
        ),
        (
            &["CONNECT", "http://crm.example.com:80"],
            "url: CONNECT names a host and a port alone",
        ),
        (&["connect", "crm.example.com:443"], "url: expected a path"),
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
        (
            &["GET", "/", "--listener", "zap"],
            "there is no listener \"zap\"; there are: app",
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

#[tokio::test]
async fn what_may_be_meant_otherwise_is_remarked_and_explained_as_it_is_written() {
    let (api, idp) = (Api::open(), Idp::start());
    let listener = loopback();
    let more = format!(
        "\n[callers.bill]\nkey = {{ file = \"secret\" }}\n\n[[listeners]]\nname = \"own\"\naddress = \"{listener}\"\n\n\
         [[routes]]\nlistener = \"own\"\nupstream = \"api\"\nmethods = [\"GET\"]\npath = \"/only\"\n"
    );
    let (dir, path) = directory(&(smallest(&api, &idp) + &more));
    std::fs::write(dir.path().join("secret"), "x".repeat(32)).unwrap();
    let at = listener.to_string();
    for (arguments, lines) in [
        (
            &["get", "/x", "--listener", "app"][..],
            &[
                "remark        methods are told by their case: get is another one than GET\n",
                "sent          get /x\n",
            ][..],
        ),
        (
            &["get", "/only", "--listener", "own"],
            &[
                "refused       404 no_route",
                "not           */only (to api): it is for GET alone, and not for get\n",
            ],
        ),
        (
            &["GET", "/x", "--listener", "app", "--caller", "bill"],
            &[
                "remark        the listener asks nobody who they are",
                "sent          GET /x\n",
            ],
        ),
        (
            &["GET", "/only", "--listener", &at],
            &[
                "listener      own (reverse, ",
                "route         */only, for GET",
            ],
        ),
    ] {
        let ended = explain(&path, arguments).await;
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
        for line in lines {
            let is_there = ended.stdout.contains(line);
            assert!(is_there, "{arguments:?}: {line:?} in\n{}", ended.stdout);
        }
    }
}

#[tokio::test]
async fn a_connect_names_what_is_inside_of_it_or_what_nearly_leads_there() {
    let (api, idp) = (Api::open(), Idp::start());
    let forward = |more: &str| {
        format!(
            "\n[[listeners]]\nname = \"proxy\"\naddress = \"{}\"\nkind = \"forward\"\nintercept = true\ncallers = [\"app\", \"other\"]\n{more}\n\
             [interception]\nkey_directory = \"ca\"\ntrust_directory = \"trust\"\ndomains = [\"example.com\"]\n\n\
             [upstreams.crm]\nurl = \"https://crm.example.com\"\ncredential = \"api\"\n\n\
             [upstreams.old]\nurl = \"http://old.example.com/v2\"\ncredentials = {{ app = \"api\" }}\nallow_plaintext = true\n\n\
             [upstreams.web]\nurl = \"https://web.example.com\"\n\n\
             [upstreams.hr]\nurl = \"https://hr.example.com\"\ncredentials = {{ app = \"api\" }}\n\n\
             [upstreams.a]\nurl = \"https://api.example.com/a\"\ncredentials = {{ app = \"api\" }}\n\n\
             [upstreams.b]\nurl = \"https://api.example.com/b\"\ncredentials = {{ app = \"api\", other = \"api\" }}\n\n\
             [callers.app]\nkey = {{ file = \"app\" }}\n\n[callers.other]\nkey = {{ file = \"other\" }}\n\n\
             [[routes]]\nhost = \"crm.example.com\"\npath = \"/web\"\nupstream = \"web\"\n\n\
             [[routes]]\nhost = \"far.example.com\"\nupstream = \"web\"\n",
            loopback()
        )
    };
    for (more, target, lines, absent) in [
        (
            "",
            "crm.example.com:443",
            &[
                "\nconnection    TLS is ended inside of it",
                "\nroute         crm.example.com/, an own name of the upstream\n",
                "\nnot           crm.example.com/web (to web): requests inside take it if they have its path and method",
                "\nupstream      crm, https://crm.example.com/\n",
                "\ncredential    api\n",
            ][..],
            "refused",
        ),
        (
            "",
            "old.example.com:80",
            &[
                "\nconnection    plain HTTP is served inside of it\n",
                "\nroute         old.example.com/v2, an own name of the upstream\n",
                "\nupstream      old, http://old.example.com/v2\n",
                "\ninside        403 not_permitted: ",
                "\nbecause       `credentials` of the upstream\n",
                "\nchange        `credentials` of the upstream\n",
            ],
            "credential    ",
        ),
        (
            "",
            "hr.example.com:443",
            &[
                "\nrefused       403 not_permitted: ",
                "\nchange        `credentials` of the upstream\n",
            ],
            "connection    ",
        ),
        (
            "",
            "api.example.com:443",
            &[
                "\nconnection    TLS is ended inside of it",
                "\nroute         api.example.com/b, an own name of the upstream\n",
                "\nnot           api.example.com/a (to a): requests inside take it if they have its path and method",
                "\ncredential    api\n",
            ],
            "inside        ",
        ),
        (
            "",
            "crm.example.com:8443",
            &[
                "\nnot           crm.example.com/ (to crm): it is https://crm.example.com:443, which has another port\n",
                "\nrefused       403 destination_denied: ",
            ],
            "route   ",
        ),
        (
            "unmatched = \"pass\"",
            "old.example.com:443",
            &[
                "\nconnection    a tunnel",
                "\nnot           old.example.com/v2 (to old): it is http://old.example.com:80, which has another scheme and port\n",
                "\nupstream      old.example.com:443, which no upstream names\n",
            ],
            "refused",
        ),
        (
            "unmatched = \"pass\"\n\n[egress]\nports = [22]\n",
            "far.example.com:22",
            &["\nnot           far.example.com/ (to web): its upstream has another scheme or port"],
            "refused",
        ),
    ] {
        let (dir, path) = directory(&(smallest(&api, &idp) + &forward(more)));
        for (name, letter) in [("app", "a"), ("other", "b")] {
            std::fs::write(dir.path().join(name), letter.repeat(32)).unwrap();
        }
        let question = [
            "CONNECT",
            target,
            "--listener",
            "proxy",
            "--caller",
            "other",
        ];
        let ended = explain(&path, &question).await;
        assert_eq!(ended.code, 0, "{target}: {ended:?}");
        for line in lines {
            let is_there = ended.stdout.contains(line);
            assert!(is_there, "{target}: {line:?} in\n{}", ended.stdout);
        }
        assert!(!ended.stdout.contains(absent), "{target}: {}", ended.stdout);
    }
}

#[tokio::test]
async fn a_connect_on_a_redirected_connection_is_refused() {
    let (api, idp) = (Api::open(), Idp::start());
    let more = "\n[[listeners]]\nname = \"apps\"\naddress = \"127.0.0.1:15001\"\nkind = \"redirected\"\nunmatched = \"pass\"\n";
    let (_dir, path) = directory(&(smallest(&api, &idp) + more));
    let question = ["CONNECT", "crm.example.com:443", "--listener", "apps"];
    let ended = explain(&path, &question).await;
    let refused = "\nrefused       400 bad_request: the connection was redirected here on its way to a server, and a CONNECT is for a proxy";
    assert!(ended.stdout.contains(refused), "{ended:?}");
    assert!(!ended.stdout.contains("connection    "), "{ended:?}");
}

#[tokio::test]
async fn a_port_that_may_not_be_connected_to_names_the_key_that_lists_ports() {
    let (api, idp) = (Api::open(), Idp::start());
    let more = format!(
        "\n[[listeners]]\nname = \"proxy\"\naddress = \"{}\"\nkind = \"forward\"\nunmatched = \"pass\"\n",
        loopback()
    );
    let (_dir, path) = directory(&(smallest(&api, &idp) + &more));
    let ended = explain(&path, &["CONNECT", "x.example.com:22"]).await;
    assert!(
        ended
            .stdout
            .contains("\nchange        `ports` of [egress]\n"),
        "{ended:?}"
    );
}
