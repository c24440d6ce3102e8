//! Many requests are explained and sent: both say the same.

use super::site::{Outcome, Site};
use serde_json::{Value, json};

/// One request.
#[derive(Debug, Clone)]
struct Case {
    listener: &'static str,
    method: &'static str,
    url: String,
    caller: Option<&'static str>,
}

fn cases(site: &Site) -> Vec<Case> {
    let mut cases = Vec::new();
    let own = |listener: &str, host: &str, path: &str| match host {
        "" => path.to_owned(),
        host => format!("http://{host}:{}{path}", site.address_of(listener).port()),
    };
    const PATHS: [&str; 17] = [
        "/",
        "/x?q=1",
        "/web",
        "/web/",
        "/web/only",
        "/web/only/a",
        "/webs",
        "/cut",
        "/cut/a/b?c",
        "/new",
        "/new/x",
        "/new%2Fx",
        "/deep/a",
        "/own/a",
        "/audit",
        "/far/y",
        "/round",
    ];
    for listener in ["app", "gate"] {
        let hosts = [
            "",
            "localhost",
            "crm.internal",
            "one.tenants.example",
            "two.tenants.example",
            "stranger.example",
        ];
        for (host, path) in hosts
            .iter()
            .flat_map(|host| PATHS.map(|path| (*host, path)))
        {
            let callers: &[Option<&str>] = match (listener, host) {
                ("gate", "") => &[None, Some("billing"), Some("audit")],
                ("gate", _) => &[Some("billing")],
                _ => &[None],
            };
            for caller in callers {
                for method in ["GET", "POST"] {
                    if method == "POST" && !path.contains("only") {
                        continue;
                    }
                    let url = own(listener, host, path);
                    cases.push(Case {
                        listener,
                        method,
                        url,
                        caller: *caller,
                    });
                }
            }
        }
        for path in [
            "/a/../web",
            "/a%2e%2e/%2E%2e/web",
            "/web//x",
            "/%zz",
            "/web/%00",
        ] {
            let caller = (listener == "gate").then_some("audit");
            cases.push(Case {
                listener,
                method: "GET",
                url: path.to_owned(),
                caller,
            });
        }
        for method in ["TRACE", "DELETE", "OPTIONS", "post", "connect"] {
            let caller = (listener == "gate").then_some("audit");
            cases.push(Case {
                listener,
                method,
                url: "/web/only".to_owned(),
                caller,
            });
        }
    }
    let ports = ["crm", "web", "secure"].map(|name| site.api(name));
    let far = site.far.address;
    let urls = [
        "http://crm.example.com/x".to_owned(),
        "http://crm.example.com/v2/x".to_owned(),
        "http://CRM.example.com:80/v2".to_owned(),
        "http://crm.example.com:81/v2/x".to_owned(),
        "http://web.example.com/x".to_owned(),
        "http://web.example.com/written/x".to_owned(),
        "http://web.example.com/web/only".to_owned(),
        "http://own.example.com/own/x".to_owned(),
        "http://own.example.com/x".to_owned(),
        "http://round.example.com/x".to_owned(),
        "http://one.tenants.example/deep/x".to_owned(),
        "http://two.tenants.example/x?y".to_owned(),
        "http://two.tenants.example:8080/x".to_owned(),
        "http://a.denied.example/".to_owned(),
        "http://denied.example/".to_owned(),
        "http://localhost:1/".to_owned(),
        "http://10.9.8.7/".to_owned(),
        "http://0x7f.1/".to_owned(),
        format!("http://{}/v2/x", ports[0]),
        format!("http://{}/x", ports[0]),
        format!("http://{}/x", ports[1]),
        format!("http://{far}/x"),
        format!("http://{}:9/x", far.ip()),
        format!("http://{}/x", site.address_of("app")),
        "/x".to_owned(),
        "https://secure.example.com/a?b".to_owned(),
        "https://secure.example.com:444/a".to_owned(),
        "https://bare.example.com/bare/x".to_owned(),
        "https://bare.example.com/x".to_owned(),
        "https://crm.example.com/x".to_owned(),
        "https://a.denied.example/".to_owned(),
        format!("https://{}/x", ports[2]),
        format!("https://{}/bare/x", ports[2]),
    ];
    for url in ["http://web.example.com", "http://web.example.com/"] {
        cases.push(Case {
            listener: "proxy",
            method: "OPTIONS",
            url: url.to_owned(),
            caller: None,
        });
    }
    for listener in ["proxy", "known", "open"] {
        for url in &urls {
            let callers: &[Option<&str>] = match listener {
                "known" => &[None, Some("billing"), Some("audit")],
                _ => &[None],
            };
            for caller in callers {
                cases.push(Case {
                    listener,
                    method: "GET",
                    url: url.clone(),
                    caller: *caller,
                });
            }
        }
        for target in [
            "secure.example.com:443".to_owned(),
            "bare.example.com:443".to_owned(),
            "crm.example.com:80".to_owned(),
            "crm.example.com:443".to_owned(),
            "web.example.com:80".to_owned(),
            "own.example.com:80".to_owned(),
            "round.example.com:80".to_owned(),
            "one.tenants.example:80".to_owned(),
            "a.denied.example:443".to_owned(),
            "secure.example.com:444".to_owned(),
            site.address_of("app").to_string(),
            far.to_string(),
            ports[2].to_string(),
            format!("{}:9", far.ip()),
        ] {
            let callers: &[Option<&str>] = match listener {
                "known" => &[Some("billing"), Some("audit")],
                _ => &[None],
            };
            for caller in callers {
                cases.push(Case {
                    listener,
                    method: "CONNECT",
                    url: target.clone(),
                    caller: *caller,
                });
            }
        }
    }
    cases
}

