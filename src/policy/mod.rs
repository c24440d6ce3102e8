//! What is decided about a request once its route and its caller are known.
//!
//! - [`limits`]: how much a caller or a route may ask for.

mod limits;

pub use limits::{AskedFor, LimitPermit, LimitState, LimitUse, RateLimited};
