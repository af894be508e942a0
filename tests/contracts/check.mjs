// Checks the contracts in a folder: OpenAPI by Spectral (spectral:oas) and Redocly (recommended-strict),
// AsyncAPI by its own parser and Spectral (spectral:asyncapi). Every finding counts, hints included. Every pattern must be ASCII and
// compile with the engines of the clients that are generated from them.
//
//   node check.mjs FOLDER

import { spawnSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

import { Parser } from "@asyncapi/parser";
import { createConfig, lintFromString } from "@redocly/openapi-core";
import spectralCore from "@stoplight/spectral-core";
import rulesets from "@stoplight/spectral-rulesets";
import { RE2JS } from "re2js";

// The only findings that may be. One that is not found any more has to be taken out.
const EXCEPTIONS = [
  {
    // OpenAPI 3.1 lets any security requirement list roles, here the scope that a key needs; the rule knows OpenAPI 3.0 only.
    rule: "oas3-operation-security-defined",
    is: (finding) => finding.says.includes("must be listed among scopes"),
    files: ["billing.json", "customers.json", "inventory.json", "notifications.json", "orderlog.json", "orders.json"],
  },
  {
    // A path of a reservation could be one of the SKU `reservations`. No SKU is called so: it is refused as `reserved_name`.
    rule: "no-ambiguous-paths",
    is: (finding) => finding.says.includes("`/stock/reservations/{reservation_id}` and `/stock/{sku}/"),
    files: ["inventory.json", "orderlog.json", "orderlog-3.0.json"],
  },
  {
    // OpenAPI 3.0 has no SPDX identifier, and no page has the text of both licences.
    rule: "info-license-strict",
    is: () => true,
    files: ["orderlog-3.0.json"],
  },
  {
    // The maintainers are found where the code is; there is no address that could be promised to stay.
    rule: "asyncapi-info-contact-properties",
    is: () => true,
    files: ["asyncapi.json"],
  },
  {
    // Generators of types do not read 3.1, and nothing in the document needs it.
    rule: "asyncapi-latest-version",
    is: () => true,
    files: ["asyncapi.json"],
  },
];

const folder = process.argv[2];
const redocly = await createConfig({ extends: ["recommended-strict"] });

async function bySpectral(ruleset, text) {
  const spectral = new spectralCore.Spectral();
  spectral.setRuleset({ extends: [[ruleset, "recommended"]] });
  const found = await spectral.run(text);
  return found.map((it) => ({ rule: it.code, place: it.path.join("/"), says: it.message }));
}

async function byRedocly(name, text) {
  const found = await lintFromString({ source: text, absoluteRef: name, config: redocly });
  return found.map((it) => ({ rule: it.ruleId, place: it.location[0]?.pointer, says: it.message }));
}

async function byAsyncapi(text) {
  const { diagnostics } = await new Parser().parse(text);
  return diagnostics.map((it) => ({ rule: it.code, place: it.path.join("/"), says: it.message }));
}

// Validators in JavaScript use the flag `u`, other clients none; Go has RE2, and PHP PCRE2, which `grep -P` stands on.
const COMPILERS = {
  "JavaScript": (pattern) => new RegExp(pattern),
  "JavaScript with the flag u": (pattern) => new RegExp(pattern, "u"),
  "RE2": (pattern) => RE2JS.compile(pattern),
  "PCRE2": (pattern) => {
    // Nothing matches in an empty input: 1, where 2 is an error.
    const { status, stderr, error } = spawnSync("grep", ["-P", "-e", pattern], { input: "", encoding: "utf8" });
    if (status !== 1) throw error ?? new Error(stderr.trim());
  },
};

function* patterns(value, place = "") {
  if (typeof value !== "object" || value === null) return;
  if (typeof value.pattern === "string") yield { place, pattern: value.pattern };
  for (const [name, member] of Object.entries(value)) yield* patterns(member, `${place}/${name}`);
}

function byCompilers(text) {
  const found = [];
  for (const { place, pattern } of patterns(JSON.parse(text))) {
    if (!/^[\x20-\x7e]*$/.test(pattern)) found.push({ rule: "pattern-ascii", place, says: pattern });
    for (const [engine, compile] of Object.entries(COMPILERS)) {
      try {
        compile(pattern);
      } catch (error) {
        found.push({ rule: "pattern-compiles", place, says: `${engine}: ${error.message}` });
      }
    }
  }
  return found;
}

let n_findings = 0;
const names = readdirSync(folder).filter((name) => name.endsWith(".json"));
if (names.length === 0) throw new Error(`there is no contract in ${folder}`);
for (const name of names) {
  const text = readFileSync(join(folder, name), "utf8");
  const found =
    name === "asyncapi.json"
      ? [...(await byAsyncapi(text)), ...(await bySpectral(rulesets.asyncapi, text))]
      : [...(await bySpectral(rulesets.oas, text)), ...(await byRedocly(name, text))];
  found.push(...byCompilers(text));
  const here = EXCEPTIONS.filter((exception) => exception.files.includes(name));
  const excepted = (finding) => here.some((it) => it.rule === finding.rule && it.is(finding));
  const findings = found.filter((finding) => !excepted(finding));
  for (const exception of here.filter((it) => !found.some((finding) => it.rule === finding.rule && it.is(finding)))) {
    findings.push({ rule: exception.rule, place: "", says: "the exception in check.mjs is not needed any more" });
  }
  for (const { rule, place, says } of findings) console.log(`${name}: ${rule} at ${place}: ${says}`);
  n_findings += findings.length;
}
console.log(`${names.length} contracts, ${n_findings} findings`);
process.exitCode = n_findings === 0 ? 0 : 1;
