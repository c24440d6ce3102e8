//! What is decided about a request once its route and its caller are known.
//!
//! - `permit`: which callers may use a listener or a route.
//! - `limits`: how much a caller or a route may ask for.

mod limits;
mod permit;

pub use limits::{LimitPermit, LimitState, LimitUse, RateLimited, RequestKind};
pub use permit::{CallerIndex, CallerNames, CallerSet, PermitTable};
