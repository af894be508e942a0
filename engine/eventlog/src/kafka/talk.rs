//! Forwards librdkafka's messages to our log, and adds them to errors as the reason.
//!
//! The error of a call only names its kind, such as "broker transport failure". librdkafka reports the reason, such as a wrong
//! password, in a separate message.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use rdkafka::{
    client::ClientContext,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
};

/// Whether a broker has answered this process. Until then one error reports that none does, instead of many warnings.
static IS_REACHED: AtomicBool = AtomicBool::new(false);

pub(super) fn is_reached() {
    IS_REACHED.store(true, Ordering::Relaxed);
}

/// The last reported reason why brokers can't be reached.
#[derive(Clone, Debug, Default)]
pub(super) struct Said(Arc<Mutex<Option<String>>>);

impl Said {
    pub(super) fn heard(&self, reason: &str) {
        // "[thrd:...]: " only names librdkafka's thread.
        let reason = match reason.strip_prefix("[thrd:").and_then(|rest| rest.split_once("]: ")) {
            Some((_, reason)) => reason,
            None => reason,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.trim().to_owned());
    }

    pub(super) fn reason(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns `what` with the reason, if one was reported.
    pub(super) fn explain(&self, what: String) -> String {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(why) if !what.contains(why.as_str()) => format!("{what}: {why}"),
            Some(_) | None => what,
        }
    }
}

/// Forwards librdkafka's messages to our log, most of them at debug level because they repeat while brokers are down.
#[derive(Clone, Copy, Debug)]
pub(super) struct Talk;

impl ClientContext for Talk {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        say(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        say_error(&error, reason);
    }
}

impl rdkafka::consumer::ConsumerContext for Talk {}

pub(super) fn say(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        // Warnings about producer settings on a consumer and vice versa. `extra` applies to both.
        _ if facility == "CONFWARN" => tracing::trace!(facility, "{message}"),
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error
            if IS_REACHED.load(Ordering::Relaxed) =>
        {
            tracing::warn!(facility, "kafka: {message}");
        }
        _ => tracing::debug!(facility, "kafka: {message}"),
    }
}

pub(super) fn say_error(error: &KafkaError, reason: &str) {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::Authentication)
            if IS_REACHED.load(Ordering::Relaxed) =>
        {
            tracing::warn!("kafka: {reason}");
        }
        _ => tracing::debug!("kafka: {error}: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_last_is_the_reason_of_what_fails() {
        let said = Said::default();
        assert_eq!(said.explain("no metadata".to_owned()), "no metadata");
        said.heard("[thrd:sasl_ssl://broker:9093/bootstrap]: sasl_ssl://broker:9093/bootstrap: SASL authentication error: wrong");
        let why = "sasl_ssl://broker:9093/bootstrap: SASL authentication error: wrong";
        assert_eq!(said.explain("no metadata".to_owned()), format!("no metadata: {why}"));
        assert_eq!(said.explain(format!("no metadata: {why}")), format!("no metadata: {why}"));
    }
}
