#!/usr/bin/env python3
"""Prints id → test → result from the ids of integration/README.md and the log of `cargo test`.

Usage: report.py README LOG CARGO_STATUS [--some]. Ends with the runner's closing line, `N passed, N failed, N skipped`.
Exits 1 if a test failed or was ignored, if cargo did, or if an id names a test that did not run (not with --some).

An id's row is `| G-1.1 | promise | `suite::test`, `other::*` |`. A name stands for every test whose full name,
`target::module::test`, is it or ends in `::` and it; a final `*` stands for the rest of a name.
"""

import re
import sys
from fnmatch import fnmatchcase
from pathlib import Path

ROW = re.compile(r"^\|\s*(G-[0-9A-Za-z.]+)\s*\|.*\|([^|]*)\|\s*$")
RUNNING = re.compile(r"^\s+Running .*\(.*/([A-Za-z0-9_-]+)-[0-9a-f]{16}(?:\.exe)?\)$")
DOC_TESTS = re.compile(r"^\s+Doc-tests (\S+)$")
TEST = re.compile(r"^test (.+?)(?: - should panic)? \.\.\. (ok|FAILED|ignored)\b")
RESULT = re.compile(r"^test result: \S+ (\d+) passed; (\d+) failed; (\d+) ignored;")


def read_ids(readme):
    """Each id with the names of its tests, in the table's order."""
    rows = {}
    for line in Path(readme).read_text().splitlines():
        if match := ROW.match(line):
            key, tests = match.groups()
            if key in rows:
                sys.exit(f"report: {readme} has the id {key} twice")
            rows[key] = re.findall(r"`([^`]+)`", tests)
    return rows


def read_log(log):
    """Full test name → result, and cargo's own sums of passed, failed and ignored."""
    target, results, sums = "?", {}, [0, 0, 0]
    for line in Path(log).read_text(errors="replace").splitlines():
        if match := RUNNING.match(line) or DOC_TESTS.match(line):
            target = match[1].replace("-", "_")
        elif match := TEST.match(line):
            results[f"{target}::{match[1]}"] = match[2]
        elif match := RESULT.match(line):
            sums = [total + int(more) for total, more in zip(sums, match.groups())]
    return results, sums


def of_name(name, results):
    """The tests a name from the table stands for."""
    return [full for full in results if fnmatchcase(full, name) or fnmatchcase(full, f"*::{name}")]


def main():
    readme, log, status = sys.argv[1], sys.argv[2], int(sys.argv[3])
    some = "--some" in sys.argv[4:]
    ids, (results, (passed, failed, ignored)) = read_ids(readme), read_log(log)
    missing = []
    print(f"\n{'id':8} {'test':72} result")
    for key, names in ids.items():
        rows = [(name, full) for name in names for full in (of_name(name, results) or [None])]
        for name, full in rows or [("(none named)", None)]:
            if full is None:
                missing.append(key)
            print(f"{key:8} {full or name:72} {results.get(full, 'NOT RUN')}")
    wrong = []
    if missing and not some:
        wrong.append(f"no test ran for {', '.join(dict.fromkeys(missing))}")
    if not ids:
        wrong.append(f"{readme} has no ids")
    if len(results) != passed + failed + ignored:
        wrong.append(f"the log names {len(results)} tests and sums up {passed + failed + ignored}: {log}")
    if ignored:
        wrong.append("ignored: " + ", ".join(full for full, result in results.items() if result == "ignored"))
    if failed:
        wrong.append("failed: " + ", ".join(full for full, result in results.items() if result == "FAILED"))
    if status and not failed:
        wrong.append(f"cargo test exited {status}: {log}")
    print()
    for line in wrong:
        print(f"report: {line}")
    print(f"{passed} passed, {failed} failed, {ignored} skipped")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
