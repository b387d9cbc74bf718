"""The machine that a figure was measured on: what it is, what runs on it, whether it is quiet enough."""

import os
import platform
import re
import subprocess
from datetime import datetime, timezone
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent

# More than this share of the cores at work before we begin, and the figures say more about that work than about ours.
QUIET = 0.25


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def busy() -> str | None:
    """Why the machine is not quiet, in words; None when it is."""
    load = os.getloadavg()[0]
    if load <= QUIET * cores():
        return None
    return f"the load average of the last minute is {load:.2f} on {cores()} cores: something else is at work here"


def said(*command: str) -> str:
    """What a command prints, on either stream; empty when it cannot be run."""
    try:
        done = subprocess.run(command, cwd=REPO, text=True, capture_output=True, check=False)
    except OSError:
        return ""
    return (done.stdout + done.stderr).strip()


def commit() -> str:
    """The commit that is checked out, and whether the tree differs from it."""
    changed = " and changes" if said("git", "status", "--porcelain", "--untracked-files=no") else ""
    return (said("git", "rev-parse", "--short=12", "HEAD") or "unknown") + changed


def describe(binary: Path) -> dict[str, str]:
    """Machine, date, versions and commit, in the order in which they are shown."""
    cpu = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    wrk = re.search(r"wrk (?:debian/)?(\S+)", said("wrk", "-v"))
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "machine": f"{cores()} cores, {cpu[1] if cpu else platform.machine()}, "
        f"{int(memory[1]) // 1048576 if memory else '?'} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "versions": ", ".join(
            [
                said(str(binary), "--version") or "tufgate",
                said("nginx", "-v").removeprefix("nginx version: ").replace("/", " "),
                " ".join(said("curl", "--version").split()[:2]),
                f"wrk {wrk[1] if wrk else '?'}",
                f"Python {platform.python_version()}",
            ]
        ),
    }
