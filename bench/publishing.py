"""Rows 6 and 7: how soon a timestamp names what was published."""

import hashlib
import json
import os
import signal
import time
from statistics import median
from typing import Any

from contest import Times
from gate import Gate
from processes import Failed
from scene import Scene
from wire import Connection, many

# Enough for 100,000 targets, as a gate of that size has.
BINS = 256
# Between two looks at the timestamp: the reader must not take the processor from the signer that it waits for.
PAUSE = 0.0005
# RSTUF's own figures, from the design; it is not started here.
RSTUF_ONE = "RSTUF 1.0: 0.25 s seen, 3.1 s to `SUCCESS`"
RSTUF_BATCH = "RSTUF 1.0: 34.6 s"


class Watch:
    """A reader on a kept connection, which notes when it first got a timestamp that names a snapshot."""

    def __init__(self, gate: Gate):
        """Of a gate that has published something."""
        self._connection = Connection(gate.port)
        self._bits = BINS.bit_length() - 1
        self.seen: dict[int, float] = {}
        self.look()

    def look(self) -> int:
        """Asks once; the snapshot's version."""
        answer = self._connection.get("/metadata/timestamp.json").wanted("timestamp.json")
        now = time.monotonic()
        version = int(json.loads(answer.body)["signed"]["meta"]["snapshot.json"]["version"])
        self.seen.setdefault(version, now)
        return version

    def until_after(self, version: int, seconds: float = 60.0) -> int:
        """Looks until the snapshot is newer than `version`; that snapshot's version."""
        end = time.monotonic() + seconds
        while (now := self.look()) <= version:
            if time.monotonic() > end:
                raise Failed(f"no snapshot after {version} within {seconds:.0f} s")
            time.sleep(PAUSE)
        return now

    def until_quiet(self, gate: Gate, seconds: float = 120.0) -> None:
        """Looks until the signer has nothing left to sign. Asks the ledger, which is work for the gate, only when half
        a second passed without a new snapshot."""
        end = time.monotonic() + seconds
        asked = time.monotonic()
        while True:
            now = time.monotonic()
            if now - max(asked, self.seen[self.look()]) > 0.5:
                asked = now
                if gate.pending() == 0:
                    self.look()
                    return
            if now > end:
                raise Failed(f"the signer is not done after {seconds:.0f} s")
            time.sleep(PAUSE)

    def _file(self, name: str) -> Any:
        return json.loads(self._connection.get(f"/metadata/{name}").wanted(name).body)["signed"]

    def _bin(self, path: str) -> str:
        digest = hashlib.sha256(path.encode()).digest()
        digits = (self._bits + 3) // 4
        return f"bins{self._bits}-{int.from_bytes(digest[:4], 'big') >> (32 - self._bits):0{digits}x}"

    def listed_at(self, paths: list[str]) -> float | None:
        """When the first timestamp was seen whose snapshot lists all these paths, by the bins themselves; None when
        the newest does not."""
        wanted: dict[str, set[str]] = {}
        for path in paths:
            wanted.setdefault(self._bin(path), set()).add(path)
        known: dict[tuple[str, int], bool] = {}

        def lists(snapshot: int) -> bool:
            meta = self._file(f"{snapshot}.snapshot.json")["meta"]
            for role, targets in wanted.items():
                version = int(meta[f"{role}.json"]["version"])
                if (role, version) not in known:
                    known[role, version] = targets <= self._file(f"{version}.{role}.json")["targets"].keys()
                if not known[role, version]:
                    return False
            return True

        first: float | None = None
        # From the newest back: what one snapshot lists, later ones list too.
        for snapshot in sorted(self.seen, reverse=True):
            if not lists(snapshot):
                break
            first = self.seen[snapshot]
        return first


