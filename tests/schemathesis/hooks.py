"""What Schemathesis can't know of this API, because no schema can say it.

All checks are on. A finding is dropped only where the answer says by its `code` that it is no defect; why, stands here. And values
of other answers are handed on, so that requests are about something that is there: an order for a customer, a payment for an order.
"""

import json
import random
import re
import threading

import schemathesis

# What makes a request impossible although its schema allows it, by the codes that a problem or its `errors` have: what is right
# depends on what is there, or on several values at once.
ONLY_THE_SERVER_KNOWS = {
    "precondition_failed",  # `If-Match` with another version than the object has: 412 is the point of it
    "idempotency_key_reused",  # the same key for another command
    "idempotency_key_in_use",  # the same command, at the same moment
    "invalid_cursor",  # cursors are opaque, and belong to their list and its filters
    "invalid_as_of",  # a time, or a position
    "position_out_of_range",  # nobody has seen that position yet
    "out_of_range",  # the same of `as_of`
    "expand_with_as_of",  # one of both
    "reserved_name",  # the one name that no SKU has
    "total_too_large",  # sums over lines
    "quantity_too_large",
    "nothing_to_change",  # at least one of two fields
    "invalid_delta",  # from -10^9 to 10^9, and not 0
    "invalid_email",  # at most 254 bytes, where schemas count characters
}

# The service says that it can't answer now, or not in the time that was given. That is promised: that the operation documents the
# status is another check (`status_code_conformance`).
NOT_NOW = {"not_yet", "service_unavailable", "service_timed_out"}

# How often a value is one that is there.
SHARE = 0.8

known = {"positions": {}, "customers": [], "orders": [], "paid": [], "notifications": [], "skus": [], "reservations": []}
lock = threading.Lock()


def parsed(response):
    try:
        body = json.loads(response.content)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def breaks_its_pattern(case, fault):
    """Whether a header that was sent is not what the document says: the coverage phase makes up such headers and calls them valid."""
    name = fault.get("parameter")
    definition = case.operation.definition.raw
    patterns = [it["schema"].get("pattern") for it in definition.get("parameters", []) if it.get("name") == name]
    sent = (case.headers or {}).get(name) if name else None
    return sent is not None and any(it and re.search(it, str(sent)) is None for it in patterns)


def is_beyond_patterns(case, fault):
    """Whether a text has characters that only its description refuses: patterns are ASCII, so that every generator can read them."""
    if fault.get("code") not in ("invalid_text", "invalid_email"):
        return False
    value = case.body
    for part in fault.get("pointer", "#").split("/")[1:]:
        value = value[int(part)] if isinstance(value, list) else value.get(part)
    return isinstance(value, str) and not value.isascii()


def matches(case, header, value):
    parameters = case.operation.definition.raw.get("parameters", [])
    return all(re.search(it["schema"].get("pattern", ""), value) for it in parameters if it.get("name") == header)


@schemathesis.hook
def filter_failure(context, failure, case, response):
    told = parsed(response)
    kind = type(failure).__name__
    if kind == "RejectedPositiveData":
        faults = told.get("errors") or [told]
        reasons = (breaks_its_pattern, is_beyond_patterns)
        return not all(it.get("code") in ONLY_THE_SERVER_KNOWS or any(is_so(case, it) for is_so in reasons) for it in faults)
    if kind == "ServerError":
        return not (response.status_code in (503, 504) and told.get("code") in NOT_NOW)
    return True


def remember(kind, value):
    if value is not None and value not in known[kind]:
        known[kind].append(value)
        del known[kind][:-50]


@schemathesis.hook
def after_call(context, case, response):
    told, operation = parsed(response), case.operation.definition.raw.get("operationId")
    with lock:
        for position in response.headers.get("orderlog-position") or []:
            known["positions"][position.split("@")[0]] = position
        if response.status_code not in (200, 201):
            return
        if operation == "create_customer":
            remember("customers", told.get("customer_id"))
        elif operation == "deactivate_customer":
            known["customers"] = [it for it in known["customers"] if it != told.get("customer_id")]
        elif operation == "place_order":
            remember("orders", (told.get("order_id"), told.get("total"), told.get("currency")))
        elif operation == "record_payment":
            remember("paid", told.get("order_id"))
        elif operation in ("refund_order", "cancel_order", "fulfil_order"):
            known["paid"] = [it for it in known["paid"] if it != told.get("order_id")]
        elif operation == "notify":
            remember("notifications", told.get("notification_id"))
        elif operation == "receive_stock":
            remember("skus", told.get("sku"))
        elif operation == "reserve_stock":
            remember("reservations", told.get("reservation_id"))


def one(kind):
    with lock:
        return random.choice(known[kind]) if known[kind] and random.random() < SHARE else None


def oldest(kind):
    """What may come to an end: the others are still needed."""
    with lock:
        return known[kind][0] if len(known[kind]) > 3 else None


def newest(kind):
    with lock:
        return known[kind][-1] if known[kind] else None


def into(values, name, value):
    if value is not None and isinstance(values, dict) and name in values:
        values[name] = value


def about_orders(operation, path, body):
    """Have orders be placed by customers who may, for what is there, paid in full, and most of them fulfilled."""
    order = {"cancel_order": oldest, "record_payment": newest}.get(operation, one)("orders")
    if order:
        for values in (path, body):
            into(values, "order_id", order[0])
        if operation == "record_payment" and isinstance(body, dict):
            body.update(amount=max(order[1], 1), currency=order[2])
    if operation in ("refund_order", "fulfil_order"):
        into(path, "order_id", {"refund_order": one, "fulfil_order": newest}[operation]("paid"))
    sku = one("skus")
    if sku and isinstance(body, dict) and body.get("lines"):
        body["lines"] = [{**body["lines"][0], "sku": sku, "quantity": 1}]


@schemathesis.hook
def map_case(context, case):
    """Have requests that are to be valid be about what is there, and not wait for what may never come."""
    if not case.meta or not case.meta.generation.mode.is_positive:
        return case
    path, body, query = case.path_parameters, case.body, case.query
    operation = case.operation.definition.raw.get("operationId")
    customer = {"deactivate_customer": oldest, "place_order": newest}.get(operation, one)("customers")
    for values in (path, body, query):
        into(values, "customer_id", customer)
        into(values, "sku", one("skus"))
    if operation == "create_customer" and random.random() < SHARE:
        # Addresses that are made up from the pattern are mostly the same few.
        into(body, "email", f"{random.getrandbits(64):x}@example.com")
    into(path, "notification_id", one("notifications"))
    into(path, "reservation_id", one("reservations"))
    about_orders(operation, path, body)
    position = "Orderlog-Min-Position"
    if case.headers and position in case.headers:
        with lock:
            # Only those that this operation can wait for.
            seen = [it for it in known["positions"].values() if matches(case, position, it)]
        if seen:
            case.headers[position] = random.choice(seen)
        # What was just published by another service needs a moment to be taken in.
        case.headers["Prefer"] = "wait=1"
    return case
