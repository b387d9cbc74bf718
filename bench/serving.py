"""Rows 1 to 3: requests a second for what is known, beside nginx."""

import hashlib
from functools import partial
from pathlib import Path

from contest import Contest, Goal, Measure
from gate import Gate
from nginx import Nginx
from processes import Failed
from scene import Scene, contents
from wire import Connection, many

TIMESTAMP = "/metadata/timestamp.json"


class Serving:
    """The peers and the gate in front of one origin; what each row asks for is warm everywhere before it begins."""

    def __init__(self, scene: Scene):
        """Starts them all."""
        self.scene = scene
        self.origin = scene.nginx("origin")
        self.static = scene.nginx("static")
        self.cache = scene.nginx("cache", self.origin)
        self.proxy = scene.nginx("proxy", self.origin)
        self.gate = scene.gate("gate", self.origin).start()

    def timestamp(self) -> list[Contest]:
        """Row 1."""
        answer = Connection(self.gate.port).get(TIMESTAMP).wanted(TIMESTAMP)
        file = self.static.www / TIMESTAMP.removeprefix("/")
        file.parent.mkdir(parents=True)
        file.write_bytes(answer.body)
        if Connection(self.static.port).get(TIMESTAMP).wanted("nginx").body != answer.body:
            raise Failed("nginx serves another timestamp.json")
        contenders: dict[str, Gate | Nginx] = {"gate": self.gate, "nginx static": self.static}
        goals = [Goal("nginx static", 1.0)]
        return [self._contest("row1", "`timestamp.json`", contenders, TIMESTAMP, len(answer.body), goals)]

    def small(self) -> list[Contest]:
        """Row 2: one key, and many."""
        size, keys = self.scene.sizes.small, self.scene.sizes.keys
        paths = self._known("small", keys, size)
        list_of_paths = self.scene.work / "paths"
        list_of_paths.write_text("\n".join(paths) + "\n")
        work = f"known artifact of {size} B"
        peers: dict[str, Gate | Nginx] = {"gate": self.gate, "proxy_cache": self.cache, "proxy_pass": self.proxy}
        one = [Goal("proxy_cache", 1.1), Goal("proxy_pass", 2.0)]
        several = [Goal("proxy_cache", 1.0), Goal("proxy_pass", 2.0)]
        return [
            self._contest("row2-one", f"{work}, one", peers, paths[0], size, one),
            self._contest("row2-many", f"{work}, {keys:,} of them", peers, list_of_paths, size, several),
        ]

    def medium(self) -> list[Contest]:
        """Row 3."""
        size = self.scene.sizes.medium
        paths = self._known("medium", 1, size)
        peers: dict[str, Gate | Nginx] = {"gate": self.gate, "proxy_cache": self.cache, "proxy_pass": self.proxy}
        goals = [Goal("proxy_cache", 1.8), Goal("proxy_pass", 3.0)]
        return [self._contest("row3", f"known artifact of {size >> 10} KiB", peers, paths[0], size, goals)]

    def _known(self, folder: str, count: int, size: int) -> list[str]:
        """Puts artifacts on the origin, teaches them to the gate, waits until they are signed, and asks everybody once
        more: each answer has the right hash. Their paths."""
        bodies = contents(size, count, size)
        paths = [f"/{folder}/{number:05}.bin" for number in range(count)]
        (self.origin.www / folder).mkdir()
        for path, body in zip(paths, bodies, strict=True):
            (self.origin.www / path.removeprefix("/")).write_bytes(body)
        sha256 = [hashlib.sha256(body).hexdigest() for body in bodies]
        jobs = [("GET", path, b"") for path in paths]
        # Twice each: the first answer may teach or fill, the second is what is measured.
        for port in (self.gate.port, self.cache.port, self.proxy.port):
            many(port, jobs, sha256=sha256)
            if port == self.gate.port:
                self.gate.until_signed()
            many(port, jobs, sha256=sha256)
        answer = Connection(self.gate.port).get(paths[-1])
        if not answer.headers.get("tufgate-status", "").startswith("signed"):
            raise Failed(f"{paths[-1]} is not signed: {answer.headers}")
        return paths

    def _contest(
        self, name: str, work: str, peers: dict[str, Gate | Nginx], path: str | Path, size: int, goals: list[Goal]
    ) -> Contest:
        def measure(who: str, _: int) -> float:
            return self.scene.wrk.rate(f"{name}-{who.replace(' ', '-')}", peers[who].url, path, size)

        contenders: dict[str, Measure] = {who: partial(measure, who) for who in peers}
        contenders["gate"] = lambda turn: self.scene.profiler.around(name, self.gate, partial(measure, "gate", turn))
        return Contest(work, "/s", contenders, goals)
