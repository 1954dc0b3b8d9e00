/**
 * Holds the library's doors: which names each one has, and what it loads.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { ENTRIES, ROOT } from "../../tasks/house.ts";

const deno = async (...args: string[]): Promise<string> => {
  const { stdout, stderr, success } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd: ROOT,
    env: { NO_COLOR: "1" },
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
};

/** The names that a module exports. */
async function namesOf(path: string): Promise<string[]> {
  const { nodes } = JSON.parse(await deno("doc", "--json", path)) as {
    nodes: Record<string, { symbols: { name: string }[] }>;
  };
  const names = Object.values(nodes).flatMap(({ symbols }) =>
    symbols.map(({ name }) => name)
  );
  return [...new Set(names)].sort();
}

const NAMES = new URL("tests/project/names.txt", ROOT);

Deno.test("each entry exports the names that names.txt lists, and each name has one entry", async () => {
  const lines: string[] = [];
  const seen = new Map<string, string>();
  for (const [entry, path] of Object.entries(ENTRIES)) {
    lines.push(`# ${entry}`);
    for (const name of await namesOf(path)) {
      assertEquals(seen.get(name), undefined, `${name} of ${entry}`);
      seen.set(name, entry);
      lines.push(name);
    }
  }
  const text = `${lines.join("\n")}\n`;
  // Names are a promise. To change them on purpose, run this test with UPDATE=1.
  if (Deno.env.get("UPDATE") === "1") await Deno.writeTextFile(NAMES, text);
  assertEquals(
    text,
    await Deno.readTextFile(NAMES),
    "The public names have changed: run this test with UPDATE=1 if they should",
  );
});

Deno.test("deno.json has the entries", async () => {
  const { exports } = JSON.parse(
    await Deno.readTextFile(new URL("deno.json", ROOT)),
  );
  for (const [entry, path] of Object.entries(ENTRIES)) {
    assertEquals(exports[entry], `./${path}`);
  }
});

/** What `deno info` tells of a module. */
interface Info {
  readonly specifier: string;
  readonly dependencies?: readonly {
    readonly code?: { readonly specifier: string };
    /** Whether it is loaded when it is needed, and not before. */
    readonly isDynamic?: boolean;
  }[];
}

/** The modules that are loaded when a module is imported. */
async function loadedBy(path: string): Promise<string[]> {
  const { modules, roots } = JSON.parse(
    await deno("info", "--json", path),
  ) as { modules: Info[]; roots: string[] };
  const infos = new Map(modules.map((info) => [info.specifier, info]));
  const loaded = new Set<string>();
  const visit = (specifier: string) => {
    if (loaded.has(specifier)) return;
    loaded.add(specifier);
    for (const it of infos.get(specifier)?.dependencies ?? []) {
      if (it.code && it.isDynamic !== true) visit(it.code.specifier);
    }
  };
  roots.forEach(visit);
  return [...loaded];
}

for (const [entry, path] of Object.entries(ENTRIES)) {
  Deno.test(`importing ${entry} loads no program, terminal or package`, async () => {
    const loaded = await loadedBy(path);
    assert(loaded.some((it) => it.endsWith("/base/clock.ts")));
    const others = loaded.filter((it) =>
      /\/cli\/|\/links\/|jsr:|npm:|@cliffy|@std/.test(it)
    );
    assertEquals(others, []);
  });
}
