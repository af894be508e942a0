//! Every code of a problem, with what it means: the one list of them. A code that is not here does not compile.

use super::catalogue::{Scope::*, catalogue};

catalogue! {
    // The request itself.

    /// At least one value of the request is missing, unknown, or can't be. Nothing was written. `errors` names each one, with
    /// a code of its own, up to 100 of them; `error_count` says how many there are.
    InvalidRequest, "invalid_request", [400], Any,
        says "#/lines/0/quantity: a quantity must be from 1 to 1000000",
        so "Correct every value that `errors` names, and send the request again.";
    /// The body is not JSON in UTF-8, or something follows the JSON value.
    MalformedJson, "malformed_json", [400], Bodies,
        says "this is no JSON, from line 1, column 17 on",
        so "Send one JSON value in UTF-8, without a byte order mark.";
    /// The body could not be read.
    InvalidBody, "invalid_body", [400], Bodies,
        says "the body ended too early",
        so "Send the body as the operation describes it.";
    /// The HTTP layer refused the request before any operation saw it.
    BadRequest, "bad_request", [400], Elsewhere,
        says "invalid header value",
        so "Correct the request as `detail` says.";
    /// The head of the request, its first line and its headers, has more than 64 KiB.
    HeadTooLarge, "head_too_large", [431], Elsewhere,
        says "the head of a request may have at most 65536 bytes",
        so "Send fewer or shorter headers, or a shorter query.";
    /// Nothing is at this path of this process, or the service is not one that it runs.
    NoSuchResource, "no_such_resource", [404], Elsewhere,
        says "there is nothing at this path",
        so "Compare the path with `/openapi.json` of the process that you ask.";
    /// The path exists, but does not take this method.
    MethodNotAllowed, "method_not_allowed", [405], Elsewhere,
        says "this path does not take that method",
        so "Use a method that `/openapi.json` has for the path.";
    /// The body is larger than this deployment takes (`--max-body-bytes`).
    BodyTooLarge, "body_too_large", [413], Bodies,
        says "a body may have at most 1048576 bytes",
        so "Send less at once.";
    /// What the command would write is larger than the log takes: on Kafka its topic was configured to take less than it should
    /// (`max.message.bytes`). Nothing was written.
    RecordTooLarge, "record_too_large", [413], Commands,
        says "the record of this command would be larger than the log takes",
        so "Send less at once: fewer lines, or shorter texts. If it is not much, tell whoever runs the service.";
    /// The body did not arrive within the time that this deployment gives it (`--body-timeout-ms`). Nothing was written.
    BodyTooSlow, "body_too_slow", [408], Bodies,
        says "the body had not arrived after 10 s",
        so "Send the request again, all at once.";
    /// The body is not declared as `application/json` in UTF-8, or it is compressed (`Content-Encoding`). Nothing was written.
    UnsupportedMediaType, "unsupported_media_type", [415], Bodies,
        says "the `Content-Type` is not supported: send `Content-Type: application/json`",
        so "Send `Content-Type: application/json`, and the body without compression.";
    /// The command has no `Idempotency-Key`, and this deployment takes such commands only with one (`--require-idempotency-keys`).
    /// Nothing was written.
    IdempotencyKeyRequired, "idempotency_key_required", [400],
        Of(&["place_order", "record_payment", "refund_order", "receive_stock", "adjust_stock", "set_low_stock_threshold",
             "reserve_stock", "release_reservation"]),
        says "this needs an `Idempotency-Key`: a UUID, for example",
        so "Send a key of your own choice, a new one for each new command, and the same one when you repeat it.";
    /// The idempotency key was used before, for another command. Nothing was written.
    IdempotencyKeyReused, "idempotency_key_reused", [422], Commands,
        says "the idempotency key was used for another command",
        so "Use a new key for a new command, and the same key only for the very same request.";
    /// A command with this idempotency key is under way, and the time was up before it came to an end: it may happen or not.
    IdempotencyKeyInUse, "idempotency_key_in_use", [409], Commands,
        says "a command with this idempotency key is still under way",
        so "Send the same request again after the seconds that `Retry-After` says: the answer tells how the command ended.";
    /// The idempotency key was used before, and whoever runs the service has since discarded what that command did: its record
    /// could not be read. Nothing was written.
    CommandDiscarded, "command_discarded", [409], Commands,
        says "an operator has discarded what the first command with this idempotency key did",
        so "Look how things stand. If the command is still right, send it with a new key.";
    /// What the command is about has another version than `If-Match` names: somebody changed it meanwhile. Nothing was
    /// written.
    PreconditionFailed, "precondition_failed", [412], Commands,
        says "it has version 4 by now",
        so "Get it again, look whether the command is still right, and send it with the new `ETag`. A weak tag, such as `W/\"4\"`, \
            never matches.";
    /// There is neither key nor token, and this needs one. Nothing was written.
    Unauthenticated, "unauthenticated", [401], Any,
        says "this needs a key or a token: send `Authorization: Bearer ...`",
        so "Send a key that `orderlog key create` has made, or a token of the issuer that this deployment believes \
            (`--oidc-issuer`).";
    /// The key is none, has expired, or was revoked; or the token is none that is taken. Nothing was written.
    InvalidToken, "invalid_token", [401], Any,
        says "this key is none, has expired, or was revoked",
        so "Ask whoever gave it to you for a new one, or sign in again. Of a token `detail` says what is wrong.";
    /// The key or token is one, but does not open this. Nothing was written.
    InsufficientScope, "insufficient_scope", [403], Any,
        says "this needs the scope orders:write, which the caller does not have",
        so "Use a key or token with the scope that `detail` names.";
    /// The caller acts as a customer, and this is for nobody who does. Nothing was written.
    NotForCustomers, "not_for_customers", [403],
        Of(&["create_customer", "fulfil_order", "receive_stock", "adjust_stock", "set_low_stock_threshold", "reserve_stock",
             "release_reservation", "get_reservation", "list_stock_movements", "record_payment", "refund_order", "notify"]),
        says "this is not for callers that act as a customer",
        so "Use a key or token that is not bound to a customer.";
    /// A browser sent the request for a page of another site (`Origin`). Nothing was written.
    ForeignOrigin, "foreign_origin", [403], Elsewhere,
        says "pages of other sites may not ask here: serve them from this host, or name theirs by --allowed-host",
        so "Serve the page from the host that it asks, or start the server with `--allowed-host` and the page's host.";
    /// The request names in `Orderlog-Instance` another instance than the one at this address, as commands on a data folder do after a
    /// server was replaced. Nothing was written.
    OtherInstance, "other_instance", [421], Elsewhere,
        says "the request is for an instance that does not run at this address any more",
        so "Leave out `Orderlog-Instance`, or run the command again: it finds the server that runs now.";
    /// The server needs no keys, and was asked under a name (`Host`) that it does not know. Nothing was written.
    ForeignHost, "foreign_host", [403], Elsewhere,
        says "without keys this server answers only to `localhost`, IP addresses, and names given by --allowed-host",
        so "Ask by `localhost` or an IP address, start the server with `--allowed-host` and the name, or make a key.";

    /// The caller, or whoever asks from its address without a key, has asked more often than it may (`--rate-limit`). Nothing was
    /// written.
    RateLimited, "rate_limited", [429], Any,
        says "this is more than a caller may ask for: come again in 1 s",
        so "Wait for the seconds that `Retry-After` says. `RateLimit` tells on every answer what is left, `RateLimit-Policy` \
            the rule.";

    // Customers.

    /// The e-mail address belongs to another customer. Upper and lower case count as the same.
    DuplicateEmail, "duplicate_email", [409], Of(&["create_customer", "update_customer"]),
        says "the e-mail address belongs to another customer",
        so "Find the customer who has it, or give another address.";
    /// There is no such customer.
    UnknownCustomer, "unknown_customer", [404],
        Of(&["get_customer", "update_customer", "deactivate_customer", "list_customer_orders", "place_order"]),
        says "there is no customer 019a0000-0000-7000-8000-000000000001",
        so "Check the id. If the customer was created a moment ago by another service, send `Orderlog-Min-Position`.";
    /// The request names nothing that is to change.
    NothingToChange, "nothing_to_change", [400], Of(&["update_customer"]),
        says "give a name, an e-mail address, or both",
        so "Send at least one field.";

    // Orders.

    /// The caller acts as a customer, and every order names its prices. Nothing was written.
    PriceNotAllowed, "price_not_allowed", [403], Of(&["place_order"]),
        says "callers that act as a customer cannot name prices, and there is no catalogue of prices yet",
        so "Let your own server place the order, with a key that is not bound to a customer and with the prices that you charge.";
    /// There is no line.
    NoLines, "no_lines", [400], Of(&["place_order", "reserve_stock"]),
        says "an order needs at least one line",
        so "Send at least one line.";
    /// There are more lines than one order or reservation may have.
    TooManyLines, "too_many_lines", [400], Of(&["place_order", "reserve_stock"]),
        says "an order has at most 100 lines, this one has 101",
        so "Divide it into several.";
    /// The sum of the lines is more than an amount can be.
    TotalTooLarge, "total_too_large", [400], Of(&["place_order"]),
        says "the total is above 1000000000000 minor units",
        so "Divide it into several orders.";
    /// The lines of one SKU add up to more than can be set aside at once.
    QuantityTooLarge, "quantity_too_large", [400], Of(&["place_order", "reserve_stock"]),
        says "the lines of SKU espresso-beans-1kg add up to more than 1000000 units",
        so "Ask for less, or divide it into several.";
    /// The customer is deactivated and may place no orders.
    CustomerInactive, "customer_inactive", [409], Of(&["place_order"]),
        says "customer 019a0000-0000-7000-8000-000000000001 is inactive",
        so "There is no way to place an order for this customer.";
    /// There is no such order, or no invoice for it yet.
    UnknownOrder, "unknown_order", [404],
        Of(&["get_order", "get_order_history", "cancel_order", "fulfil_order", "record_payment", "refund_order", "get_invoice"]),
        says "there is no order 019a0000-0000-7000-8000-000000000002",
        so "Check the id. If the order was placed a moment ago, send what its answer said as `Orderlog-Position` as \
            `Orderlog-Min-Position`.";
    /// The order's state does not allow it: only what is confirmed is fulfilled, and what is fulfilled or rejected can't be
    /// cancelled.
    IllegalTransition, "illegal_transition", [409], Of(&["cancel_order", "fulfil_order"]),
        says "order 019a0000-0000-7000-8000-000000000002 is fulfilled: it can't be cancelled",
        so "Get the order, and decide on the state that it has.";
    /// The order is not paid in full, so that it can be neither fulfilled nor refunded.
    NotPaid, "not_paid", [409], Of(&["fulfil_order", "refund_order"]),
        says "order 019a0000-0000-7000-8000-000000000002 is unpaid: only a paid order can be fulfilled",
        so "Record the payment first.";

    // Inventory.

    /// Nobody has received this SKU yet, or one of several. `shortages` names every short SKU of a reservation.
    UnknownSku, "unknown_sku", [404],
        Of(&["get_stock", "list_stock_movements", "adjust_stock", "set_low_stock_threshold", "reserve_stock"]),
        says "SKU espresso-beans-1kg has never been received",
        so "Check the SKU. The first receipt of stock creates it.";
    /// There is too little of at least one SKU. Nothing was set aside. `shortages` names every short SKU.
    NotEnoughStock, "not_enough_stock", [409], Of(&["reserve_stock"]),
        says "not enough stock of espresso-beans-1kg",
        so "Ask for no more than is `available`, or wait for the next receipt.";
    /// There would be more units of the SKU than the house can hold.
    TooMuchStock, "too_much_stock", [409], Of(&["receive_stock", "adjust_stock"]),
        says "at most 1000000000 units of espresso-beans-1kg can be in the house, 999999999 are",
        so "Check the quantity.";
    /// The correction would take units that are not there, or that are set aside.
    BelowReserved, "below_reserved", [409], Of(&["adjust_stock"]),
        says "espresso-beans-1kg can't be adjusted by -9: 10 units are in the house, 2 of them are set aside",
        so "Take no more than what is neither missing nor set aside; release or cancel first what has to give way.";
    /// The name belongs to another reservation, with other lines, another time to live or another label.
    ReservationExists, "reservation_exists", [409], Of(&["reserve_stock"]),
        says "reservation cart-4711 exists with other lines, another time to live or another label",
        so "Use another name, or release that one first; a reservation is never changed.";
    /// The reservation has ended already, and otherwise than asked for.
    ReservationEnded, "reservation_ended", [409], Of(&["reserve_stock", "release_reservation"]),
        says "reservation cart-4711 has ended: expired",
        so "Make a new one, under another name.";
    /// There is no such reservation.
    UnknownReservation, "unknown_reservation", [404], Of(&["get_reservation", "release_reservation"]),
        says "there is no reservation cart-4711",
        so "Check the name.";

    // Billing.

    /// The payment is in another currency than the invoice.
    WrongCurrency, "wrong_currency", [409], Of(&["record_payment"]),
        says "the invoice is in EUR, the payment in USD",
        so "Pay in the invoice's currency.";
    /// The payment is more than what is open. Nothing was recorded, and operations were told, since money came in.
    Overpayment, "overpayment", [409], Of(&["record_payment"]),
        says "only 1890 minor units are open, 3780 were given",
        so "Record no more than what is open, and give the rest back.";
    /// The invoice is void or refunded and takes neither payments nor refunds any more.
    InvoiceClosed, "invoice_closed", [409], Of(&["record_payment", "refund_order"]),
        says "the invoice is void",
        so "Give the money back; a closed invoice is never opened again.";
    /// More is to be refunded than is left of what was paid.
    RefundTooLarge, "refund_too_large", [409], Of(&["refund_order"]),
        says "only 1890 minor units can be refunded, 3780 were asked for",
        so "Refund at most what is left, or send no body to refund just that.";

    // Notifications.

    /// The recipient is another customer than the one that the caller acts as.
    UnknownRecipient, "unknown_recipient", [404], Of(&["list_notifications", "stream_notifications"]),
        says "there is no such recipient",
        so "Ask for the notifications of the customer that you act as.";
    /// There is no such notification.
    UnknownNotification, "unknown_notification", [404], Of(&["read_notification"]),
        says "there is no notification 019a0000-0000-7000-8000-000000000003",
        so "Check the id.";

    // Operators.

    /// There is no such topic.
    UnknownTopic, "unknown_topic", [404], Elsewhere,
        says "there is no topic `order.forgotten`",
        so "Check the name: journals are called as their service, public topics are in the AsyncAPI document.";
    /// The log has no record there.
    NoSuchPosition, "no_such_position", [404, 409], Elsewhere,
        says "orders@1042 lies behind the end of the log",
        so "Ask for a point that the log reaches.";
    /// The rows of this service are being rebuilt already.
    RebuildUnderWay, "rebuild_under_way", [409], Elsewhere,
        says "a rebuild of orders is under way",
        so "Wait for its end: `orderlog projection status` tells how far it has come.";
    /// There is no snapshot before the point from which was to be replayed.
    NothingBefore, "nothing_before", [409], Elsewhere,
        says "there is no snapshot of orders before orders@1042",
        so "Rebuild from the beginning.";
    /// There are no rows yet of which a snapshot could be made.
    NothingToCopy, "nothing_to_copy", [409], Elsewhere,
        says "orders has no rows yet",
        so "Wait until there is something.";
    /// The record is not parked, so there is nothing to discard. Nothing was written.
    NotParked, "not_parked", [409], Elsewhere,
        says "orders@1042 is not parked",
        so "`orderlog parked list` names the records that are.";
    /// Somebody wrote on the keys of the record at the same moment, so the discard is void: the record is as it was.
    Overtaken, "overtaken", [409], Elsewhere,
        says "orders@1042 is not discarded: somebody wrote on its keys at the same moment",
        so "Look with `orderlog parked show` whether it still has to be discarded.";

    // Our side.

    /// A mistake of ours. What it was stands in the log of the service.
    Internal, "internal", [500], Any,
        says "something went wrong here; the log of the service says what",
        so "Send a command again only with its `Idempotency-Key`. If it stays so, tell whoever runs the service.";
    /// The service is still reading its journal after its start. Nothing was written.
    CatchingUp, "catching_up", [503], Any,
        says "orders is still reading its journal",
        so "Try again after the seconds that `Retry-After` says; `/readyz` tells how far it has come.";
    /// The service has stopped, or can't reach its log. Nothing was written.
    Unavailable, "unavailable", [503], Any,
        says "the log can't be written",
        so "Try again after the seconds that `Retry-After` says. If it stays so, tell whoever runs the service.";
    /// The process works on as many requests as it takes at once (`--max-requests`), or on as many of this caller as its share is while
    /// others need room. Nothing was written.
    Overloaded, "overloaded", [503], Any,
        says "too many requests are worked on already, of this caller or of all",
        so "Try again after the seconds that `Retry-After` says, and more slowly.";
    /// The process has as many connections as it serves (`--max-connections`), or as many of this caller as its share is while others
    /// need room. Nothing was written, and the connection is closed.
    TooManyConnections, "too_many_connections", [503], Any,
        says "this process has as many connections as it serves, or as it serves to this caller",
        so "Try again after the seconds that `Retry-After` says, and on fewer connections.";
    /// Whether a token is good is not known now: the issuer does not tell its keys. Nothing was written.
    IssuerUnavailable, "issuer_unavailable", [503], Any,
        says "whether this token is good is not known now",
        so "Try again after the seconds that `Retry-After` says, or use a key.";
    /// The log can't be read now.
    LogUnavailable, "log_unavailable", [503], Any,
        says "where the journals end is not known: the log does not answer",
        so "Try again after the seconds that `Retry-After` says.";
    /// A row of the read model, or a record of the log, is not what was written. Nothing was written.
    Damaged, "damaged", [503], Any,
        says "the read model of this service is damaged: `orderlog projection rebuild --yes` repairs it from the log",
        so "An operator finds the place with `orderlog projection verify`. `orderlog projection rebuild --yes` repairs a read \
            model; a damaged log has to be restored from a backup or a replica.";
    /// The rows are behind what this instance has answered, so that the answer could be an old one.
    RowsBehind, "rows_behind", [503], Queries,
        says "the rows of orders are behind what it has answered",
        so "Try again after the seconds that `Retry-After` says.";
    /// A record about the object can't be read by this version of the program. It is left alone rather than guessed.
    Parked, "parked", [503], Any,
        says "a record about this can't be read by this version",
        so "Tell whoever runs the service: `orderlog parked list` names the record. Other objects work as ever.";
    /// Another service, without which there is no answer, can't be asked now.
    ServiceUnavailable, "service_unavailable", [503], Of(&["list_customer_orders"]),
        says "the orders service can't be asked now",
        so "Try again after the seconds that `Retry-After` says, or ask that service itself.";
    /// Another service, without which there is no answer, did not answer in time.
    ServiceTimedOut, "service_timed_out", [504], Of(&["list_customer_orders"]),
        says "the orders service did not answer in time",
        so "Try again after the seconds that `Retry-After` says, or ask that service itself.";
    /// What was asked for with `Orderlog-Min-Position` did not arrive within the time of `Prefer: wait=N`, or too many requests of the
    /// caller are waiting already. `lag` says how many records are missing, where that is known. Nothing was written.
    NotYet, "not_yet", [504], Any,
        says "the rows of orders are 3 records behind what the caller has seen",
        so "Ask again, with a longer `wait` if it keeps happening.";
    /// There was no answer in the time that a request may take (`--request-timeout-ms`).
    RequestTimedOut, "request_timed_out", [504], Queries,
        says "there was no answer in the time that a request may take",
        so "Try again after the seconds that `Retry-After` says.";
    /// The time for the command was up, and it is not known what became of it: it may have happened, or happen yet.
    OutcomeUnknown, "outcome_unknown", [504], Commands,
        says "no word from the log in time: it is not known whether the command happened",
        so "Send the same request again with the same `Idempotency-Key`: it is done once, and the answer tells how it ended. \
            Without a key, look at the object first.";

    // Values: these stand in `errors`.

    /// The field must be there.
    MissingField, "missing_field", [400], Values,
        says "this field is missing",
        so "Add the field.";
    /// There is no such field. Unknown fields are refused, since a misspelt one would be ignored silently.
    UnknownField, "unknown_field", [400], Values,
        says "there is no such field here",
        so "Leave it out, or correct its name.";
    /// The field is there twice.
    DuplicateField, "duplicate_field", [400], Values,
        says "this field is here twice",
        so "Send it once.";
    /// The value is of another type.
    WrongType, "wrong_type", [400], Values,
        says "expected a whole number",
        so "Send the type that `detail` names.";
    /// An amount is a whole number of minor units (cents) within bounds.
    InvalidAmount, "invalid_amount", [400], Values,
        says "an amount must be from 1 to 1000000000000 minor units",
        so "Send a whole number of minor units.";
    /// A currency is an ISO 4217 code: three capital letters.
    InvalidCurrency, "invalid_currency", [400], Values,
        says "a currency must be three capital letters",
        so "Send a code such as `EUR`.";
    /// A name of a SKU, a reservation or a recipient has few characters to choose from.
    InvalidIdentifier, "invalid_identifier", [400], Values,
        says "a SKU must have 1 to 64 letters, digits, dots, hyphens and underscores",
        so "Use only what `detail` names.";
    /// A quantity is a whole number within bounds.
    InvalidQuantity, "invalid_quantity", [400], Values,
        says "a quantity must be from 1 to 1000000",
        so "Send a quantity within the bounds.";
    /// A correction is a whole number within bounds, and not 0.
    InvalidDelta, "invalid_delta", [400], Values,
        says "a delta must be from -1000000 to 1000000, and not 0",
        so "Send a delta within the bounds.";
    /// A threshold is a whole number within bounds.
    InvalidThreshold, "invalid_threshold", [400], Values,
        says "a threshold must be from 0 to 1000000",
        so "Send a threshold within the bounds.";
    /// A time to live is a number of seconds within bounds.
    InvalidTtl, "invalid_ttl", [400], Values,
        says "a time to live must be from 1 to 604800 seconds",
        so "Send a number of seconds within the bounds.";
    /// A text is too long, empty, or has characters that can't be, such as line breaks or invisible ones.
    InvalidText, "invalid_text", [400], Values,
        says "a name must not contain the invisible character U+202E: remove it",
        so "Send a text as `detail` says.";
    /// This can't be an e-mail address, or is more than one: `mailto:`, a name or angle brackets around it.
    InvalidEmail, "invalid_email", [400], Values,
        says "an e-mail address must look like name@example.com and have at most 254 characters: it has no @",
        so "Send an address such as `ada.lovelace@example.com`.";
    /// A path or query parameter can't have this value.
    InvalidParameter, "invalid_parameter", [400], Values,
        says "it must be a UUID",
        so "Send a value as `detail` says.";
    /// The operation has no such query parameter. Unknown ones are refused, since a misspelt filter would look like an empty
    /// one.
    UnknownParameter, "unknown_parameter", [400], Values,
        says "there is no such query parameter; there are: cursor, limit",
        so "Leave it out, or correct its name.";
    /// The cursor is none that this list gave out.
    InvalidCursor, "invalid_cursor", [400], Values,
        says "not a cursor of this list",
        so "Send a `next_cursor` as it was answered, or begin without one.";
    /// An idempotency key has 1 to 255 visible ASCII characters, in double quotes or bare.
    InvalidIdempotencyKey, "invalid_idempotency_key", [400], Values,
        says "it must have 1 to 255 visible ASCII characters, in double quotes or bare",
        so "Send a UUID, for example.";
    /// `If-Match` has versions in double quotes, or `*`.
    InvalidIfMatch, "invalid_if_match", [400], Values,
        says "it must be what `ETag` said, such as `\"3\"`, or `*`",
        so "Send what `ETag` said, as it was.";
    /// `Orderlog-Min-Position` has positions that answers told.
    InvalidPosition, "invalid_position", [400], Values,
        says "it must be positions that answers told, such as `orders@1042`, with commas between them",
        so "Send what `Orderlog-Position` said, as it was.";
    /// The position lies behind the last record there is, so that nobody can have seen it.
    PositionOutOfRange, "position_out_of_range", [400], Values,
        says "orders@1042 lies behind the last record there is, orders@7",
        so "Check that the position came from this deployment.";
    /// The position is one of a journal from which the asked service takes nothing in, so that it could wait for ever.
    JournalNotFollowed, "journal_not_followed", [400], Values,
        says "billing consumes no events from there, so it can't wait for customers@7; it can wait for positions of: billing, orders",
        so "Send only positions of the journals that `detail` names.";
    /// `as_of` is neither a time nor a position of this service.
    InvalidAsOf, "invalid_as_of", [400], Values,
        says "it must be an RFC 3339 time or a position such as `orders@1042`",
        so "Send a time in UTC, or what `Orderlog-Position` said.";
    /// `as_of` is a position behind the last record, or a time before the first one.
    OutOfRange, "out_of_range", [400], Values,
        says "the journal ends at orders@1041",
        so "Ask for a point that has passed.";
    /// The object has too many records to be told as it was.
    TooLong, "too_long", [400], Values,
        says "this has more than 100000 records",
        so "Ask for a later point, or for the object as it is.";
    /// `expand` asks other services, which only know what is.
    ExpandWithAsOf, "expand_with_as_of", [400], Values,
        says "other services are asked for what is, not for what was: leave out `expand` or `as_of`",
        so "Leave out one of both.";
    /// The name has a meaning of its own in paths and can't be a SKU's.
    ReservedName, "reserved_name", [400], Values,
        says "`reservations` can't be a SKU",
        so "Use another name.";
}
