// deno-lint-ignore-file no-console -- a program: the console is its output
/**
 * `deno task ok` is what a change has to pass: format, lint, types, purity, the
 * documentation of what is exported, and the tests with every example. With
 * `--no-tests` all but those.
 *
 * @module
 */

import { ENTRIES, pureFiles, readHouse, ROOT } from "./house.ts";

const house = await readHouse();

const STEPS: readonly (readonly [name: string, args: readonly string[]])[] = [
  ["format", ["fmt", "--check", "--quiet"]],
  ["lint", ["lint", "--quiet"]],
  ["types", ["check", "--quiet", "."]],
  ["purity", [
    "check",
    "--quiet",
    "--config",
    "tasks/pure.json",
    ...pureFiles(house),
  ]],
  ["docs", ["doc", "--lint", "--quiet", ...house.keys()]],
  ["public docs", ["doc", "--lint", "--quiet", ...Object.values(ENTRIES)]],
  ["tests", ["test", "-A", "--parallel", "--doc", "--quiet"]],
];

for (const [name, args] of STEPS) {
  if (name === "tests" && Deno.args.includes("--no-tests")) continue;
  console.log(`${name}: deno ${args.slice(0, 4).join(" ")}`);
  const { code } = await new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd: ROOT,
  }).spawn().status;
  if (code !== 0) {
    console.error(`ok: ${name} failed`);
    Deno.exit(1);
  }
}
console.log("ok");
