//! The secret values of a token request, read again each time.

use std::time::SystemTime;

use http::HeaderValue;

use super::assertion::{check_jwt, check_token, subject};
use super::last_good::{FoundFaults, LastGood, UnusableInput};
use super::requester::Requester;
use crate::config::{ClientAuth, Credential, Grant, Secret, SecretSource, SecurityToken};
use crate::redact::Redactor;

/// The values a request is made of, as they could be read at one moment.
#[derive(PartialEq, Eq)]
pub(super) struct Secrets {
    pub(super) client_id: Option<Secret>,
    /// What the client proves itself with, unless that is a key: see [`super::key`].
    pub(super) client_secret: Option<Secret>,
    /// The tokens of others that are shown, as [`crate::config::Grant::tokens`] names them.
    pub(super) tokens: Vec<Secret>,
    pub(super) extra_parameters: Vec<Secret>,
    pub(super) token_headers: Vec<Secret>,
}

impl Secrets {
    /// Empty where the request identifies the client in another way.
    pub(super) fn client_id(&self) -> &str {
        self.client_id.as_ref().map_or("", Secret::expose)
    }

    /// Empty where the method has none.
    pub(super) fn client_secret(&self) -> &str {
        self.client_secret.as_ref().map_or("", Secret::expose)
    }

    /// The client by its id, or where there is none by what it proves itself with; and whom the tokens of others are
    /// about.
    pub(super) fn requester(&self) -> Requester {
        let client = match &self.client_id {
            Some(id) => id.expose().to_owned(),
            None => self
                .client_secret
                .as_ref()
                .map_or_else(String::new, subject),
        };
        Requester::of([client].into_iter().chain(self.tokens.iter().map(subject)))
    }

    /// Tells the redactor all of them but the client's id, which error messages are about, and the tokens,
    /// which are added in the form they are sent in.
    pub(super) fn register_with(&self, redactor: &Redactor) {
        let more = self.extra_parameters.iter().chain(&self.token_headers);
        let secrets = more.chain(&self.client_secret);
        redactor.begin(secrets.map(Secret::expose));
    }
}

/// Where the [`Secrets`] of a credential are, and what was last good there.
pub(super) struct SecretInputs {
    client_id: Option<SecretInput>,
    client_secret: Option<SecretInput>,
    tokens: Vec<SecretInput>,
    extra_parameters: Vec<SecretInput>,
    token_headers: Vec<SecretInput>,
}

/// What secrets that were read before have to be still. Only what can expire is looked at again.
pub(super) struct SecretChecks {
    client_secret: SecretKind,
    tokens: Vec<SecretKind>,
}

struct SecretInput {
    source: SecretSource,
    kind: SecretKind,
    good: LastGood<Secret>,
}

/// What a secret has to be.
#[derive(Clone, Copy)]
enum SecretKind {
    Any,
    /// A JWT of someone else that can be sent now.
    Jwt,
    /// Any token of someone else; one that has not expired if it says when it does.
    Token,
}

impl SecretInputs {
    /// Where the secrets of a credential are. Nothing is read.
    pub(super) fn of(credential: &Credential) -> Self {
        let input = |kind| move |source: &SecretSource| SecretInput::new(source, kind);
        let client_secret = match &credential.auth {
            ClientAuth::PrivateKeyJwt { .. } => None,
            ClientAuth::ClientAssertion { assertion } => {
                Some(SecretInput::new(assertion, SecretKind::Jwt))
            }
            auth => auth.secret().map(input(SecretKind::Any)),
        };
        let extra = credential.extra_parameters.values();
        let headers = credential.token_headers.iter().map(|(_, value)| value);
        Self {
            client_id: credential.client_id.as_ref().map(input(SecretKind::Any)),
            client_secret,
            tokens: tokens_of(&credential.grant),
            extra_parameters: extra.map(input(SecretKind::Any)).collect(),
            token_headers: headers.map(input(SecretKind::Any)).collect(),
        }
    }

    /// By what it is told whether what was read is still good.
    pub(super) fn checks(&self) -> SecretChecks {
        let client_secret = self.client_secret.as_ref();
        SecretChecks {
            client_secret: client_secret.map_or(SecretKind::Any, |secret| secret.kind),
            tokens: self.tokens.iter().map(|token| token.kind).collect(),
        }
    }

    /// Reads every file and variable again. What was last good stands in for what is not good now.
    ///
    /// # Errors
    /// One that is not good, and was not before.
    pub(super) fn read(
        &mut self,
        now: SystemTime,
        faults: &mut FoundFaults,
    ) -> Result<Secrets, UnusableInput> {
        // All of them, so that every fault is known.
        let client_id = read_each(&mut self.client_id, now, faults);
        let client_secret = read_each(&mut self.client_secret, now, faults);
        let tokens = read_each(&mut self.tokens, now, faults);
        let extra_parameters = read_each(&mut self.extra_parameters, now, faults);
        let token_headers = read_each(&mut self.token_headers, now, faults);
        Ok(Secrets {
            client_id: client_id?.pop(),
            client_secret: client_secret?.pop(),
            tokens: tokens?,
            extra_parameters: extra_parameters?,
            token_headers: token_headers?,
        })
    }
}

