/**
 * Holds the code to the structure that `ARCHITECTURE.md` tells.
 *
 * @module
 */

import { assert, assertEquals, assertFalse } from "@std/assert";
import { type Peer, peerOf } from "../../base/peer.ts";
import {
  type Folder,
  FOLDERS,
  pureFiles,
  readHouse,
  ROOT,
} from "../../tasks/house.ts";
import { stateDiagram } from "../../tasks/states.ts";
import { GatewayBench } from "../support/gateway.ts";

const house = await readHouse();
const ARCHITECTURE = await Deno.readTextFile(
  new URL("ARCHITECTURE.md", ROOT),
);

/** Which folders the files of a folder import, types included. */
const IMPORTS: Readonly<Record<Folder, readonly Folder[]>> = {
  base: [],
  wire: ["base"],
  broker: ["base", "wire"],
  client: ["base", "wire"],
  transport: ["base"],
  store: ["base", "wire", "broker"],
  netsim: ["base", "wire", "transport"],
  journal: ["base", "wire", "transport"],
  fleet: ["base", "wire", "broker", "client", "netsim"],
  entries: [
    "base",
    "wire",
    "broker",
    "client",
    "transport",
    "netsim",
    "journal",
    "fleet",
  ],
  cli: [
    "base",
    "wire",
    "client",
    "transport",
    "store",
    "netsim",
    "journal",
    "fleet",
  ],
};

for (const folder of FOLDERS) {
  Deno.test(`${folder}/ imports what it may, and all of that`, () => {
    const imported = new Set<string>();
    for (const file of house.values()) {
      if (file.folder !== folder) continue;
      for (const path of file.imports) imported.add(house.get(path)!.folder);
    }
    imported.delete(folder);
    // The programs are made of the library's classes, which stand at the root.
    if (folder === "cli") imported.delete("");
    assertEquals([...imported].sort(), [...IMPORTS[folder]].sort());
  });
}

Deno.test("the root does not load the programs", () => {
  for (const { path, folder, imports } of house.values()) {
    if (folder !== "") continue;
    assertFalse(imports.some((it) => it.startsWith("cli/")), path);
  }
});

Deno.test("no file imports itself by a detour", () => {
  // A file that is done imports nothing that leads back to it.
  const done = new Set<string>();
  const visit = (path: string, way: readonly string[]) => {
    if (done.has(path)) return;
    assertFalse(way.includes(path), [...way, path].join(" → "));
    for (const next of house.get(path)!.imports) visit(next, [...way, path]);
    done.add(path);
  };
  for (const path of house.keys()) visit(path, []);
});

Deno.test("what the pure cores reach does no input or output and reads no clock", () => {
  const impure =
    /\b(?:Deno|console|performance|setTimeout|setInterval|queueMicrotask|fetch|crypto|async|await|Promise)\b|Date\.now|Math\.random|new Date/;
  for (const path of pureFiles(house)) {
    const { code, packages } = house.get(path)!;
    assertEquals([code.match(impure)?.[0], packages], [undefined, []], path);
  }
});

/** Folders of tests that mirror no folder of the code; CONTRIBUTING.md has them. */
const OWN = ["peers", "programs", "project", "protocol", "stories", "support"];

Deno.test("a test of FOLDER/x.ts is tests/FOLDER/x_test.ts, or x_ASPECT_test.ts", async () => {
  const read = async (folder: string) => {
    const directory = new URL(`tests/${folder}`, ROOT);
    for await (const { name, isDirectory } of Deno.readDir(directory)) {
      if (isDirectory && !OWN.includes(name)) await read(`${name}/`);
      const [, stem] = /^(\w+)_test\.ts$/.exec(name) ?? [];
      if (stem === undefined) continue;
      // The whole stem, or the stem without an aspect: outbox_queue → outbox.
      const words = stem.split("_");
      const isMirrored = words.some((_, i) =>
        house.has(`${folder}${words.slice(0, i + 1).join("_")}.ts`)
      );
      assert(isMirrored, `tests/${folder}${name} mirrors no file in ${folder}`);
    }
  };
  await read("");
});

Deno.test("no two types have the same name", () => {
  const TYPE = /^(?:export )?(?:abstract )?(?:interface|class|type) (\w+)/gm;
  const places = new Map<string, string>();
  for (const { path, code } of house.values()) {
    for (const [, name] of code.matchAll(TYPE)) {
      const other = places.get(name!);
      assert(
        other === undefined || other === path,
        `${name}: ${other}, ${path}`,
      );
      places.set(name!, path);
    }
  }
});

/** The text of each `.ts` file of a folder and of those below it. */
async function readTree(folder: string): Promise<string[]> {
  const texts: string[] = [];
  for await (
    const { name, isDirectory } of Deno.readDir(new URL(folder, ROOT))
  ) {
    if (isDirectory) texts.push(...await readTree(`${folder}${name}/`));
    else if (name.endsWith(".ts")) {
      texts.push(await Deno.readTextFile(new URL(folder + name, ROOT)));
    }
  }
  return texts;
}

Deno.test("what a file exports is used by another, or is the type of something that it exports", async () => {
  const around = await Promise.all(
    ["tests/", "tasks/", "bench/", "examples/"].map(readTree),
  );
  /** In how many files a word stands. */
  const files = new Map<string, number>();
  const wordsOf = (text: string) => text.match(/\w+/g) ?? [];
  const texts = [...house.values()].map(({ code }) => code);
  for (const text of [...texts, ...around.flat()]) {
    for (const word of new Set(wordsOf(text))) {
      files.set(word, (files.get(word) ?? 0) + 1);
    }
  }
  const EXPORT =
    /^export (?:abstract )?(?:async )?(function\*?|class|const|interface|type) (\w+)/gm;
  for (const { path, code } of house.values()) {
    for (const [, kind, name] of code.matchAll(EXPORT)) {
      const isType = kind !== "const" && !kind!.startsWith("function");
      const isUsed = files.get(name!)! > 1 ||
        isType && wordsOf(code).filter((word) => word === name).length > 1;
      assert(isUsed, `${path}: nothing uses ${name}`);
    }
  }
});

Deno.test("every file opens with what it is about", () => {
  for (const { path, text } of house.values()) {
    assert(text.startsWith("/**\n") && text.includes("@module"), path);
  }
});

Deno.test("ARCHITECTURE.md shows the states that the transition table has", () => {
  assert(ARCHITECTURE.includes(`\`\`\`mermaid\n${stateDiagram()}\n`));
});

Deno.test("ARCHITECTURE.md tells datagram by datagram what the broker does", () => {
  const start = ARCHITECTURE.indexOf("### A message for a sleeper");
  const block = ARCHITECTURE.slice(start).split("```")[1]!;
  const bench = new GatewayBench();
  const peers: Record<string, Peer> = {
    lamp: peerOf("127.0.0.1", 1_001),
    ann: peerOf("127.0.0.1", 1_002),
  };
  const answers: string[] = [];
  let lines = 0;
  for (const line of block.trim().split("\n")) {
    const [, who, way, hex] =
      /^(lamp|ann) +([<>]) ((?:[\da-f]{2} )+)/.exec(line) ?? [];
    if (who === undefined) continue;
    lines++;
    const octets = hex!.replaceAll(" ", "");
    if (way === "<") assertEquals(answers.shift(), octets, line);
    else {
      assertEquals(answers, [], line);
      bench.take(peers[who]!, octets);
      answers.push(...bench.wire);
    }
  }
  assertEquals([answers, lines], [[], 18]);
});
