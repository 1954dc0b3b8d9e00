/**
 * The map of the rooms, read from the table in `ARCHITECTURE.md`: the one place
 * that says which room there is, what it may import and whether it is pure. The
 * checks hold the code to it.
 *
 * @module
 */

/** A room, a file at the root, as the map has it. */
export interface Room {
  /** Its file, `router.ts`. */
  readonly file: string;
  /** Its layer, `state`. */
  readonly layer: string;
  /** The rooms that it may import. */
  readonly mayImport: readonly string[];
  /** Whether it does no input or output. */
  readonly isPure: boolean;
}

/** The root of the project. */
export const ROOT: URL = new URL("..", import.meta.url);

/** The layers whose rooms are pure. */
const PURE_LAYERS: readonly string[] = ["nouns", "wire", "state"];

/**
 * Reads the map.
 *
 * @throws {Error} when a row cannot be understood
 */
export async function readRooms(): Promise<Room[]> {
  const text = await Deno.readTextFile(new URL("ARCHITECTURE.md", ROOT));
  const rows = text.split("\n").filter((line) => /^\| \w+ +\| `/.test(line));
  return rows.map((row) => {
    const [, layer, file, , imports] = row.split("|").map((cell) =>
      cell.trim()
    );
    if (!layer || !file || imports === undefined) {
      throw new Error(`Cannot read the row "${row}" of ARCHITECTURE.md`);
    }
    return {
      file: file.replaceAll("`", ""),
      layer,
      mayImport: imports === "–" ? [] : imports.split(", "),
      isPure: PURE_LAYERS.includes(layer),
    };
  });
}
