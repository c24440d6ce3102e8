//! Signing with JSON Web keys (RFC 7515, 7517, 7518): private keys out of files, compact signatures
//! out of claims. Knows neither OAuth nor where a file lies.

mod algorithm;
mod certificate;
mod jwk;
mod jws;
mod key;
mod material;
mod pem;
mod public;

pub use algorithm::Algorithm;
pub use certificate::{Certificate, thumbprint};
pub use jws::{JwsHeader, sign, unique_id};
pub use key::SigningKey;
pub use material::KeyError;
pub use pem::{ESCAPED_LINES, has_escaped_lines};
pub use public::PublicJwk;
