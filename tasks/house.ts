/**
 * The structure of the code, computed from its imports: which file imports which,
 * what a file reaches, which folder may import which. The checks hold the code to
 * it; nothing here has to be edited when a file comes or goes.
 *
 * @module
 */

/** The root of the project. */
export const ROOT: URL = new URL("..", import.meta.url);

/**
 * The pure cores and what else promises to be pure. Each file that one of these
 * reaches by imports is checked for clocks, chance, promises and the console.
 */
const PURE_ROOTS: readonly string[] = [
  "broker/router.ts",
  "client/device.ts",
  "client/classic_device.ts",
  "netsim/faults.ts",
  "netsim/virtual_net.ts",
  "store/commits.ts",
  "wire/conversation.ts",
];

/** The folders of the code. Everything else is tests, tasks, examples. */
export const FOLDERS = [
  "base",
  "wire",
  "broker",
  "client",
  "transport",
  "store",
  "netsim",
  "journal",
  "fleet",
  "entries",
  "cli",
] as const;

/** The library's doors, by the names under which they are imported. */
export const ENTRIES: Readonly<Record<string, string>> = {
  ".": "mod.ts",
  "./core": "entries/core.ts",
  "./testing": "entries/testing.ts",
  "./fleet": "entries/fleet.ts",
};

/** A folder of the code. */
export type Folder = typeof FOLDERS[number];

/**
 * The statement with which a module at the root starts its program. Nobody who
 * imports the module loads the program, so it does not count as an import.
 */
const START_PROGRAM = /^ *import\("\.\/cli\/.*main\(\)\);$/gm;

/** A file and the files of the project that it imports, by their paths. */
export interface SourceFile {
  /** Its path from the root: `broker/router.ts`. */
  readonly path: string;
  /** Its folder; `""` for the root. */
  readonly folder: string;
  /** Its text. */
  readonly text: string;
  /** Its code: the text without comments, and so without the examples. */
  readonly code: string;
  /** Files of the project that it imports, types included. */
  readonly imports: readonly string[];
  /** Packages and built-in modules that it imports. */
  readonly packages: readonly string[];
}

/** Reads each `.ts` file at the root and in the {@linkcode FOLDERS}. */
export async function readHouse(): Promise<Map<string, SourceFile>> {
  const house = new Map<string, SourceFile>();
  for (const folder of ["", ...FOLDERS]) {
    const names: string[] = [];
    for await (const { name } of Deno.readDir(new URL(`./${folder}`, ROOT))) {
      if (name.endsWith(".ts")) names.push(name);
    }
    for (const name of names.sort()) {
      const path = folder === "" ? name : `${folder}/${name}`;
      house.set(path, await readSource(path, folder));
    }
  }
  return house;
}

/** The files that those at {@linkcode PURE_ROOTS} reach, themselves included. */
export function pureFiles(house: ReadonlyMap<string, SourceFile>): string[] {
  const reached = new Set<string>();
  const visit = (path: string) => {
    if (reached.has(path)) return;
    reached.add(path);
    const file = house.get(path);
    if (file === undefined) throw new Error(`There is no file "${path}"`);
    file.imports.forEach(visit);
  };
  PURE_ROOTS.forEach(visit);
  return [...reached].sort();
}

async function readSource(path: string, folder: string): Promise<SourceFile> {
  const url = new URL(path, ROOT);
  const text = await Deno.readTextFile(url);
  const code = text.replace(START_PROGRAM, "").replace(/\/\*[^]*?\*\//g, "")
    .replace(/^\s*\/\/.*$/gm, "");
  // A string that says "from" imports nothing.
  const found = code.matchAll(/(?<!")\b(?:from|import)\s*\(?\s*"([^"$]+)"/g);
  const specifiers = [...found].map(([, specifier]) => specifier!);
  return {
    path,
    folder,
    text,
    code,
    imports: specifiers
      .filter((specifier) => /^\.\.?\/.*\.ts$/.test(specifier))
      .map((specifier) => new URL(specifier, url).href.slice(ROOT.href.length)),
    packages: specifiers.filter((specifier) => !specifier.startsWith(".")),
  };
}
