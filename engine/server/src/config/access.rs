//! Access to Kafka brokers and Redis.

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Args, ValueEnum};

use super::{
    KAFKA, REDIS,
    secret::{Secret, SecretError, Untold},
    url_of,
};

/// How a user proves to brokers who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SaslMechanism {
    /// Send the password. Use it only with TLS where others can listen.
    Plain,
    /// Don't send the password.
    #[value(name = "scram-sha-256")]
    ScramSha256,
    /// Don't send the password.
    #[value(name = "scram-sha-512")]
    ScramSha512,
}

/// How brokers are spoken to, and as whom.
#[derive(Args, Clone, Debug)]
pub struct KafkaAccess {
    /// Use TLS with the brokers
    #[arg(long = "kafka-tls", help_heading = KAFKA, env = "ORDERLOG_KAFKA_TLS")]
    pub kafka_tls: bool,

    /// CA certificates for verifying the brokers, as PEM. Default: those that OpenSSL trusts
    #[arg(long = "kafka-ca", help_heading = KAFKA, env = "ORDERLOG_KAFKA_CA", value_name = "FILE", requires = "kafka_tls")]
    pub kafka_ca: Option<PathBuf>,

    /// The user name for the brokers (SASL). Without TLS, the traffic can be read in transit
    #[arg(long = "kafka-user", help_heading = KAFKA, env = "ORDERLOG_KAFKA_USER", value_name = "NAME")]
    pub kafka_user: Option<String>,

    /// How to authenticate that user
    #[arg(long = "kafka-sasl", help_heading = KAFKA, env = "ORDERLOG_KAFKA_SASL", value_name = "MECHANISM", value_enum, default_value_t = SaslMechanism::ScramSha512)]
    pub kafka_sasl: SaslMechanism,

    /// Its password. Prefer a variable or a file: others can see the command line
    #[arg(long = "kafka-password", help_heading = KAFKA, env = "ORDERLOG_KAFKA_PASSWORD", value_name = "SECRET", hide_env_values = true, value_parser = Untold(Secret::parse), requires = "kafka_user", conflicts_with = "kafka_password_file")]
    pub kafka_password: Option<Secret>,

    /// A file that contains the password
    #[arg(
        long = "kafka-password-file", help_heading = KAFKA,
        env = "ORDERLOG_KAFKA_PASSWORD_FILE",
        value_name = "FILE",
        requires = "kafka_user"
    )]
    pub kafka_password_file: Option<PathBuf>,
}

impl KafkaAccess {
    /// As librdkafka settings.
    pub fn settings(&self) -> Result<BTreeMap<String, String>, SecretError> {
        let mut settings = BTreeMap::new();
        let mut set = |name: &str, value: &str| drop(settings.insert(name.to_owned(), value.to_owned()));
        let protocol = match (self.kafka_tls, &self.kafka_user) {
            (false, None) => return Ok(settings),
            (true, None) => "ssl",
            (false, Some(_)) => "sasl_plaintext",
            (true, Some(_)) => "sasl_ssl",
        };
        set("security.protocol", protocol);
        if let Some(ca) = &self.kafka_ca {
            set("ssl.ca.location", &ca.display().to_string());
        }
        if let Some(user) = &self.kafka_user {
            set("sasl.username", user);
            set("sasl.mechanism", self.kafka_sasl.in_its_words());
            let password = Secret::given_or_in(self.kafka_password.as_ref(), self.kafka_password_file.as_deref())?;
            let missing = SecretError::Missing {
                user: "the Kafka user",
                variable: "ORDERLOG_KAFKA_PASSWORD",
                flag: "--kafka-password-file",
            };
            set("sasl.password", password.as_ref().ok_or(missing)?.expose());
        }
        Ok(settings)
    }
}

impl SaslMechanism {
    const fn in_its_words(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

fn redis_url(text: &str) -> Result<String, String> {
    url_of(text, &["redis://", "rediss://"])
}

/// How Redis is spoken to, and as whom.
#[derive(Args, Clone, Debug)]
pub struct RedisAccess {
    /// Redis, for the inbox of the notifications service: `redis://host:port`, or `rediss://` with TLS; without it, the
    /// inbox is read from SQLite
    #[arg(long, help_heading = REDIS, env = "ORDERLOG_REDIS", value_name = "URL", value_parser = Untold(redis_url), hide_env_values = true)]
    pub redis: Option<String>,

    /// The Redis user name, as in its ACL
    #[arg(long = "redis-user", help_heading = REDIS, env = "ORDERLOG_REDIS_USER", value_name = "NAME", requires = "redis")]
    pub redis_user: Option<String>,

    /// Its password, or the default user's. Prefer a variable or a file: others can see the command line
    #[arg(long = "redis-password", help_heading = REDIS, env = "ORDERLOG_REDIS_PASSWORD", value_name = "SECRET", hide_env_values = true, value_parser = Untold(Secret::parse), requires = "redis", conflicts_with = "redis_password_file")]
    pub redis_password: Option<Secret>,

    /// A file that contains the password
    #[arg(long = "redis-password-file", help_heading = REDIS, env = "ORDERLOG_REDIS_PASSWORD_FILE", value_name = "FILE", requires = "redis")]
    pub redis_password_file: Option<PathBuf>,
}

impl RedisAccess {
    /// Its password, if there is one.
    pub fn password(&self) -> Result<Option<Secret>, SecretError> {
        Secret::given_or_in(self.redis_password.as_ref(), self.redis_password_file.as_deref())
    }
}
