//! What an answer says about the token that the request carried.

use http::StatusCode;

use super::reply::GRPC_STATUS;
use super::response::UpstreamResponse;
use crate::oauth::challenge;

/// Whether the upstream rejects a token sent with one of `schemes`, rather than saying that it is
/// not enough, or that the proof with it lacks a nonce.
pub fn rejects(response: &UpstreamResponse, schemes: &[&str]) -> bool {
    let refused =
        response.status() == StatusCode::UNAUTHORIZED || is_unauthenticated_grpc(response);
    refused && challenge::rejects_token(response.headers(), schemes)
}

/// Whether the upstream looked at the token and took it, even if it is not enough for what was asked
/// for. A failure of the upstream says nothing about it.
pub fn accepts(response: &UpstreamResponse) -> bool {
    let status = response.status();
    let answered = status != StatusCode::UNAUTHORIZED && !status.is_server_error();
    answered && !is_unauthenticated_grpc(response)
}

/// Whether a nonce of the upstream's own is all that was missing in the proof (RFC 9449 section 9),
/// in the terms of gRPC as well.
pub fn wants_nonce(response: &UpstreamResponse) -> bool {
    let refused =
        response.status() == StatusCode::UNAUTHORIZED || is_unauthenticated_grpc(response);
    refused && challenge::wants_nonce(response.headers())
}

/// Whether the upstream refuses the proof, not the token.
pub fn refuses_proof(response: &UpstreamResponse) -> bool {
    response.status() == StatusCode::UNAUTHORIZED && challenge::refuses_proof(response.headers())
}

/// A gRPC answer of trailers alone that says UNAUTHENTICATED.
fn is_unauthenticated_grpc(response: &UpstreamResponse) -> bool {
    let status = response.headers().get(GRPC_STATUS);
    status.is_some_and(|status| status == "16")
}
