//! Reads `[tracing]`.

use std::collections::BTreeMap;

use super::super::file_rules::FileRules;
use super::super::keys::{TAKEN_TRACE_HEADERS, TRACING};
use super::super::otel::{WrittenExporter, WrittenTracing, traces_path};
use super::super::parse::address::is_loopback;
use super::super::read::Section;
use super::super::settings::Tls;
use super::secret_headers;
use super::upstreams::no_tls;

/// What is written of traces; what is left out is for the environment to say.
pub(super) fn read(section: &Section<'_>, files: &FileRules<'_>) -> WrittenTracing {
    let tls = section.read(&TRACING.tls);
    let tls = tls.map(|tls| Tls::read_keys(&tls, files));
    let headers = section.read(&TRACING.headers);
    let headers = secret_headers::read(headers, TAKEN_TRACE_HEADERS, files);
    let endpoint = section.read(&TRACING.endpoint).map(|(value, url)| {
        let plain = url.scheme() == "http";
        if plain && !headers.is_empty() && !is_loopback(&url) {
            let message = format!("{} carries `headers` in plain text", value.name());
            let help = "use https if one of them is a secret";
            section.report.warning(&value.place, message, help);
        }
        if plain {
            no_tls(section, tls.as_ref().unwrap_or(&Tls::default()), false);
        }
        traces_path(&url)
    });
    let resource = section.read(&TRACING.resource).into_iter();
    let resource = resource.map(|(name, _, _, text)| (name.to_owned(), text.to_owned()));
    WrittenTracing {
        exporter: WrittenExporter {
            endpoint,
            headers: section.has(&TRACING.headers).then_some(headers),
            gzip: section.read_written(&TRACING.compression),
            timeout: section.read_written(&TRACING.timeout),
            tls,
        },
        sample: section.read_written(&TRACING.sample),
        resource: resource.collect::<BTreeMap<_, _>>(),
        export_timeout: section.read_written(&TRACING.export_timeout),
        batch_delay: section.read_written(&TRACING.batch_delay),
        max_batch: section.read_written(&TRACING.max_batch),
        max_queue: section.read_written(&TRACING.max_queue),
        endpoint_place: section
            .has(&TRACING.endpoint)
            .then(|| section.place_written(&TRACING.endpoint)),
    }
}
