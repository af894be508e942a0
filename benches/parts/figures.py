"""The figures. Each is a function of the programs that gives one round's values by what was measured."""

import os
import statistics
import subprocess
import time
import uuid

from . import load
from .programs import ROOT

PAID = {"amount": 3780, "currency": "EUR", "reference": "bank 1"}


def logs(programs):
    """The logs that can be measured."""
    return ["embedded", "kafka"] if programs.kafka else ["embedded"]


def stocked(programs, name, log):
    """All five services with a customer and stock, in a new folder."""
    data = programs.folder(name)
    program = programs.orderlog("all", data, log)
    try:
        load.stock_up(program.http)
        return program, data, load.new_customer(program.http)
    except BaseException:
        program.stop()
        raise


def commands(programs, options):
    """POST /orders: the orders service and its relay alone, beside HTTP and JSON alone."""
    found = {}
    with programs.ceiling() as program:
        found["ceiling"] = load.orders(program, str(uuid.uuid4()), options.seconds)
    for log in logs(programs):
        data = programs.folder("commands")
        with programs.orderlog("all", data, log) as program:
            customer = load.new_customer(program.http)
            load.stock_up(program.http, 1)
            # Alone it would never hear of the customer.
            eventually_placed(program, customer)
            load.drained(program)
        with programs.orderlog("orders", data, log) as program:
            found[log] = load.orders(program, customer, options.seconds)
    return found


def eventually_placed(program, customer):
    """One order, which the service takes once it has heard of the customer."""
    line = {"sku": "sku-0", "quantity": 2, "unit_price": 1890}
    body = {"customer_id": customer, "currency": "EUR", "lines": [line]}
    until = time.monotonic() + load.DRAIN_PATIENCE_S
    while program.http.ask("POST", "/orders", body)[0] != 201:
        if time.monotonic() > until:
            raise RuntimeError("the orders service never hears of the customer")
        time.sleep(0.1)


def flow(programs, options):
    """Orders drained: from the first POST until all are confirmed in the read model of orders."""
    found = {}
    for log in logs(programs):
        program, _, customer = stocked(programs, "flow", log)
        with program:
            load.drained(program)
            began = time.monotonic()
            posted = load.orders(program, customer, options.seconds)
            confirmed, idle = load.drained(program)
            found[log] = {**posted, "posted_per_s": posted["per_s"], "per_s": posted["n"] / (confirmed - began),
                          "after_s": confirmed - began - posted["seconds"], "idle_after_s": idle - confirmed}
    return found


def hot(programs, options):
    """POST /stock/reserve of one SKU."""
    data = programs.folder("hot")
    with programs.orderlog("inventory", data) as program:
        load.stock_up(program.http, 100, 1)
        return {"embedded": load.wrk(program.http, "/stock/reserve", "reserve.lua", options.seconds, RUN=uuid.uuid4().hex[:8])}


def latency(programs, options):
    """From before an order is placed, and paid once it is placed, until its customer's inbox says so: 10 a second."""
    found = {}
    for log in logs(programs):
        program, _, _ = stocked(programs, "latency", log)
        with program:
            taken = []
            for i in range(int(options.seconds * 10)):
                # Each has a customer of its own, whose inbox has one notification.
                customer, due = load.new_customer(program.http), time.monotonic() + 0.1
                taken.append(paid_after(program.http, customer, i))
                time.sleep(max(0, due - time.monotonic()))
        taken.sort()
        found[log] = {"n": len(taken), "p50_ms": statistics.median(taken), "p99_ms": taken[int(len(taken) * 0.99)]}
    return found


def paid_after(http, customer, i):
    """Milliseconds from the order to the notification. The invoice comes by an event: until then the payment is held back."""
    line = {"sku": f"sku-{i % load.N_SKUS}", "quantity": 2, "unit_price": 1890}
    began = time.monotonic()
    order = http.post("/orders", {"customer_id": customer, "currency": "EUR", "lines": [line]})["order_id"]
    http.post("/billing", {"order_id": order, **PAID})
    while not http.get(f"/notifications?recipient={customer}")["items"]:
        if time.monotonic() - began > load.DRAIN_PATIENCE_S:
            raise RuntimeError("the customer is never told")
        time.sleep(0.0005)
    return (time.monotonic() - began) * 1e3


def peers(programs, options):
    """The same orders, of programs that others would write. orderlog's are counted when they are confirmed, as theirs are."""
    found = {f"orderlog {log}": one for log, one in flow(programs, options).items()}
    starts = {"crud": lambda: programs.peer("crud"), "cqrs-es": lambda: programs.peer("cqrs-es"), "fastapi": programs.fastapi}
    for name, start in starts.items():
        with start() as program:
            load.stock_up(program.http)
            found[name] = load.orders(program, load.new_customer(program.http), options.seconds)
    return found


def cost(programs, options):
    """Bytes on the disk and memory, at growing numbers of orders, in one process on the embedded log."""
    found, n = {}, 0
    program, data, customer = stocked(programs, "cost", "embedded")
    with program:
        for wanted in options.sizes:
            cpu, began = program.cpu_s(), n
            while n < wanted:
                n += load.orders(program, customer, min(10, max(1, (wanted - n) // 8000)))["n"]
                load.drained(program)
            sizes = {"log": 0, "rows": 0}
            for file in data.rglob("*.sqlite*"):
                if file.is_symlink():  # The same file under its stable name.
                    continue
                sizes["log" if file.name.startswith("log") else "rows"] += file.stat().st_size
            found[str(wanted)] = {
                "n": n, "log_bytes": sizes["log"] / n, "rows_bytes": sizes["rows"] / n, "memory_mb": program.memory_mb(),
                "peak_mb": program.memory_mb("VmHWM"), "cpu_us": (program.cpu_s() - cpu) * 1e6 / max(1, n - began),
            }
            print(f"  {n} orders: {found[str(wanted)]}", flush=True)
    return found


ALL = {"commands": commands, "flow": flow, "hot": hot, "latency": latency, "peers": peers, "cost": cost}
# What is told once, or takes too long to be told thrice.
ONCE = {"cost"}
