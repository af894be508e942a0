//! `orderlog key ...`: the keys of callers.

use std::{collections::BTreeSet, path::PathBuf};

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand};
use orderlog_http::{
    auth::{KeyFile, KeyFileError, KeyRecord, NewKey, Scope, Token, When},
    operations::BoundCallers,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    exit::{Exit, Failure},
    services::registered,
    when,
};
use crate::{
    output::{self, print, print_json},
    registry::Registry,
};

/// What to do with keys. A running server picks up changes within a second.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Create a key and print it; it is shown only once
    ///
    /// A server that listens only on the local machine requires a key as soon as the first one exists.
    Create(Create),
    /// List the keys, without their secrets
    List {
        #[command(flatten)]
        place: Place,

        /// Print one JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key
    Revoke {
        /// The key's id, as shown by `list`: the part between the first and the second `_`
        id: String,

        #[command(flatten)]
        place: Place,

        /// Print the revoked key as JSON, without its secret
        #[arg(long)]
        json: bool,
    },
}

/// Where keys are.
#[derive(Args, Clone, Debug)]
pub struct Place {
    /// The key file. Default: keys.json in the data folder
    #[arg(long, env = "ORDERLOG_KEYS", value_name = "FILE")]
    keys: Option<PathBuf>,

    /// The data folder
    #[arg(short, long, env = "ORDERLOG_DATA", value_name = "DIR", default_value = "./data")]
    data: PathBuf,
}

impl Place {
    fn file(&self, registry: &Registry) -> KeyFile {
        KeyFile::new(self.keys.clone().unwrap_or_else(|| self.data.join("keys.json")), registry.scopes())
    }
}

/// What a key is to open.
#[derive(Args, Debug)]
pub struct Create {
    /// The caller's name. Keys with the same name belong to one caller, so that a new key can replace an old one
    #[arg(long, value_name = "NAME")]
    name: String,

    /// A scope to grant, such as `orders:read`, `orders:*`, or `*` for every scope that exists today; may be repeated
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',', required = true, value_parser = registered::<Meant>)]
    scopes: Vec<Meant>,

    /// The customer that the caller acts as; the caller sees only that customer's objects
    #[arg(long, value_name = "UUID")]
    customer: Option<Uuid>,

    /// When the key expires: a time such as 2027-01-31T12:00:00Z, a date, or a time from now such as `90d`
    #[arg(long, value_name = "TIME", value_parser = when::time)]
    expires: Option<DateTime<Utc>>,

    /// Write the key to this file instead, which only its owner can read and which must not exist
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Do nothing if there are keys already, or were
    #[arg(long, requires = "out")]
    if_none: bool,

    /// Print the result as JSON, with the key as `key` unless --out is given
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    place: Place,
}

/// The scopes that one `--scope` selects.
#[derive(Clone, Debug)]
pub struct Meant(pub BTreeSet<Scope>);

pub fn run(registry: &Registry, verb: Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::Create(create) => self::create(registry, create)?,
        Verb::List { place, json } => list(&place.file(registry), json)?,
        Verb::Revoke { id, place, json } => {
            let revoked = place.file(registry).revoke(&id).map_err(told)?;
            if json {
                print_json(&as_json(&revoked, Utc::now()))?;
            } else {
                print(&format!("revoked {} of {}", revoked.id, revoked.name))?;
            }
        }
    }
    Ok(Exit::Done)
}

fn create(registry: &Registry, create: Create) -> anyhow::Result<()> {
    let Create { name, scopes, customer, expires, out, if_none, json, place } = create;
    let is_for_bound = |scope| {
        registry.operations().any(|operation| operation.scope == scope && operation.bound != BoundCallers::Refused)
    };
    let granted = |Meant(mut scopes): Meant| {
        // Of a group, a key for a customer gets the scopes that it can use.
        if customer.is_some() && scopes.iter().any(|scope| is_for_bound(*scope)) {
            scopes.retain(|scope| is_for_bound(*scope));
        }
        scopes
    };
    let scopes = scopes.into_iter().flat_map(granted).collect();
    let new = NewKey { name, scopes, owner: customer, expires };
    let keys = place.file(registry);
    let is_first = keys.read().map_err(told)?.is_none();
    if let Some(out) = out {
        let when = if if_none { When::NoKeysYet } else { When::Always };
        match keys.create_in(new, is_for_bound, &out, when).map_err(told)? {
            Some(record) if json => print_json(&as_json(&record, Utc::now()))?,
            Some(record) => {
                output::note(&format!("The key is in {}. Its id is {}.", out.display(), record.id));
                note_first(is_first);
            }
            None => output::note(&format!("{} exists: no key was created.", keys.path().display())),
        }
        return Ok(());
    }
    if output::is_discarded() {
        let message =
            "stdout is closed or /dev/null, so the key would be lost: no key was made. Redirect stdout to a file";
        return Err(Failure::refused(message));
    }
    // Only the key goes to stdout, so that `> FILE` creates the file that other options expect.
    let shown = |token: &Token| match json {
        true => json!({ "id": token.id(), "key": token.expose() }).to_string(),
        false => token.expose(),
    };
    let record = keys.create(new, is_for_bound, |token| output::deliver(&shown(token))).map_err(told)?;
    if !json {
        output::note(&format!("This is the only time that this key is shown. Its id is {}.", record.id));
        note_first(is_first);
    }
    Ok(())
}

/// What the first key changes.
fn note_first(is_first: bool) {
    if is_first {
        output::note(
            "It is the first key: from now on the server asks every caller for one. It still does if the last key is revoked.",
        );
    }
}

fn list(file: &KeyFile, json: bool) -> anyhow::Result<()> {
    let keys = file.read().map_err(told)?.unwrap_or_default();
    if keys.is_empty() {
        output::note("there are no keys");
    }
    let now = Utc::now();
    keys.iter().try_for_each(|key| if json { print_json(&as_json(key, now)) } else { print(&as_line(key, now)) })
}

fn as_json(key: &KeyRecord, now: DateTime<Utc>) -> Value {
    let KeyRecord { id, name, scopes, owner: customer, created, expires, hash: _ } = key;
    let expired = key.has_expired(now);
    json!({
        "id": id, "name": name, "scopes": scopes, "customer": customer, "created": created, "expires": expires,
        "expired": expired,
    })
}

fn as_line(key: &KeyRecord, now: DateTime<Utc>) -> String {
    let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
    let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
    let mut line = format!("{}  {}  created {}", key.id, key.name, time(key.created));
    if let Some(expires) = key.expires {
        line.push_str(if key.has_expired(now) { ", expired " } else { ", expires " });
        line.push_str(&time(expires));
    }
    if let Some(customer) = key.owner {
        line.push_str(&format!(", for customer {customer}"));
    }
    format!("{line}\n  {}", scopes.join(" "))
}

fn told(error: KeyFileError) -> anyhow::Error {
    match error {
        KeyFileError::Unknown(_) | KeyFileError::Taken(_) => Failure::refused(error.to_string()),
        KeyFileError::Name | KeyFileError::NoScope | KeyFileError::NotForBound(_) => Failure::usage(error.to_string()),
        KeyFileError::File { .. }
        | KeyFileError::Unreadable { .. }
        | KeyFileError::NotShown(_)
        | KeyFileError::Out { .. } => error.into(),
    }
}
