/**
 * Runs the programs in `examples/` and compares what they print. The tests
 * there run with the others.
 *
 * @module
 */

import { assertEquals } from "@std/assert";

const PRINTED: Readonly<Record<string, string>> = {
  "hello.ts": "21.5 °C\n21.5 °C\n22.0 °C\n",
  "raw_socket.ts": "Broker has recieved message\nopen\nInvalid data provided\n",
};

const DIRECTORY = new URL("../examples/", import.meta.url);

Deno.test("every example is run", async () => {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(DIRECTORY)) {
    if (!name.endsWith("_test.ts")) names.push(name);
  }
  assertEquals(names.sort(), Object.keys(PRINTED).sort());
});

for (const [name, printed] of Object.entries(PRINTED)) {
  Deno.test(`examples/${name} prints what it promises`, async () => {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", name],
      cwd: DIRECTORY,
    }).output();
    const decoder = new TextDecoder();
    assertEquals(code, 0, decoder.decode(stderr));
    assertEquals(decoder.decode(stdout), printed);
  });
}
