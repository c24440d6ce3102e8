//! What `explain` says, and what becomes of the very request.

mod agreement;
mod live;
mod offline;
mod site;
