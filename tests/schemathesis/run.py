"""Starts the program on a data folder of its own, lets Schemathesis ask it, and counts what it has answered by its metrics."""

import collections
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.dirname(HERE))
from server import fetched, started

SCHEMATHESIS = os.path.join(os.path.dirname(sys.executable), "schemathesis")
# One run makes so many cases of each operation, and those of sequences.
CASES = 60
# So often it is tried at most whether each operation succeeds once.
RUNS = 3
STREAM = "stream_notifications"
NEVER = {500, 501, 502}


def tried(url, key, seed, seconds, folder):
    """One run of Schemathesis; whether it found nothing."""
    report = os.path.join(folder, f"{seed}.json")
    run = [SCHEMATHESIS, "--no-color", "--config-file", os.path.join(HERE, "schemathesis.toml"), "run"]
    run += [f"{url}/openapi.json", "--checks", "all", "--seed", str(seed), "-n", str(CASES)]
    run += ["-H", f"Authorization: Bearer {key}", "--report", "json", "--report-json-path", report]
    if seconds:
        run += ["--max-time", str(seconds)]
    # What it keeps for later goes away with the folder.
    env = {**os.environ, "PYTHONPATH": HERE, "PYTHONDONTWRITEBYTECODE": "1"}
    ended = subprocess.run(run, cwd=folder, env=env, capture_output=True, text=True)
    if ended.returncode != 0:
        print(ended.stdout[-30000:], ended.stderr[-5000:])
    return ended.returncode == 0


def answers(url, key):
    """How many requests were answered: by method, route and status."""
    found = collections.Counter()
    for line in fetched(f"{url}/metrics", key).splitlines():
        if line.startswith("orderlog_http_requests_total{"):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
            found[labels["method"], labels["route"], int(labels["status"])] += int(float(line.rsplit(" ", 1)[1]))
    return found


def judged(url, key, found):
    """What the counts say against the contract."""
    faults = []
    for path, operations in json.loads(fetched(f"{url}/openapi.json"))["paths"].items():
        for method, operation in operations.items():
            name = operation["operationId"]
            statuses = {status: n for (m, route, status), n in found.items() if (m, route) == (method.upper(), path)}
            if name != STREAM and not any(200 <= status < 300 for status in statuses):
                faults.append(f"{name} never succeeded: {statuses}")
            for status in statuses:
                if status >= 500 and (status in NEVER or str(status) not in operation["responses"]):
                    faults.append(f"{name} answered {statuses[status]} times with {status}")
    return faults


def main():
    binary, requests, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    first = seed = int(os.environ.get("SEED", time.time()))
    begun, is_good = time.monotonic(), True
    with tempfile.TemporaryDirectory() as folder:
        server, url, key = started(binary, folder, "schemathesis")
        try:
            while True:
                is_good &= tried(url, key, seed, seconds, folder)
                found = answers(url, key)
                n_asked = sum(n for (_, route, _), n in found.items() if route not in ("/readyz", "/metrics"))
                print(f"seed {seed}: {n_asked} requests after {time.monotonic() - begun:.0f} s", flush=True)
                seed += 1
                faults = judged(url, key, found)
                # A slow machine may not have come to every operation yet.
                is_enough = n_asked >= requests and (not faults or seed >= first + RUNS)
                if not is_good or is_enough:
                    break
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
    statuses = collections.Counter()
    for (_, _, status), n in found.items():
        statuses[status] += n
    print("answers by status:", ", ".join(f"{status}: {n}" for status, n in sorted(statuses.items())))
    print(*faults, sep="\n")
    sys.exit(0 if is_good and not faults else 1)


main()
