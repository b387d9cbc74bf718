#!/usr/bin/env python3
"""python-tuf as one process for many repositories: a request a line on standard input, a verdict a line back.

    {"dir": CACHE, "root": FILE or null, "metadata_url": URL, "targets_url": URL, "targets": [PATH…], "out": FOLDER,
     "patience": SECONDS}

A request is one run of a client: `root`, when given, is what it trusts to begin with; the same `dir` is the same client
again. It refreshes, then downloads `targets` in order. Answered with {"verdict": …, "reason": …}: `ok`, `NotFound` for a
target nobody lists, or the name of what python-tuf raised. `patience` bounds the wait for the next byte.
"""

import json
import os
import sys

from tuf.ngclient import Updater
from tuf.ngclient.urllib3_fetcher import Urllib3Fetcher

from python_tuf import reason


def run(request):
    """The verdict on one request."""
    bootstrap = None
    if request["root"] is not None:
        with open(request["root"], "rb") as file:
            bootstrap = file.read()
    client = Updater(
        metadata_dir=request["dir"],
        metadata_base_url=request["metadata_url"],
        target_base_url=request["targets_url"],
        target_dir=request["out"],
        fetcher=Urllib3Fetcher(socket_timeout=request["patience"]),
        bootstrap=bootstrap,
    )
    client.refresh()
    for path in request["targets"]:
        found = client.get_targetinfo(path)
        if found is None:
            return "NotFound", path
        if client.find_cached_target(found) is None:
            client.download_target(found)
    return "ok", ""


def main():
    for line in sys.stdin:
        request = json.loads(line)
        for folder in (request["dir"], request["out"]):
            os.makedirs(folder, exist_ok=True)
        try:
            verdict, why = run(request)
        except Exception as error:  # whatever it raises is its verdict
            verdict, why = type(error).__name__, reason(error)
        print(json.dumps({"verdict": verdict, "reason": why}), flush=True)


if __name__ == "__main__":
    main()
