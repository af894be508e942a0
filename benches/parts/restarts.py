"""Restarts of instances on Kafka, as clients see them."""

import http.client
import signal
import statistics
import time

N_CUSTOMERS, N_ORDERS = 20, 60
SKU = "tea"
PATIENCE_S = 60


def takeover(programs, options):
    """The holder of the leases stops or dies. From the signal until an order that is placed at the other instance once the holder is
    gone is confirmed."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        rounds = sorted(take_over(programs, how) for _ in range(options.rounds))
        shown = ", ".join(f"{it:.2f}" for it in rounds)
        print(f"takeover after {how.name}: median {statistics.median(rounds):.2f} s of {shown}", flush=True)


def take_over(programs, how):
    """Each instance runs all five services, so that five leases move at once."""
    prefix = programs.folder("takeover").name
    first = programs.orderlog_on_kafka(prefix, "first")
    try:
        customers = load(first.http)
        second = programs.orderlog_on_kafka(prefix, "second")
        try:
            time.sleep(1)
            begun = time.monotonic()
            first.process.send_signal(how)
            first.process.wait()
            confirmed(second.http, [order(second.http, customers[0])])
            return time.monotonic() - begun
        finally:
            second.stop()
    finally:
        first.stop()


def load(server):
    """Orders of several customers, confirmed, so that every partition has records."""
    server.post(f"/stock/{SKU}/receive", {"quantity": 1_000_000})
    customers = [server.post("/customers", {"name": f"c{n}", "email": f"c{n}@example.com"})["customer_id"]
                 for n in range(N_CUSTOMERS)]
    confirmed(server, [order(server, customers[n % N_CUSTOMERS]) for n in range(N_ORDERS)])
    return customers


def order(server, customer):
    """Its id. Repeated until the services know the customer and can answer."""
    line = {"sku": SKU, "quantity": 1, "unit_price": 250}
    body = {"customer_id": customer, "currency": "EUR", "lines": [line]}

    def place():
        status, answer = server.ask("POST", "/orders", body)
        return server.expect(status, answer, "/orders")["order_id"] if status not in (404, 503, 504) else None

    return eventually("an order is placed", place)


def confirmed(server, orders):
    for it in orders:
        eventually(f"{it} is confirmed", lambda: server.get(f"/orders/{it}")["state"] == "confirmed")


def eventually(what, ask):
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        try:
            if answer := ask():
                return answer
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.02)
    raise RuntimeError(f"waited {PATIENCE_S} s in vain until {what}")
