//! What `[tracing]` and the standard `OTEL_*` variables say together.
//!
//! What the file says wins, key by key. What the variables say of the requests to a collector counts only for the
//! collector that they name themselves: their headers may be secrets, which are for nobody else.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use url::Url;

use super::keys::TRACING;
use super::kinds::Ratio;
use super::parse::address::http_url;
use super::parse::http::header;
use super::report::{Expected, Report, SourceSpan};
use super::settings::file::MAX_BYTES;
use super::settings::{NamedFile, Propagators, Sampler, Secret, SecretSource, Tls, Tracing};
use super::tls_files::{
    check_pair, naming, naming_secret, read_certificates, read_key, read_roots,
};
use super::words::one_of;

/// Where a collector is that nobody named.
const DEFAULT_ENDPOINT: &str = "http://localhost:4318/v1/traces";
/// How this process is called at the collector, if nobody says otherwise.
const SERVICE_NAME: (&str, &str) = ("service.name", "sidebearer");

/// What is said of traces in one place.
#[derive(Debug, Default)]
pub(super) struct WrittenTracing {
    pub(super) exporter: WrittenExporter,
    pub(super) sample: Option<f64>,
    pub(super) resource: BTreeMap<String, String>,
    pub(super) export_timeout: Option<Duration>,
    pub(super) batch_delay: Option<Duration>,
    pub(super) max_batch: Option<usize>,
    pub(super) max_queue: Option<usize>,
    /// Where an endpoint is written, a wrong one included.
    pub(super) endpoint_place: Option<SourceSpan>,
}

/// Where the collector is named.
#[derive(Debug)]
pub(super) struct CollectorSource {
    /// Of the file, all of it if the environment names the collector.
    pub(super) place: SourceSpan,
    /// The variable that says where it is, or that asks for one at the usual place.
    pub(super) variable: Option<&'static str>,
}

/// What is said of the requests to the collector.
#[derive(Debug, Default)]
pub(super) struct WrittenExporter {
    /// With its whole path.
    pub(super) endpoint: Option<Url>,
    pub(super) headers: Option<Vec<(HeaderName, SecretSource)>>,
    pub(super) gzip: Option<bool>,
    pub(super) timeout: Option<Duration>,
    pub(super) tls: Option<Tls>,
}

/// A variable of this process. An empty one is as good as none.
pub(super) fn variable(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?.to_string_lossy().into_owned();
    (!value.is_empty()).then_some(value)
}

/// Where spans go at a collector with this base URL.
pub(super) fn traces_path(base: &Url) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/v1/traces", base.path().trim_end_matches('/')));
    url
}

