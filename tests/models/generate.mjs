// Generates types for the events of the AsyncAPI document DOCUMENT into the folder OUT: node generate.mjs DOCUMENT OUT
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { JavaFileGenerator, TypeScriptFileGenerator } from "@asyncapi/modelina";

const [file, out] = process.argv.slice(2);
const document = JSON.parse(readFileSync(file, "utf8"));
const typescript = new TypeScriptFileGenerator({ modelType: "interface" });
const models = await typescript.generateToFiles(document, join(out, "typescript"), { exportType: "named" });
await new JavaFileGenerator().generateToFiles(document, join(out, "java"), { packageName: "events" });

const names = models.map((model) => model.modelName);
const wanted = Object.keys(document.components.messages);
const problems = [...wanted.filter((name) => !names.includes(name)), ...names.filter((name) => /anonymous/i.test(name))];
if (problems.length > 0) throw new Error(`missing or without a name: ${problems.join(", ")}`);
console.log(`${names.length} types: ${names.join(", ")}`);
