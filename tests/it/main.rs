//! Behaviour of the whole, over real sockets.

mod support;
mod token;