impl SecretChecks {
    /// Whether these secrets can be sent now.
    pub(super) fn pass(&self, secrets: &Secrets, now: SystemTime) -> bool {
        let shown = secrets.client_secret.iter();
        let shown = shown.map(|secret| (self.client_secret, secret));
        let tokens = self.tokens.iter().copied().zip(&secrets.tokens);
        shown
            .chain(tokens)
            .all(|(kind, secret)| kind.check(secret, now).is_ok())
    }
}

impl SecretInput {
    fn new(source: &SecretSource, kind: SecretKind) -> Self {
        let (source, good) = (source.clone(), LastGood::default());
        Self { source, kind, good }
    }

    fn read(&mut self, now: SystemTime, faults: &mut FoundFaults) -> Result<Secret, UnusableInput> {
        let kind = self.kind;
        let read = self.source.read();
        let read = read.map_err(|error| UnusableInput::unread(&self.source, &error));
        let read = read.and_then(|secret| match kind.check(&secret, now) {
            Ok(()) => Ok(secret),
            Err(what) => Err(UnusableInput::content(&self.source, what)),
        });
        let still = |before: &Secret| kind.check(before, now).is_ok();
        self.good.or_before(read, still, faults)
    }
}

impl SecretKind {
    fn check(self, secret: &Secret, now: SystemTime) -> Result<(), String> {
        match self {
            Self::Any => Ok(()),
            Self::Jwt => check_jwt(secret, now).map(drop),
            Self::Token => check_token(secret, now).map(drop),
        }
    }
}

/// In the order of [`Grant::tokens`].
fn tokens_of(grant: &Grant) -> Vec<SecretInput> {
    match grant {
        Grant::ClientCredentials => Vec::new(),
        Grant::JwtBearer { assertion } => vec![SecretInput::new(assertion, SecretKind::Jwt)],
        Grant::TokenExchange { subject, actor, .. } => {
            let tokens = [subject].into_iter().chain(actor);
            let input = |token: &SecurityToken| {
                let kind = if token.token_type == SecurityToken::JWT {
                    SecretKind::Jwt
                } else {
                    SecretKind::Token
                };
                SecretInput::new(&token.token, kind)
            };
            tokens.map(input).collect()
        }
    }
}

fn read_each<'a>(
    inputs: impl IntoIterator<Item = &'a mut SecretInput>,
    now: SystemTime,
    faults: &mut FoundFaults,
) -> Result<Vec<Secret>, UnusableInput> {
    let read = inputs.into_iter().map(|input| input.read(now, faults));
    // All are read before any error is returned, so that the faults of all are noted.
    let read: Vec<_> = read.collect();
    read.into_iter().collect()
}

/// A header value that is never shown or indexed; none if a character does not fit.
pub(super) fn sensitive(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(value.as_bytes()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn requester(id: Option<&str>, proof: &str, tokens: &[&str]) -> Requester {
        let secrets = Secrets {
            client_id: id.map(Secret::new),
            client_secret: Some(Secret::new(proof)),
            tokens: tokens.iter().copied().map(Secret::new).collect(),
            extra_parameters: Vec::new(),
            token_headers: Vec::new(),
        };
        secrets.requester()
    }

    fn jwt(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn another_id_is_another_client_and_another_secret_is_not() {
        let known = requester(Some("billing"), "s3cret", &[]);
        assert_eq!(requester(Some("billing"), "rotated", &[]), known);
        assert_ne!(requester(Some("other"), "s3cret", &[]), known);
        assert_ne!(
            requester(None, "billing", &[]),
            requester(None, "other", &[])
        );
    }

    #[test]
    fn a_renewed_token_is_about_the_same_subject() {
        let of = |token: &str| requester(None, &jwt(r#"{"sub":"pod"}"#), &[token]);
        let known = of(&jwt(r#"{"iss":"a","sub":"jane","exp":1}"#));
        assert_eq!(of(&jwt(r#"{"exp":2,"sub":"jane","iss":"a"}"#)), known);
        assert_eq!(of(&(jwt(r#"{"iss":"a","sub":"jane"}"#) + "\n")), known);
        for other in [
            &jwt(r#"{"iss":"a","sub":"joe"}"#),
            &jwt(r#"{"iss":"b","sub":"jane"}"#),
            &jwt(r#"{"sub":"jane"}"#),
            "opaque",
        ] {
            assert_ne!(of(other), known, "{other}");
        }
        assert_eq!(of("opaque"), of("opaque"));
        assert_ne!(of("opaque"), of("opaque2"));
        assert_ne!(of(&jwt("{}")), of(&jwt(r#"{"exp":1}"#)), "shows no subject");
    }

    #[test]
    fn client_and_subject_are_told_apart() {
        assert_ne!(
            requester(Some("ab"), "x", &["c"]),
            requester(Some("a"), "x", &["bc"])
        );
    }
}