/// What follows from what the file says, if it says anything, and from the variables that `get` tells. `None` where
/// neither asks for traces.
pub(super) fn settle(
    written: Option<(WrittenTracing, SourceSpan)>,
    report: &Report<'_>,
    get: impl Fn(&str) -> Option<String>,
) -> Option<(Tracing, CollectorSource)> {
    let is_written = written.is_some();
    let whole = SourceSpan {
        file: 0,
        span: None,
    };
    let (file, place) = written.unwrap_or_else(|| (WrittenTracing::default(), whole.clone()));
    let variables = OtelVariables {
        get: &get,
        report,
        place: whole,
    };
    if !is_written && !variables.ask_for_traces() {
        return None;
    }
    let mut sampled = variables.sampler();
    if !is_written {
        // What the standard has as its default.
        sampled = sampled.or(Some((1.0, true)));
    }
    let source = match &file.endpoint_place {
        Some(place) => CollectorSource {
            place: place.clone(),
            variable: None,
        },
        None => CollectorSource {
            place: variables.place.clone(),
            variable: Some(variables.naming_collector()),
        },
    };
    let exporter = if file.endpoint_place.is_some() {
        file.exporter
    } else {
        let named = variables.exporter();
        if is_written && named.endpoint.is_none() {
            let message = format!("`{}` is missing in [tracing]", TRACING.endpoint.name);
            let help = "expected a URL such as \"https://collector.example.com:4318\", here or in \
                        OTEL_EXPORTER_OTLP_ENDPOINT";
            report.error(&place, message, help);
        }
        WrittenExporter {
            endpoint: named.endpoint,
            headers: file.exporter.headers.or(named.headers),
            gzip: file.exporter.gzip.or(named.gzip),
            timeout: file.exporter.timeout.or(named.timeout),
            tls: file.exporter.tls.or(named.tls),
        }
    };
    let mut resource = variables.resource();
    resource.extend(file.resource);
    let (name, default) = SERVICE_NAME;
    resource
        .entry(name.to_owned())
        .or_insert_with(|| default.to_owned());
    let (ratio, parent_based) = sampled.unzip();
    let batch = (file.max_batch).or_else(|| variables.count(MAX_BATCH, 8192));
    let max_queue = (file.max_queue)
        .or_else(|| variables.count(MAX_QUEUE, 1_000_000))
        .unwrap_or(TRACING.max_queue.kind.default());
    if batch.is_some_and(|batch| batch > max_queue) {
        let (place, name) = match file.max_batch {
            Some(_) => (&place, "`max_batch` in [tracing]".to_owned()),
            None => (&variables.place, format!("the variable {MAX_BATCH}")),
        };
        let message = format!("{name} is more than the {max_queue} spans that may wait");
        let help = format!("expected {max_queue} at most, or more in `max_queue` or {MAX_QUEUE}");
        report.warning(place, message, help);
    }
    let tracing = Tracing {
        endpoint: exporter
            .endpoint
            .or_else(|| DEFAULT_ENDPOINT.parse().ok())?,
        headers: exporter.headers.unwrap_or_default(),
        sampler: Sampler {
            ratio: (file.sample.or(ratio)).unwrap_or_else(|| TRACING.sample.kind.default()),
            parent_based: file.sample.is_some() || parent_based.unwrap_or(true),
        },
        propagators: variables.propagators().unwrap_or_default(),
        resource,
        gzip: exporter.gzip.unwrap_or_default(),
        timeout: exporter.timeout.unwrap_or(TRACING.timeout.kind.default()),
        export_timeout: (file.export_timeout)
            .or_else(|| variables.milliseconds("OTEL_BSP_EXPORT_TIMEOUT"))
            .unwrap_or(TRACING.export_timeout.kind.default()),
        batch_delay: (file.batch_delay)
            .or_else(|| variables.milliseconds("OTEL_BSP_SCHEDULE_DELAY"))
            .unwrap_or(TRACING.batch_delay.kind.default()),
        max_batch: batch.unwrap_or(TRACING.max_batch.kind.default()),
        max_queue,
        tls: exporter.tls.unwrap_or_default(),
    };
    Some((tracing, source))
}

/// The variables, as the specification of OpenTelemetry says what they mean.
struct OtelVariables<'a> {
    get: &'a dyn Fn(&str) -> Option<String>,
    report: &'a Report<'a>,
    place: SourceSpan,
}

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
const MAX_BATCH: &str = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE";
const MAX_QUEUE: &str = "OTEL_BSP_MAX_QUEUE_SIZE";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