class Publishing:
    """An origin with DAV and a gate, empty at first and then with as many targets as the design says."""

    def __init__(self, scene: Scene):
        """Starts the origin."""
        self.scene = scene
        self.origin = scene.nginx("origin", name="publishing")
        self._number = 0

    def _names(self, count: int) -> list[str]:
        self._number += count
        return [f"new/{number % 64}/{number}" for number in range(self._number - count, self._number)]

    def _gate(self, recorded: int) -> Gate:
        """A gate that has signed so many targets."""
        gate = self.scene.gate(f"recorded-{recorded}", self.origin, BINS)
        if recorded:
            # While it is filled a publication every few seconds is enough; then it starts again as it is by default.
            gate.start('min_interval = "5s"')
            begun = time.monotonic()
            jobs = [("PUT", f"/fill/{n % 256}/{n}", f"artifact {n}\n".encode()) for n in range(recorded)]
            many(gate.port, jobs)
            gate.until_signed()
            self.scene.say(f"  {recorded:,} targets recorded and signed in {time.monotonic() - begun:.0f} s")
            gate.stop()
        gate.start()
        if not recorded:
            many(gate.port, [("PUT", "/first", b"first")])
        gate.until_signed()
        return gate

    def one(self, recorded: int, gate: Gate) -> list[Times]:
        """Row 6: published one after the other; from a 2xx to a timestamp that names it."""
        watch, publisher = Watch(gate), Connection(gate.port)
        seconds, puts = [], []
        for path in self._names(self.scene.sizes.publishes):
            before = watch.look()
            body = f"published as {path}\n".encode()
            begun = time.monotonic()
            answer = publisher.request("PUT", f"/{path}", body)
            accepted = time.monotonic()
            if answer.status != 201:
                answer.wanted(f"PUT {path}", 201)
            listed = None
            while listed is None:
                before = watch.until_after(before)
                listed = watch.listed_at([path])
            # What was seen before the answer came counts as no time at all.
            seconds.append(max(0.0, listed - accepted))
            puts.append(accepted - begun)
        (self.scene.raw / f"row6-{recorded}.json").write_text(json.dumps({"visible": seconds, "put": puts}))
        work = f"published → visible, {recorded:,} recorded"
        self.scene.say(f"  PUT itself: median {median(puts) * 1000:.1f} ms")
        judged = recorded == self.scene.sizes.recorded
        goals = [("p50", 0.5, 0.020 if judged else None), ("p99", 0.99, 0.100 if judged else None)]
        return [Times(work, RSTUF_ONE, seconds, goals)]

    def batch(self, recorded: int, gate: Gate) -> list[Times]:
        """Row 7: from the last 2xx of a thousand uploads on 64 connections to a timestamp that covers all; and the
        signer's part alone, with the uploads made while it was halted (SIGSTOP), from the moment it goes on."""
        count = self.scene.sizes.batch
        flowing, halted = [], []
        for _ in range(self.scene.rounds):
            flowing.append(self._batch(gate, self._names(count), halt=False))
            halted.append(self._batch(gate, self._names(count), halt=True))
            self.scene.say(f"  flowing {flowing[-1] * 1000:.0f} ms, halted {halted[-1] * 1000:.0f} ms")
        (self.scene.raw / "row7.json").write_text(json.dumps({"flowing": flowing, "halted": halted}))
        work = f"{count:,} published, {recorded:,} recorded"
        goals: list[tuple[str, float, float | None]] = [("median", 0.5, 0.1)]
        return [
            Times(f"{work}, last 2xx → all visible", RSTUF_BATCH, flowing, goals),
            Times(f"{work}, signed in one batch → visible", RSTUF_BATCH, halted, goals),
        ]

    def _batch(self, gate: Gate, paths: list[str], halt: bool) -> float:
        watch = Watch(gate)
        jobs = [("PUT", f"/{path}", f"published as {path}\n".encode()) for path in paths]
        signer = gate.signer_pid
        if halt:
            os.kill(signer, signal.SIGSTOP)
        try:
            # Nobody looks meanwhile. What is published before the last 2xx cannot list the last upload.
            begun = many(gate.port, jobs)
        finally:
            if halt:
                begun = time.monotonic()
                os.kill(signer, signal.SIGCONT)
        watch.until_quiet(gate)
        listed = watch.listed_at(paths)
        if listed is None:
            raise Failed(f"{len(paths)} uploads were acknowledged, and no snapshot lists them all")
        return max(0.0, listed - begun)

    def run(self, rows: set[str]) -> list[Times]:
        """The rows that are wanted."""
        found: list[Times] = []
        if "6" in rows:
            gate = self._gate(0)
            found += self.one(0, gate)
            gate.stop()
        recorded = self.scene.sizes.recorded
        gate = self._gate(recorded)
        if "6" in rows:
            found += self.scene.profiler.around("row6", gate, lambda: self.one(recorded, gate))
        if "7" in rows:
            found += self.scene.profiler.around("row7", gate, lambda: self.batch(recorded, gate))
        gate.stop()
        return found
