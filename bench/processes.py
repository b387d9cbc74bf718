"""Processes that we start, and stop by their id: each in a session of its own, so that Ctrl-C reaches only us."""

import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

# How long a program may take to be ready, or to end after it was told to.
PATIENCE = 60.0


class Failed(Exception):
    """What went wrong, in a sentence for people."""


def free_port(_given: set[int] = set()) -> int:  # noqa: B006: what was given is remembered on purpose
    """A loopback port nobody listens on at this moment, another one each time."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in _given:
            _given.add(port)
            return port


def until(what: str, holds: Callable[[], bool], seconds: float = PATIENCE, pause: float = 0.01) -> None:
    """Waits for a condition."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise Failed(f"waited {seconds:.0f} s for {what}")
        time.sleep(pause)


def connects(port: int) -> bool:
    """Whether something accepts connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


class Process:
    """A program that serves until it is stopped."""

    def __init__(
        self, name: str, command: Sequence[str | Path], folder: Path, files: int | None = None, soft: int | None = None
    ):
        """Starts it; its output goes to FOLDER/NAME.log. `files` limits its descriptors (`soft` the lower limit)."""
        self.name = name
        self.log = folder / f"{name}.log"

        def limit() -> None:
            if files is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft or files, files))

        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                [str(part) for part in command],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=limit,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.child.pid

    def until_ready(self, ready: Callable[[], bool]) -> None:
        """Waits until it answers; its log is the error when it ends before that."""

        def holds() -> bool:
            if (code := self.child.poll()) is not None:
                raise Failed(f"{self.name} ended with {code}: {self.log.read_text(errors='replace')[-2000:]}")
            return ready()

        until(f"{self.name} to be ready (log: {self.log})", holds)

    def stop(self) -> int:
        """SIGTERM; SIGKILL to the process and its children when that does not end it. Its exit code."""
        if self.child.poll() is not None:
            return self.child.returncode
        family = descendants(self.pid)
        self.child.terminate()
        try:
            self.child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            for pid in [self.pid, *family]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.child.wait()
        return self.child.returncode


def descendants(pid: int) -> list[int]:
    """Ids of the processes it started, and of those that they started."""
    found: list[int] = []
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return found
    for task in tasks:
        try:
            children = [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [child, *descendants(child)]
    return found


class Stage:
    """All processes of a run; leaving it stops them, the last started first."""

    def __init__(self) -> None:
        self._started: list[Process] = []

    def add(self, process: Process) -> Process:
        """Takes a process over."""
        self._started.append(process)
        return process

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *_: object) -> None:
        # A second Ctrl-C must not leave the rest running.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        while self._started:
            self._started.pop().stop()
        signal.signal(signal.SIGINT, before)


def ended_by_signals() -> None:
    """SIGTERM ends us as Ctrl-C does, so that what we started is stopped."""

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
