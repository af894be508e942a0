"""A server of a later version: passes requests on, and adds a field that no document has to every object of the answers."""

import contextlib
import http.client
import http.server
import json
import threading
import urllib.parse

FIELD = "of_a_later_version"
# They describe the connection, or a body that is another one here.
NOT_PASSED_ON = {"accept-encoding", "connection", "content-length", "host", "keep-alive", "transfer-encoding"}


def extended(value):
    if isinstance(value, dict):
        return {name: extended(member) for name, member in value.items()} | {FIELD: {"n": 1}}
    if isinstance(value, list):
        return [extended(item) for item in value]
    return value


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream = ""

    def passed_on(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in NOT_PASSED_ON}
        with contextlib.closing(http.client.HTTPConnection(self.upstream, timeout=60)) as connection:
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            content = answer.read()
        if "json" in answer.headers.get("Content-Type", ""):
            content = json.dumps(extended(json.loads(content))).encode()
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in NOT_PASSED_ON:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = passed_on

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def newer(url):
    """The address of a later version of the server at `url`, while the context lasts."""
    handler = type("Newer", (Handler,), {"upstream": urllib.parse.urlsplit(url).netloc})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
