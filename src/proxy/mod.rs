//! The path of a request.

pub mod error;
pub mod headers;
pub mod neighbours;
pub mod path;
pub mod reply;
pub mod request;
