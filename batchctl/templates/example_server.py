"""A stand-in for an invoice service, for `batchctl init --example http`. Ends with Ctrl-C, or after ten minutes."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar


class Invoices(BaseHTTPRequestHandler):
    """POST /invoices/ORDER answers with a number; the same order gets the same one."""

    numbers: ClassVar[dict[str, int]] = {}
    lock = threading.Lock()

    def do_POST(self) -> None:
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.lock:
            known = self.path in self.numbers
            number = self.numbers.setdefault(self.path, 1001 + len(self.numbers))
        answer = json.dumps({"invoice": number, "amount": order["amount"]}).encode()
        self.send_response(200 if known else 201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Quiet: batchctl shows what happens."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8765), Invoices)
    threading.Timer(600, server.shutdown).start()
    server.serve_forever()
