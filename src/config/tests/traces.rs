//! `[tracing]`, and the `OTEL_*` variables beside it.

use std::path::PathBuf;
use std::time::Duration;

use super::{CREDENTIAL, LISTENER, UPSTREAM, load_parts, refused};
use crate::config::otel::settle;
use crate::config::report::Report;
use crate::config::source_file::SourceFile;
use crate::config::{Propagators, Sampler, SecretSource, Tls, Tracing};

fn with(tracing: &str) -> [&str; 4] {
    [LISTENER, UPSTREAM, CREDENTIAL, tracing]
}

fn good(tracing: &str) -> Option<Tracing> {
    let (_directory, loaded) = load_parts(&with(tracing));
    loaded.unwrap().config.tracing
}

/// What the variables alone ask for; or everything that is wrong with them.
fn of_variables(variables: &[(&str, &str)]) -> Result<Option<Tracing>, String> {
    let sources = [SourceFile::new(
        PathBuf::from("sidebearer.toml"),
        String::new(),
    )];
    let report = Report::new(&sources);
    let get = |name: &str| {
        let held = variables.iter().find(|(known, _)| *known == name);
        held.map(|(_, value)| (*value).to_owned())
    };
    let settled = settle(None, &report, get);
    let found = report.finish(&[]);
    if found.has_errors() {
        Err(found.to_string())
    } else {
        Ok(settled.map(|(tracing, _)| tracing))
    }
}

const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/base/");

fn and_endpoint(more: &[(&str, &str)]) -> Tracing {
    of_variables(&[&[ENDPOINT], more].concat())
        .unwrap()
        .unwrap()
}

#[test]
fn what_is_left_out_of_the_table_has_its_default() {
    let tracing = good("[tracing]\nendpoint = \"https://collector.example.com\"\n").unwrap();
    assert_eq!(
        tracing.endpoint.as_str(),
        "https://collector.example.com/v1/traces"
    );
    assert_eq!(
        tracing.sampler,
        Sampler {
            ratio: 0.01,
            parent_based: true
        }
    );
    assert_eq!(tracing.propagators, Propagators::default());
    assert_eq!(tracing.resource["service.name"], "sidebearer");
    assert_eq!((tracing.max_queue, tracing.max_batch), (2048, 512));
    assert_eq!(tracing.batch_delay, Duration::from_secs(5));
    assert!(good("").is_none());
}

