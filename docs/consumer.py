"""Sums up what each customer has ordered: python3 docs/consumer.py BROKERS TOPIC FILE"""
import json, sqlite3, sys
from confluent_kafka import Consumer

brokers, topic, file = sys.argv[1:]
db = sqlite3.connect(file)
db.executescript("""
    create table if not exists ordered (customer text, currency text, total integer, primary key (customer, currency));
    create table if not exists seen (id text primary key);
    create table if not exists offsets (partition integer primary key, next integer)""")
next_offset = lambda partition: (db.execute("select next from offsets where partition = ?", [partition]).fetchone() or [0])[0]

def resume(consumer, partitions):
    for it in partitions:
        it.offset = next_offset(it.partition)
    consumer.assign(partitions)

consumer = Consumer({"bootstrap.servers": brokers, "group.id": f"ordered.{topic}", "group.instance.id": "one",
                     "enable.auto.commit": False, "auto.offset.reset": "error"})
consumer.subscribe([topic], on_assign=resume)
while True:
    if (record := consumer.poll(1)) is None:
        continue
    if record.error() or record.offset() != next_offset(record.partition()):
        sys.exit(f"events are missing before {topic}/{record.partition()}@{record.offset()}: {record.error()}")
    event, attributes = json.loads(record.value()), dict(record.headers())
    with db:  # One transaction: the event counts, and never again.
        if db.execute("insert or ignore into seen values (?)", [attributes["ce_id"].decode()]).rowcount:
            db.execute("insert into ordered values (?, ?, ?) on conflict do update set total = total + excluded.total",
                       [event["customer_id"], event["currency"], event["total"]])
        db.execute("insert or replace into offsets values (?, ?)", [record.partition(), record.offset() + 1])