impl OtelVariables<'_> {
    fn get(&self, name: &str) -> Option<String> {
        (self.get)(name)
    }

    /// What a variable says. One that cannot be used is reported by its name: what it holds may be a secret.
    fn parse<T>(&self, name: &str, parse: impl FnOnce(&str) -> Result<T, Expected>) -> Option<T> {
        let text = self.get(name)?;
        parse(text.trim())
            .map_err(|expected| {
                let message = format!("the variable {name} cannot be used");
                self.report.error(&self.place, message, expected);
            })
            .ok()
    }

    /// What one of two variables says: the one for traces alone, else the one for everything.
    fn parse_exporter<T>(
        &self,
        what: &str,
        parse: impl FnOnce(&str) -> Result<T, Expected>,
    ) -> Option<T> {
        self.parse(&self.exporter_variable(what)?, parse)
    }

    /// Which of the two is set and counts.
    fn exporter_variable(&self, what: &str) -> Option<String> {
        let mut names = ["TRACES_", ""]
            .into_iter()
            .map(|kind| format!("OTEL_EXPORTER_OTLP_{kind}{what}"));
        names.find(|name| self.get(name).is_some())
    }

    /// Whether they ask for traces, where the file does not.
    fn ask_for_traces(&self) -> bool {
        let disabled = self.get("OTEL_SDK_DISABLED");
        if disabled.is_some_and(|disabled| disabled.trim().eq_ignore_ascii_case("true")) {
            return false;
        }
        match self.get(EXPORTER) {
            None => self.get(ENDPOINT).or(self.get(TRACES_ENDPOINT)).is_some(),
            Some(_) => self
                .parse(EXPORTER, |text| match text {
                    "otlp" => Ok(true),
                    "none" => Ok(false),
                    _ => Err("expected \"otlp\" or \"none\"".into()),
                })
                .unwrap_or_default(),
        }
    }

    /// The one that says where the collector is. One for traces alone wins.
    fn naming_collector(&self) -> &'static str {
        let mut names = [TRACES_ENDPOINT, ENDPOINT].into_iter();
        let named = names.find(|name| self.get(name).is_some());
        named.unwrap_or(EXPORTER)
    }

    fn exporter(&self) -> WrittenExporter {
        self.parse_exporter("PROTOCOL", |text| match text {
            "http/protobuf" => Ok(()),
            _ => Err("expected \"http/protobuf\": no other protocol of OTLP is spoken here".into()),
        });
        let endpoint = match self.naming_collector() {
            TRACES_ENDPOINT => self.parse(TRACES_ENDPOINT, |text| http_url(text, false)),
            _ => self.parse(ENDPOINT, |text| {
                http_url(text, false).map(|url| traces_path(&url))
            }),
        };
        // They are for connections with TLS alone, says the standard.
        let is_plain = endpoint.as_ref().is_none_or(|url| url.scheme() == "http");
        let tls = (!is_plain).then(|| self.tls());
        WrittenExporter {
            endpoint,
            headers: self.parse_exporter("HEADERS", headers),
            gzip: self.parse_exporter("COMPRESSION", |text| match text {
                "gzip" => Ok(true),
                "none" => Ok(false),
                _ => Err("expected \"gzip\" or \"none\"".into()),
            }),
            timeout: self.parse_exporter("TIMEOUT", milliseconds),
            tls,
        }
    }

    /// The files of TLS, each of which has been read once.
    fn tls(&self) -> Tls {
        const CERTIFICATE: &str = "CLIENT_CERTIFICATE";
        const KEY: &str = "CLIENT_KEY";
        let file = |path: &str| NamedFile::new(path.into(), MAX_BYTES);
        let ca_file = self.parse_exporter("CERTIFICATE", |path| {
            let file = file(path);
            naming(&file, read_roots(&file))?;
            Ok(file)
        });
        let chain = self.parse_exporter(CERTIFICATE, |path| {
            let file = file(path);
            Ok((naming(&file, read_certificates(&file))?, file))
        });
        let key = self.parse_exporter(KEY, |path| {
            let file = file(path);
            Ok((naming_secret(&file, read_key(&file))?, file))
        });
        for (name, other) in [(CERTIFICATE, KEY), (KEY, CERTIFICATE)] {
            if self.exporter_variable(other).is_none() {
                self.parse_exporter::<()>(name, |_| {
                    let other = format!("OTEL_EXPORTER_OTLP_{other}");
                    Err(format!("expected {other} beside it").into())
                });
            }
        }
        let (chain, certificate_file) = chain.unzip();
        let (private, key_file) = key.unzip();
        if let Some((chain, private)) = chain.zip(private) {
            self.parse_exporter(KEY, |_| check_pair(chain, private));
        }
        Tls {
            ca_file,
            certificate_file,
            key_file,
            ..Tls::default()
        }
    }

    /// The share, and whether those who began a trace decide first.
    fn sampler(&self) -> Option<(f64, bool)> {
        let sampler = self.parse("OTEL_TRACES_SAMPLER", |text| {
            let (name, parent_based) = match text.strip_prefix("parentbased_") {
                Some(name) => (name, true),
                None => (text, false),
            };
            let ratio = match name {
                "always_on" => Some(1.0),
                "always_off" => Some(0.0),
                "traceidratio" => None,
                _ => {
                    const NAMES: [&str; 3] = ["always_on", "always_off", "traceidratio"];
                    let names = one_of(&NAMES, '`');
                    return Err(format!(
                        "expected {names}, with or without `parentbased_` before it"
                    )
                    .into());
                }
            };
            Ok((ratio, parent_based))
        });
        let (ratio, parent_based) = sampler?;
        let argument = || self.parse("OTEL_TRACES_SAMPLER_ARG", Ratio::parse);
        Some((ratio.or_else(argument).unwrap_or(1.0), parent_based))
    }

    fn propagators(&self) -> Option<Propagators> {
        self.parse("OTEL_PROPAGATORS", |text| {
            let mut found = Propagators {
                trace_context: false,
                b3: false,
                b3_multi: false,
            };
            for name in text.split(',').map(str::trim) {
                match name {
                    "tracecontext" => found.trace_context = true,
                    "b3" => found.b3 = true,
                    "b3multi" => found.b3_multi = true,
                    // Baggage is for others, and passes as any other header.
                    "baggage" | "none" => {}
                    _ => {
                        let names = ["tracecontext", "baggage", "b3", "b3multi", "none"];
                        return Err(format!("expected some of {}", one_of(&names, '`')).into());
                    }
                }
            }
            Ok(found)
        })
    }

    fn resource(&self) -> BTreeMap<String, String> {
        let attributes = self.parse("OTEL_RESOURCE_ATTRIBUTES", |text| {
            let pairs = pairs(text).map(|pair| pair.map(|(name, value)| (name.to_owned(), value)));
            pairs.collect::<Result<BTreeMap<_, _>, _>>()
        });
        let mut attributes = attributes.unwrap_or_default();
        if let Some(name) = self.get("OTEL_SERVICE_NAME") {
            attributes.insert(SERVICE_NAME.0.to_owned(), name);
        }
        attributes
    }

    fn milliseconds(&self, name: &str) -> Option<Duration> {
        self.parse(name, milliseconds)
    }

    fn count(&self, name: &str, most: usize) -> Option<usize> {
        self.parse(name, |text| {
            let number = text.parse().ok();
            let number = number.filter(|number| (1..=most).contains(number));
            number.ok_or(format!("expected a whole number from 1 to {most}").into())
        })
    }
}

