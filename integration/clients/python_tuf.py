#!/usr/bin/env python3
"""Downloads targets with python-tuf at its default settings; the command line is in integration/README.md.

`--loop SECONDS` refreshes and downloads until standard input ends, then prints one line of JSON: how many rounds
and downloads there were, how many connections were refused or reset, and every other error, which none may be.
"""

import argparse
import errno
import hashlib
import json
import os
import select
import sys
import time
from pathlib import Path

import urllib3
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

# What a client sees of a gate that was killed: nobody listens, or a connection ends before its answer does.
CUT = (ConnectionError, urllib3.exceptions.ProtocolError, urllib3.exceptions.NewConnectionError)


class WithCredentials(FetcherInterface):
    """Sends an Authorization line with every request; python-tuf has no setting for that."""

    def __init__(self, authorization):
        self.headers = {"Authorization": authorization}

    def _fetch(self, url):
        response = urllib3.request("GET", url, headers=self.headers, preload_content=False, redirect=False)
        if response.status >= 300:
            response.close()
            raise DownloadHTTPError(f"the server answers {response.status}", response.status)
        return response.stream()


def updater(args):
    """A new updater over the cache in `--dir`; python-tuf refreshes an updater only once."""
    return Updater(
        metadata_dir=os.path.join(args.dir, "metadata"),
        metadata_base_url=args.metadata_url,
        target_base_url=args.targets_url,
        config=UpdaterConfig(prefix_targets_with_hash=not args.bare, app_user_agent=args.user_agent),
        bootstrap=Path(args.root).read_bytes(),
        fetcher=WithCredentials(args.authorization) if args.authorization else None,
    )


def download(client, target, out):
    """The digest of the verified bytes, which are in `out` afterwards."""
    found = client.get_targetinfo(target)
    if found is None:
        raise LookupError("target not found in the metadata")
    client.download_target(found, filepath=out)
    return hashlib.sha256(Path(out).read_bytes()).hexdigest()


def causes(error):
    """The error and everything it was raised from, urllib3's retry wrapper opened."""
    while error is not None:
        yield error
        reason = getattr(error, "reason", None)
        error = error.__cause__ or (reason if isinstance(reason, BaseException) else error.__context__)


def was_cut(error):
    """Whether the gate was away or left in the middle, rather than saying something wrong."""
    return any(
        isinstance(e, CUT) or getattr(e, "errno", None) in (errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE)
        for e in causes(error)
    )


def reason(error):
    """All causes on one line."""
    return ": ".join(str(e) or type(e).__name__ for e in causes(error)).replace("\n", " ")


def once(args, pairs):
    """One line for each target; whether all were fine."""
    fine = True
    try:
        client = updater(args)
        client.refresh()
    except Exception as error:  # every failure is a line of the report
        for target, _ in pairs or [("-", None)]:
            print(f"err {target} {reason(error)}")
        return False
    for target, out in pairs:
        try:
            print(f"ok {target} {download(client, target, out)}")
        except Exception as error:
            fine = False
            print(f"err {target} {reason(error)}")
    return fine


def ended(seconds):
    """Waits, but no longer than until standard input ends; whether it did."""
    until = time.monotonic() + seconds
    while True:
        ready, _, _ = select.select([sys.stdin], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return False
        if os.read(sys.stdin.fileno(), 4096) == b"":
            return True


def loop(args, pairs):
    """Rounds until standard input ends; whether no error but a cut connection was seen."""
    counts = {"rounds": 0, "refreshes": 0, "downloads": 0, "cut": 0, "errors": 0, "samples": []}
    while True:
        counts["rounds"] += 1
        try:
            client = updater(args)
            client.refresh()
            counts["refreshes"] += 1
            for target, out in pairs:
                download(client, target, out)
                counts["downloads"] += 1
        except Exception as error:
            if was_cut(error):
                counts["cut"] += 1
            else:
                counts["errors"] += 1
                counts["samples"] = (counts["samples"] + [reason(error)])[:5]
        if ended(args.loop):
            print(json.dumps(counts))
            return counts["errors"] == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("--metadata-url", "--targets-url", "--root", "--dir"):
        parser.add_argument(name, required=True)
    parser.add_argument("--user-agent")
    parser.add_argument("--authorization", metavar="VALUE", help="the Authorization line of every request")
    names = parser.add_mutually_exclusive_group()
    names.add_argument("--hashed", action="store_true", help="ask for dir/H.name (the client's default)")
    names.add_argument("--bare", action="store_true", help="ask for dir/name")
    parser.add_argument("--loop", type=float, metavar="SECONDS", help="rounds until standard input ends")
    parser.add_argument("targets", nargs="*", metavar="TARGET OUT")
    args = parser.parse_args()
    if len(args.targets) % 2:
        parser.error("targets come in pairs: TARGET OUT")
    os.makedirs(os.path.join(args.dir, "metadata"), exist_ok=True)
    pairs = list(zip(args.targets[::2], args.targets[1::2]))
    fine = once(args, pairs) if args.loop is None else loop(args, pairs)
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
