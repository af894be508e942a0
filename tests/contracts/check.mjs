// Checks the contracts in a folder: OpenAPI by Spectral (spectral:oas) and Redocly (recommended-strict),
// AsyncAPI by its own parser and Spectral (spectral:asyncapi). Every finding counts, hints included.
//
//   node check.mjs FOLDER

import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

import { Parser } from "@asyncapi/parser";
import { createConfig, lintFromString } from "@redocly/openapi-core";
import spectralCore from "@stoplight/spectral-core";
import rulesets from "@stoplight/spectral-rulesets";

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
    files: ["inventory.json", "orderlog.json"],
  },
  {
    // The maintainers are found where the code is; there is no address that could be promised to stay.
    rule: "asyncapi-info-contact-properties",
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

let n_findings = 0;
const names = readdirSync(folder).filter((name) => name.endsWith(".json"));
if (names.length === 0) throw new Error(`there is no contract in ${folder}`);
for (const name of names) {
  const text = readFileSync(join(folder, name), "utf8");
  const found =
    name === "asyncapi.json"
      ? [...(await byAsyncapi(text)), ...(await bySpectral(rulesets.asyncapi, text))]
      : [...(await bySpectral(rulesets.oas, text)), ...(await byRedocly(name, text))];
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
