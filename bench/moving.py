"""Rows 4 and 5: large artifacts through curl, fetched for the first time and uploaded."""

import hashlib
import os
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

from contest import Contest, Goal, Measure
from processes import Failed
from scene import Scene, contents
from wire import Connection


def curl(raw: Path, size: int, *arguments: str | Path) -> float:
    """Seconds of one transfer by curl's own clock; fails unless it was 2xx and moved `size` bytes."""
    said = "%{http_code} %{size_download} %{size_upload} %{time_total} %{url}\\n"
    command = ["curl", "--silent", "--show-error", "--output", "/dev/null", "--write-out", said]
    command += [str(argument) for argument in arguments]
    done = subprocess.run(command, text=True, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    with raw.open("a") as out:
        out.write(done.stdout + done.stderr)
    if done.returncode != 0:
        raise Failed(f"curl ended with {done.returncode}: {done.stderr}{done.stdout}")
    status, down, up, seconds, _ = done.stdout.split(" ", 4)
    if not status.startswith("2") or size not in (int(down), int(up)):
        raise Failed(f"curl: {done.stdout} instead of 2xx and {size} bytes")
    return float(seconds)


class Moving:
    """The origin with DAV, nginx in front of it twice, and the gate."""

    def __init__(self, scene: Scene):
        """Starts them all, and makes one artifact for each transfer of a contender: a name is new only once."""
        self.scene = scene
        self.size = scene.sizes.large
        self.origin = scene.nginx("origin", name="moving")
        self.default = scene.nginx("default", self.origin)
        self.proxy = scene.nginx("proxy", self.origin, name="moving-proxy")
        self.gate = scene.gate("moving-gate", self.origin).start()
        # One more for what is checked byte by byte beforehand.
        self.names = [f"{number:03}.bin" for number in range(scene.rounds * scene.sizes.transfers + 1)]
        self.folder = self.origin.www / "large"
        self.folder.mkdir()
        self.sha256 = {}
        for name, body in zip(self.names, contents(4, len(self.names), self.size), strict=True):
            (self.folder / name).write_bytes(body)
            self.sha256[name] = hashlib.sha256(body).hexdigest()
        # What the kernel has still to write must not be written while we measure.
        os.sync()

    def _mean(self, transfer: Callable[[str], float]) -> Measure:
        """Mean milliseconds over the transfers of a round."""
        count = self.scene.sizes.transfers

        def measure(turn: int) -> float:
            names = self.names[1 + turn * count : 1 + (turn + 1) * count]
            return 1000 * sum(transfer(name) for name in names) / count

        return measure

    def fetch(self) -> list[Contest]:
        """Row 4."""
        first = f"/large/{self.names[0]}"
        for who in (self.gate, self.default, self.proxy):
            if Connection(who.port).get(first).wanted(first).sha256 != self.sha256[self.names[0]]:
                raise Failed(f"{first} from port {who.port}: other bytes than expected")

        def transfer(who: str, url: str) -> Callable[[str], float]:
            return lambda name: curl(self.scene.raw / f"row4-{who}.txt", self.size, f"{url}/large/{name}")

        def gate(name: str) -> float:
            seconds = transfer("gate", self.gate.url)(name)
            self._recorded(f"/large/{name}", self.sha256[name])
            return seconds

        contenders = {
            "gate": self._mean(gate),
            "proxy_pass, defaults": self._mean(transfer("default", self.default.url)),
            "proxy_pass, tuned": self._mean(transfer("proxy", self.proxy.url)),
        }
        goals = [Goal("proxy_pass, defaults", 0.95), Goal("proxy_pass, tuned", None)]
        return [self._contest("4", f"first fetch of {self.size >> 20} MiB", contenders, goals)]

    def upload(self) -> list[Contest]:
        """Row 5."""

        def transfer(who: str, url: str) -> Callable[[str], float]:
            def once(name: str) -> float:
                path = f"up/{who}/{name}"
                raw = self.scene.raw / f"row5-{who}.txt"
                seconds = curl(raw, self.size, "--upload-file", self.folder / name, f"{url}/{path}")
                stored = self.origin.www / path
                if hashlib.sha256(stored.read_bytes()).hexdigest() != self.sha256[name]:
                    raise Failed(f"{path}: other bytes are stored than were sent")
                if who == "gate":
                    self._recorded(f"/{path}", self.sha256[name])
                # Gone before the kernel writes it.
                stored.unlink()
                return seconds

            return once

        contenders = {
            "gate": self._mean(transfer("gate", self.gate.url)),
            "proxy_pass, unbuffered": self._mean(transfer("proxy", self.proxy.url)),
            "DAV, direct": self._mean(transfer("direct", self.origin.url)),
        }
        goals = [Goal("proxy_pass, unbuffered", 0.9), Goal("DAV, direct", None)]
        return [self._contest("5", f"PUT of {self.size >> 20} MiB", contenders, goals)]

    def _contest(self, row: str, work: str, contenders: dict[str, Measure], goals: list[Goal]) -> Contest:
        measure = contenders["gate"]
        contenders["gate"] = lambda turn: self.scene.profiler.around(f"row{row}", self.gate, partial(measure, turn))
        return Contest(work, "ms", contenders, goals, more_is_better=False)

    def _recorded(self, path: str, sha256: str) -> None:
        """The gate knows the artifact, by the digest it has."""
        hashed = "/".join([*path.split("/")[:-1], f"{sha256}.{path.split('/')[-1]}"])
        answer = Connection(self.gate.port).request("HEAD", hashed)
        if answer.status != 200 or answer.headers.get("tufgate-status", "untracked") == "untracked":
            raise Failed(f"{path} was not recorded: {answer.status} {answer.headers}")
