//! What a token request asks by: the client's own name, or a token of someone else.

use std::time::SystemTime;

use super::TokenError;
use super::assertion::{checked_jwt, checked_token};
use super::request::TokenRequest;
use super::secrets::Secrets;
use crate::config::{Grant, SecurityToken};

/// Adds `grant_type` and what goes with it to a token request that is sent `now`.
///
/// # Errors
/// A token that has expired or is not a token.
pub(super) fn add_parameters(
    grant: &Grant,
    secrets: &Secrets,
    request: &mut TokenRequest,
    now: SystemTime,
) -> Result<(), TokenError> {
    request.form.push("grant_type", grant.grant_type());
    let mut tokens = secrets.tokens.iter();
    match grant {
        Grant::ClientCredentials => {}
        Grant::JwtBearer { assertion } => {
            for text in tokens {
                let text = checked_jwt(text, assertion, now)?;
                request.form.push("assertion", text);
                request.redactor.add_jwt(text);
            }
        }
        Grant::TokenExchange {
            subject,
            actor,
            requested_token_type,
        } => {
            let mut show = |name: &str, token: &SecurityToken| -> Result<(), TokenError> {
                let Some(text) = tokens.next() else {
                    return Ok(());
                };
                let text = checked_token(text, &token.token, now)?;
                request.form.push(name, text);
                let type_name = format!("{name}_type");
                request.form.push(&type_name, &token.token_type);
                request.redactor.add_jwt(text);
                Ok(())
            };
            show("subject_token", subject)?;
            if let Some(actor) = actor {
                show("actor_token", actor)?;
            }
            if let Some(requested) = requested_token_type {
                request.form.push("requested_token_type", requested);
            }
        }
    }
    Ok(())
}

/// What to look at when the server answers with this error.
pub(super) fn hint(code: &str, grant: &Grant) -> Option<&'static str> {
    Some(match (code, grant) {
        ("invalid_grant", Grant::JwtBearer { .. }) => {
            "check that the server trusts who signed the assertion, and its audience and subject"
        }
        ("invalid_grant" | "invalid_request", Grant::TokenExchange { .. }) => {
            "check that the server trusts who issued subject_token, its audience, and the types"
        }
        ("unauthorized_client", Grant::ClientCredentials) => {
            "the server has to allow the client_credentials grant for this client"
        }
        ("unauthorized_client", _) => "the server has to allow this grant for this client",
        ("unsupported_grant_type", Grant::ClientCredentials) => {
            "the server does not offer the client_credentials grant"
        }
        ("unsupported_grant_type", _) => "the server does not offer this grant",
        _ => return None,
    })
}
