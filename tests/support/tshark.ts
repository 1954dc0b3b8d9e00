/**
 * tshark, the terminal's Wireshark, as a reader of capture files.
 *
 * @module
 */

import { assertEquals } from "@std/assert";

const HAS_TSHARK = await (async () => {
  try {
    await new Deno.Command("tshark", { args: ["--version"] }).output();
    return true;
  } catch {
    return false;
  }
})();

/** A test that needs tshark. */
export function testWithTshark(name: string, fn: () => Promise<void>): void {
  const ignore = !HAS_TSHARK;
  const why = ignore ? " (skipped: no tshark here)" : "";
  Deno.test({ name: name + why, ignore, fn });
}

/**
 * Has a capture file read, and checks that nothing is complained about.
 *
 * @param file its octets, or where it is
 * @param fields what is asked of each packet, by tshark's names
 * @param flags more for its command line
 */
export async function tshark(
  file: readonly Uint8Array[] | string,
  fields: readonly string[],
  flags: readonly string[] = [],
): Promise<Record<string, string>[]> {
  if (typeof file !== "string") {
    const path = await Deno.makeTempFile({ suffix: ".pcap" });
    try {
      await Deno.writeFile(path, new Blob([...file] as BlobPart[]).stream());
      return await tshark(path, fields, flags);
    } finally {
      await Deno.remove(path);
    }
  }
  const { code, stdout, stderr } = await new Deno.Command("tshark", {
    args: [
      ...["-r", file, "-n", "-T", "fields", "-E", "separator=\t"],
      ...flags,
      ...fields.flatMap((field) => ["-e", field]),
    ],
  }).output();
  const decoder = new TextDecoder();
  // It says so when it runs as root, and that is not about the file.
  const said = decoder.decode(stderr).split("\n").filter((line) =>
    line !== "" && !line.startsWith("Running as user")
  );
  assertEquals([code, said], [0, []]);
  const text = decoder.decode(stdout);
  if (text === "") return [];
  return text.replace(/\n$/, "").split("\n").map((line) => {
    const values = line.split("\t");
    return Object.fromEntries(
      fields.map((field, i) => [field, values[i] ?? ""]),
    );
  });
}
