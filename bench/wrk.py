"""Runs wrk, and lets nothing pass that it did not get whole."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from machine import cores
from processes import Failed

SCRIPTS = Path(__file__).resolve().parent / "wrk"


@dataclass
class Wrk:
    """How to ask: for how long, over how many connections, and where wrk's own words go."""

    seconds: float
    connections: int
    raw: Path

    def rate(self, name: str, url: str, path: str | Path, size: int) -> float:
        """Whole answers a second for one path, or for paths chosen at random from a file; `size` is that of each body,
        in bytes. Fails when an answer is not 2xx, is cut, or lacks bytes."""
        # A debug build among other work may not get one answer done in a second.
        for seconds in (self.seconds, 20 * self.seconds):
            seen = self._once(name, url, path, seconds)
            wrong = {what: seen[what] for what in ("connect", "read", "write", "status", "timeout") if seen[what]}
            if seen["requests"] or wrong:
                break
        if wrong or not seen["requests"]:
            raise Failed(f"{name}: {seen['requests']} answers, and errors {wrong}")
        if seen["bytes"] < seen["requests"] * size:
            raise Failed(f"{name}: {seen['bytes']} bytes in {seen['requests']} answers of {size} bytes each")
        return float(seen["requests"]) / float(seen["seconds"])

    def _once(self, name: str, url: str, path: str | Path, seconds: float) -> dict[str, float]:
        command = ["wrk", f"-t{min(2, cores())}", f"-c{self.connections}", f"-d{max(1, round(seconds))}s"]
        command += ["--timeout", "30s", "-s"]
        command += ["report.lua", url + path] if isinstance(path, str) else ["many.lua", url, "--", str(path)]
        nothing = subprocess.DEVNULL
        done = subprocess.run(command, cwd=SCRIPTS, text=True, capture_output=True, stdin=nothing, check=False)
        with (self.raw / f"{name}.txt").open("a") as out:
            out.write(f"$ {' '.join(command)}\n{done.stdout}{done.stderr}\n")
        lines = [line for line in done.stdout.splitlines() if line.startswith("bench ")]
        if done.returncode != 0 or not lines:
            raise Failed(f"{name}: wrk: {(done.stdout + done.stderr)[-1000:]}")
        seen: dict[str, float] = json.loads(lines[0].removeprefix("bench "))
        return seen
