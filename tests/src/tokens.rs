//! Somebody who issues tokens, as a company's sign-in does.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

/// Who its tokens are from.
pub const ISSUER: &str = "https://id.example";
/// Whom they are for.
pub const AUDIENCE: &str = "orderlog";

/// Somebody who issues tokens, with one key.
#[derive(Debug)]
pub struct Issuer {
    key: EcdsaKeyPair,
    kid: String,
}

impl Issuer {
    /// One with a new key of this name.
    ///
    /// # Panics
    /// If none can be made.
    pub fn new(kid: &str) -> Self {
        let (random, way) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let key = EcdsaKeyPair::generate_pkcs8(way, &random).expect("a new key");
        let key = EcdsaKeyPair::from_pkcs8(way, key.as_ref(), &random).expect("a key");
        Self { key, kid: kid.to_owned() }
    }

    /// Its key, for everybody.
    pub fn jwks(&self) -> Value {
        let (x, y) = self.key.public_key().as_ref()[1..].split_at(32);
        let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.encode(part));
        json!({ "keys": [{ "kty": "EC", "crv": "P-256", "use": "sig", "kid": self.kid, "x": x, "y": y }] })
    }

    /// Put that into a file, as a whole.
    ///
    /// # Panics
    /// If it can't be written.
    pub fn publish(&self, file: &Path) {
        let new = file.with_extension("new");
        std::fs::write(&new, self.jwks().to_string()).expect("a file");
        std::fs::rename(new, file).expect("a file");
    }

    /// A token for somebody with these scopes, good for an hour, with these claims beside or instead.
    ///
    /// # Panics
    /// If it can't be signed.
    pub fn token(&self, subject: &str, scopes: &[&str], claims: Value) -> String {
        let mut all = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": subject, "exp": chrono::Utc::now().timestamp() + 3_600,
            "scope": scopes.join(" "),
        });
        if let (Some(all), Value::Object(claims)) = (all.as_object_mut(), claims) {
            all.extend(claims);
        }
        let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": self.kid });
        let [header, claims] = [header, all].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let message = format!("{header}.{claims}");
        let signature = self.key.sign(&SystemRandom::new(), message.as_bytes()).expect("a signature");
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// The options of a server that believes what is signed with the keys at this place.
pub fn believing(jwks: &str) -> Vec<String> {
    let options = [
        ("--oidc-issuer", ISSUER),
        ("--oidc-audience", AUDIENCE),
        ("--oidc-jwks", jwks),
        ("--oidc-customer-claim", "customer_id"),
    ];
    options.into_iter().flat_map(|(name, value)| [name.to_owned(), value.to_owned()]).collect()
}

/// A server that tells an issuer's keys, and counts how often it is asked.
#[derive(Debug)]
pub struct Publisher {
    /// Where it is asked.
    pub url: String,
    told: Arc<Mutex<Option<String>>>,
    n_asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Publisher {
    /// One that answers 503 until it has keys to tell.
    ///
    /// # Panics
    /// If it has no port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/jwks", listener.local_addr().expect("an address"));
        let (told, n_asked) = (Arc::new(Mutex::new(None::<String>)), Arc::new(AtomicUsize::new(0)));
        let (tells, counts) = (Arc::clone(&told), Arc::clone(&n_asked));
        let task = tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                counts.fetch_add(1, Ordering::SeqCst);
                // The head of a request comes as one piece, and nothing in it matters.
                let mut head = [0; 4_096];
                drop(connection.read(&mut head).await);
                let body = tells.lock().expect("no test has panicked").clone();
                let status = if body.is_some() { "200 OK" } else { "503 Service Unavailable" };
                let body = body.unwrap_or_default();
                let answer =
                    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                drop(connection.write_all(answer.as_bytes()).await);
            }
        });
        Self { url, told, n_asked, task }
    }

    /// Tell the keys of this issuer from now on.
    ///
    /// # Panics
    /// If a test has panicked meanwhile.
    pub fn tell(&self, issuer: &Issuer) {
        *self.told.lock().expect("no test has panicked") = Some(issuer.jwks().to_string());
    }

    /// How often it was asked.
    pub fn n_asked(&self) -> usize {
        self.n_asked.load(Ordering::SeqCst)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}
