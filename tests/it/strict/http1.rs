//! Raw HTTP/1.1.