/// Whether it was a CONNECT that has been opened, and inside of which requests are read: its explanation is of those.
fn is_read_inside(explained: &Value, outcome: &Outcome) -> bool {
    let connection = explained["connection"].as_str().unwrap_or_default();
    outcome.line["method"] == "CONNECT"
        && outcome.line["error"].is_null()
        && ["plain_http", "intercepted"].contains(&connection)
}

/// Where the explanation of a CONNECT differs from what becomes of a request inside of it.
async fn differences_inside(site: &Site, case: &Case, explained: &Value) -> Vec<String> {
    let label = explained["route"]["route"].as_str().unwrap();
    let path = label.find('/').map_or("/", |at| &label[at..]);
    let method = explained["route"]["methods"][0].as_str().unwrap_or("GET");
    let is_tls = explained["connection"] == "intercepted";
    let inside = format!("{method} {path}");
    let Outcome { line, arrived } = site
        .inside(case.listener, &case.url, is_tls, &inside, case.caller)
        .await;
    let upstream = &explained["upstream"]["name"];
    let refused = &explained["inside"]["error"];
    let mut said = vec![
        ("route inside", &explained["route"]["route"], &line["route"]),
        ("upstream inside", upstream, &line["upstream"]),
        ("error inside", refused, &line["error"]),
    ];
    let token = arrived.map(|arrived| arrived.seen.authorization().starts_with("Bearer token-"));
    let token = Value::from(token);
    let has_credential = Value::from(explained["credential"].is_string());
    if !token.is_null() || refused.is_null() {
        said.push(("token inside", &has_credential, &token));
    }
    let wrong = said.into_iter().filter(|(_, said, was)| said != was);
    wrong
        .map(|(what, said, was)| format!("{what}: said {said}, was {was}: {line}"))
        .collect()
}

