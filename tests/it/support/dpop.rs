//! Servers that check proofs of possession as RFC 9449 section 4.3 says, with another library than
//! the one that makes them.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use jsonwebtoken::jwk::ThumbprintHash;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;

use super::api::unauthorized;
use super::server::{self, Body, response};

/// What one server knows of proofs.
#[derive(Clone, Default)]
pub(crate) struct Referee(Arc<Mutex<RefereeState>>);

#[derive(Default)]
struct RefereeState {
    /// The `jti` of every proof so far.
    used: HashSet<String>,
    /// What a proof has to say, if anything.
    nonce: Option<String>,
    /// Every answer brings another one.
    fickle: bool,
    /// Those given and not used, where each counts once.
    single: Option<HashSet<String>>,
    nonces: usize,
}

/// Why a proof is refused.
#[derive(Debug, PartialEq)]
pub(crate) enum Foul {
    WantsNonce(String),
    Invalid(&'static str),
}

impl Referee {
    /// From now on proofs need this nonce.
    pub(crate) fn want(&self, nonce: &str) {
        self.0.lock().unwrap().nonce = Some(nonce.to_owned());
    }

    /// From now on every good answer brings another nonce, and the one before is void.
    pub(crate) fn be_fickle(&self) {
        let mut known = self.0.lock().unwrap();
        known.fickle = true;
        known.nonce = Some("fickle-0".to_owned());
    }

    /// From now on every answer brings a nonce that counts once.
    pub(crate) fn be_frugal(&self) {
        self.0.lock().unwrap().single = Some(HashSet::new());
    }

    /// Proofs that were good.
    pub(crate) fn accepted(&self) -> usize {
        self.0.lock().unwrap().used.len()
    }

    /// The thumbprint of the key that proved this request.
    pub(crate) fn judge(
        &self,
        headers: &HeaderMap,
        method: &str,
        url: &str,
        token: Option<&str>,
    ) -> Result<String, Foul> {
        let mut proofs = headers.get_all("dpop").iter();
        let (Some(proof), None) = (proofs.next(), proofs.next()) else {
            return Err(Foul::Invalid("not one proof"));
        };
        let proof = proof.to_str().unwrap();
        let header = jsonwebtoken::decode_header(proof).map_err(|_| Foul::Invalid("no JWT"))?;
        let jwk = header.jwk.ok_or(Foul::Invalid("no key"))?;
        let private: Value = super::keys::part(proof, 0);
        if private["jwk"].get("d").is_some() {
            return Err(Foul::Invalid("the private key"));
        }
        if header.typ.as_deref() != Some("dpop+jwt") || header.alg != Algorithm::ES256 {
            return Err(Foul::Invalid("typ or alg"));
        }
        let mut validation = Validation::new(header.alg);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        let key = DecodingKey::from_jwk(&jwk).unwrap();
        let claims = jsonwebtoken::decode::<Value>(proof, &key, &validation);
        let claims = claims.map_err(|_| Foul::Invalid("signature"))?.claims;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let age = now.as_secs() as i64 - claims["iat"].as_i64().unwrap();
        let hash = token.map(|token| {
            let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
            URL_SAFE_NO_PAD.encode(hash)
        });
        if !(0..60).contains(&age) {
            return Err(Foul::Invalid("iat"));
        }
        if claims["htm"] != method {
            return Err(Foul::Invalid("htm"));
        }
        if claims["htu"] != url {
            return Err(Foul::Invalid("htu"));
        }
        if claims.get("ath").and_then(Value::as_str) != hash.as_deref() {
            return Err(Foul::Invalid("ath"));
        }
        let mut known = self.0.lock().unwrap();
        if let Some(single) = &mut known.single
            && !claims["nonce"]
                .as_str()
                .is_some_and(|nonce| single.remove(nonce))
        {
            return Err(Foul::WantsNonce(known.another()));
        }
        if let Some(wanted) = &known.nonce
            && claims.get("nonce").and_then(Value::as_str) != Some(wanted)
        {
            return Err(Foul::WantsNonce(wanted.clone()));
        }
        if !known
            .used
            .insert(claims["jti"].as_str().unwrap().to_owned())
        {
            return Err(Foul::Invalid("jti"));
        }
        Ok(jwk.thumbprint(ThumbprintHash::SHA256).unwrap())
    }