/// A year at most, as everywhere.
fn milliseconds(text: &str) -> Result<Duration, Expected> {
    const MOST: u64 = 365 * 24 * 60 * 60 * 1000;
    let number = text.parse().ok();
    let number = number.filter(|number| (1..=MOST).contains(number));
    let time = number.map(Duration::from_millis);
    time.ok_or("expected a whole number of milliseconds, 1 at least".into())
}

/// `name=value` pairs with commas between them, whose values are percent-encoded.
fn pairs(text: &str) -> impl Iterator<Item = Result<(&str, String), Expected>> {
    const EXPECTED: &str = "expected pairs such as \"name=value,other=value\", percent-encoded";
    let pairs = text.split(',').map(str::trim);
    pairs.filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').ok_or(EXPECTED)?;
        let value = percent_decode_str(value.trim()).decode_utf8();
        let value = value.map_err(|_| EXPECTED)?.into_owned();
        match name.trim() {
            "" => Err(EXPECTED.into()),
            name => Ok((name, value)),
        }
    })
}

fn headers(text: &str) -> Result<Vec<(HeaderName, SecretSource)>, Expected> {
    let header = |pair: Result<(&str, String), Expected>| {
        let (name, value) = pair?;
        let name = header(name)?;
        if HeaderValue::from_str(&value).is_err() {
            return Err("expected visible characters and spaces in the value of a header".into());
        }
        Ok((name, SecretSource::Literal(Secret::new(value))))
    };
    pairs(text).map(header).collect()
}
