import { assert, assertEquals, assertMatch } from "@std/assert";
import { obey } from "../../cli/net_console.ts";
import { NetSim } from "../../netsim/netsim.ts";
import { KEY, Terminal, testAtTerminal } from "../support/terminal.ts";

Deno.test("obey() changes the network, shows it, and helps", () => {
  const net = new NetSim({ net: "off", side: "broker" });
  assertEquals(obey(net, ""), "");
  assertEquals(obey(net, "  net  loss 20% "), "The network is now: loss 20%");
  assertEquals(
    obey(net, "net"),
    [
      "The network is: loss 20%",
      "in: nothing yet",
      "out: nothing yet",
      "faults 0, under way 0",
    ].join("\n"),
  );
  assert(obey(net, "net loss 20").includes('Cannot take "20"'));
  assertEquals(`${net}`, "loss 20%");
  assertEquals(obey(net, "net off"), "The network is now: off");
  assert(obey(net, "help").includes("net SPEC"));
  assert(obey(net, "quit").includes('Cannot take "quit"'));
});

testAtTerminal(
  "the broker takes another network when a person types it",
  async () => {
    const args = ["--port", "0", "--net", "loss 1%", "--seed", "7"];
    await using terminal = new Terminal("broker", args);
    await terminal.expect("Broker started at ");
    await terminal.expect('"help" for more');
    await terminal.type("net delay 5ms", KEY.enter);
    await terminal.expect("The network is now: delay 5ms");
    await terminal.type("net delay 5", KEY.enter);
    await terminal.expect('Cannot take "5"');
    await terminal.type("net", KEY.enter);
    await terminal.expect("The network is: delay 5ms");
    await terminal.type(KEY.ctrlC);
    const { code, screen, leftovers } = await terminal.end();
    assertEquals([code, leftovers], [130, []]);
    assertMatch(screen[0]!, /The network is bad: loss 1% \(seed 7\)$/);
  },
);

testAtTerminal(
  "the broker does not read what is typed when it has no network",
  async () => {
    await using terminal = new Terminal("broker", ["--port", "0"]);
    await terminal.expect("Broker started at ");
    await terminal.type(KEY.ctrlC);
    const { code, screen } = await terminal.end();
    assertEquals(code, 130);
    assert(!screen.join().includes("help"));
  },
);
