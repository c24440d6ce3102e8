//! Which build this is.

/// The version, by Semantic Versioning.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The first 12 digits of the commit that it is made of; `unknown` where nobody said, as in a build for development.
pub const COMMIT: &str = env!("SIDEBEARER_BUILD_COMMIT");

/// All of it, for a report of a defect: the version, the commit, what does TLS and what allocates, and for what system it
/// is compiled.
pub const DESCRIPTION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("SIDEBEARER_BUILD_COMMIT"),
    ", features aws-lc-rs mimalloc, ",
    env!("SIDEBEARER_BUILD_TARGET"),
    ", ",
    env!("SIDEBEARER_BUILD_PROFILE"),
    " build)"
);
