/**
 * Runs the programs in `examples/` and compares what they print. The tests
 * there run with the others.
 *
 * @module
 */

import { assertEquals } from "@std/assert";

const PRINTED: Readonly<Record<string, string>> = {
  "hello.ts": `\
weather/roof: 21.5 °C
weather/cellar: 14.0 °C
`,
  "sleeping_sensor.ts": `\
sensor  is connecting
sensor  is active
sensor  is asleep
office  has sent two commands, 1 client is asleep
sensor  is awake
sensor  fetches "light on"
sensor  fetches "report"
sensor  is asleep
sensor  is connecting
sensor  is active
sensor  is asleep
office  reads 21.5 °C
office  has sent two commands, 1 client is asleep
sensor  is awake
sensor  fetches "light on"
sensor  fetches "report"
sensor  is asleep
sensor  is connecting
sensor  is active
sensor  is asleep
office  reads 21.7 °C
sensor  is disconnected
`,
  "bulk_import.ts": `\
line 5: house/+/celsius,19.3
  Cannot take "house/+/celsius" as a topic's name: it is empty, too long, or has a wildcard
line 8: $SYS/broker/uptime,0
  The broker refuses to publish: it does not support that
8 of 10 rows published:
  2 house/cellar/celsius
  1 house/cellar/percent
  3 house/roof/celsius
  2 house/roof/percent
`,
  "request_response.ts": `\
37 °C is 98.6 °F
-300 °C: TimeoutError
100 °C is 212 °F
`,
  "two_protocols.ts": `\
ann asks      How warm is it?
bob answers   21.5 °C
bob reads     How warm is it? / Thank you
ann reads     Thank you
`,
  "raw_socket.ts": `\
Broker has recieved message
open
Invalid data provided
`,
};

const DIRECTORY = new URL("../../examples/", import.meta.url);

Deno.test("every example is run", async () => {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(DIRECTORY)) {
    if (/(?<!_test)\.ts$/.test(name)) names.push(name);
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
