//! Tokens (JWT, RFC 9068) that somebody else issues, where people sign in.
//!
//! A token opens what its scopes say, until it expires. It is believed if the issuer has signed it, for us. Deliberately absent:
//! asking the issuer about single tokens, so a token that was revoked opens what it opens until it expires.

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

/// How far the issuer's clock may be from ours, in seconds.
const LEEWAY_SECONDS: u64 = 30;
/// No subject has more characters: it is kept with each caller.
const N_SUBJECT_MAX: usize = 255;

/// Why a token opens nothing.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It is none that is taken. Why, in words that help whoever holds it.
    #[error("this token is not taken: {0}")]
    Refused(&'static str),
    /// Whether it is good is not known now.
    #[error("whether this token is good is not known now")]
    Unknown(#[source] IssuerError),
}

/// What tokens must say.
pub struct Tokens {
    keys: Arc<KeySource>,
    issuer: String,
    audience: String,
    /// The claim with the owner that the caller acts as.
    owner_claim: Option<String>,
    scopes: Scopes,
}

type Claims = Map<String, Value>;

impl Tokens {
    /// Those of `issuer`, for `audience`, signed with one of `keys`. Where `owner_claim` names a claim, a token that has it is
    /// bound to that owner.
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

    /// Who asks with this token.
    ///
    /// # Errors
    /// [`TokenError`]: why nobody does.
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
        // An owner that can't be read must not make the caller one who sees all.
        let owner = owner.transpose();
        let owner = owner.map_err(|()| TokenError::Refused("its claim with the customer is no UUID"))?;
        // Ids of keys begin otherwise: nobody else has this one.
        let id = match owner {
            Some(owner) => format!("token:{owner}:{subject}"),
            None => format!("token::{subject}"),
        };
        Ok(Caller::new(id, self.scopes(claims), owner))
    }

    /// Those that the token names and this program knows. Others, such as `openid`, are somebody else's.
    fn scopes(&self, claims: &Claims) -> Vec<Scope> {
        let named = ["scope", "scp"].map(|claim| claims.get(claim).map(words).unwrap_or_default());
        // An issuer that fills one claim may still send the other, as `null` or empty.
        let filled = named.iter().find(|words| !words.is_empty());
        filled.into_iter().flatten().filter_map(|word| self.scopes.find(word)).collect()
    }
}

/// The words of a claim, which has them in one string or in a list.
fn words(claim: &Value) -> Vec<&str> {
    match claim {
        Value::String(words) => words.split_whitespace().collect(),
        Value::Array(words) => words.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

/// What is wrong with a token, for whoever holds it. It can read all of this in the token itself.
fn reason(error: &ErrorKind) -> &'static str {
    match error {
        ErrorKind::ExpiredSignature => "it has expired",
        ErrorKind::ImmatureSignature => "it is not valid yet (`nbf`)",
        ErrorKind::InvalidAudience => "it is for somebody else (`aud`)",
        ErrorKind::InvalidIssuer => "it is from another issuer (`iss`)",
        ErrorKind::InvalidSignature => "its signature is not the issuer's",
        ErrorKind::MissingRequiredClaim(_) => "it needs the claims `iss`, `aud`, `sub` and `exp`",
        // What else there may be.
        _ => "its claims can't be read",
    }
}

#[cfg(test)]
mod tests;
