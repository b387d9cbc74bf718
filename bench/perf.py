"""Profiles of the gate and its signer by `perf`, while a row is measured."""

import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from gate import Gate
from processes import Failed, until

Result = TypeVar("Result")

# Lines of a profile that are shown; the rest lies in its file.
SHOWN = 25


class Profiler:
    """Of the rows that were asked for; does nothing for others."""

    def __init__(self, rows: set[str], raw: Path, say: Callable[[str], None]):
        """Profiles go to RAW/NAME.perf.txt."""
        if rows and not shutil.which("perf"):
            raise Failed("`perf` is missing; Debian has it in the package linux-perf")
        self._rows, self._raw, self._say = rows, raw, say
        self._done: set[str] = set()

    def around(self, name: str, gate: Gate, work: Callable[[], Result]) -> Result:
        """Does `work`, which belongs to the row in `name` (`row2-many`); the first time under `perf`."""
        row = name.removeprefix("row").split("-")[0]
        if row not in self._rows or name in self._done:
            return work()
        self._done.add(name)
        data = self._raw / f"{name}.perf"
        command = ["perf", "record", "--freq=499", "--call-graph=fp", f"--output={data}"]
        command += [f"--pid={gate.pid},{gate.signer_pid}"]
        with (self._raw / f"{name}.perf.log").open("wb") as log:
            perf = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        try:
            # It writes its header once it is attached to all threads.
            until("perf to begin", lambda: perf.poll() is not None or (data.exists() and data.stat().st_size > 0))
            return work()
        finally:
            perf.send_signal(signal.SIGINT)
            perf.wait()
            self._report(name, data)

    def _report(self, name: str, data: Path) -> None:
        command = ["perf", "report", "--stdio", "--no-children", "--call-graph=none", "--sort=pid,symbol"]
        command += [f"--input={data}"]
        done = subprocess.run(command, text=True, capture_output=True, stdin=subprocess.DEVNULL, check=False)
        report = self._raw / f"{name}.perf.txt"
        report.write_text(done.stdout + done.stderr)
        lines = [" ".join(line.split()) for line in done.stdout.splitlines() if line.strip() and line[0] != "#"]
        self._say(f"profile of {name} ({report}; callers: perf report --input={data}):")
        for line in lines[:SHOWN]:
            self._say(f"  {line[:120]}")
