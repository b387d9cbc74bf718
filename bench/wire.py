"""HTTP/1.1 over one kept connection: enough to measure with, strict about what it gets."""

import hashlib
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from processes import Failed


@dataclass
class Answer:
    """Status, headers by lower-case name, and body."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)

    def wanted(self, what: str, status: int = 200) -> "Answer":
        """This answer, when it has the status; else why not."""
        if self.status != status:
            raise Failed(f"{what}: {self.status} instead of {status}: {self.body[:500].decode(errors='replace')}")
        return self

    @property
    def sha256(self) -> str:
        """Of the body, in hex."""
        return hashlib.sha256(self.body).hexdigest()


class Connection:
    """A kept connection; opened at the first request, and again after an answer that closes it."""

    def __init__(self, port: int, seconds: float = 60.0):
        """To a loopback port; no step may take longer than `seconds`."""
        self.port = port
        self.seconds = seconds
        self._socket: socket.socket | None = None
        self._rest = b""

    def _open(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self.port), self.seconds)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._rest = b""
        return self._socket

    def close(self) -> None:
        """Closes it."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def request(self, method: str, path: str, body: bytes = b"", headers: str = "") -> Answer:
        """One request; `headers` are whole lines, each with its CRLF. Fails when the answer is not whole."""
        length = f"content-length: {len(body)}\r\n" if body or method in ("PUT", "POST") else ""
        head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\n{length}{headers}\r\n"
        try:
            self._open().sendall(head.encode() + body)
            return self._answer(method)
        except OSError as error:
            self.close()
            raise Failed(f"{method} {path} on port {self.port}: {error}") from error

    def get(self, path: str) -> Answer:
        """A GET."""
        return self.request("GET", path)

    def _more(self) -> None:
        got = self._open().recv(1 << 20)
        if not got:
            raise ConnectionResetError("the connection ended before the answer did")
        self._rest += got

    def _line(self, end: bytes) -> bytes:
        while (at := self._rest.find(end)) < 0:
            self._more()
        line, self._rest = self._rest[:at], self._rest[at + len(end) :]
        return line

    def _bytes(self, count: int) -> bytes:
        parts, missing = [self._rest[:count]], count - len(self._rest)
        self._rest = self._rest[count:]
        while missing > 0:
            got = self._open().recv(min(missing, 1 << 20))
            if not got:
                raise ConnectionResetError(f"the connection ended {missing} bytes too early")
            parts.append(got)
            missing -= len(got)
        return b"".join(parts)

    def _answer(self, method: str) -> Answer:
        status = 100
        headers: dict[str, str] = {}
        while status < 200:
            first, *lines = self._line(b"\r\n\r\n").decode("latin-1").split("\r\n")
            status = int(first.split(" ", 2)[1])
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if method == "HEAD" or status in (204, 304):
            body = b""
        elif headers.get("transfer-encoding", "").lower() == "chunked":
            chunks = []
            while size := int(self._line(b"\r\n").split(b";")[0], 16):
                chunks.append(self._bytes(size))
                self._line(b"\r\n")
            self._line(b"\r\n")
            body = b"".join(chunks)
        elif "content-length" in headers:
            body = self._bytes(int(headers["content-length"]))
        else:
            raise ConnectionResetError("the answer has no length")
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Answer(status, headers, body)


def many(
    port: int, jobs: list[tuple[str, str, bytes]], connections: int = 64, sha256: list[str] | None = None
) -> float:
    """Does `(method, path, body)` jobs over some connections at once. Each must be answered 2xx, and a body must have
    the hash at its place in `sha256`. When the last answer came, on the monotonic clock."""

    stop = threading.Event()

    def share(number: int) -> float:
        connection, last = Connection(port), 0.0
        try:
            for index in range(number, len(jobs), connections):
                if stop.is_set():
                    break
                method, path, body = jobs[index]
                answer = connection.request(method, path, body)
                if not 200 <= answer.status < 300:
                    answer.wanted(f"{method} {path}")
                if sha256 is not None and answer.sha256 != sha256[index]:
                    raise Failed(f"{method} {path} on port {port}: other bytes than expected")
                last = time.monotonic()
        finally:
            connection.close()
        return last

    with ThreadPoolExecutor(connections) as pool:
        try:
            return max(pool.map(share, range(min(connections, len(jobs)))))
        finally:
            # The pool waits for its threads, on Ctrl-C and after the first wrong answer too.
            stop.set()
