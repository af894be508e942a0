"""Restarts of instances on Kafka, as clients see them."""

import concurrent.futures
import http.client
import itertools
import json
import signal
import statistics
import subprocess
import threading
import time

from .http import Http
from .programs import free_port

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


def rolling(programs, options):
    """Two instances of each service behind HAProxy, which follows /readyz, are restarted. Fails if a client notices."""
    services = ["inventory", "notifications"] if options.short else list(ASKS)
    with Fleet(programs, services) as fleet:
        clients = [Client(fleet.fronts[service], *ask) for service in services for ask in ASKS[service]]
        clients.append(Follower(fleet.fronts["notifications"]))
        if "orders" in services:
            clients.append(Client(fleet.fronts["orders"], "POST", "/orders", fleet.new_order()))
        begun = time.monotonic()
        fleet.restart_all()
        took = time.monotonic() - begun
        failures = list(itertools.chain.from_iterable(client.end() for client in clients))
    n, slowest = sum(client.n for client in clients), max(client.slowest_s for client in clients)
    print(f"rolling restart of {2 * len(services)} processes: {took:.0f} s, {n} requests, {len(failures)} failed, "
          f"the slowest took {slowest:.2f} s", flush=True)
    if failures:
        raise RuntimeError("\n".join(failures[:20]))


# What clients of each service ask all the time: method, path, and a body whose `{n}` is another number each time.
ASKS = {
    "customers": [("POST", "/customers", '{"name": "c", "email": "c{n}@example.com"}'), ("GET", "/customers", None)],
    "orders": [("GET", "/orders", None)],
    "inventory": [("POST", f"/stock/{SKU}/receive", '{"quantity": 1}'), ("GET", "/stock", None)],
    "billing": [("GET", "/billing", None)],
    "notifications": [("POST", "/notify", '{"recipient": "operations", "subject": "s{n}", "body": "b"}'),
                      ("GET", "/notifications?recipient=operations", None)],
}


class Client(threading.Thread):
    """Sends one request after the other over a connection that it keeps, and notes what fails."""

    def __init__(self, port, method, path, body):
        super().__init__(daemon=True)
        self.port, self.ask, self.failures, self.n, self.slowest_s = port, (method, path, body), [], 0, 0
        self.stopping = threading.Event()
        self.start()

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        method, path, body = self.ask
        while not self.stopping.is_set():
            self.n += 1
            begun = time.monotonic()
            sent = body and body.replace("{n}", f"{self.port}.{self.n}")
            try:
                connection.request(method, path, sent, {"Content-Type": "application/json"} if sent else {})
                answer = connection.getresponse()
                text = answer.read().decode()
                if answer.status >= 300:
                    self.failures.append(f"{time.strftime('%T')} {method} {path}: {answer.status} {text[:300]}")
            except (OSError, http.client.HTTPException) as failure:
                self.failures.append(f"{time.strftime('%T')} {method} {path}: {failure!r}")
                connection.close()
            self.slowest_s = max(self.slowest_s, time.monotonic() - begun)
            time.sleep(0.01)

    def end(self):
        self.stopping.set()
        self.join()
        return self.failures


class Follower(Client):
    """Follows notifications. Each stream has to end with an event that asks to reconnect."""

    def __init__(self, port):
        super().__init__(port, "GET", "/notifications/stream?recipient=operations", None)

    def run(self):
        _, path, _ = self.ask
        while not self.stopping.is_set():
            self.n += 1
            events = []
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
                connection.request("GET", path)
                for line in connection.getresponse():
                    if self.stopping.is_set():
                        return
                    events += [line] if line.startswith(b"event:") else []
                if events[-1:] != [b"event: reconnect\n"]:
                    self.failures.append(f"{time.strftime('%T')} a stream ended after {events[-1:]}")
            except (OSError, http.client.HTTPException) as failure:
                self.failures.append(f"{time.strftime('%T')} GET {path}: {failure!r}")


