"""The gate, set up by `tufgate init` in a folder of its own and run as an operator runs it."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

from machine import REPO
from processes import Failed, Process, Stage, connects, descendants, free_port, until
from wire import Answer, Connection

# Quickstart's rule: everything immutable, learned by uploads and by fetches.
CONFIGURATION = """\
[gate]
listen = "127.0.0.1:{port}"
{gate}
[upstream]
url = "{upstream}"
[tuf]
bins = {bins}
[signer]
socket = "{socket}"
{signer}
[admin]
listen = "127.0.0.1:{admin}"
[log]
filter = "warn"
{cache}
[[rule]]
path = "**"
kind = "immutable"
learn = "fetch"
"""

# Answers stay fresh for as long as a run lasts, here as in `nginx/cache.conf`.
CACHE = """\
[cache]
fresh_for = "1h"
"""


def binary(build: bool) -> Path:
    """The program to measure: `TUFGATE_BIN`, or the release binary, built when `build` says so."""
    if given := os.environ.get("TUFGATE_BIN"):
        return Path(given).absolute()
    if build:
        subprocess.run(["cargo", "build", "--release", "--locked", "--quiet"], cwd=REPO, check=True)
    return REPO / "target" / "release" / "tufgate"


def knows_cache() -> bool:
    """Whether the configuration has a section for the cache."""
    return "\n[cache]" in (REPO / "config" / "full.toml").read_text()


class Gate:
    """A gate; it ends with the stage."""

    def __init__(self, stage: Stage, program: Path, work: Path, upstream: str, bins: int = 64, gate: str = ""):
        """Writes the configuration and makes the keys. `gate` are further keys of `[gate]`."""
        self._stage, self._program = stage, program
        self.folder = work
        self.folder.mkdir(parents=True)
        self.port, self.admin = free_port(), free_port()
        self._bins, self._upstream, self._gate = bins, upstream, gate
        # Not in the folder: the path of a socket may have 107 bytes at most.
        self._socket = tempfile.TemporaryDirectory(prefix="tufgate-bench-")
        self.process: Process | None = None
        self._write("")
        init: list[str | Path] = [program, "init", "--config", "tufgate.toml", "--root-dir", "root", "--unencrypted"]
        init += ["--root-keys", "1", "--root-threshold", "1"]
        done = subprocess.run(init, cwd=work, text=True, capture_output=True, stdin=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            raise Failed(f"tufgate init: {done.stderr}")

    def _write(self, signer: str) -> None:
        text = CONFIGURATION.format(
            port=self.port,
            admin=self.admin,
            gate=self._gate,
            upstream=self._upstream,
            bins=self._bins,
            socket=Path(self._socket.name) / "signer.sock",
            signer=signer,
            cache=CACHE if knows_cache() else "",
        )
        (self.folder / "tufgate.toml").write_text(text)

    def start(self, signer: str = "", files: int | None = None, soft: int | None = None) -> "Gate":
        """Starts it and waits until it is ready. `signer` are keys of `[signer]`; `files` limits its descriptors."""
        self._write(signer)
        command: list[str | Path] = [self._program, "serve", "--config", "tufgate.toml"]
        self.process = self._stage.add(Process("gate", command, self.folder, files, soft))
        self.process.until_ready(self._ready)
        return self

    def _ready(self) -> bool:
        return connects(self.admin) and connects(self.port) and self.ask_admin("/readyz").status == 200

    def stop(self) -> int:
        """Ends it; its folder stays as it is, for another start. Its exit code."""
        return self.process.stop() if self.process is not None else 0

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Process id of proxy and admin."""
        if self.process is None:
            raise Failed("the gate was not started")
        return self.process.pid

    @property
    def signer_pid(self) -> int:
        """Process id of the signer, its only child."""
        children = descendants(self.pid)
        if len(children) != 1:
            raise Failed(f"the gate has {len(children)} child processes, not one signer")
        return children[0]

    def ask_admin(self, path: str) -> Answer:
        """A GET to the admin listener, on a connection of its own."""
        connection = Connection(self.admin)
        try:
            return connection.get(path)
        finally:
            connection.close()

    def pending(self) -> int:
        """Observations that the signer has still to sign."""
        return int(json.loads(self.ask_admin("/status").wanted("/status").body)["pending"])

    def until_signed(self, seconds: float = 600.0) -> None:
        """Waits until everything that was recorded is signed."""
        until("the signer to sign everything", lambda: self.pending() == 0, seconds, pause=0.2)
