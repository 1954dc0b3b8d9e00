/**
 * Holds the rooms to the map in `ARCHITECTURE.md`.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { type Peer, peerOf } from "../message.ts";
import { readRooms, ROOT } from "../tasks/rooms.ts";
import { stateDiagram } from "../tasks/states.ts";
import { GatewayBench } from "./support/gateway.ts";

const rooms = await readRooms();
const ARCHITECTURE = await Deno.readTextFile(
  new URL("ARCHITECTURE.md", ROOT),
);

/** A room's code without its comments, examples included. */
async function codeOf(file: string): Promise<string> {
  const text = await Deno.readTextFile(new URL(file, ROOT));
  return text.replace(/\/\*[^]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
}

function importsOf(code: string): string[] {
  // A text that says "from" imports nothing.
  const specifiers = code.matchAll(
    /(?<!")\b(?:from|import)\s*\(?\s*"([^"$]+)"/g,
  );
  return [...specifiers].map(([, specifier]) => specifier!);
}

Deno.test("ARCHITECTURE.md maps every file at the root, and no other", async () => {
  const files: string[] = [];
  for await (const { name } of Deno.readDir(ROOT)) {
    if (name.endsWith(".ts")) files.push(name);
  }
  assertEquals(rooms.map(({ file }) => file).sort(), files.sort());
});

for (const { file, mayImport } of rooms) {
  Deno.test(`${file} imports only what the map lets it`, async () => {
    const imported = importsOf(await codeOf(file))
      .filter((specifier) => specifier.startsWith("./"))
      .filter((specifier) => specifier !== "./deno.json")
      .map((specifier) => specifier.slice(2, -".ts".length));
    const allowed = new Set(mayImport);
    assertEquals(imported.filter((room) => !allowed.has(room)), []);
    assertEquals(mayImport.filter((room) => !imported.includes(room)), []);
  });
}

Deno.test("ARCHITECTURE.md lets a room import only rooms above it", () => {
  const seen = new Set<string>();
  for (const { file, mayImport } of rooms) {
    assertEquals(mayImport.filter((room) => !seen.has(room)), [], file);
    seen.add(file.slice(0, -".ts".length));
  }
});

for (const { file } of rooms.filter(({ isPure }) => isPure)) {
  Deno.test(`${file} does no input or output and reads no clock`, async () => {
    const code = await codeOf(file);
    const impure =
      /\b(?:Deno|console|performance|setTimeout|setInterval|queueMicrotask|fetch|crypto|async|await|Promise)\b|Date\.now|Math\.random|new Date/;
    assertEquals(code.match(impure)?.[0], undefined);
    assertEquals(importsOf(code).filter((name) => !name.startsWith("./")), []);
  });
}

Deno.test("every room opens with what it knows", async () => {
  for (const { file } of rooms) {
    const text = await Deno.readTextFile(new URL(file, ROOT));
    assert(text.startsWith("/**\n") && text.includes("@module"), file);
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
