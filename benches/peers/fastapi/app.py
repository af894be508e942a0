"""Orders on SQLite, with an event to Kafka after each commit: `uvicorn app:app`. What it promises is in the README.

DATABASE is the file, KAFKA the broker (host:port), TOPIC where events go.
"""

import json
import os
import sqlite3
import uuid
from contextlib import asynccontextmanager
from datetime import datetime, timezone

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

TABLES = """
create table if not exists customers (id text primary key, name text not null, email text not null unique, active integer not null);
create table if not exists stock (sku text primary key, on_hand integer not null, reserved integer not null default 0);
create table if not exists orders (id text primary key, customer_id text not null, currency text not null, total integer not null,
  state text not null, payment text not null, lines text not null, version integer not null, created_at text not null);
create table if not exists invoices (order_id text primary key, amount integer not null, paid integer not null default 0);
"""
TOPIC = os.environ.get("TOPIC", "orders")

database: sqlite3.Connection
producer: AIOKafkaProducer


@asynccontextmanager
async def lifespan(_app):
    global database, producer
    # Transactions are begun by hand.
    database = sqlite3.connect(os.environ["DATABASE"], isolation_level=None, timeout=10)
    database.execute("pragma journal_mode = wal")
    database.execute("pragma synchronous = normal")
    database.executescript(TABLES)
    await make_topic()
    producer = AIOKafkaProducer(bootstrap_servers=os.environ["KAFKA"], acks="all")
    await producer.start()
    yield
    await producer.stop()
    database.close()


async def make_topic():
    admin = AIOKafkaAdminClient(bootstrap_servers=os.environ["KAFKA"])
    await admin.start()
    # One that is there already, of another worker, is in the answer and no error.
    await admin.create_topics([NewTopic(TOPIC, num_partitions=3, replication_factor=1)])
    await admin.close()


app = FastAPI(lifespan=lifespan)


class NewCustomer(BaseModel):
    name: str
    email: str


class Received(BaseModel):
    quantity: int


class Line(BaseModel):
    sku: str
    quantity: int
    unit_price: int


class PlaceOrder(BaseModel):
    customer_id: uuid.UUID
    currency: str
    lines: list[Line]


class Payment(BaseModel):
    order_id: uuid.UUID
    amount: int


class transaction:
    """Committed at its end, rolled back if that is not reached. Short, so it is not worth a thread."""

    def __enter__(self):
        database.execute("begin immediate")
        return database

    def __exit__(self, failure, *_):
        database.execute("rollback" if failure else "commit")


async def tell(kind, key, event):
    await producer.send_and_wait(TOPIC, json.dumps({"type": kind, **event}).encode(), key=key.encode())


@app.get("/readyz")
async def ready():
    return "ready"


@app.post("/customers", status_code=201)
async def create_customer(new: NewCustomer):
    customer = {"customer_id": str(uuid.uuid4()), "name": new.name, "email": new.email, "active": True}
    with transaction() as work:
        work.execute("insert into customers values (?, ?, ?, 1)", (customer["customer_id"], new.name, new.email))
    await tell("customer.created", customer["customer_id"], {"customer_id": customer["customer_id"]})
    return customer


@app.post("/stock/{sku}/receive")
async def receive(sku: str, received: Received):
    with transaction() as work:
        on_hand, reserved = work.execute(
            "insert into stock values (?, ?, 0) on conflict do update set on_hand = on_hand + excluded.on_hand"
            " returning on_hand, reserved",
            (sku, received.quantity),
        ).fetchone()
    await tell("stock.updated", sku, {"sku": sku, "on_hand": on_hand, "reserved": reserved})
    return {"sku": sku, "on_hand": on_hand, "reserved": reserved}


@app.post("/orders", status_code=201)
async def place_order(order: PlaceOrder):
    lines = [line.model_dump() for line in order.lines]
    placed = {
        "order_id": str(uuid.uuid4()),
        "customer_id": str(order.customer_id),
        "state": "confirmed",
        "payment": "unpaid",
        "currency": order.currency,
        "total": sum(line.quantity * line.unit_price for line in order.lines),
        "lines": lines,
        "version": 1,
        "created_at": datetime.now(timezone.utc).isoformat(),
    }
    with transaction() as work:
        if work.execute("select 1 from customers where id = ? and active", (placed["customer_id"],)).fetchone() is None:
            raise HTTPException(404, "there is no such customer")
        for line in order.lines:
            taken = work.execute(
                "update stock set reserved = reserved + ? where sku = ? and on_hand - reserved >= ?",
                (line.quantity, line.sku, line.quantity),
            )
            if taken.rowcount == 0:
                raise HTTPException(409, f"there is not enough {line.sku}")
        work.execute("insert into orders values (?, ?, ?, ?, ?, ?, ?, ?, ?)", (
            placed["order_id"], placed["customer_id"], order.currency, placed["total"], "confirmed", "unpaid",
            json.dumps(lines), 1, placed["created_at"],
        ))
        work.execute("insert into invoices values (?, ?, 0)", (placed["order_id"], placed["total"]))
    await tell("order.created", placed["order_id"], placed)
    return placed


@app.get("/orders/{order_id}")
async def get_order(order_id: uuid.UUID):
    row = database.execute("select * from orders where id = ?", (str(order_id),)).fetchone()
    if row is None:
        raise HTTPException(404, "there is no such order")
    names = ("order_id", "customer_id", "currency", "total", "state", "payment", "lines", "version", "created_at")
    order = dict(zip(names, row))
    return {**order, "lines": json.loads(order["lines"])}


@app.post("/billing", status_code=201)
async def pay(payment: Payment):
    order_id = str(payment.order_id)
    with transaction() as work:
        invoice = work.execute("select amount, paid from invoices where order_id = ?", (order_id,)).fetchone()
        if invoice is None:
            raise HTTPException(404, "there is no such order")
        due, paid = invoice[0], invoice[1] + payment.amount
        if paid > due:
            raise HTTPException(409, "that is more than is open")
        work.execute("update invoices set paid = ? where order_id = ?", (paid, order_id))
        if paid == due:
            work.execute("update orders set payment = 'paid', version = version + 1 where id = ?", (order_id,))
    await tell("order.paid", order_id, {"order_id": order_id, "amount": payment.amount})
    return {"order_id": order_id, "amount": payment.amount, "paid": paid == due}
