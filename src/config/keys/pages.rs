//! `[admin]` and `[health]`

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::super::kinds::{Flag, IfAbsent, Integer, Parsed, Time};
use super::super::parse::address::SOCKET;

/// The admin address if none is configured.
pub(in crate::config) const DEFAULT_ADMIN: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7090);

keys! {
    /// The address for health, metrics, status and reload.
    ADMIN: Admin, ADMIN_TABLE = "[admin]" {
        /// Where health, metrics, status and reload are served.
        address: Parsed<SocketAddr> = address(IfAbsent::Value(|| DEFAULT_ADMIN));

        /// Needed for an admin address that is not loopback.
        allow_network: Flag = Flag::new(false);

        /// The most connections at the same time. One more ends the one that has been open for longest.
        max_connections: Integer<usize> = max_connections();

        /// The longest time from the first byte of a request head to its end, and between two requests.
        header_timeout: Time = header_timeout();
    }
}

keys! {
    /// A second address, for health and metrics only.
    HEALTH: Health, HEALTH_TABLE = "[health]" {
        /// A second address that serves health and metrics only, for the kubelet. It may be any address.
        address: Parsed<SocketAddr> = address(IfAbsent::Required("an address such as \"0.0.0.0:7091\""));

        /// The most connections at the same time. One more ends the one that has been open for longest.
        max_connections: Integer<usize> = max_connections();

        /// The longest time from the first byte of a request head to its end, and between two requests.
        header_timeout: Time = header_timeout();
    }
}

const fn address(without: IfAbsent<SocketAddr>) -> Parsed<SocketAddr> {
    Parsed::new("IP address and port", SOCKET, without)
}

/// Probes, scrapers and a few people: more than this at once is someone's mistake.
const fn max_connections() -> Integer<usize> {
    Integer::new(64, 1..=10_000)
}

const fn header_timeout() -> Time {
    Time::new("10s", "1ms")
}
