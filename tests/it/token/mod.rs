//! The life of a token, on virtual time: every rule by itself, then 30 days of everything at once.

mod failure;
pub(crate) mod fakes;
mod flight;
mod fresh;
mod refresh;
mod rejection;
mod sent;
pub(crate) mod simulation;
