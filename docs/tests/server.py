"""The built site on a local port, served compressed, as a web host would."""

import contextlib
import gzip
import mimetypes
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TEXT = ("text/", "application/javascript", "application/json", "image/svg")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder: Path

    def do_GET(self):
        path = self.folder / self.path.split("?")[0].lstrip("/")
        path = path / "index.html" if path.is_dir() else path
        status = 200 if path.is_file() else 404
        body, headers = _content(path if path.is_file() else self.folder / "404.html")
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the browser has left the page
            self.wfile.write(body)

    def log_message(self, *args):
        """Says nothing."""


@cache
def _content(path: Path) -> tuple[bytes, dict[str, str]]:
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    body, headers = path.read_bytes(), {"Cache-Control": "max-age=3600"}
    if kind.startswith(TEXT):
        body = gzip.compress(body, 6)
        kind += "; charset=utf-8"
        headers["Content-Encoding"] = "gzip"
    return body, headers | {"Content-Type": kind, "Content-Length": str(len(body))}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A connection that the browser drops is no error."""


@contextlib.contextmanager
def serve(folder: Path):
    """The origin at which a folder is served, while the context lasts."""
    handler = type("Handler", (_Handler,), {"folder": folder})
    with _Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
