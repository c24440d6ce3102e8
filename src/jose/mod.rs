//! JSON Web keys, and signatures by them (RFC 7515, 7517, 7518, 7519): private keys that sign claims, public ones
//! that verify tokens. Knows neither OAuth nor where a file lies.

mod algorithm;
mod certificate;
mod jwk;
mod jws;
mod jwt;
mod key;
mod key_set;
mod material;
mod pem;
mod public;
mod unique;
mod verifying_key;

pub use algorithm::Algorithm;
pub use certificate::{Certificate, thumbprint};
pub use jws::{JwsHeader, sign, unique_id};
pub use jwt::UnverifiedJwt;
pub use key::SigningKey;
pub use key_set::KeySet;
pub use material::KeyError;
pub use pem::{ESCAPED_LINES, has_escaped_lines};
pub use public::PublicJwk;
pub use unique::UniqueMembers;
pub use verifying_key::VerifyingKey;
