// Downloads targets with tuf-js at its default settings; the command line is in integration/README.md.

import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";

// The package lies where TUF_JS_MODULES says, not beside this file: nothing is installed into the source tree.
const require = createRequire(join(process.env.TUF_JS_MODULES ?? import.meta.dirname, "get.mjs"));
const { Updater } = require("tuf-js");

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    "metadata-url": { type: "string" },
    "targets-url": { type: "string" },
    root: { type: "string" },
    dir: { type: "string" },
    "user-agent": { type: "string" },
    hashed: { type: "boolean" },
    bare: { type: "boolean" },
  },
});
for (const name of ["metadata-url", "targets-url", "root", "dir"]) {
  if (values[name] === undefined) usage(`--${name} is missing`);
}
if (positionals.length % 2) usage("targets come in pairs: TARGET OUT");

const pairs = [];
for (let at = 0; at < positionals.length; at += 2) pairs.push(positionals.slice(at, at + 2));

let fine = true;
try {
  const updater = await refreshed();
  for (const [target, out] of pairs) {
    try {
      console.log(`ok ${target} ${await download(updater, target, out)}`);
    } catch (error) {
      failed(target, error);
    }
  }
} catch (error) {
  for (const [target] of pairs.length ? pairs : [["-"]]) failed(target, error);
}
process.exitCode = fine ? 0 : 1;

async function refreshed() {
  const metadataDir = join(values.dir, "metadata");
  mkdirSync(metadataDir, { recursive: true });
  // tuf-js takes its trusted root from the cache only; a newer one found there by an earlier run stays.
  const root = join(metadataDir, "root.json");
  if (!existsSync(root)) copyFileSync(values.root, root);
  const updater = new Updater({
    metadataDir,
    metadataBaseUrl: values["metadata-url"],
    targetBaseUrl: values["targets-url"],
    config: { userAgent: values["user-agent"], prefixTargetsWithHash: !values.bare },
  });
  await updater.refresh();
  return updater;
}

async function download(updater, target, out) {
  const found = await updater.getTargetInfo(target);
  if (!found) throw new Error("target not found in the metadata");
  mkdirSync(dirname(out), { recursive: true });
  await updater.downloadTarget(found, out);
  return createHash("sha256").update(readFileSync(out)).digest("hex");
}

function failed(target, error) {
  fine = false;
  const causes = [];
  for (let at = error; at; at = at.cause) causes.push(at.statusCode ? `${at.message} (${at.statusCode})` : `${at.message}`);
  console.log(`err ${target} ${causes.join(": ").replaceAll("\n", " ")}`);
}

function usage(message) {
  console.error(`get.mjs: ${message}`);
  process.exit(2);
}
