"""What the gate's processes hold: memory, descriptors, processor time; sampled while they are under load."""

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

from processes import descendants

PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20


def resident(pid: int) -> int:
    """Bytes of resident memory of a process and those that it started."""
    total = 0
    for one in [pid, *descendants(pid)]:
        try:
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * PAGE
        except OSError:
            pass
    return total


def descriptors(pid: int) -> int:
    """Open descriptors of one process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def processor(pid: int) -> float:
    """Seconds of processor time of one process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


@dataclass
class Peak:
    """The most that was seen, sampled five times a second until it is stopped."""

    pid: int
    resident: int = 0
    descriptors: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(0.2):
            try:
                self.resident = max(self.resident, resident(self.pid))
                self.descriptors = max(self.descriptors, descriptors(self.pid))
            except OSError:
                return

    def stop(self) -> None:
        """Ends the sampling."""
        self._stop.set()
        self._thread.join()
