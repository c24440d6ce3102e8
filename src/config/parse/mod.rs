//! What the text of a value says. Whatever is expected in its place is an error for people; nothing is
//! reported here.

pub(super) mod address;
pub(super) mod caller;
pub(super) mod egress;
pub(super) mod forward;
pub(super) mod http;
pub(super) mod interception;
pub(super) mod listener;
pub(super) mod oauth;
pub(super) mod proxy;
pub(super) mod units;
