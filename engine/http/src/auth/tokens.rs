//! Tokens (JWT, RFC 9068) of an external issuer, with whom people sign in.
//!
//! A token grants its scopes until it expires, if the issuer has signed it for this audience. The issuer is not asked about single
//! tokens, so a revoked token keeps working until it expires.

use std::sync::Arc;

use jsonwebtoken::{Header, Validation, decode, decode_header, errors::ErrorKind};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    caller::Caller,
    issuer::{IssuerError, KeySource},
    scope::{Scope, Scopes},
    signatures,
};

/// The maximum clock difference to the issuer, in seconds.
const LEEWAY_SECONDS: u64 = 30;
/// The maximum length of a subject, which is stored with each caller, in bytes.
const N_SUBJECT_MAX: usize = 255;

/// Why a token is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The token is invalid. The reason is meant for the caller.
    #[error("this token is not taken: {0}")]
    Refused(&'static str),
    #[error("the token can't be checked now")]
    Unknown(#[source] IssuerError),
}

/// Verifies tokens.
pub struct Tokens {
    keys: Arc<KeySource>,
    issuer: String,
    audience: String,
    /// The claim with the owner that the caller is bound to.
    owner_claim: Option<String>,
    scopes: Scopes,
}

type Claims = Map<String, Value>;

impl Tokens {
    /// Accepts tokens from `issuer` for `audience`, signed with one of `keys`. If a token has the claim named by `owner_claim`, its caller
    /// is bound to that owner.
    pub fn new(
        keys: Arc<KeySource>,
        issuer: String,
        audience: String,
        owner_claim: Option<String>,
        scopes: Scopes,
    ) -> Self {
        signatures::prepare();
        Self { keys, issuer, audience, owner_claim, scopes }
    }

    /// Returns the caller that this token authenticates.
    pub async fn caller(&self, token: &str) -> Result<Caller, TokenError> {
        let header = decode_header(token).map_err(|_| TokenError::Refused("it is no signed JWT"))?;
        if header.crit.is_some() {
            return Err(TokenError::Refused("it demands what this program does not know (`crit`)"));
        }
        let keys = self.keys.keys(header.kid.as_deref()).await.map_err(TokenError::Unknown)?;
        let key = keys.find(header.kid.as_deref());
        let key = key.ok_or(TokenError::Refused("the issuer has no key of that name (`kid`)"))?;
        let validation = self.validation(&header, &key.algorithms)?;
        let decoded = decode::<Claims>(token, &key.key, &validation);
        let claims = decoded.map_err(|error| TokenError::Refused(reason(error.kind())))?.claims;
        self.caller_of(&claims)
    }

    fn validation(&self, header: &Header, algorithms: &[jsonwebtoken::Algorithm]) -> Result<Validation, TokenError> {
        if !algorithms.contains(&header.alg) {
            return Err(TokenError::Refused("it is not signed in a way that goes with the issuer's key (`alg`)"));
        }
        let mut validation = Validation::new(header.alg);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        Ok(validation)
    }

    fn caller_of(&self, claims: &Claims) -> Result<Caller, TokenError> {
        let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
        if !(1..=N_SUBJECT_MAX).contains(&subject.len()) {
            return Err(TokenError::Refused("its subject (`sub`) must have 1 to 255 characters"));
        }
        let owner = self.owner_claim.as_ref().and_then(|name| claims.get(name));
        let owner = owner.map(|id| id.as_str().and_then(|id| Uuid::try_parse(id).ok()).ok_or(()));
        // A malformed owner must not yield an unbound caller, who sees everything.
        let owner = owner.transpose();
        let owner = owner.map_err(|()| TokenError::Refused("the claim that binds it is not a UUID"))?;
        // Caller ids of keys start with another prefix, so this one is unique.
        let id = match owner {
            Some(owner) => format!("token:{owner}:{subject}"),
            None => format!("token::{subject}"),
        };
        Ok(Caller::new(id, self.scopes(claims), owner))
    }

    /// Returns the scopes in the token that this version knows. Others, such as `openid`, are for other parties.
    fn scopes(&self, claims: &Claims) -> Vec<Scope> {
        let named = ["scope", "scp"].map(|claim| claims.get(claim).map(words).unwrap_or_default());
        // An issuer that fills one claim may still send the other, as `null` or empty.
        let filled = named.iter().find(|words| !words.is_empty());
        filled.into_iter().flatten().filter_map(|word| self.scopes.find(word)).collect()
    }
}

/// Returns the words of a claim, which is either one string or a list.
fn words(claim: &Value) -> Vec<&str> {
    match claim {
        Value::String(words) => words.split_whitespace().collect(),
        Value::Array(words) => words.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

/// Explains an invalid token to its caller, who can read all of this in the token itself.
fn reason(error: &ErrorKind) -> &'static str {
    match error {
        ErrorKind::ExpiredSignature => "it has expired",
        ErrorKind::ImmatureSignature => "it is not valid yet (`nbf`)",
        ErrorKind::InvalidAudience => "it is for somebody else (`aud`)",
        ErrorKind::InvalidIssuer => "it is from another issuer (`iss`)",
        ErrorKind::InvalidSignature => "its signature is not the issuer's",
        ErrorKind::MissingRequiredClaim(_) => "it needs the claims `iss`, `aud`, `sub` and `exp`",
        // Any other reason.
        _ => "its claims can't be read",
    }
}

#[cfg(test)]
mod tests;
