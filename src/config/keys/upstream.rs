//! `[upstreams.NAME]`

use http::HeaderName;
use http::header::AUTHORIZATION;

use super::super::declare::NameForm;
use super::super::kinds::{
    Choice, Flag, HttpUrl, IfAbsent, Integer, List, Parsed, Raw, Seconds, SecretText, Size,
    SubTable, Text, TextsByName, Time,
};
use super::super::parse::forward::HOST_AND_PORT;
use super::super::parse::http::{HOST, INJECTED, PREFIX};
use super::super::rules::Condition::{All, Any, Not, Says, Within, Written};
use super::super::rules::Rule;
use super::super::settings::{HostPort, HttpVersion, Redact};
use super::proxy::{PROXY_RULES, proxy, proxy_authorization, proxy_tls};
use super::server::{body_buffer, max_streams, stream_window};
use super::tls::UPSTREAM_TLS_TABLE;

const VERSIONS: &[(&str, HttpVersion)] = &[
    ("auto", HttpVersion::Auto),
    ("1.1", HttpVersion::Http1),
    ("2", HttpVersion::Http2),
];

const REDACTIONS: &[(&str, Redact)] = &[("headers", Redact::Headers), ("off", Redact::Off)];

keys! {
    /// An API that is protected by OAuth.
    UPSTREAM: Upstream, UPSTREAM_TABLE = "[upstreams.NAME]", rules RULES {
        /// The API. Its path is put before the path of the request: `/v2` and `/x` make `/v2/x`.
        url: HttpUrl = HttpUrl::new(
            IfAbsent::Required("a URL such as \"https://api.example.com\""),
        );

        /// The credential whose token is injected. Without one, requests are passed on as they are.
        credential: Text = Text::new("name of a credential", IfAbsent::Words("none"));

        /// In place of `credential`: the credential for each caller, by the names of callers. `"*"` is for every
        /// other one; without it other callers are refused.
        credentials: TextsByName = TextsByName(NameForm::ANY);

        /// The version of HTTP that is spoken. `"auto"` is negotiated with an https API and HTTP/1.1 with an
        /// http API. `"2"` over http needs an API that takes HTTP/2 without negotiation.
        http: Choice<HttpVersion> = Choice::new(VERSIONS, "auto");

        /// The value of `Host` that is sent.
        host: Parsed<String> = Parsed::new(
            "host name with or without a port",
            HOST,
            IfAbsent::Words("that of `url`"),
        );

        /// Further names of the API, with or without a port, that clients of forward listeners use for it, such
        /// as `"crm.old.internal"`. A name without a port stands for the ports that the host of `url` has.
        hosts: List<HostPort> = List::new("host names with or without a port", HOST_AND_PORT);

        /// How long it may take until a connection is made: DNS, TCP and TLS together.
        connect_timeout: Time = Time::new("5s", "1ms");

        /// How long one address of the API may stay silent before the next one is tried beside it.
        address_delay: Time = address_delay();

        // It ends after about three minutes, before most load balancers forget an idle connection.
        /// TCP keep-alive: how long the API may be silent until the system asks whether it is still there.
        keepalive_time: Seconds = Seconds::new("60s");

        /// TCP keep-alive: the time from one such question to the next.
        keepalive_interval: Seconds = Seconds::new("15s");

        /// TCP keep-alive: how many questions stay without an answer before the connection ends.
        keepalive_retries: Integer<u32> = Integer::new(9, 1..=127);

        /// The longest time from the end of the request body to the response head.
        response_timeout: Time = Time::new("60s", "1ms");

        /// The longest time between two pieces of a body in either direction, and between two pieces on an
        /// upgraded stream. `"0s"`: there is no limit.
        stream_idle_timeout: Time = Time::new("5m", "0s");

        /// How long the API may think about `Expect: 100-continue` before the client is asked for the body.
        /// At most half of `stream_idle_timeout`.
        continue_timeout: Time = Time::new("1s", "1ms");

        /// How long a request for extended CONNECT waits for a new HTTP/2 connection to say whether it takes
        /// such requests.
        connect_protocol_timeout: Time = Time::new("1s", "1ms");

        /// The most connections of the process at the same time: those in use, idle ones and tunnels. A
        /// request that needs one more is answered 503.
        max_connections: Integer<usize> = Integer::new(10_000, 1..=1_000_000);

        /// The most HTTP/1.1 connections of the process that are being opened at the same time. A request
        /// that has none takes the next one that is open or free, within `connect_timeout`.
        max_connecting: Integer<usize> = Integer::new(64, 1..=1_000_000);

        /// The most idle connections that the process keeps. With `0`, every request over HTTP/1.1 gets a
        /// connection of its own.
        pool_idle: Integer<usize> = Integer::new(256, 0..=1_000_000);

        /// How long idle connections are kept. It is shortened by the API's own `Keep-Alive: timeout=N`, and
        /// to three quarters of the time after which the API was seen to end idle connections.
        pool_idle_timeout: Time = Time::new("50s", "1ms");

        /// How long a connection carries new requests, less up to 15 %. It ends earlier if its address has
        /// left the DNS for two minutes or refuses connections. A connection that is in use ends after that,
        /// and only while a new one can be had. `"0s"`: there is no limit.
        max_connection_age: Time = Time::new("10m", "0s");

        /// Whether a rejected token is renewed and the request is sent again.
        retry_on_401: Flag = Flag::new(true);

        /// How often a request is sent again because its connection had been closed.
        max_retries: Integer<usize> = Integer::new(3, 0..=100);

        /// The largest request body that can be sent again.
        replay_buffer: Size = Size::new("64KiB", "0B", "64MiB");

        /// How much is read at once from a connection. Over HTTP/2, how much of a request body is buffered.
        body_buffer: Size = body_buffer();

        /// The largest response head.
        max_response_header_bytes: Size = Size::new("64KiB", "8KiB", "1MiB");

        /// HTTP/1.1: the most headers of a response.
        max_response_headers: Integer<usize> = Integer::new(100, 1..=10_000);

        // More streams than most servers take on one connection need another.
        /// HTTP/2: the most requests at the same time on one connection. The API may allow fewer, and
        /// [wide windows](#http2-windows) do.
        max_streams: Integer<u32> = max_streams(100);

        /// HTTP/2: how much of one response can always be sent before it is read. More where ways
        /// are long: see [HTTP/2 windows](#http2-windows).
        stream_window: Size<u32> = stream_window();

        /// HTTP/2: how long an API may send nothing on a connection on which a request waits until it is sent
        /// a PING. `"0s"`: never, and no window grows. Servers of gRPC end a connection that sends them more
        /// often than every 5 minutes. Each ENHANCE_YOUR_CALM of an API doubles the interval for it, and no
        /// window grows any more, until a restart, or a reload that changes the upstream.
        ping_interval: Time = Time::new("6m", "0s");

        /// HTTP/2: how long the API may take to answer the PING. After that the connection ends.
        ping_timeout: Time = Time::new("20s", "1ms");

        /// The header that the token goes into.
        header: Parsed<HeaderName> = Parsed::new(
            "header name",
            INJECTED,
            IfAbsent::Value(|| AUTHORIZATION),
        );

        /// What stands before the token, with a space between. `""`: nothing.
        header_prefix: Parsed<String> = Parsed::strict(
            "visible ASCII characters",
            "a string",
            PREFIX,
            IfAbsent::Words("the type of the token"),
        );

        /// The header that the name of the caller is sent in. Copies of it that clients send are taken away.
        forward_caller: Parsed<HeaderName> = Parsed::new(
            "header name",
            INJECTED,
            IfAbsent::Words("none"),
        );

        /// Where the token of a request is masked by `*` if it comes back. `"headers"`: in headers and trailers of
        /// responses.
        redact: Choice<Redact> = Choice::new(REDACTIONS, "headers");

        /// Needed to send a token over `http://` to a host that is not loopback.
        allow_plaintext: Flag = Flag::new(false);

        /// TLS towards the API.
        tls: SubTable = SubTable(&UPSTREAM_TLS_TABLE);

        /// The [proxy](#proxies) through which the API is reached: `http://`, `https://` or `socks5h://`, with a
        /// port. `"environment"`: the one that `https_proxy` and its like name. `"none"`: none.
        proxy: Raw = proxy("that of `[egress]`");

        /// TLS towards the proxy.
        proxy_tls: SubTable = proxy_tls();

        /// What the proxy is shown: `user:password`, or a whole value of `Proxy-Authorization`.
        proxy_authorization: SecretText = proxy_authorization();
    }
}

const RULES: &[&[Rule]] = &[
    &[
        Rule {
            says: "Either `credential` or `credentials`, not both.",
            when: Says("credential"),
            then: Not(&Says("credentials")),
        },
        Rule {
            says: "`credentials` names one caller at least.",
            when: Written("credentials"),
            then: Any(&[Says("credentials"), Says("credential")]),
        },
        Rule {
            says: "`certificate_from` of `tls` belongs to one `credential`.",
            when: Within("tls", &Says("certificate_from")),
            then: All(&[Says("credential"), Not(&Says("credentials"))]),
        },
    ],
    PROXY_RULES,
];

/// How long one address stays silent before the next is tried: RFC 8305 section 8 has the bounds.
pub(super) const fn address_delay() -> Time {
    Time::new("250ms", "10ms")
}
