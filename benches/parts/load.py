"""Load by wrk, and waiting until nothing is left to be done."""

import json
import os
import subprocess
import tempfile
import time

from .programs import ROOT

N_CONNECTIONS = 64
N_SKUS = 100
UNITS_PER_RECEIPT = 1_000_000
# A flow that has not come to its end after so long is broken, however slow the machine is.
DRAIN_PATIENCE_S = 300


def wrk(http, path, script, seconds, **environment):
    """So many seconds of requests, all of which must succeed: what wrk says, and requests/s."""
    parts = ROOT / "benches/parts"
    command = ["wrk", "--threads", "2", "--connections", str(N_CONNECTIONS), "--duration", f"{seconds}s", "--timeout", "30s"]
    # Each thread of wrk reads it anew.
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as whole:
        whole.write((parts / script).read_text() + (parts / "done.lua").read_text())
        whole.flush()
        command += ["--script", whole.name, http.url + path]
        ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
    found = json.loads(ran.stdout.splitlines()[-1])
    if found["n_failed"] or not found["n"]:
        raise RuntimeError(f"POST {path}: {found['n_failed']} of {found['n']} requests were not answered with 2xx")
    return {**found, "per_s": found["n"] / found["seconds"]}


def stock_up(http, n_receipts=20, n_skus=N_SKUS):
    for i in range(n_skus):
        for _ in range(n_receipts):
            http.post(f"/stock/sku-{i}/receive", {"quantity": UNITS_PER_RECEIPT})


def new_customer(http):
    return http.post("/customers", {"name": "Ada", "email": f"ada-{time.time_ns()}@example.com"})["customer_id"]


def orders(program, customer, seconds):
    found = wrk(program.http, "/orders", "orders.lua", seconds, CUSTOMER=customer, SKUS=str(N_SKUS))
    program.check()
    return found


def n_placed(http):
    return len(http.get("/orders?state=placed&limit=1")["items"])


def drained(program):
    """Wait until no order is left without an answer, which is when the clock stops; then until no duty and no rows are behind."""
    until = time.monotonic() + DRAIN_PATIENCE_S
    while n_placed(program.http):
        program.check()
        if time.monotonic() > until:
            raise RuntimeError(f"orders are still not confirmed after {DRAIN_PATIENCE_S} s")
        time.sleep(0.05)
    confirmed = time.monotonic()
    behind = ("orderlog_projection_lag_events", "orderlog_duty_lag_events")
    while any(value > 0 for name in behind for value in program.http.measures(name)) or n_placed(program.http):
        program.check()
        if time.monotonic() > until:
            raise RuntimeError(f"there is still a backlog after {DRAIN_PATIENCE_S} s")
        time.sleep(0.1)
    rejected = len(program.http.get("/orders?state=rejected&limit=1")["items"])
    if rejected:
        raise RuntimeError("an order was rejected, though there is enough of everything")
    return confirmed, time.monotonic()
