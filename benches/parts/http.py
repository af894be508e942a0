"""Asking a server for single things. The load itself comes from wrk."""

import http.client
import json


class Http:
    """A server on this machine."""

    def __init__(self, port):
        self.port, self.url, self.connection = port, f"http://127.0.0.1:{port}", None

    def ask(self, method, path, body=None):
        """Status and text; over a connection that is kept."""
        sent = json.dumps(body) if body is not None else None
        headers = {"Content-Type": "application/json"} if body is not None else {}
        for again in (True, False):
            try:
                self.connection = self.connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
                self.connection.request(method, path, sent, headers)
                answer = self.connection.getresponse()
                return answer.status, answer.read().decode()
            except (OSError, http.client.HTTPException):
                self.connection = None
                # One that was kept may have been closed meanwhile.
                if not again:
                    raise

    def post(self, path, body):
        return self.expect(*self.ask("POST", path, body), path)

    def get(self, path):
        return self.expect(*self.ask("GET", path), path)

    @staticmethod
    def expect(status, text, path):
        if not 200 <= status < 300:
            raise RuntimeError(f"{path} was answered with {status}: {text}")
        return json.loads(text)

    def is_ready(self):
        try:
            return self.ask("GET", "/readyz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def measures(self, name):
        """All values of a metric."""
        lines = self.ask("GET", "/metrics")[1].splitlines()
        return [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name + "{") or line.startswith(name + " ")]
