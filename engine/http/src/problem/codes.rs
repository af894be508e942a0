//! The codes of the HTTP layer itself. Each service adds its own, by [`problem_codes!`](crate::problem_codes).

use serde_json::json;

use super::Member;

/// How far the rows are behind.
pub static LAG: Member = Member {
    name: "lag",
    description: "The number of records by which the response would be behind the requested positions, if that is the \
        problem.",
    schema: Member::schema_of::<u64>,
    example: || json!(3),
};

/// The version that `If-Match` did not name.
pub static VERSION: Member = Member {
    name: "version",
    description: "The current version of the command's target, if `If-Match` did not match it.",
    schema: Member::schema_of::<u64>,
    example: || json!(4),
};

crate::problem_codes! {
    // The request itself.

    /// At least one value of the request is missing, unknown or invalid. Nothing was written. `errors` lists up to 100
    /// of them, each with its own code; `error_count` is the total.
    INVALID_REQUEST "invalid_request" [400], Any,
        says "#/lines/0/quantity: a quantity must be from 1 to 1000000",
        so "Correct every value listed in `errors`, and send the request again.";
    /// The body is not JSON in UTF-8, or has extra text after the JSON value.
    MALFORMED_JSON "malformed_json" [400], Bodies,
        says "this is not JSON, from line 1, column 17 on",
        so "Send one JSON value in UTF-8, without a byte order mark.";
    /// The body could not be read.
    INVALID_BODY "invalid_body" [400], Bodies,
        says "the body ended too early",
        so "Send the body that the operation describes.";
    /// The HTTP layer rejected the request before it reached an operation.
    BAD_REQUEST "bad_request" [400], Elsewhere,
        says "invalid header value",
        so "Correct the request as described in `detail`.";
    /// The request line and headers together are larger than 64 KiB.
    HEAD_TOO_LARGE "head_too_large" [431], Elsewhere,
        says "the head of a request may have at most 65536 bytes",
        so "Send fewer or shorter headers, or a shorter query.";
    /// This process has no such path, or does not run that service.
    NO_SUCH_RESOURCE "no_such_resource" [404], Elsewhere,
        says "there is nothing at this path",
        so "Check the path against `/openapi.json` of the process that you called.";
    /// The path exists, but does not support this method.
    METHOD_NOT_ALLOWED "method_not_allowed" [405], Elsewhere,
        says "this path does not support that method",
        so "Use a method that `/openapi.json` lists for the path.";
    /// The body is larger than this deployment accepts (`--max-body-bytes`).
    BODY_TOO_LARGE "body_too_large" [413], Bodies,
        says "the body must have at most 1048576 bytes",
        so "Send a smaller body.";
    /// The record that the command would write is larger than the log accepts. On Kafka, the topic's
    /// `max.message.bytes` is set lower than it should be. Nothing was written.
    RECORD_TOO_LARGE "record_too_large" [413], Commands,
        says "the record of this command would exceed the log's size limit",
        so "Send less: fewer lines, or shorter texts. If the request is already small, contact the operator of the \
            service.";
    /// The body did not arrive within this deployment's time limit (`--body-timeout-ms`). Nothing was written.
    BODY_TOO_SLOW "body_too_slow" [408], Bodies,
        says "the body had not arrived after 10 s",
        retry "Send the request again, with the whole body at once.";
    /// The body is not declared as `application/json` in UTF-8, or it is compressed (`Content-Encoding`). Nothing was written.
    UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" [415], Bodies,
        says "the `Content-Type` is not supported: send `Content-Type: application/json`",
        so "Send `Content-Type: application/json`, and the body without compression.";
    /// The command has no `Idempotency-Key`, and this deployment requires one for such commands
    /// (`--require-idempotency-keys`). Nothing was written.
    IDEMPOTENCY_KEY_REQUIRED "idempotency_key_required" [400], Declared,
        says "this needs an `Idempotency-Key`: a UUID, for example",
        so "Send a key of your choice: a new one for each new command, and the same one when you retry it.";
    /// The idempotency key was already used for another command. Nothing was written.
    IDEMPOTENCY_KEY_REUSED "idempotency_key_reused" [422], Commands,
        says "the idempotency key was used for another command",
        so "Use a new key for each new command, and repeat a key only for an identical request.";
    /// A command with this idempotency key is in progress, and the deadline passed before it finished. It may still be
    /// executed, or fail.
    IDEMPOTENCY_KEY_IN_USE "idempotency_key_in_use" [409], Commands,
        says "a command with this idempotency key is still in progress",
        retry "Send the same request again after the number of seconds in `Retry-After`. The response reports how the \
            command ended.";
    /// The idempotency key was already used, and an operator has since discarded that command's record, which could not
    /// be read. Nothing was written.
    COMMAND_DISCARDED "command_discarded" [409], Commands,
        says "an operator has discarded the record of the first command with this idempotency key",
        so "Check the current state. If the command still applies, send it with a new key.";
    /// The command's target has a different version from the one in `If-Match`: it has changed since. `version` is the
    /// current one; it is absent if the target does not exist. Nothing was written.
    PRECONDITION_FAILED "precondition_failed" [412], Commands,
        says "the precondition failed: its version is 4",
        with VERSION,
        so "Get the object again, check whether the command still applies, and send it with the new `ETag`. A weak \
            tag, such as `W/\"4\"`, never matches.";
    /// The request has no key or token, and the operation requires one. Nothing was written.
    UNAUTHENTICATED "unauthenticated" [401], Any,
        says "this needs a key or a token: send `Authorization: Bearer ...`",
        so "Send a key created by `%program% key create`, or a token of the issuer that this deployment trusts \
            (`--oidc-issuer`).";
    /// The API key is invalid, expired or revoked, or the token is not accepted. Nothing was written.
    INVALID_TOKEN "invalid_token" [401], Any,
        says "the API key is invalid, expired or revoked",
        so "Ask the person who gave you the key for a new one, or sign in again. For a token, `detail` says what is wrong.";
    /// The key or token is valid, but lacks the required scope. Nothing was written.
    INSUFFICIENT_SCOPE "insufficient_scope" [403], Any,
        says "this needs the scope orders:write, which the caller does not have",
        so "Use a key or token that has the scope named in `detail`.";
    /// The caller is bound to one %owner%, and the operation is not for such callers. Nothing was written.
    NOT_FOR_BOUND "not_for_customers" [403], Declared,
        says "this is not for callers that are bound to one %owner%",
        so "Use a key or token that is not bound to one %owner%.";
    /// A browser sent the request on behalf of a page from another site (`Origin`). Nothing was written.
    FOREIGN_ORIGIN "foreign_origin" [403], Elsewhere,
        says "pages of other sites may not ask here: serve them from this host, or name theirs by --allowed-host",
        so "Serve the page from the host that it calls, or start the server with `--allowed-host` and the page's host.";
    /// `Orderlog-Instance` names a different instance from the one at this address. Commands on a data folder can run
    /// into this after a server was replaced. Nothing was written.
    OTHER_INSTANCE "other_instance" [421], Elsewhere,
        says "the request is for an instance that does not run at this address any more",
        so "Omit `Orderlog-Instance`, or run the command again: it finds the server that is running now.";
    /// The server requires no keys, and the request's `Host` is a name that it does not know. Nothing was written.
    FOREIGN_HOST "foreign_host" [403], Elsewhere,
        says "without keys this server answers only to `localhost`, IP addresses, and names given by --allowed-host",
        so "Use `localhost` or an IP address, start the server with `--allowed-host` and the name, or create a key.";
    /// The caller, or all callers without a key at its address together, exceeded the rate limit (`--rate-limit`).
    /// Nothing was written.
    RATE_LIMITED "rate_limited" [429], Any,
        says "the rate limit is exceeded: retry in 1 s",
        retry "Wait for the number of seconds in `Retry-After`. On every response, `RateLimit` gives the remaining quota \
            and `RateLimit-Policy` the rule.";

    // Operators.

    /// There is no such topic.
    UNKNOWN_TOPIC "unknown_topic" [404], Elsewhere,
        says "there is no topic `order.forgotten`",
        so "Check the name: journals are named after their service, and public topics are listed in the AsyncAPI \
            document.";
    /// The log has no record at this position.
    NO_SUCH_POSITION "no_such_position" [404, 409], Elsewhere,
        says "orders@1042 is after the end of the log",
        so "Use a position that the log contains.";
    /// The read model of this service is already being rebuilt.
    REBUILD_UNDER_WAY "rebuild_under_way" [409], Elsewhere,
        says "a rebuild of orders is under way",
        retry "Wait until it finishes: `%program% projection status` shows its progress.";
    /// There is no snapshot before the point to replay from.
    NOTHING_BEFORE "nothing_before" [409], Elsewhere,
        says "there is no snapshot of orders before orders@1042",
        so "Rebuild from the beginning.";
    /// The read model has no rows yet, so there is nothing to snapshot.
    NOTHING_TO_COPY "nothing_to_copy" [409], Elsewhere,
        says "orders has no rows yet",
        so "Wait until the read model has rows.";
    /// The record is not parked, so there is nothing to discard. Nothing was written.
    NOT_PARKED "not_parked" [409], Elsewhere,
        says "orders@1042 is not parked",
        so "List the parked records with `%program% parked list`.";
    /// Another write touched the record's keys at the same time, so the discard is void: the record is unchanged.
    OVERTAKEN "overtaken" [409], Elsewhere,
        says "orders@1042 is not discarded: somebody wrote on its keys at the same moment",
        so "Check with `%program% parked show` whether it still has to be discarded.";

    // Server errors.

    /// An internal error. The service's log has the details.
    INTERNAL "internal" [500], Any,
        says "an internal error; the service's log has the details",
        retry "Retry a command only with its `Idempotency-Key`. If the error persists, contact the operator of the \
            service.";
    /// The service has started and is still reading its journal. Nothing was written.
    CATCHING_UP "catching_up" [503], Any,
        says "orders is still reading its journal",
        retry "Retry after the number of seconds in `Retry-After`; `/readyz` shows the progress.";
    /// The service has stopped, or can't reach its log. Nothing was written.
    UNAVAILABLE "unavailable" [503], Any,
        says "the log can't be written",
        retry "Retry after the number of seconds in `Retry-After`. If the error persists, contact the operator of the \
            service.";
    /// The process is handling its maximum number of concurrent requests (`--max-requests`), or this caller has used
    /// its share while others need room. Nothing was written.
    OVERLOADED "overloaded" [503], Any,
        says "too many requests are in progress, of this caller or in total",
        retry "Retry after the number of seconds in `Retry-After`, and send requests more slowly.";
    /// The process has its maximum number of connections (`--max-connections`), or this caller has used its share while
    /// others need room. Nothing was written, and the connection is closed.
    TOO_MANY_CONNECTIONS "too_many_connections" [503], Any,
        says "the process has its maximum number of connections, in total or for this caller",
        retry "Retry after the number of seconds in `Retry-After`, and use fewer connections.";
    /// The token can't be checked right now: the issuer's keys are unavailable. Nothing was written.
    ISSUER_UNAVAILABLE "issuer_unavailable" [503], Any,
        says "the token can't be checked now",
        retry "Retry after the number of seconds in `Retry-After`, or use a key.";
    /// The log can't be read right now.
    LOG_UNAVAILABLE "log_unavailable" [503], Any,
        says "the ends of the journals can't be read: the log does not answer",
        retry "Retry after the number of seconds in `Retry-After`.";
    /// A row of the read model or a record of the log is corrupt. Nothing was written.
    DAMAGED "damaged" [503], Any,
        says "the read model of this service is damaged: `%program% projection rebuild --yes` repairs it from the log",
        retry "Retry: another instance may have intact rows. An operator can locate the damage with `%program% projection \
            verify`. `%program% projection rebuild --yes` repairs a read model; a damaged log must be restored from a \
            backup or a replica.";
    /// The read model is behind what this instance has already answered, so the response could be stale.
    ROWS_BEHIND "rows_behind" [503], Queries,
        says "the rows of orders are behind its responses",
        retry "Retry after the number of seconds in `Retry-After`.";
    /// This version of the program can't read a record about the object. The record is parked rather than guessed at.
    PARKED "parked" [503], Any,
        says "a record about this can't be read by this version",
        retry "Retry after the number of seconds in `Retry-After`: an instance of a newer version can read the record. If \
            the error persists, contact the operator of the service: `%program% parked list` names the record. Other \
            objects are unaffected.";
    /// Another service that this request depends on is unavailable.
    SERVICE_UNAVAILABLE "service_unavailable" [503], Declared,
        says "the orders service is unavailable",
        retry "Retry after the number of seconds in `Retry-After`, or call that service directly.";
    /// Another service that this request depends on did not answer in time.
    SERVICE_TIMED_OUT "service_timed_out" [504], Declared,
        says "the orders service did not answer in time",
        retry "Retry after the number of seconds in `Retry-After`, or call that service directly.";
    /// Another service that this request depends on is neither in this process nor at the URL that it is configured
    /// with.
    SERVICE_NOT_CONFIGURED "service_not_configured" [503], Declared,
        says "the orders service is not in this process, and --orders-url is not set",
        so "Call that service directly, and contact the operator of this one: it must be restarted with the correct URL.";
    /// The position in `Orderlog-Min-Position` was not reached within the time of `Prefer: wait=N`, or too many
    /// requests of the caller are already waiting. `lag` is the number of missing records, if known. Nothing was
    /// written.
    NOT_YET "not_yet" [504], Any,
        says "the rows of orders are 3 records behind what the caller has seen",
        with LAG,
        retry "Try again, with a longer `wait` if it keeps happening.";
    /// The request did not finish within the time limit (`--request-timeout-ms`).
    REQUEST_TIMED_OUT "request_timed_out" [504], Queries,
        says "the request did not finish within the time limit",
        retry "Retry after the number of seconds in `Retry-After`.";
    /// The command timed out, and its outcome is unknown: it may have been executed, or may still be.
    OUTCOME_UNKNOWN "outcome_unknown" [504], Commands,
        says "the log did not answer in time: the command may or may not have been executed",
        retry "Send the same request again with the same `Idempotency-Key`: the command is executed only once, and the \
            response reports how it ended. Without a key, check the object first.";

    // Codes of values, used in `errors`.

    /// A required field is missing.
    MISSING_FIELD "missing_field" [400], Values,
        says "this field is missing",
        so "Add the field.";
    /// There is no such field. Unknown fields are rejected because a misspelt one would otherwise be ignored silently.
    UNKNOWN_FIELD "unknown_field" [400], Values,
        says "there is no such field",
        so "Remove it, or correct its name.";
    /// The field appears twice.
    DUPLICATE_FIELD "duplicate_field" [400], Values,
        says "this field is repeated",
        so "Send it once.";
    /// The value has the wrong type.
    WRONG_TYPE "wrong_type" [400], Values,
        says "expected a whole number",
        so "Send a value of the type named in `detail`.";
    /// A text is empty, too long, or contains forbidden characters, such as line breaks or invisible ones.
    INVALID_TEXT "invalid_text" [400], Values,
        says "a name must not contain the invisible character U+202E: remove it",
        so "Send a text as described in `detail`.";
    /// A path or query parameter has an invalid value.
    INVALID_PARAMETER "invalid_parameter" [400], Values,
        says "it must be a UUID",
        so "Send a value as described in `detail`.";
    /// The operation has no such query parameter. Unknown ones are rejected because a misspelt filter would otherwise
    /// be ignored silently.
    UNKNOWN_PARAMETER "unknown_parameter" [400], Values,
        says "there is no such query parameter; there are: cursor, limit",
        so "Remove it, or correct its name.";
    /// The cursor is not one that this list returned.
    INVALID_CURSOR "invalid_cursor" [400], Values,
        says "not a cursor of this list",
        so "Send a `next_cursor` unchanged, or start without a cursor.";
    /// An idempotency key must have 1 to 255 visible ASCII characters, in double quotes or bare.
    INVALID_IDEMPOTENCY_KEY "invalid_idempotency_key" [400], Values,
        says "it must have 1 to 255 visible ASCII characters, in double quotes or bare",
        so "Send a UUID, for example.";
    /// `If-Match` must have versions in double quotes, or `*`.
    INVALID_IF_MATCH "invalid_if_match" [400], Values,
        says "it must be a value of `ETag`, such as `\"3\"`, or `*`",
        so "Send the value of `ETag` unchanged.";
    /// `Orderlog-Min-Position` must have positions returned by earlier responses.
    INVALID_POSITION "invalid_position" [400], Values,
        says "it must be positions returned by earlier responses, such as `orders@1042`, separated by commas",
        so "Send the value of `Orderlog-Position` unchanged.";
    /// The position is beyond the last record, so no response can have returned it.
    POSITION_OUT_OF_RANGE "position_out_of_range" [400], Values,
        says "orders@1042 is after the last record, orders@7",
        so "Check that the position came from this deployment.";
    /// The position belongs to a journal that this service does not consume, so the request could wait forever.
    JOURNAL_NOT_FOLLOWED "journal_not_followed" [400], Values,
        says "billing consumes no events from there, so it can't wait for customers@7; it can wait for positions of: billing, orders",
        so "Send only positions of the journals named in `detail`.";
    /// `as_of` is neither a time nor a position of this service.
    INVALID_AS_OF "invalid_as_of" [400], Values,
        says "it must be an RFC 3339 time or a position such as `orders@1042`",
        so "Send a time in UTC, or the value of `Orderlog-Position`.";
    /// `as_of` is a position beyond the last record, or a time before the first one.
    OUT_OF_RANGE "out_of_range" [400], Values,
        says "the journal ends at orders@1041",
        so "Use a position or time within the journal.";
    /// The object has too many records to reconstruct its past state.
    TOO_LONG "too_long" [400], Values,
        says "this has more than 100000 records",
        so "Use a later point, or get the object's current state.";
}
