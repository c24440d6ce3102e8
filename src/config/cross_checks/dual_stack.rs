//! Sockets at `[::]` that take connections of IPv4 too, and so keep others from being bound.

use std::fs;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;

use super::super::draft::Draft;
use super::super::report::{Report, SourceSpan};
use super::super::words::QuotedWord;
use crate::files;

/// Whether a socket at `[::]` takes IPv6 alone by default (ipv6(7), `IPV6_V6ONLY`). We do not set the option.
const SETTING: &str = "/proc/sys/net/ipv6/bindv6only";

/// Warns of such pairs. It is no error, because the machine that runs the configuration, or systemd which opens the sockets,
/// may have another setting.
pub(super) fn check(draft: &Draft, report: &Report<'_>) {
    let sockets = draft.listening_addresses();
    let all_of_v6 = sockets
        .iter()
        .filter(|(address, _)| address.ip() == Ipv6Addr::UNSPECIFIED);
    let pairs = all_of_v6.filter_map(|(all, place)| {
        let mut others = sockets.iter();
        let (other, of_other) = others.find(|(other, _)| is_of_v4(*other, all.port()))?;
        Some((all, (*place)?, other, of_other))
    });
    let pairs: Vec<_> = pairs.collect();
    if pairs.is_empty() || !v6_takes_v4() {
        return;
    }
    for (all, place, other, of_other) in pairs {
        report_pair(report, (*all, place), (*other, *of_other));
    }
}

fn report_pair(
    report: &Report<'_>,
    (all, place): (SocketAddr, &SourceSpan),
    (other, of_other): (SocketAddr, Option<&SourceSpan>),
) {
    let message = format!(
        "address {} takes connections to {} as well",
        QuotedWord(&all.to_string()),
        QuotedWord(&other.to_string())
    );
    let named = match of_other {
        Some(of_other) => format!("see {}", report.locate(of_other)),
        None => "the default of `address` in [admin]".to_owned(),
    };
    let help = format!(
        "here a socket at [::] takes IPv4 too (net.ipv6.bindv6only), so that only one of both can be bound ({named}): leave \
         one out, or give it another port; systemd can open both with `BindIPv6Only=ipv6-only`"
    );
    report.warning(place, message, help);
}

/// Whether it is an address of IPv4 with this port. An IPv4-mapped address does not count: it conflicts with `[::]` under
/// every setting.
fn is_of_v4(address: SocketAddr, port: u16) -> bool {
    address.port() == port && address.is_ipv4()
}

fn v6_takes_v4() -> bool {
    let found = files::run_within_timeout(Path::new(SETTING), || fs::read_to_string(SETTING));
    found.is_ok_and(|found| found.trim() == "0")
}
