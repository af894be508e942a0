//! The system's limit on open files: each connection needs one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files for everything but connections: read models, the log, brokers, other services.
const FOR_THE_REST: u64 = 256;

/// Raises the system's limit for this many connections. Returns how many fit: fewer, if the limit is too low and can't
/// be raised.
pub fn make_room_for(n_connections: usize) -> usize {
    let wanted = n_connections as u64 + FOR_THE_REST;
    let limit = getrlimit(Resource::Nofile);
    let is_enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= wanted);
    if is_enough(limit.current) {
        return n_connections;
    }
    // Any process may raise it up to the hard limit.
    let raised = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let set = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum });
    let allowed = if set.is_ok() { raised } else { limit.current.unwrap_or(raised) };
    if allowed >= wanted {
        return n_connections;
    }
    let n_possible = usize::try_from(allowed.saturating_sub(FOR_THE_REST)).unwrap_or(n_connections).max(1);
    tracing::warn!(
        allowed,
        wanted,
        "the system allows {allowed} open files, and --max-connections {n_connections} needs {wanted}: no more than \
         {n_possible} connections are served; raise the limit (`ulimit -Hn`, LimitNOFILE), or lower the option"
    );
    n_possible
}
