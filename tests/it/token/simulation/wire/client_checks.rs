//! What an authorization server looks at in a token request (RFC 7523 section 3, RFC 9449 section 5).
//! What no client may ever do is an error; what one may not be able to help is refused.

use std::collections::HashMap;

use http::HeaderMap;
use serde_json::Value;

use super::files::Which;
use super::jwt::{ASSERTER, CLIENTS, keys, number};
use super::world::{Times, WorldState};
use super::{CLIENT_ID, Setting, TOKEN_ENDPOINT};

/// The longest that an assertion of the client's own may be good, in seconds.
const LONGEST: u64 = 60;

/// What the server makes of a request.
#[derive(Debug)]
pub(super) enum Finding {
    /// By a client whose proof is of this key.
    Good {
        thumbprint: String,
    },
    WantsNonce,
    Refused {
        code: &'static str,
        /// The client could not know better.
        excused: bool,
    },
}

type Form = HashMap<String, String>;

impl WorldState {
    /// # Errors
    /// What the client should not have sent.
    pub(super) fn look(
        &mut self,
        form: &Form,
        headers: &HeaderMap,
        times: Times,
    ) -> Result<Finding, String> {
        let field = |name: &str| {
            form.get(name)
                .map(String::as_str)
                .ok_or(format!("no {name}"))
        };
        let mut refused = None;
        match self.setting {
            Setting::OwnKey | Setting::OwnKeyJwtBearer => {
                refused = refused.or(self.check_own(field("client_assertion")?, times)?);
            }
            Setting::ClientAssertion => {
                refused = refused.or(self.check_shown(field("client_assertion")?, times)?);
            }
            Setting::TokenExchange => {
                if !headers.contains_key("authorization") {
                    return Err("no client authentication".to_owned());
                }
            }
        }
        match self.setting {
            Setting::OwnKeyJwtBearer => {
                refused = refused.or(self.check_shown(field("assertion")?, times)?);
            }
            Setting::TokenExchange => {
                refused = refused.or(self.check_shown(field("subject_token")?, times)?);
            }
            Setting::OwnKey | Setting::ClientAssertion => {}
        }
        let proved = self.check_proof(headers, times)?;
        Ok(refused.unwrap_or(proved))
    }

    /// An assertion of the client's own.
    fn check_own(&mut self, jwt: &str, times: Times) -> Result<Option<Finding>, String> {
        let signed = |key: usize| keys()[key].verify(jwt).map(|claims| (key, claims));
        let (key, claims) = (0..CLIENTS).find_map(signed).ok_or("signed by no key")?;
        self.server.seen.once(&claims)?;
        let file = self.files.get(Which::ClientKey);
        if !file.knows(key) {
            return Err(format!("signed by key {key}, which is not the one to use"));
        }
        let about = ["iss", "sub", "aud"].map(|name| claims[name].as_str());
        if about != [Some(CLIENT_ID), Some(CLIENT_ID), Some(TOKEN_ENDPOINT)] {
            return Err(format!("an assertion about {about:?}"));
        }
        let (from, to) = dates(&claims)?;
        if from != times.dated() || to <= from || to - from > LONGEST {
            return Err(format!("at {times:?} an assertion from {from} to {to}"));
        }
        let known = self.files.registered.contains(&key);
        let code = "invalid_client";
        Ok(if !known {
            let excused = !file.is_whole();
            Some(Finding::Refused { code, excused })
        } else if !times.servers_agree() {
            Some(Finding::Refused {
                code,
                excused: true,
            })
        } else {
            None
        })
    }

    /// An assertion that someone else wrote.
    fn check_shown(&mut self, jwt: &str, times: Times) -> Result<Option<Finding>, String> {
        if self.files.to_show(times) != Some(jwt) {
            return Err(format!(
                "at {times:?} an assertion that is not the one to show: {jwt}"
            ));
        }
        let claims = keys()[ASSERTER].verify(jwt);
        let good = claims.is_some_and(|claims| number(&claims, "exp") > Some(times.truth));
        // Its signature is cut off, or the machine's clock is behind.
        Ok((!good).then_some(Finding::Refused {
            code: "invalid_grant",
            excused: true,
        }))
    }

    fn check_proof(&mut self, headers: &HeaderMap, times: Times) -> Result<Finding, String> {
        let mut proofs = headers.get_all("dpop").iter();
        let (Some(proof), None) = (proofs.next(), proofs.next()) else {
            return Err("not one proof".to_owned());
        };
        let proof = proof.to_str().map_err(|e| e.to_string())?;
        let proof = self.server.seen.prove(proof, ["POST", TOKEN_ENDPOINT])?;
        let holds = if self.setting.has_proof_key_file() {
            let mut keys = keys()[..CLIENTS].iter();
            let key = keys.position(|key| key.thumbprint == proof.thumbprint);
            key.is_some_and(|key| self.files.get(Which::ProofKey).knows(key))
        } else {
            self.own_key.as_ref() == Some(&proof.thumbprint)
        };
        if !holds {
            return Err(format!("a proof of another key: {}", proof.thumbprint));
        }
        if proof.token_hash.is_some() || proof.issued_at != times.dated() {
            return Err(format!("at {times:?} a proof of {}", proof.issued_at));
        }
        if proof.nonce != self.server.nonces.told {
            return Err(format!("a proof with {:?}", proof.nonce));
        }
        Ok(if self.server.nonces.refuse(proof.nonce.as_deref()) {
            Finding::WantsNonce
        } else if !times.servers_agree() {
            Finding::Refused {
                code: "invalid_dpop_proof",
                excused: true,
            }
        } else {
            Finding::Good {
                thumbprint: proof.thumbprint,
            }
        })
    }
}

fn dates(claims: &Value) -> Result<(u64, u64), String> {
    let dates = number(claims, "iat").zip(number(claims, "exp"));
    dates.ok_or_else(|| format!("no dates: {claims}"))
}
