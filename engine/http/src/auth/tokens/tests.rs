use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use serde_json::json;

use super::*;

/// The modulus of a discarded RSA key, and two tokens signed with it, which expire in the year 2100.
const MODULUS: &str = "\
    yHOPFt5r_4BMMm-Lv08WgzqtPFeDJMu1MRkOzRzXJeaPMD6N-zE1RV33HfmMnv5ZtZzFW-\
    6WhAm8SjXRKeyj1fAw_RWvpDQixCw6aerTvP_2Oi3rBtak5cAyDWYbLtdlhTdZBqRpNdzqAKuAJZwaYZoMbCQH_YDr0reFx8qbRH-\
    _fcT4GzTQt6K7mfqHqEzyZAGhtLMQCX4WAYCZAFe509XZykqo6eQdVv6_U3j8Oh9QpeF8Zq8dfTL4Iu4pffKc0ksmQYmKT3RrTK4-1YTH2IpK-\
    coZLrF2mq1tsTSEQFlOnIhNlRgyE6gY6LhEcFyCkkbVt2nBOAMqFCE0LJK0WQ";
const BY_RS256: &str = "\
    eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYSIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJvcmRlcmxvZyIsInN1Y\
    iI6ImFkYSIsImV4cCI6NDEwMjQ0NDgwMCwic2NvcGUiOiJvcGVuaWQgb3JkZXJzOnJlYWQifQ.twhsnXHBWkVPDqxS4cT9tCT3jIoGCUio6LsD3d8XO13W\
    yQLzjcwcbNv3lN2401KVUGF46agqq2SvrFX0vU0NG_tCtwXi9xUEMnQASUvzLpsGFoniqniEgcx88ss5MVx5cP3JywSsjlx--\
    r8WcJsCQ24dzwNDmqzenR6Nc9q8MemAfWAkSDgNrjGxT214i8_RNnZkJqmyoaIpv-HlzjvUvvPmuuQYTIr8UkU3QHOgC_cbomw_akprHbEHrp-\
    iFOmjk0-b8Pzq9pNwZ9MBbT9-RHznyxppSq-vBjJQsjb8QOqu3tF2QYaCc8B0a0uImdH86_CfH6UuvJ2zYS1jGUZuTQ";
const BY_PS384: &str = "\
    eyJhbGciOiJQUzM4NCIsImtpZCI6InJzYSIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJvcmRlcmxvZyIsInN1Y\
    iI6ImFkYSIsImV4cCI6NDEwMjQ0NDgwMCwic2NvcGUiOiJvcGVuaWQgb3JkZXJzOnJlYWQifQ.LFqCHbyGqA-ccCmXi4b-USEnW-Y_WkF8qoKT8Ln2vl_p\
    U75u_eCX_LZ9mdj6PGji0PqG0cwPtRjoJaplu3-Z2OXsI70Zl1bJW9Q29YclZTvTYxSexC1QEqraqXQCufDuAhGLhLviNREFzY3vIOR7klBr9gSCWzt-\
    fteG5H8taWNbiiioK2GteFPYNuKE3I2kwLJeSLzWNkl_xkZOvdL0q_5BUO4PNrHs0mOI4KQoHaZNY6Lp122fZwGh-\
    JFu68NfCLwqtDw4XRenDN9KoYuUK98A8r2sjdfksA-gDAeeX4BwrFStfCw777WUAYvisgFuezcdghJVPJqI_3Wd6zPpPw";

fn encoded(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// Signs with an elliptic curve.
struct Issuer(EcdsaKeyPair);

impl Issuer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref(), &random).unwrap())
    }

    fn jwk(&self, kid: &str) -> Value {
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        json!({ "kty": "EC", "crv": "P-256", "kid": kid, "use": "sig", "x": encoded(x), "y": encoded(y) })
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
        let signature = self.0.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", encoded(signature))
    }
}

const ORDERS: Scope = Scope::new("orders:read");
const CUSTOMERS: Scope = Scope::new("customers:write");
const STOCK: Scope = Scope::new("stock:read");
const SCOPES: [Scope; 3] = [ORDERS, CUSTOMERS, STOCK];

