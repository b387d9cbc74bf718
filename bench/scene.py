"""What a run has at hand: sizes, the folders, the peers, the gate."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gate import Gate
from machine import cores
from nginx import Nginx
from perf import Profiler
from processes import Stage
from wrk import Wrk


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    keys: int = 20_000
    small: int = 1024
    medium: int = 1 << 20
    large: int = 100 << 20
    # Transfers of large artifacts in a round; its figure is their mean time.
    transfers: int = 3
    recorded: int = 100_000
    publishes: int = 200
    batch: int = 1000


SHORT = Sizes(keys=50, medium=64 << 10, large=2 << 20, transfers=1, recorded=100, publishes=3, batch=20)


@dataclass
class Scene:
    """One run of the benchmark."""

    stage: Stage
    program: Path
    raw: Path
    work: Path
    sizes: Sizes
    rounds: int
    wrk: Wrk
    say: Callable[[str], None]
    profiler: Profiler

    @property
    def workers(self) -> int:
        """Worker processes of each nginx: as many as the gate has threads."""
        return cores()

    def nginx(self, kind: str, origin: Nginx | None = None, name: str = "") -> Nginx:
        """Starts one; `name` is its folder."""
        return Nginx(self.stage, self.work / (name or kind), kind, self.workers, origin)

    def gate(self, name: str, origin: Nginx, bins: int = 64) -> Gate:
        """Sets a gate up, not yet started."""
        return Gate(self.stage, self.program, self.work / name, origin.url, bins)


def contents(seed: int, count: int, size: int) -> list[bytes]:
    """Different bytes for each of `count` artifacts, the same in every run."""
    source = random.Random(seed)
    if size <= 4096:
        return [source.randbytes(size) for _ in range(count)]
    common = source.randbytes(size - 8)
    return [number.to_bytes(8, "big") + common for number in range(count)]
