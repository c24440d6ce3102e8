//! What `explain` says, and what becomes of the very request.

mod agreement;
mod any_host;
mod configured;
mod live;
mod offline;
mod site;