/// Accepts tokens signed with these keys. The folder must outlive the result.
fn believing(keys: &[Value]) -> (tempfile::TempDir, Tokens) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("jwks.json");
    std::fs::write(&file, json!({ "keys": keys }).to_string()).unwrap();
    let keys = KeySource::open(file.to_str().unwrap(), None).unwrap();
    let (issuer, audience) = ("https://id.example".to_owned(), "orderlog".to_owned());
    let tokens = Tokens::new(keys, issuer, audience, Some("customer_id".to_owned()), Scopes::new(SCOPES));
    (dir, tokens)
}

fn now() -> u64 {
    jsonwebtoken::get_current_timestamp()
}

fn claims() -> Value {
    json!({
        "iss": "https://id.example", "aud": ["other", "orderlog"], "sub": "ada", "exp": now() + 60,
        "scope": "openid orders:read customers:write",
    })
}

fn with(changes: Value) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    claims
}

async fn told(tokens: &Tokens, token: &str) -> String {
    tokens.caller(token).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_token_is_a_caller_with_the_scopes_that_it_names() {
    let issuer = Issuer::new();
    let (_dir, tokens) = believing(&[issuer.jwk("one")]);
    let header = json!({ "alg": "ES256", "kid": "one" });
    let ada = tokens.caller(&issuer.sign(&header, &claims())).await.unwrap();
    assert_eq!((ada.id(), ada.owner()), ("token::ada", None));
    assert_eq!(SCOPES.map(|scope| ada.has(scope)), [true, true, false]);
    for listed in [json!(["stock:read", "profile"]), json!("stock:read profile")] {
        let mut without = with(json!({ "scp": listed }));
        without.as_object_mut().unwrap().remove("scope");
        let empty =
            [json!(null), json!(""), json!([]), json!({})].map(|scope| with(json!({ "scope": scope, "scp": listed })));
        for claims in [without].into_iter().chain(empty) {
            let caller = tokens.caller(&issuer.sign(&header, &claims)).await.unwrap();
            assert!(caller.has(STOCK) && !caller.has(ORDERS), "{claims}");
        }
    }
    let both = tokens.caller(&issuer.sign(&header, &with(json!({ "scp": ["stock:read"] })))).await.unwrap();
    assert!(both.has(ORDERS) && !both.has(STOCK), "`scope` comes first");
    // As long as there is one key, it need not be named.
    tokens.caller(&issuer.sign(&json!({ "alg": "ES256" }), &claims())).await.unwrap();
}

#[tokio::test]
async fn a_claim_may_bind_a_token_to_a_customer() {
    let issuer = Issuer::new();
    let (_dir, tokens) = believing(&[issuer.jwk("one")]);
    let sign = |claims: Value| issuer.sign(&json!({ "alg": "ES256", "kid": "one" }), &claims);
    let customer = "019a0000-0000-7000-8000-000000000001";
    let bound = tokens.caller(&sign(with(json!({ "customer_id": customer })))).await.unwrap();
    assert_eq!(bound.owner().map(|id| id.to_string()).as_deref(), Some(customer));
    assert_eq!(bound.id(), format!("token:{customer}:ada"));
    for wrong in [json!(""), json!(null), json!(7), json!([customer]), json!("ada")] {
        let token = sign(with(json!({ "customer_id": wrong })));
        assert!(
            told(&tokens, &token).await.contains("claim that binds"),
            "{wrong} must not make a caller who sees all"
        );
    }
}

#[tokio::test]
async fn a_token_that_is_not_meant_or_not_now_opens_nothing() {
    let issuer = Issuer::new();
    let (_dir, tokens) = believing(&[issuer.jwk("one")]);
    let (late, early) = (now() - 31, now() + 90);
    for (changes, why) in [
        (json!({ "exp": late }), "expired"),
        (json!({ "exp": "never" }), "`exp`"),
        (json!({ "exp": null }), "`exp`"),
        (json!({ "nbf": early }), "not valid yet"),
        (json!({ "nbf": "tomorrow" }), "can't be read"),
        (json!({ "iss": "https://id.example.evil" }), "issuer"),
        (json!({ "iss": null }), "`iss`"),
        (json!({ "aud": "others" }), "somebody else"),
        (json!({ "aud": [] }), "somebody else"),
        (json!({ "aud": null }), "`aud`"),
        (json!({ "sub": null }), "`sub`"),
        (json!({ "sub": "" }), "`sub`"),
    ] {
        let token = issuer.sign(&json!({ "alg": "ES256", "kid": "one" }), &with(changes.clone()));
        let told = told(&tokens, &token).await;
        assert!(told.contains(why), "{changes}: {told}");
    }
}

#[tokio::test]
async fn a_token_is_believed_only_if_the_issuer_has_signed_it_as_its_keys_say() {
    let (issuer, other) = (Issuer::new(), Issuer::new());
    let rsa = json!({ "kty": "RSA", "kid": "rsa", "alg": "RS256", "n": MODULUS, "e": "AQAB" });
    let shared = json!({ "kty": "oct", "kid": "shared", "k": encoded("secret") });
    let mut to_encrypt = other.jwk("to-encrypt");
    to_encrypt["use"] = "enc".into();
    let (_dir, tokens) = believing(&[issuer.jwk("one"), rsa, shared, to_encrypt]);
    let header = json!({ "alg": "ES256", "kid": "one" });

    let good = issuer.sign(&header, &claims());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let unsigned = format!("{}.{}.", encoded(json!({ "alg": "none" }).to_string()), encoded(claims().to_string()));
    for (token, why) in [
        (String::new(), "no signed JWT"),
        (message.to_owned(), "no signed JWT"),
        (unsigned, "no signed JWT"),
        (format!("{message}."), "signature"),
        (other.sign(&header, &claims()), "signature"),
        (
            format!(
                "{}.{}.{signature}",
                encoded(header.to_string()),
                encoded(with(json!({ "sub": "eve" })).to_string())
            ),
            "signature",
        ),
        (other.sign(&json!({ "alg": "ES256", "kid": "two" }), &claims()), "no key of that name"),
        (other.sign(&json!({ "alg": "ES256", "kid": "to-encrypt" }), &claims()), "no key of that name"),
        (issuer.sign(&json!({ "alg": "ES256" }), &claims()), "no key of that name"),
        (issuer.sign(&json!({ "alg": "ES256", "kid": "rsa" }), &claims()), "`alg`"),
        (issuer.sign(&json!({ "alg": "ES256", "kid": "one", "crit": ["x"], "x": 1 }), &claims()), "crit"),
        // Signed with another algorithm than its key is for.
        (BY_PS384.to_owned(), "`alg`"),
    ] {
        let told = told(&tokens, &token).await;
        assert!(told.contains(why), "{token}: {told}");
    }
    // A public key, or any other, as a shared secret.
    for (kid, secret) in [("rsa", URL_SAFE_NO_PAD.decode(MODULUS).unwrap()), ("shared", b"secret".to_vec())] {
        let header = encoded(json!({ "alg": "HS256", "kid": kid }).to_string());
        let message = format!("{header}.{}", encoded(claims().to_string()));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
        assert!(tokens.caller(&format!("{message}.{}", encoded(tag))).await.is_err(), "{kid}");
    }
    tokens.caller(BY_RS256).await.unwrap();
}

#[tokio::test]
async fn keys_of_each_kind_are_taken() {
    let seed = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let edwards = Ed25519KeyPair::from_pkcs8(seed.as_ref()).unwrap();
    let x = encoded(edwards.public_key());
    let rsa = json!({ "kty": "RSA", "kid": "rsa", "n": MODULUS, "e": "AQAB" });
    let (_dir, tokens) = believing(&[rsa, json!({ "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": x })]);
    let header = encoded(json!({ "alg": "EdDSA", "kid": "ed" }).to_string());
    let message = format!("{header}.{}", encoded(claims().to_string()));
    let by_edwards = format!("{message}.{}", encoded(edwards.sign(message.as_bytes())));
    for token in [BY_RS256, BY_PS384, &by_edwards] {
        assert!(tokens.caller(token).await.unwrap().has(ORDERS));
    }
}

#[test]
fn a_file_without_keys_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("jwks.json");
    let told = |text: &str| {
        std::fs::write(&file, text).unwrap();
        KeySource::open(file.to_str().unwrap(), None).err().unwrap().to_string()
    };
    for wrong in ["", "{}", "[]", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#] {
        assert!(told(wrong).contains("jwks.json holds no keys"), "{wrong}");
    }
    let missing = KeySource::open("/nowhere/jwks.json", None).err().unwrap();
    assert!(missing.to_string().contains("/nowhere/jwks.json"));
}