/// Where explanation and outcome differ.
fn differences(site: &Site, explained: &Value, outcome: &Outcome) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut compare = |what: &str, said: &Value, was: &Value| {
        if said != was {
            wrong.push(format!("{what}: said {said}, was {was}"));
        }
    };
    let line = &outcome.line;
    if explained["dialled"]["judged"].is_string() && line["error"] == "destination_denied" {
        // It said so: what a name leads to is judged when it is dialled, and here no name leads anywhere.
        compare("rule", &explained["rule"]["rule"], &line["route"]);
        return wrong;
    }
    compare("error", &explained["refused"]["error"], &line["error"]);
    if !explained["refused"].is_null() {
        compare("status", &explained["refused"]["status"], &line["status"]);
    }
    if !is_read_inside(explained, outcome) {
        let by_rule = &explained["rule"]["rule"];
        let route = if by_rule.is_null() {
            &explained["route"]["route"]
        } else {
            by_rule
        };
        compare("route", route, &line["route"]);
        let upstream = explained["upstream"]["name"].as_str().unwrap_or_default();
        compare("upstream", &Value::from(upstream), &line["upstream"]);
    }
    compare("caller", &explained["caller"]["name"], &line["caller"]);
    let sent = &explained["sent"];
    match &outcome.arrived {
        None => {
            let is_told = explained["refused"].is_object()
                || explained["connection"] == "tunnel"
                || explained["asked"].as_str().unwrap().starts_with("CONNECT ") && sent.is_null();
            compare("nothing arrived", &Value::from(is_told), &Value::from(true));
        }
        Some(_) if explained["connection"] == "tunnel" => {}
        Some(arrived) => {
            let seen = &arrived.seen;
            let dialled = explained["dialled"]["authority"]
                .as_str()
                .unwrap_or_default();
            let at = match arrived.at {
                "far" => site.far.address,
                name => site.api(name),
            };
            let through = explained["dialled"]["through"].as_str().unwrap_or_default();
            let is_there = dialled == at.to_string() || through == site.corporate.url("http");
            compare("dialled", &Value::from(is_there), &Value::from(true));
            compare(
                "method",
                &sent["method"],
                &Value::from(seen.method.as_str()),
            );
            let said = sent["target"].as_str().unwrap();
            if !through.is_empty() {
                let line = format!("{} {said} HTTP/1.1", seen.method);
                let asked = site.corporate.asked();
                let is_asked = asked.iter().any(|asked| asked.starts_with(&line));
                compare(
                    &format!("{line} in {asked:?}"),
                    &Value::from(is_asked),
                    &Value::from(true),
                );
            }
            // A server of HTTP leaves the origin of an absolute target out.
            let said = said.strip_prefix("http://far.example.net").unwrap_or(said);
            compare(
                "target",
                &Value::from(said),
                &Value::from(seen.target.as_str()),
            );
            for header in sent["headers"].as_array().into_iter().flatten() {
                let (name, value) = (header[0].as_str().unwrap(), header[1].as_str().unwrap());
                let was = match name {
                    "Host" => seen.host.as_str(),
                    name => seen.header(&name.to_ascii_lowercase()),
                };
                let fits = match (value.strip_suffix("***"), name) {
                    (Some(prefix), _) => was.starts_with(prefix) && was.len() > prefix.len(),
                    (None, "Via") => was.starts_with("1.1 sidebearer-"),
                    (None, _) => was == value,
                };
                compare(
                    &format!("{name}: {value}: {was}"),
                    &Value::from(fits),
                    &Value::from(true),
                );
            }
            let has_token = explained["credential"].is_string();
            let was = seen.authorization().starts_with("Bearer token-");
            compare("a token", &Value::from(has_token), &Value::from(was));
            for removed in sent["removed"].as_array().into_iter().flatten() {
                let was = seen.header(&removed.as_str().unwrap().to_ascii_lowercase());
                compare(
                    &format!("{removed} passes"),
                    &Value::from(was == "forged"),
                    &Value::from(false),
                );
            }
        }
    }
    wrong
}

#[tokio::test]
async fn what_is_explained_is_what_happens() {
    let site = Site::start().await;
    let (mut wrong, mut kinds) = (String::new(), std::collections::BTreeMap::new());
    let cases = cases(&site);
    for case in &cases {
        let Case {
            listener,
            method,
            url,
            caller,
        } = case;
        let question =
            json!({ "method": method, "url": url, "listener": listener, "caller": caller });
        let explained = site.explain(&question).await["explanations"][0].take();
        let outcome = site.send(listener, method, url, *caller).await;
        let error = outcome.line["error"].as_str().unwrap_or("none").to_owned();
        *kinds.entry(error).or_insert(0) += 1;
        let mut differences = differences(&site, &explained, &outcome);
        if is_read_inside(&explained, &outcome) {
            *kinds
                .entry(explained["connection"].to_string())
                .or_insert(0) += 1;
            let inside = &explained["inside"]["error"];
            *kinds.entry(format!("{inside} inside")).or_insert(0) += 1;
            differences.extend(differences_inside(&site, case, &explained).await);
        }
        if !differences.is_empty() {
            wrong += &format!(
                "{case:?}\n    {}\n    {explained}\n    {}\n",
                differences.join("\n    "),
                outcome.line
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(cases.len() > 300, "{} cases", cases.len());
    for kind in [
        "none",
        "bad_request",
        "no_route",
        "caller_unknown",
        "not_permitted",
        "destination_denied",
        "interception_off",
        "loop",
        "method_not_allowed",
        "\"plain_http\"",
        "\"intercepted\"",
        "\"not_permitted\" inside",
        "\"loop\" inside",
    ] {
        assert!(kinds.contains_key(kind), "no case of {kind}: {kinds:?}");
    }
}