class Fleet:
    """Two instances of each service on Kafka, and HAProxy before them."""

    # HAProxy takes an instance out after two looks, 0.1 s apart.
    STOP_DELAY_MS = 500

    def __init__(self, programs, services):
        self.programs, self.prefix = programs, programs.folder("rolling").name
        self.fronts = {service: free_port() for service in services}
        self.ports = {(service, n): free_port() for service in services for n in range(2)}
        self.instances = {}
        self.proxy = None

    def __enter__(self):
        self.of_all(self.begin, self.ports)
        config = self.programs.work / self.prefix / "haproxy.cfg"
        config.write_text(self.configuration())
        self.proxy = subprocess.Popen(["haproxy", "-q", "-db", "-f", config])
        for (service, n) in self.ports:
            self.follows(service)
        return self

    def __exit__(self, *_):
        if self.proxy:
            self.proxy.kill()
            self.proxy.wait()
        for instance in self.instances.values():
            instance.stop()

    def configuration(self):
        """Nothing is repeated, and connections to instances are kept and shared, so that each that breaks is seen."""
        lines = ["defaults", "mode http", "retries 0", "http-reuse always", "option httpchk",
                 "http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host localhost",
                 *(f"timeout {what} 60s" for what in ("connect", "client", "server"))]
        for service, front in self.fronts.items():
            lines += [f"listen {service}", f"bind 127.0.0.1:{front}"]
            lines += [f"server {n} 127.0.0.1:{self.ports[service, n]} check inter 100ms fall 2 rise 1" for n in range(2)]
        return "\n".join(lines) + "\n"

    def begin(self, at):
        service, n = at
        peers = {f"{it}_url": f"http://127.0.0.1:{front}" for it, front in self.fronts.items()}
        self.instances[at] = self.programs.orderlog_on_kafka(
            self.prefix, f"{service}-{n}", [service], self.ports[at], stop_delay_ms=self.STOP_DELAY_MS, **peers)

    def follows(self, service):
        """Waits until the proxy has both instances of a service."""
        eventually(f"{service} is served", lambda: Http(self.fronts[service]).is_ready())

    def new_order(self):
        """The body of an order that can be placed."""
        new = {"name": "c", "email": "c@example.com"}
        customer = Http(self.fronts["customers"]).post("/customers", new)["customer_id"]
        order(Http(self.fronts["orders"]), customer)
        return json.dumps(order_of(customer))

    def restart_all(self):
        """One instance of each service at a time, as Kubernetes does."""
        for n in range(2):
            self.of_all(self.restart, [at for at in self.ports if at[1] == n])
            # The proxy has to see that these are ready before the next ones stop.
            time.sleep(0.5)

    def restart(self, at):
        self.instances[at].stop()
        self.begin(at)

    @staticmethod
    def of_all(do, instances):
        with concurrent.futures.ThreadPoolExecutor(len(instances)) as pool:
            list(pool.map(do, instances))


def load(server):
    """Orders of several customers, confirmed, so that every partition has records."""
    server.post(f"/stock/{SKU}/receive", {"quantity": 1_000_000})
    customers = [server.post("/customers", {"name": f"c{n}", "email": f"c{n}@example.com"})["customer_id"]
                 for n in range(N_CUSTOMERS)]
    confirmed(server, [order(server, customers[n % N_CUSTOMERS]) for n in range(N_ORDERS)])
    return customers


def order(server, customer):
    """Its id. Repeated until the services know the customer and can answer."""

    def place():
        status, answer = server.ask("POST", "/orders", order_of(customer))
        return server.expect(status, answer, "/orders")["order_id"] if status not in (404, 503, 504) else None

    return eventually("an order is placed", place)


def order_of(customer):
    return {"customer_id": customer, "currency": "EUR", "lines": [{"sku": SKU, "quantity": 1, "unit_price": 250}]}


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
