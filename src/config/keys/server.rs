//! `[server]`

use super::super::kinds::{Flag, Integer, Size, Time};
use super::super::settings::file::MAX_BYTES;
use crate::files;

keys! {
    /// The process as a whole.
    SERVER: Server, SERVER_TABLE = "[server]" {
        /// How many threads serve traffic. `0` means one for each CPU that this process may use (a cgroup
        /// quota counts), and at least one. A change needs a restart.
        workers: Integer<usize> = Integer::new(0, 0..=1024);

        /// After SIGTERM, how long the process still accepts connections while it says that it is not ready.
        shutdown_delay: Time = Time::new("0s", "0s");

        /// After `shutdown_delay`, how long requests in flight may take to finish. What is left then is cut
        /// off and logged.
        drain_timeout: Time = Time::new("25s", "0s");

        /// The largest request head.
        max_header_bytes: Size = Size::new("64KiB", "8KiB", "1MiB");

        /// The most headers that a request may have.
        max_headers: Integer<usize> = Integer::new(256, 1..=10_000);

        /// The longest time from the first byte of a request head to its end.
        header_timeout: Time = Time::new("10s", "1ms");

        /// How long a client connection may wait for its first or next request, and how long a client may
        /// leave an answer unread, until the connection ends.
        idle_timeout: Time = Time::new("120s", "1ms");

        /// How long a connection is read from after its last answer, so that the answer arrives. When a
        /// listener closes, it is also how long a new connection has for its first request.
        linger_timeout: Time = Time::new("1s", "0s");

        /// The most client connections of the process. More wait in the backlog.
        max_connections: Integer<usize> = Integer::new(10_000, 1..=1_000_000);

        /// The most connections of one listener that the system keeps until they are accepted.
        /// `net.core.somaxconn` may set a lower limit. The admin and health addresses keep the value that
        /// they were opened with.
        backlog: Integer<i32> = Integer::new(1024, 1..=1_000_000);

        /// How many open files are kept back for health checks, reloads and the like when clients and
        /// upstreams have taken all others. At most an eighth of the limit of open files.
        reserved_files: Integer<u64> = Integer::new(32, 0..=1_000_000);

        /// How much is read at once from a client connection, and kept of what the client sends ahead. It is
        /// never less than `max_header_bytes`. Over HTTP/2, how much of a response is buffered.
        body_buffer: Size = body_buffer();

        /// How much a tunnel buffers in each direction while there is something to move.
        tunnel_buffer: Size = Size::new("32KiB", "1KiB", "1MiB");

        /// How much of interim responses waits for a client that does not read them. The rest is left out.
        max_interim_bytes: Size = Size::new("64KiB", "0B", "16MiB");

        /// The largest file of a secret, key or certificate. A reload that changes this value builds
        /// again everything that names a file.
        max_file_bytes: Size = Size::new("1MiB", "1KiB", "64MiB");

        /// How long a file system may take to answer when a file is read or a socket file is made. After
        /// that the last good content of a secret file stays in use, and a reload is refused. A token request uses
        /// the last good content already after 0.2 s, if it has one.
        file_timeout: Time = Time::new("5s", "100ms");

        /// How often a refused configuration is tried again.
        reload_retry_interval: Time = Time::new("10s", "100ms");

        /// The most token requests at the same time to one token endpoint, of all credentials together.
        max_concurrent_fetches: Integer<usize> = Integer::new(32, 1..=10_000);

        /// HTTP/2: the most requests at the same time on one connection.
        max_streams: Integer<u32> = max_streams(250);

        /// HTTP/2: how much of the upload of one request can always be sent before it is read.
        stream_window: Size<u32> = stream_window();

        /// HTTP/2: how much more can be sent before it is read, over all connections of the process in both
        /// directions, where ways are long. See [HTTP/2 windows](#http2-windows). `"0B"`: no window grows.
        window_budget: Size = Size::new("64MiB", "0B", "64GiB");

        /// HTTP/2: how long a client that waits for a response may send nothing until it is sent a PING.
        /// `"0s"`: never, and no window grows.
        ping_interval: Time = Time::new("30s", "0s");

        /// HTTP/2: how long the client may take to answer the PING. After that its connection ends.
        ping_timeout: Time = Time::new("20s", "1ms");

        /// Whether requests carry `Via: 1.1 sidebearer-ID`, and responses of forward listeners too, with the version
        /// of HTTP that the message came by (`1.0`, `1.1`, `2.0`). The ID is random for each process. Loops are found
        /// by it.
        via: Flag = Flag::new(true);

        /// Whether the id of the access line is sent to the API as `x-request-id`. It is the client's own id
        /// if the client sent one of 1 to 128 visible ASCII characters, else one that is made here.
        request_id: Flag = Flag::new(false);
    }
}

// Files are read before any configuration is.
const _: () = assert!(SERVER.max_file_bytes.kind.default() == MAX_BYTES);
const _: () =
    assert!(SERVER.file_timeout.kind.default().as_nanos() == files::DEFAULT_TIMEOUT.as_nanos());

/// What is read at once from one connection, or buffered of a body over HTTP/2.
pub(super) const fn body_buffer() -> Size {
    Size::new("64KiB", "8KiB", "16MiB")
}

/// Requests at once on one HTTP/2 connection.
pub(super) const fn max_streams(default: u32) -> Integer<u32> {
    Integer::new(default, 1..=100_000)
}

/// What a stream of HTTP/2 may always send before it is read.
pub(super) const fn stream_window() -> Size<u32> {
    Size::new_u32("64KiB", "4KiB", "16MiB")
}
