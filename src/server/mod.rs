//! Sockets and threads: accepting connections, handing them to shards, serving each to its end.

mod accepted;
mod acceptor;
mod connection;
mod detect;
mod http1_session;
mod http2_session;
mod listener;
mod observed_socket;
mod redirected;
mod refusal;
mod shard;
mod socket_file;
#[cfg(test)]
mod tests;
pub mod tls;
mod user_check;

pub use acceptor::Acceptor;
pub use listener::{BoundListener, OpenListener, adopt, bind, bind_tcp};
pub use redirected::{FirstWords, first_words, may_become_http};
pub use shard::Shards;
pub use socket_file::SocketFile;
