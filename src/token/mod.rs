//! The life of a token: when it is fetched, renewed, set aside and no longer sent.
//!
//! The proxy asks a [`Source`] and nothing else.

mod clock;

pub use clock::{Clock, Moment, SystemClock};
