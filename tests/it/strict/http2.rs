//! Raw HTTP/2.
