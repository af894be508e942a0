"""Starts the program on a data folder of its own, for tests in other languages."""

import os
import socket
import subprocess
import sys
import time
import urllib.request


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def fetched(url, key=None):
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"} if key else {})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def started(binary, folder, name):
    """A server that requires an API key, its URL, and a key called `name` with every scope."""
    data = os.path.join(folder, "data")
    make = [binary, "key", "create", "--name", name, "--scope", "*", "--data", data]
    key = subprocess.run(make, check=True, capture_output=True, text=True).stdout.strip()
    port = free_port()
    log = open(os.path.join(folder, "server.log"), "w")
    serve = [binary, "serve", "--data", data, "--listen", f"127.0.0.1:{port}", "--rate-limit", "0"]
    serve += ["--log-filter", "warn"]
    server = subprocess.Popen(serve, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            fetched(f"{url}/readyz")
            return server, url, key
        except OSError:
            if server.poll() is not None:
                break
            time.sleep(0.1)
    sys.exit(f"the server does not start: {open(log.name).read()}")
