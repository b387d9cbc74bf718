// How long tuf-js takes to read a snapshot and a targets role: the constants of `src/compat/cost.rs`.
//
//   TUF_JS_MODULES=target/integration/node node bench/tuf-js.mjs
//
// It parses, verifies nothing and writes the canonical form once, as a client does for each file, and prints seconds of
// processor time, and by the square of a thousand entries; medians of three.

import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.env.TUF_JS_MODULES ?? import.meta.dirname, "tuf-js.mjs"));
const { Metadata } = require("@tufjs/models");

const common = { spec_version: "1.0.0", version: 1, expires: "2100-01-01T00:00:00Z" };
const made = {
  snapshot: (count) => ({
    ...common,
    _type: "snapshot",
    meta: Object.fromEntries(
      ["targets", ...numbered(count - 1, (n) => `bins14-${n.toString(16).padStart(4, "0")}`)].map((name) => [
        `${name}.json`,
        { version: 1 },
      ]),
    ),
  }),
  targets: (count) => ({
    ...common,
    _type: "targets",
    targets: Object.fromEntries(
      numbered(count, (n) => [
        `team-07/package-${n}/1.4.2/package-${n}-1.4.2.tar.gz`,
        { length: 1000 + n, hashes: { sha256: n.toString(16).padStart(64, "0") } },
      ]),
    ),
  }),
};

function numbered(count, make) {
  return Array.from({ length: count }, (_, n) => make(n));
}

function seconds(kind, count) {
  const text = JSON.stringify({ signatures: [{ keyid: "00", sig: "00" }], signed: made[kind](count) });
  const times = numbered(3, () => {
    const begun = process.cpuUsage();
    const metadata = Metadata.fromJSON(kind, JSON.parse(text));
    metadata.signed.toJSON();
    return process.cpuUsage(begun).user / 1e6;
  });
  return times.sort((a, b) => a - b)[1];
}

for (const kind of ["snapshot", "targets"]) {
  for (const count of [1000, 2000, 5000]) {
    const took = seconds(kind, count);
    const constant = took / (count / 1000) ** 2;
    console.log(`${kind} ${count}: ${took.toFixed(3)} s, ${constant.toFixed(3)} s by the square of a thousand`);
  }
}
