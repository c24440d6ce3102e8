//! Callers that are known by a token: whose it is, and what happens while keys and reviews cannot be had. On virtual
//! time, except where it is about files and HTTP.

mod attacks;
mod fakes;
mod keys;
mod malformed;
mod network;
mod reload;
mod reviews;
mod servers;
mod simulation;