#[test]
fn what_is_wrong_in_the_table_is_told_without_the_values_of_headers() {
    for (lines, message) in [
        ("", "`endpoint` is missing in [tracing]"),
        (
            "endpoint = \"collector:4318\"",
            "invalid `endpoint` in [tracing]",
        ),
        (
            "endpoint = \"http://c\"\nsample = 1.5",
            "expected a number from 0 to 1",
        ),
        (
            "endpoint = \"http://c\"\nsample = \"1%\"",
            "expected a number from 0 to 1, found a string",
        ),
        (
            "endpoint = \"http://c\"\nsample = inf",
            "expected a number from 0 to 1",
        ),
        (
            "endpoint = \"http://c\"\nsampel = 1",
            "did you mean `sample`?",
        ),
        (
            "endpoint = \"http://c\"\nmax_queue = 0",
            "expected a whole number from 1 to 1000000",
        ),
        (
            "endpoint = \"http://c\"\nheaders = { content-type = \"hunter2\" }",
            "sidebearer sets this header itself",
        ),
        (
            "endpoint = \"http://c\"\nheaders = { \"a b\" = \"hunter2\" }",
            "expected a header name",
        ),
        (
            "endpoint = \"http://c\"\nheaders = { a = { file = \"gone\" } }",
            "cannot be read",
        ),
        (
            "endpoint = \"http://c\"\nresource = { service.name = \"x\" }",
            "expected a string, found a table",
        ),
        (
            "endpoint = \"http://c\"\ntls = { min_version = \"1.3\" }",
            "has no effect",
        ),
    ] {
        let text = refused(&with(&format!("[tracing]\n{lines}\n")));
        assert!(text.contains(message), "{lines}: {text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn variables_alone_ask_for_traces_by_an_endpoint_or_an_exporter() {
    let asked = |variables: &[(&str, &str)]| {
        let settled = of_variables(variables).unwrap();
        settled.map(|tracing| tracing.endpoint.to_string())
    };
    let traces = (
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "http://collector:4318/own",
    );
    let exporter = |value| ("OTEL_TRACES_EXPORTER", value);
    let default = Some("http://localhost:4318/v1/traces".to_owned());
    assert_eq!(asked(&[]), None);
    assert_eq!(asked(&[("OTEL_SERVICE_NAME", "x")]), None);
    assert_eq!(
        asked(&[ENDPOINT]).unwrap(),
        "http://collector:4318/base/v1/traces"
    );
    assert_eq!(
        asked(&[ENDPOINT, traces]).unwrap(),
        "http://collector:4318/own"
    );
    assert_eq!(asked(&[exporter("otlp")]), default);
    assert_eq!(asked(&[ENDPOINT, exporter("none")]), None);
    assert_eq!(asked(&[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")]), None);
}

#[test]
fn variables_say_what_the_standard_says() {
    let plain = and_endpoint(&[]);
    assert_eq!(
        plain.sampler,
        Sampler {
            ratio: 1.0,
            parent_based: true
        }
    );
    for (name, argument, ratio, parent_based) in [
        ("always_on", None, 1.0, false),
        ("always_off", Some("0.5"), 0.0, false),
        ("traceidratio", Some("0.5"), 0.5, false),
        ("parentbased_always_off", None, 0.0, true),
        ("parentbased_traceidratio", None, 1.0, true),
        ("parentbased_traceidratio", Some("0.25"), 0.25, true),
    ] {
        let argument = argument.map(|argument| ("OTEL_TRACES_SAMPLER_ARG", argument));
        let named = [("OTEL_TRACES_SAMPLER", name)].into_iter().chain(argument);
        let tracing = and_endpoint(&named.collect::<Vec<_>>());
        assert_eq!(
            tracing.sampler,
            Sampler {
                ratio,
                parent_based
            },
            "{name}"
        );
    }
    let tracing = and_endpoint(&[
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,team=b%20c,"),
        ("OTEL_SERVICE_NAME", "billing"),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "Authorization=Basic%20aDoy, x-team = a",
        ),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "1500"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_PROPAGATORS", "b3multi, baggage"),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "200"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "300"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "40"),
    ]);
    assert_eq!(tracing.resource["service.name"], "billing");
    assert_eq!(tracing.resource["team"], "b c");
    let header = |(name, source): &(http::HeaderName, SecretSource)| {
        (name.to_string(), source.read().unwrap().expose().to_owned())
    };
    let headers: Vec<_> = tracing.headers.iter().map(header).collect();
    let expected = [("authorization", "Basic aDoy"), ("x-team", "a")];
    assert_eq!(
        headers,
        expected.map(|(name, value)| (name.into(), value.into()))
    );
    assert!(!format!("{tracing:?}").contains("aDoy"));
    assert_eq!(tracing.timeout, Duration::from_millis(1500));
    assert!(tracing.gzip);
    let only_multi = Propagators {
        trace_context: false,
        b3: false,
        b3_multi: true,
    };
    assert_eq!(tracing.propagators, only_multi);
    assert_eq!(tracing.batch_delay, Duration::from_millis(100));
    assert_eq!(tracing.export_timeout, Duration::from_millis(200));
    assert_eq!((tracing.max_queue, tracing.max_batch), (300, 40));
}

#[test]
fn a_variable_that_cannot_be_used_is_told_by_its_name_alone() {
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "hunter2"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a b=hunter2"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=hunter2%0a"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_TRACES_EXPORTER", "console"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_PROPAGATORS", "tracecontext,xray"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_SCHEDULE_DELAY", "soon"),
    ] {
        let text = of_variables(&[ENDPOINT, (name, value)]).unwrap_err();
        assert!(
            text.contains(&format!("the variable {name} cannot be used")),
            "{text}"
        );
        assert!(text.contains("expected"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
    let sampler = ("OTEL_TRACES_SAMPLER", "traceidratio");
    let argument = ("OTEL_TRACES_SAMPLER_ARG", "2");
    assert!(of_variables(&[ENDPOINT, sampler, argument]).is_err());
}

#[test]
fn files_of_tls_that_variables_name_are_judged_as_those_of_the_file() {
    let https = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318");
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let signed = || rcgen::generate_simple_self_signed(vec!["client".to_owned()]).unwrap();
    let (one, other) = (signed(), signed());
    let chain = &*write("chain", one.cert.pem());
    let key = &*write("key", one.signing_key.serialize_pem());
    let wrong_key = &*write("wrong", other.signing_key.serialize_pem());

    const CA: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
    const CHAIN: &str = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE";
    const KEY: &str = "OTEL_EXPORTER_OTLP_CLIENT_KEY";
    const OWN_KEY: &str = "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY";
    for (variables, blamed, reason) in [
        (&[(CA, "/nonexistent")][..], CA, "cannot read the file"),
        (&[(CA, key)], CA, "no PEM certificate"),
        (&[(KEY, key)], KEY, CHAIN),
        (&[(CHAIN, chain)], CHAIN, KEY),
        (&[(CHAIN, chain), (KEY, wrong_key)], KEY, "this is another"),
        (
            &[(CHAIN, chain), (KEY, key), (OWN_KEY, wrong_key)],
            OWN_KEY,
            "this is another",
        ),
    ] {
        let text = of_variables(&[&[https], variables].concat()).unwrap_err();
        let message = format!("the variable {blamed} cannot be used");
        assert!(text.contains(&message) && text.contains(reason), "{text}");
        assert!(!text.contains("[tracing]"), "{text}");
        // Without TLS they say nothing.
        assert_eq!(and_endpoint(variables).tls, Tls::default());
    }
    let good = [https, (CA, chain), (CHAIN, chain), (KEY, key)];
    let tracing = of_variables(&good).unwrap().unwrap();
    assert_eq!(tracing.tls.files().count(), 3);
}

#[test]
fn a_batch_that_never_fits_is_warned_about() {
    let warnings = |lines: &str| {
        let table = format!("[tracing]\nendpoint = \"http://127.0.0.1\"\n{lines}\n");
        let (_directory, loaded) = load_parts(&with(&table));
        loaded.unwrap().warnings.to_string()
    };
    let text = warnings("max_queue = 100\nmax_batch = 101");
    assert!(
        text.contains("`max_batch` in [tracing] is more than the 100 spans"),
        "{text}"
    );
    for fits in ["", "max_queue = 100", "max_queue = 100\nmax_batch = 100"] {
        assert_eq!(warnings(fits), "", "{fits}");
    }
}
