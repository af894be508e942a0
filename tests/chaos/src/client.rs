//! One client: asks over HTTP, repeats what was not answered with the same idempotency key, and writes down what it was told.

use std::{collections::HashMap, sync::Arc, time::Duration};

use orderlog_core::key::{HashKey, Key};
use orderlog_history::{Ask, Attempt, Line, Outcome, Read, Refusal};
use orderlog_tests::http::{Answer, Http};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use uuid::Uuid;

use crate::book::Book;

/// What the keys of a deployment here are made of.
pub const SECRET: &str = "chaos";
/// Whom idempotency keys belong to where everybody may do everything.
const CALLER: &str = "anonymous";
/// How often a command is repeated whose outcome is not known.
const N_REPEATS: u32 = 40;

/// Where the instances of each service are.
pub type Shop = Arc<HashMap<&'static str, Vec<Http>>>;

/// A command, as it is asked, and what it means to the checker.
#[derive(Clone, Debug)]
pub struct Question {
    pub service: &'static str,
    pub method: Method,
    pub path: String,
    pub body: Option<Value>,
    /// The same for the history.
    pub ask: Ask,
    /// The idempotency key, if it has one.
    pub key: Option<String>,
}

pub struct Client {
    /// Its number, from 1.
    pub number: u64,
    pub chance: fastrand::Rng,
    pub book: Arc<Book>,
    shop: Shop,
    /// Under which keys are made of values.
    pub hash_key: HashKey,
    /// Up to where in each journal it has been answered.
    seen: HashMap<&'static str, u64>,
}

impl Client {
    /// A client of this shop.
    pub fn new(shop: Shop, book: Arc<Book>, (number, seed): (u64, u64)) -> Self {
        let (chance, hash_key) = (fastrand::Rng::with_seed(seed << 8 | number), HashKey::from_secret(SECRET));
        Self { number, chance, book, shop, hash_key, seen: HashMap::new() }
    }

    /// Commands may be asked of any instance.
    fn any(&mut self, service: &str) -> Http {
        let all = &self.shop[service];
        all[self.chance.usize(..all.len())].clone()
    }

    /// Who reads at one instance never sees an object go back; between instances only positions can promise that.
    fn own(&self, service: &str) -> &Http {
        let all = &self.shop[service];
        &all[usize::try_from(self.number).unwrap_or(0) % all.len()]
    }

    async fn attempt(&mut self, question: &Question) -> (Outcome, Option<Answer>) {
        let http = self.any(question.service);
        let id = Uuid::from_u128(self.chance.u128(1..));
        let operation = format!("{} {}", question.method, question.path);
        let key = |key: &String| format!("{CALLER}, {operation}, {key}");
        let attempt = Attempt {
            id,
            client: self.number,
            service: question.service.to_owned(),
            instance: None,
            ask: question.ask.clone(),
            minted: None,
            key: question.key.as_ref().map(key),
            if_match: None,
            asked: None,
            answered: None,
            clock: None,
            outcome: Outcome::Unknown,
        };
        let trace = format!("00-{}-{:016x}-01", id.simple(), self.number);
        let mut headers = vec![("traceparent", trace.as_str())];
        headers.extend(question.key.as_ref().map(|key| ("Idempotency-Key", key.as_str())));
        self.book.asking();
        let answer = http.send(question.method.clone(), &question.path, &headers, question.body.as_ref()).await;
        let outcome = answer.as_ref().map_or(Outcome::Unknown, |answer| self.told(question, answer));
        if let Outcome::Acknowledged { offset, .. } = outcome {
            let seen = self.seen.entry(question.service).or_default();
            *seen = (*seen).max(offset);
        }
        self.book.answered(Some(Line::Attempt(Box::new(Attempt { outcome: outcome.clone(), ..attempt }))));
        (outcome, answer.ok())
    }

    fn told(&self, question: &Question, answer: &Answer) -> Outcome {
        let status = answer.status.as_u16();
        let code = answer.body["code"].as_str().unwrap_or_default();
        match status {
            200..300 => {
                let position = answer.header("Orderlog-Position").and_then(|position| position.split_once('@'));
                let Some(offset) = position.and_then(|(_, offset)| offset.parse().ok()) else {
                    self.book.scandal("success without a position".to_owned(), format!("{question:?}: {answer:?}"));
                    return Outcome::Unknown;
                };
                let replayed = answer.header("Idempotent-Replayed").is_some();
                Outcome::Acknowledged { offset, replayed, event: None }
            }
            409 if answer.body["retryable"] == true => Outcome::Unknown,
            404 | 409 => Outcome::Refused(Refusal::new(code, Value::Null)),
            422 if code == "idempotency_key_reused" => Outcome::KeyReused,
            412 | 422 | 429 | 503 => Outcome::NotDone,
            504 => Outcome::Unknown,
            _ => {
                self.book.scandal(format!("status {status}, code {code}"), format!("{question:?}: {}", answer.body));
                Outcome::Unknown
            }
        }
    }

    /// Ask, and where that has a key, again until it is known what became of it. The first answer that tells.
    pub async fn ask(&mut self, question: &Question) -> Option<Answer> {
        for _ in 0..N_REPEATS {
            let (outcome, answer) = self.attempt(question).await;
            match outcome {
                Outcome::Acknowledged { .. } => return answer,
                Outcome::Refused(_) | Outcome::OtherVersion(_) | Outcome::KeyReused => return None,
                // Without a key, who asks again asks for something else.
                Outcome::Unknown if question.key.is_none() => return None,
                Outcome::NotDone if answer.is_some_and(|it| it.status != StatusCode::SERVICE_UNAVAILABLE) => {
                    return None;
                }
                Outcome::NotDone | Outcome::Unknown => {
                    if self.book.is_to_end() {
                        return None;
                    }
                    tokio::time::sleep(Duration::from_millis(self.chance.u64(5..60))).await;
                }
            }
        }
        None
    }

    /// Look at an object, as far as this client has seen.
    pub async fn read(&mut self, service: &'static str, path: &str, object: Key) {
        let position = self.seen.get(service).map(|offset| format!("{service}@{offset}"));
        let mut headers = vec![("Prefer", "wait=2")];
        headers.extend(position.as_ref().map(|position| ("Orderlog-Min-Position", position.as_str())));
        self.book.asking();
        let answer = self.own(service).send(Method::GET, path, &headers, None).await;
        let version = answer.ok().and_then(|answer| match answer.status.as_u16() {
            200 => answer.header("ETag")?.trim_matches('"').parse().ok(),
            404 => Some(0),
            // After a crash an acknowledged record is there; a position past the end would mean that it is not.
            400 | 500 => {
                self.book.scandal(format!("status {} to a read", answer.status), format!("{path}: {}", answer.body));
                None
            }
            _ => None,
        });
        let (client, service) = (self.number, service.to_owned());
        self.book.answered(version.map(|version| {
            Line::Read(Read { client, service, instance: None, object, version, doc: None, seen_elsewhere: Vec::new() })
        }));
    }
}
