"""nginx in a folder and on a loopback port of its own, from one of the configurations in `nginx/`."""

import os
import resource
from pathlib import Path

from processes import Process, Stage, connects, free_port

CONFIGURATIONS = Path(__file__).resolve().parent / "nginx"

# Descriptors of a worker, where it may have them.
FILES = 65536


def descriptors() -> int:
    """Descriptors that a worker may have: enough to keep a file open for each key where the limit allows or may be raised."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, FILES))
        except (OSError, ValueError):
            # Also root may be kept from it.
            return hard
    return FILES


class Nginx:
    """A running nginx; `www` is what `origin` and `static` serve."""

    def __init__(
        self,
        stage: Stage,
        folder: Path,
        kind: str,
        workers: int,
        origin: "Nginx | None" = None,
        connections: int = 4096,
        keepalive: str = "75s",
    ):
        """Fills in `nginx/KIND.conf` and starts it in a new folder; it ends with the stage."""
        self.port = free_port()
        self.folder = folder
        self.www = self.folder / "www"
        self.www.mkdir(parents=True)
        files = descriptors()
        values = {
            "DIR": str(self.folder),
            "WWW": str(self.www),
            "PORT": str(self.port),
            "WORKERS": str(workers),
            "CONNECTIONS": str(connections),
            "FILES": str(files),
            # A worker answers 500 when the files that it keeps open leave none for anything else.
            "OPEN": str(max(100, files - 2 * connections)),
            "KEEPALIVE": keepalive,
            "ORIGIN": f"127.0.0.1:{origin.port}" if origin else "",
            # Workers of a master that runs as root become `nobody`, who may not enter the folder; else nginx warns.
            "USER": "user root;" if os.geteuid() == 0 else "",
        }
        text = (CONFIGURATIONS / f"{kind}.conf").read_text()
        for name, value in values.items():
            text = text.replace(f"@{name}@", value)
        config = self.folder / "nginx.conf"
        config.write_text(text)
        command: list[str | Path] = ["nginx", "-p", folder, "-c", config, "-e", "error.log"]
        self.process = stage.add(Process(kind, command, self.folder))
        self.process.until_ready(lambda: connects(self.port))

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self.port}"
