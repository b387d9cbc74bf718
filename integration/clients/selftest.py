#!/usr/bin/env python3
"""Tries every client program on a small repository made with python-tuf, so that a failure in front of the gate is
the gate's: targets → bins → 16 hash bins in both views, artifacts under both hash-prefixed names.

Usage: selftest.py BUILD_DIR, where `integration/install` put the clients. Prints client, view and what happened.
       selftest.py --write FOLDER, only the repository and its artifacts, for another web server.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from datetime import datetime, timedelta, timezone
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Key,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

HERE = Path(__file__).resolve().parent
EXPIRES = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=1)
ARTIFACTS = {
    "top.txt": b"at the top\n",
    "generic/demo/1.0.0+build.7/demo tool@1.0.0.tar.gz": b"plus, space and at\n",
    "py/demo-1.0-py3-none-any.whl": b"wheel\n",
    "unicode/größe~2.bin": bytes(range(256)),
}


def write(folder, name, metadata, signer):
    metadata.sign(signer)
    (folder / name).write_bytes(metadata.to_bytes(JSONSerializer(compact=True)))


def lay(www, path, data):
    """Writes an artifact under its own name and both hash-prefixed ones."""
    folder, _, name = path.rpartition("/")
    digest = hashlib.sha256(data).hexdigest()
    for place in (path, f"{folder}/{digest}.{name}", f"{digest}.{path}"):
        file = www / place.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def build(www):
    """Writes the repository and its artifacts; the trusted root is `metadata/1.root.json`."""
    signer = CryptoSigner.generate_ed25519()
    key: Key = signer.public_key
    prefixes, succinct = www / "metadata", www / "metadata" / "succinct"
    succinct.mkdir(parents=True)

    bins = SuccinctRoles([key.keyid], 1, 4, "bins4")
    contents = {name: Targets(expires=EXPIRES) for name in bins.get_roles()}
    for path, data in ARTIFACTS.items():
        target = TargetFile.from_data(path, data, ["sha256"])
        contents[bins.get_role_for_target(path)].targets[path] = target
        lay(www, path, data)

    roles = {
        name: DelegatedRole(name, [key.keyid], 1, True, path_hash_prefixes=[f"{number:x}"])
        for number, name in enumerate(contents)
    }
    root = Root(expires=EXPIRES, consistent_snapshot=True)
    for role in ("root", "timestamp", "snapshot", "targets"):
        root.add_key(key, role)
    delegator = DelegatedRole("bins", [key.keyid], 1, True, path_hash_prefixes=[""])
    targets = Targets(expires=EXPIRES, delegations=Delegations({key.keyid: key}, roles={"bins": delegator}))
    snapshot = Snapshot(expires=EXPIRES)
    for name in ("bins", *contents):
        snapshot.meta[f"{name}.json"] = MetaFile(1)

    for view in (prefixes, succinct):
        by_view = {"roles": roles} if view == prefixes else {"succinct_roles": bins}
        write(view, "1.bins.json", Metadata(Targets(expires=EXPIRES, delegations=Delegations({key.keyid: key}, **by_view))), signer)
        for name, role in contents.items():
            write(view, f"1.{name}.json", Metadata(role), signer)
        write(view, "1.root.json", Metadata(root), signer)
        write(view, "1.targets.json", Metadata(targets), signer)
        write(view, "1.snapshot.json", Metadata(snapshot), signer)
        write(view, "timestamp.json", Metadata(Timestamp(expires=EXPIRES)), signer)


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and keeps the user agents that asked."""

    agents: set[str] = set()

    def log_message(self, *_):
        self.agents.add(self.headers.get("User-Agent", ""))


def clients(build_dir):
    """Name, command, and the views it reads; integration/README.md says why not the other."""
    python = build_dir / "venv" / "bin" / "python"
    rust = build_dir / "rust" / "debug"
    return [
        ("python-tuf", [python, HERE / "python_tuf.py"], {"prefixes", "succinct"}),
        ("tuf-js", ["node", HERE / "js" / "get.mjs"], {"prefixes", "succinct"}),
        ("go-tuf", [build_dir / "go-tuf-get"], {"succinct"}),
        ("tough", [rust / "tough-get"], {"prefixes"}),
        ("sigstore-tuf", [rust / "sigstore-tuf-get"], {"prefixes"}),
    ]


def attempt(command, base, view, root, work):
    """Whether every artifact arrived whole, and the first line that says otherwise."""
    url = f"{base}/metadata/" if view == "prefixes" else f"{base}/metadata/succinct/"
    pairs = [(path, work / f"out{number}") for number, path in enumerate(ARTIFACTS)]
    arguments = ["--metadata-url", url, "--targets-url", f"{base}/", "--root", root, "--dir", work / "cache"]
    arguments += ["--user-agent", "selftest", "--hashed", "--"]
    done = subprocess.run(
        [*map(str, command), *map(str, arguments), *(str(word) for pair in pairs for word in pair)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    expected = [f"ok {path} {hashlib.sha256(data).hexdigest()}" for path, data in ARTIFACTS.items()]
    lines = done.stdout.splitlines()
    whole = lines == expected and all(out.read_bytes() == ARTIFACTS[path] for path, out in pairs)
    if whole and done.returncode == 0:
        return True, "4 targets"
    return False, next((line for line in lines if not line.startswith("ok ")), done.stderr.strip()[-300:])


def looping(command, base, root, work):
    """One run of the refresh loop, ended by closing its standard input."""
    arguments = ["--metadata-url", f"{base}/metadata/", "--targets-url", f"{base}/", "--root", root, "--dir", work]
    words = [*command, *arguments, "--loop", "0.05", "top.txt", work / "out"]
    with subprocess.Popen([str(w) for w in words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        out, _ = child.communicate(timeout=60)
    counts = json.loads(out)
    return child.returncode == 0 and counts["refreshes"] >= 1 and counts["errors"] == 0, out.strip()


def main():
    if sys.argv[1] == "--write":
        build(Path(sys.argv[2]))
        return
    build_dir = Path(sys.argv[1]).resolve()
    os.environ.setdefault("TUF_JS_MODULES", str(build_dir / "node"))
    wrong = 0
    with tempfile.TemporaryDirectory() as temp:
        www = Path(temp) / "www"
        build(www)
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(www)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        root = www / "metadata" / "1.root.json"
        for name, command, views in clients(build_dir):
            for view in ("prefixes", "succinct"):
                work = Path(temp) / f"{name}-{view}"
                work.mkdir()
                worked, said = attempt(command, base, view, root, work)
                as_told = worked == (view in views)
                wrong += not as_told
                print(f"{'' if as_told else 'NOT AS DOCUMENTED '}{name:13} {view:9} {'works' if worked else 'cannot'}: {said}")
            if not any(agent.startswith("selftest ") and name in agent for agent in Quiet.agents):
                wrong += 1
                print(f"{name:13} sends no User-Agent with its name: {sorted(Quiet.agents)}")
        worked, said = looping(clients(build_dir)[0][1], base, root, Path(temp) / "loop")
        wrong += not worked
        print(f"python-tuf    loop      {'works' if worked else 'FAILS'}: {said}")
        server.shutdown()
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