    /// Adds what the next proof has to say to a good answer.
    fn advance(&self, mut response: Response<Body>) -> Response<Body> {
        let mut known = self.0.lock().unwrap();
        if known.fickle || known.single.is_some() {
            let next = known.another();
            response
                .headers_mut()
                .insert("dpop-nonce", next.parse().unwrap());
            if known.fickle {
                known.nonce = Some(next);
            }
        }
        response
    }
}

impl RefereeState {
    fn another(&mut self) -> String {
        self.nonces += 1;
        let next = format!("nonce-{}", self.nonces);
        if let Some(single) = &mut self.single {
            single.insert(next.clone());
        }
        next
    }
}

/// An authorization server whose tokens, `token-N`, are bound to the key that asked.
#[derive(Clone)]
pub(crate) struct Issuer {
    pub(crate) address: SocketAddr,
    pub(crate) referee: Referee,
    state: Arc<Mutex<Issued>>,
}

struct Issued {
    token_type: &'static str,
    lifetime: u64,
    /// The thumbprint of each token's key.
    tokens: HashMap<String, String>,
    /// The forms of the token requests, refused ones too.
    forms: Vec<String>,
}

impl Issuer {
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(Issued {
            token_type: "DPoP",
            lifetime: 3600,
            tokens: HashMap::new(),
            forms: Vec::new(),
        }));
        let referee = Referee::default();
        let (serving, judging) = (state.clone(), referee.clone());
        let address = server::serve(None, move |request| {
            let (state, referee) = (serving.clone(), judging.clone());
            async move { token(request, &state, &referee).await }
        });
        Self {
            address,
            referee,
            state,
        }
    }

    /// For `token_endpoint`: with a query, which no proof names.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}/token?tenant=1", self.address)
    }

    /// What it calls its tokens from now on.
    pub(crate) fn call_them(&self, token_type: &'static str) {
        self.state.lock().unwrap().token_type = token_type;
    }

    /// Seconds that tokens live from now on.
    pub(crate) fn set_lifetime(&self, seconds: u64) {
        self.state.lock().unwrap().lifetime = seconds;
    }

    /// The forms of all token requests so far.
    pub(crate) fn forms(&self) -> Vec<HashMap<String, String>> {
        let state = self.state.lock().unwrap();
        let parse = |form: &String| {
            url::form_urlencoded::parse(form.as_bytes())
                .into_owned()
                .collect()
        };
        state.forms.iter().map(parse).collect()
    }

    /// The thumbprints of the keys of all tokens so far.
    pub(crate) fn keys(&self) -> HashSet<String> {
        self.state
            .lock()
            .unwrap()
            .tokens
            .values()
            .cloned()
            .collect()
    }

    /// Tokens issued so far.
    pub(crate) fn issued(&self) -> usize {
        self.state.lock().unwrap().tokens.len()
    }

    /// Whom it was bound to.
    fn key_of(&self, token: &str) -> Option<String> {
        self.state.lock().unwrap().tokens.get(token).cloned()
    }

    /// Revokes every token issued so far.
    pub(crate) fn revoke_all(&self) {
        for key in self.state.lock().unwrap().tokens.values_mut() {
            key.clear();
        }
    }
}

async fn token(
    request: Request<Incoming>,
    state: &Mutex<Issued>,
    referee: &Referee,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let form = body.collect().await.unwrap().to_bytes();
    let form = String::from_utf8(form.to_vec()).unwrap();
    state.lock().unwrap().forms.push(form);
    let host = head.headers["host"].to_str().unwrap();
    let url = format!("http://{host}{}", head.uri.path());
    let key = match referee.judge(&head.headers, head.method.as_str(), &url, None) {
        Ok(key) => key,
        Err(Foul::WantsNonce(nonce)) => {
            let mut response = response(400, r#"{"error":"use_dpop_nonce"}"#);
            let headers = response.headers_mut();
            headers.insert("dpop-nonce", nonce.parse().unwrap());
            return response;
        }
        Err(Foul::Invalid(what)) => {
            let body = format!(r#"{{"error":"invalid_dpop_proof","error_description":"{what}"}}"#);
            return response(400, body);
        }
    };
    let mut state = state.lock().unwrap();
    let token = format!("token-{}", state.tokens.len() + 1);
    let (kind, lifetime) = (state.token_type, state.lifetime);
    let body =
        format!(r#"{{"access_token":"{token}","token_type":"{kind}","expires_in":{lifetime}}}"#);
    state.tokens.insert(token, key);
    referee.advance(response(200, body))
}

/// What an API answers to who shows a token of `issuer` and proves that it is his, by the URL that
/// it was called by.
pub(crate) fn guard(
    issuer: &Issuer,
    referee: &Referee,
    method: &str,
    url: &str,
    headers: &HeaderMap,
) -> Response<Body> {
    let authorization = headers
        .get("authorization")
        .map_or("", |value| value.to_str().unwrap());
    let token = authorization.strip_prefix("DPoP ").unwrap_or_default();
    match referee.judge(headers, method, url, Some(token)) {
        Ok(key) if issuer.key_of(token).as_ref() == Some(&key) => {
            referee.advance(response(200, "ok"))
        }
        Ok(_) => unauthorized("DPoP error=\"invalid_token\", algs=\"ES256\""),
        Err(Foul::WantsNonce(nonce)) => {
            let mut response = unauthorized("DPoP error=\"use_dpop_nonce\", algs=\"ES256\"");
            let headers = response.headers_mut();
            headers.insert("dpop-nonce", nonce.parse().unwrap());
            response
        }
        Err(Foul::Invalid(what)) => unauthorized(&format!(
            "DPoP error=\"invalid_dpop_proof\", error_description=\"{what}\""
        )),
    }
}
