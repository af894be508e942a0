//! The codes of the HTTP layer itself. Each service adds its own, by [`problem_codes!`](crate::problem_codes).

use serde_json::json;

use super::Member;

/// How far the rows are behind.
pub static LAG: Member = Member {
    name: "lag",
    description: "How many records the answer would be behind what was asked for, if that is the problem.",
    schema: Member::schema_of::<u64>,
    example: || json!(3),
};

crate::problem_codes! {
    // The request itself.

    /// At least one value of the request is missing, unknown, or can't be. Nothing was written. `errors` names each one, with
    /// a code of its own, up to 100 of them; `error_count` says how many there are.
    INVALID_REQUEST "invalid_request" [400], Any,
        says "#/lines/0/quantity: a quantity must be from 1 to 1000000",
        so "Correct every value that `errors` names, and send the request again.";
    /// The body is not JSON in UTF-8, or something follows the JSON value.
    MALFORMED_JSON "malformed_json" [400], Bodies,
        says "this is no JSON, from line 1, column 17 on",
        so "Send one JSON value in UTF-8, without a byte order mark.";
    /// The body could not be read.
    INVALID_BODY "invalid_body" [400], Bodies,
        says "the body ended too early",
        so "Send the body as the operation describes it.";
    /// The HTTP layer refused the request before any operation saw it.
    BAD_REQUEST "bad_request" [400], Elsewhere,
        says "invalid header value",
        so "Correct the request as `detail` says.";
    /// The head of the request, its first line and its headers, has more than 64 KiB.
    HEAD_TOO_LARGE "head_too_large" [431], Elsewhere,
        says "the head of a request may have at most 65536 bytes",
        so "Send fewer or shorter headers, or a shorter query.";
    /// Nothing is at this path of this process, or the service is not one that it runs.
    NO_SUCH_RESOURCE "no_such_resource" [404], Elsewhere,
        says "there is nothing at this path",
        so "Compare the path with `/openapi.json` of the process that you ask.";
    /// The path exists, but does not take this method.
    METHOD_NOT_ALLOWED "method_not_allowed" [405], Elsewhere,
        says "this path does not take that method",
        so "Use a method that `/openapi.json` has for the path.";
    /// The body is larger than this deployment takes (`--max-body-bytes`).
    BODY_TOO_LARGE "body_too_large" [413], Bodies,
        says "a body may have at most 1048576 bytes",
        so "Send less at once.";
    /// What the command would write is larger than the log takes: on Kafka its topic was configured to take less than it should
    /// (`max.message.bytes`). Nothing was written.
    RECORD_TOO_LARGE "record_too_large" [413], Commands,
        says "the record of this command would be larger than the log takes",
        so "Send less at once: fewer lines, or shorter texts. If it is not much, tell whoever runs the service.";
    /// The body did not arrive within the time that this deployment gives it (`--body-timeout-ms`). Nothing was written.
    BODY_TOO_SLOW "body_too_slow" [408], Bodies,
        says "the body had not arrived after 10 s",
        so "Send the request again, all at once.";
    /// The body is not declared as `application/json` in UTF-8, or it is compressed (`Content-Encoding`). Nothing was written.
    UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" [415], Bodies,
        says "the `Content-Type` is not supported: send `Content-Type: application/json`",
        so "Send `Content-Type: application/json`, and the body without compression.";
    /// The command has no `Idempotency-Key`, and this deployment takes such commands only with one (`--require-idempotency-keys`).
    /// Nothing was written.
    IDEMPOTENCY_KEY_REQUIRED "idempotency_key_required" [400], Declared,
        says "this needs an `Idempotency-Key`: a UUID, for example",
        so "Send a key of your own choice, a new one for each new command, and the same one when you repeat it.";
    /// The idempotency key was used before, for another command. Nothing was written.
    IDEMPOTENCY_KEY_REUSED "idempotency_key_reused" [422], Commands,
        says "the idempotency key was used for another command",
        so "Use a new key for a new command, and the same key only for the very same request.";
    /// A command with this idempotency key is under way, and the time was up before it came to an end: it may happen or not.
    IDEMPOTENCY_KEY_IN_USE "idempotency_key_in_use" [409], Commands,
        says "a command with this idempotency key is still under way",
        so "Send the same request again after the seconds that `Retry-After` says: the answer tells how the command ended.";
    /// The idempotency key was used before, and whoever runs the service has since discarded what that command did: its record
    /// could not be read. Nothing was written.
    COMMAND_DISCARDED "command_discarded" [409], Commands,
        says "an operator has discarded what the first command with this idempotency key did",
        so "Look how things stand. If the command is still right, send it with a new key.";
    /// What the command is about has another version than `If-Match` names: somebody changed it meanwhile. Nothing was
    /// written.
    PRECONDITION_FAILED "precondition_failed" [412], Commands,
        says "it has version 4 by now",
        so "Get it again, look whether the command is still right, and send it with the new `ETag`. A weak tag, such as `W/\"4\"`, \
            never matches.";
    /// There is neither key nor token, and this needs one. Nothing was written.
    UNAUTHENTICATED "unauthenticated" [401], Any,
        says "this needs a key or a token: send `Authorization: Bearer ...`",
        so "Send a key that `orderlog key create` has made, or a token of the issuer that this deployment believes \
            (`--oidc-issuer`).";
    /// The key is none, has expired, or was revoked; or the token is none that is taken. Nothing was written.
    INVALID_TOKEN "invalid_token" [401], Any,
        says "this key is none, has expired, or was revoked",
        so "Ask whoever gave it to you for a new one, or sign in again. Of a token `detail` says what is wrong.";
    /// The key or token is one, but does not open this. Nothing was written.
    INSUFFICIENT_SCOPE "insufficient_scope" [403], Any,
        says "this needs the scope orders:write, which the caller does not have",
        so "Use a key or token with the scope that `detail` names.";
    /// The caller acts as a customer, and this is for nobody who does. Nothing was written.
    NOT_FOR_CUSTOMERS "not_for_customers" [403], Declared,
        says "this is not for callers that act as a customer",
        so "Use a key or token that is not bound to a customer.";
    /// A browser sent the request for a page of another site (`Origin`). Nothing was written.
    FOREIGN_ORIGIN "foreign_origin" [403], Elsewhere,
        says "pages of other sites may not ask here: serve them from this host, or name theirs by --allowed-host",
        so "Serve the page from the host that it asks, or start the server with `--allowed-host` and the page's host.";
    /// The request names in `Orderlog-Instance` another instance than the one at this address, as commands on a data folder do after a
    /// server was replaced. Nothing was written.
    OTHER_INSTANCE "other_instance" [421], Elsewhere,
        says "the request is for an instance that does not run at this address any more",
        so "Leave out `Orderlog-Instance`, or run the command again: it finds the server that runs now.";
    /// The server needs no keys, and was asked under a name (`Host`) that it does not know. Nothing was written.
    FOREIGN_HOST "foreign_host" [403], Elsewhere,
        says "without keys this server answers only to `localhost`, IP addresses, and names given by --allowed-host",
        so "Ask by `localhost` or an IP address, start the server with `--allowed-host` and the name, or make a key.";
    /// The caller, or whoever asks from its address without a key, has asked more often than it may (`--rate-limit`). Nothing was
    /// written.
    RATE_LIMITED "rate_limited" [429], Any,
        says "this is more than a caller may ask for: come again in 1 s",
        so "Wait for the seconds that `Retry-After` says. `RateLimit` tells on every answer what is left, `RateLimit-Policy` \
            the rule.";

    // Operators.

    /// There is no such topic.
    UNKNOWN_TOPIC "unknown_topic" [404], Elsewhere,
        says "there is no topic `order.forgotten`",
        so "Check the name: journals are called as their service, public topics are in the AsyncAPI document.";
    /// The log has no record there.
    NO_SUCH_POSITION "no_such_position" [404, 409], Elsewhere,
        says "orders@1042 lies behind the end of the log",
        so "Ask for a point that the log reaches.";
    /// The rows of this service are being rebuilt already.
    REBUILD_UNDER_WAY "rebuild_under_way" [409], Elsewhere,
        says "a rebuild of orders is under way",
        so "Wait for its end: `orderlog projection status` tells how far it has come.";
    /// There is no snapshot before the point from which was to be replayed.
    NOTHING_BEFORE "nothing_before" [409], Elsewhere,
        says "there is no snapshot of orders before orders@1042",
        so "Rebuild from the beginning.";
    /// There are no rows yet of which a snapshot could be made.
    NOTHING_TO_COPY "nothing_to_copy" [409], Elsewhere,
        says "orders has no rows yet",
        so "Wait until there is something.";
    /// The record is not parked, so there is nothing to discard. Nothing was written.
    NOT_PARKED "not_parked" [409], Elsewhere,
        says "orders@1042 is not parked",
        so "`orderlog parked list` names the records that are.";
    /// Somebody wrote on the keys of the record at the same moment, so the discard is void: the record is as it was.
    OVERTAKEN "overtaken" [409], Elsewhere,
        says "orders@1042 is not discarded: somebody wrote on its keys at the same moment",
        so "Look with `orderlog parked show` whether it still has to be discarded.";

    // Our side.

    /// A mistake of ours. What it was stands in the log of the service.
    INTERNAL "internal" [500], Any,
        says "something went wrong here; the log of the service says what",
        so "Send a command again only with its `Idempotency-Key`. If it stays so, tell whoever runs the service.";
    /// The service is still reading its journal after its start. Nothing was written.
    CATCHING_UP "catching_up" [503], Any,
        says "orders is still reading its journal",
        so "Try again after the seconds that `Retry-After` says; `/readyz` tells how far it has come.";
    /// The service has stopped, or can't reach its log. Nothing was written.
    UNAVAILABLE "unavailable" [503], Any,
        says "the log can't be written",
        so "Try again after the seconds that `Retry-After` says. If it stays so, tell whoever runs the service.";
    /// The process works on as many requests as it takes at once (`--max-requests`), or on as many of this caller as its share is while
    /// others need room. Nothing was written.
    OVERLOADED "overloaded" [503], Any,
        says "too many requests are worked on already, of this caller or of all",
        so "Try again after the seconds that `Retry-After` says, and more slowly.";
    /// The process has as many connections as it serves (`--max-connections`), or as many of this caller as its share is while others
    /// need room. Nothing was written, and the connection is closed.
    TOO_MANY_CONNECTIONS "too_many_connections" [503], Any,
        says "this process has as many connections as it serves, or as it serves to this caller",
        so "Try again after the seconds that `Retry-After` says, and on fewer connections.";
    /// Whether a token is good is not known now: the issuer does not tell its keys. Nothing was written.
    ISSUER_UNAVAILABLE "issuer_unavailable" [503], Any,
        says "whether this token is good is not known now",
        so "Try again after the seconds that `Retry-After` says, or use a key.";
    /// The log can't be read now.
    LOG_UNAVAILABLE "log_unavailable" [503], Any,
        says "where the journals end is not known: the log does not answer",
        so "Try again after the seconds that `Retry-After` says.";
    /// A row of the read model, or a record of the log, is not what was written. Nothing was written.
    DAMAGED "damaged" [503], Any,
        says "the read model of this service is damaged: `orderlog projection rebuild --yes` repairs it from the log",
        so "An operator finds the place with `orderlog projection verify`. `orderlog projection rebuild --yes` repairs a read \
            model; a damaged log has to be restored from a backup or a replica.";
    /// The rows are behind what this instance has answered, so that the answer could be an old one.
    ROWS_BEHIND "rows_behind" [503], Queries,
        says "the rows of orders are behind what it has answered",
        so "Try again after the seconds that `Retry-After` says.";
    /// A record about the object can't be read by this version of the program. It is left alone rather than guessed.
    PARKED "parked" [503], Any,
        says "a record about this can't be read by this version",
        so "Tell whoever runs the service: `orderlog parked list` names the record. Other objects work as ever.";
    /// Another service, without which there is no answer, can't be asked now.
    SERVICE_UNAVAILABLE "service_unavailable" [503], Declared,
        says "the orders service can't be asked now",
        so "Try again after the seconds that `Retry-After` says, or ask that service itself.";
    /// Another service, without which there is no answer, did not answer in time.
    SERVICE_TIMED_OUT "service_timed_out" [504], Declared,
        says "the orders service did not answer in time",
        so "Try again after the seconds that `Retry-After` says, or ask that service itself.";
    /// What was asked for with `Orderlog-Min-Position` did not arrive within the time of `Prefer: wait=N`, or too many requests of the
    /// caller are waiting already. `lag` says how many records are missing, where that is known. Nothing was written.
    NOT_YET "not_yet" [504], Any,
        says "the rows of orders are 3 records behind what the caller has seen",
        with LAG,
        so "Ask again, with a longer `wait` if it keeps happening.";
    /// There was no answer in the time that a request may take (`--request-timeout-ms`).
    REQUEST_TIMED_OUT "request_timed_out" [504], Queries,
        says "there was no answer in the time that a request may take",
        so "Try again after the seconds that `Retry-After` says.";
    /// The time for the command was up, and it is not known what became of it: it may have happened, or happen yet.
    OUTCOME_UNKNOWN "outcome_unknown" [504], Commands,
        says "no word from the log in time: it is not known whether the command happened",
        so "Send the same request again with the same `Idempotency-Key`: it is done once, and the answer tells how it ended. \
            Without a key, look at the object first.";

    // Values: these stand in `errors`.

    /// The field must be there.
    MISSING_FIELD "missing_field" [400], Values,
        says "this field is missing",
        so "Add the field.";
    /// There is no such field. Unknown fields are refused, since a misspelt one would be ignored silently.
    UNKNOWN_FIELD "unknown_field" [400], Values,
        says "there is no such field here",
        so "Leave it out, or correct its name.";
    /// The field is there twice.
    DUPLICATE_FIELD "duplicate_field" [400], Values,
        says "this field is here twice",
        so "Send it once.";
    /// The value is of another type.
    WRONG_TYPE "wrong_type" [400], Values,
        says "expected a whole number",
        so "Send the type that `detail` names.";
    /// A text is too long, empty, or has characters that can't be, such as line breaks or invisible ones.
    INVALID_TEXT "invalid_text" [400], Values,
        says "a name must not contain the invisible character U+202E: remove it",
        so "Send a text as `detail` says.";
    /// A path or query parameter can't have this value.
    INVALID_PARAMETER "invalid_parameter" [400], Values,
        says "it must be a UUID",
        so "Send a value as `detail` says.";
    /// The operation has no such query parameter. Unknown ones are refused, since a misspelt filter would look like an empty
    /// one.
    UNKNOWN_PARAMETER "unknown_parameter" [400], Values,
        says "there is no such query parameter; there are: cursor, limit",
        so "Leave it out, or correct its name.";
    /// The cursor is none that this list gave out.
    INVALID_CURSOR "invalid_cursor" [400], Values,
        says "not a cursor of this list",
        so "Send a `next_cursor` as it was answered, or begin without one.";
    /// An idempotency key has 1 to 255 visible ASCII characters, in double quotes or bare.
    INVALID_IDEMPOTENCY_KEY "invalid_idempotency_key" [400], Values,
        says "it must have 1 to 255 visible ASCII characters, in double quotes or bare",
        so "Send a UUID, for example.";
    /// `If-Match` has versions in double quotes, or `*`.
    INVALID_IF_MATCH "invalid_if_match" [400], Values,
        says "it must be what `ETag` said, such as `\"3\"`, or `*`",
        so "Send what `ETag` said, as it was.";
    /// `Orderlog-Min-Position` has positions that answers told.
    INVALID_POSITION "invalid_position" [400], Values,
        says "it must be positions that answers told, such as `orders@1042`, with commas between them",
        so "Send what `Orderlog-Position` said, as it was.";
    /// The position lies behind the last record there is, so that nobody can have seen it.
    POSITION_OUT_OF_RANGE "position_out_of_range" [400], Values,
        says "orders@1042 lies behind the last record there is, orders@7",
        so "Check that the position came from this deployment.";
    /// The position is one of a journal from which the asked service takes nothing in, so that it could wait for ever.
    JOURNAL_NOT_FOLLOWED "journal_not_followed" [400], Values,
        says "billing consumes no events from there, so it can't wait for customers@7; it can wait for positions of: billing, orders",
        so "Send only positions of the journals that `detail` names.";
    /// `as_of` is neither a time nor a position of this service.
    INVALID_AS_OF "invalid_as_of" [400], Values,
        says "it must be an RFC 3339 time or a position such as `orders@1042`",
        so "Send a time in UTC, or what `Orderlog-Position` said.";
    /// `as_of` is a position behind the last record, or a time before the first one.
    OUT_OF_RANGE "out_of_range" [400], Values,
        says "the journal ends at orders@1041",
        so "Ask for a point that has passed.";
    /// The object has too many records to be told as it was.
    TOO_LONG "too_long" [400], Values,
        says "this has more than 100000 records",
        so "Ask for a later point, or for the object as it is.";
}
