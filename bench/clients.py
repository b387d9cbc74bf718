#!/usr/bin/env python3
"""The clients of `bench/load`, each kind a process of its own: many connections on one event loop.

    clients.py KIND --port PORT --count N [--admin PORT] [--paths FILE]

Prints `ready` once all its connections stand (the busy ones: when each had its first answer), works until SIGTERM, then
prints what it saw as one line of JSON.
"""

import argparse
import asyncio
import hashlib
import json
import os
import random
import signal
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable

TIMESTAMP = "/metadata/timestamp.json"
# Longer than this nobody waits for an answer.
PATIENCE = 20.0
# Connections that are being opened at the same time.
OPENING = 100


class Cut(Exception):
    """The connection ended before the answer did."""


def request(method: str, path: str, body: bytes = b"", headers: str = "") -> bytes:
    """A whole request."""
    length = f"content-length: {len(body)}\r\n" if method == "PUT" else ""
    return f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{length}{headers}\r\n".encode() + body


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of an answer that states its length."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length:")[2].partition("\r\n")[0].strip() or 0)
        return int(head[9:12]), await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise Cut(str(error)) from error


async def connect(port: int, buffer: int = 0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to a loopback port, where wanted with a small receive buffer."""
    if not buffer:
        return await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), PATIENCE)
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    plain.setblocking(False)
    await asyncio.wait_for(asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port)), PATIENCE)
    return await asyncio.open_connection(sock=plain, limit=buffer)


class Crowd:
    """What all clients of a kind share: the command line and what they saw."""

    def __init__(self, given: argparse.Namespace):
        """With nothing seen yet."""
        self.port: int = given.port
        self.admin: int = given.admin
        self.count: int = given.count
        self.seen: Counter[str] = Counter()
        self.waited: dict[str, list[float]] = {}
        self.opening = asyncio.Semaphore(OPENING)
        self.standing = 0
        # `PATH SHA256` a line.
        self.paths: list[tuple[str, str]] = []
        if given.paths:
            with open(given.paths, encoding="utf-8") as lines:
                self.paths = [(path, sha256) for path, sha256 in (line.split() for line in lines)]

    def stand(self) -> None:
        """One more connection is open; says so when it was the last."""
        self.standing += 1
        if self.standing == self.count:
            print("ready", flush=True)

    async def open(self, buffer: int = 0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Opens a connection, not too many at once."""
        async with self.opening:
            return await connect(self.port, buffer)

    # The kinds. Each runs until it is cancelled.

    async def idle(self, number: int) -> None:
        """Opens a connection and leaves it: every other one after a first request, the rest without a byte."""
        reader, writer = await self.open()
        if number % 2:
            writer.write(request("GET", TIMESTAMP))
            status, _ = await asyncio.wait_for(answer(reader), PATIENCE)
            self.seen[f"status {status}"] += 1
        self.stand()
        await reader.read(1)
        self.seen["closed by the gate"] += 1

    async def busy(self, number: int) -> None:
        """Asks for one thing after the other; each body must have its hash."""
        chance = random.Random(number)
        reader, writer = await self.open()
        turn = 0
        while True:
            turn += 1
            if turn % 50 == 5:
                path, sha256 = f"/busy/{number}/{turn}", None
                writer.write(request("PUT", path, f"busy {path}\n".encode()))
            elif turn % 10 == 0:
                path, sha256 = TIMESTAMP, None
                writer.write(request("GET", path))
            else:
                path, sha256 = chance.choice(self.paths)
                writer.write(request("GET", path))
            status, body = await asyncio.wait_for(answer(reader), PATIENCE)
            self.seen[f"status {status}"] += 1
            if turn == 1 and self.standing < self.count:
                self.stand()
            if sha256 is not None and status == 200 and hashlib.sha256(body).hexdigest() != sha256:
                self.seen["wrong bytes"] += 1

    async def slow_reader(self, number: int) -> None:
        """Asks for a large artifact and takes 2 KiB of it each half second; every fourth takes nothing."""
        while True:
            reader, writer = await self.open(buffer=4096)
            writer.write(request("GET", self.paths[number % len(self.paths)][0]))
            if self.standing < self.count:
                self.stand()
            while number % 4:
                await asyncio.sleep(0.5)
                if not await reader.read(2048):
                    self.seen["cut by the gate"] += 1
                    break
            else:
                await asyncio.sleep(3600)
            writer.close()

    async def slow_writer(self, number: int) -> None:
        """Uploads 1 MiB, 1 KiB each half second; every fourth sends its head byte by byte instead."""
        whole = request("PUT", f"/slow/{number}", bytes(1 << 20))
        step = 1 if number % 4 == 0 else 1024
        while True:
            reader, writer = await self.open()
            if self.standing < self.count:
                self.stand()
            try:
                for at in range(0, len(whole), step):
                    writer.write(whole[at : at + step])
                    await asyncio.sleep(0.5)
            except ConnectionError:
                self.seen["cut by the gate"] += 1
            writer.close()

    async def burst(self, _: int) -> None:
        """Each second all connect at once, ask once and leave."""
        self.stand()
        while True:
            await asyncio.sleep(1 - time.time() % 1)
            await self._once("burst", self.port, TIMESTAMP)

    async def probe(self, _: int) -> None:
        """Asks for `/livez` and the timestamp on new connections, and for the timestamp on a kept one, and notes how
        long each took."""
        self.stand()
        reader, writer = await connect(self.port)
        while True:
            await self._once("livez", self.admin, "/livez")
            await self._once("timestamp, new connection", self.port, TIMESTAMP)
            begun = time.monotonic()
            writer.write(request("GET", TIMESTAMP))
            status, _body = await asyncio.wait_for(answer(reader), PATIENCE)
            self._note("timestamp, kept connection", status, begun)
            await asyncio.sleep(0.02)

    async def _once(self, what: str, port: int, path: str) -> None:
        begun = time.monotonic()
        writer = None
        try:
            reader, writer = await connect(port)
            writer.write(request("GET", path, headers="connection: close\r\n"))
            status, _ = await asyncio.wait_for(answer(reader), PATIENCE)
            self._note(what, status, begun)
        except (Cut, OSError, asyncio.TimeoutError) as error:
            self.seen[f"{what}: {type(error).__name__}"] += 1
        finally:
            if writer is not None:
                writer.close()

    def _note(self, what: str, status: int, begun: float) -> None:
        self.waited.setdefault(what, []).append(time.monotonic() - begun)
        if status != 200:
            self.seen[f"{what}: status {status}"] += 1

    async def work(self, kind: Callable[[int], Awaitable[None]]) -> None:
        """All clients of a kind until SIGTERM."""

        async def one(number: int) -> None:
            while True:
                try:
                    await kind(number)
                    return
                except (Cut, OSError, asyncio.TimeoutError) as error:
                    # Said at the end; it goes on with a new connection, but not at once.
                    self.seen[f"error: {type(error).__name__}"] += 1
                    await asyncio.sleep(1)

        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        # Kept, since the loop itself holds tasks weakly.
        tasks = [asyncio.create_task(one(number)) for number in range(self.count)]
        await stop.wait()
        print(json.dumps({"seen": self.seen, "waited": self.waited}), flush=True)
        # All connections end at once, as those of a process that dies. Thousands of tasks would take their time to end,
        # and one whose cancellation meets an answer (`wait_for` then swallows it) would not end at all.
        os._exit(0 if tasks else 1)


KINDS = {
    "idle": Crowd.idle,
    "busy": Crowd.busy,
    "slow-readers": Crowd.slow_reader,
    "slow-writers": Crowd.slow_writer,
    "bursts": Crowd.burst,
    "probe": Crowd.probe,
}


def main() -> None:
    """One kind."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--admin", type=int, default=0)
    parser.add_argument("--paths")
    given = parser.parse_args()

    async def run() -> None:
        crowd = Crowd(given)
        kind = KINDS[given.kind]
        await crowd.work(lambda number: kind(crowd, number))

    asyncio.run(run())


if __name__ == "__main__":
    main()
