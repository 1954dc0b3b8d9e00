/**
 * Tests of publisher and subscriber of MQTT-SN as a person meets them: at a
 * terminal, by what is typed and what is left on the screen.
 *
 * @module
 */

import {
  assert,
  assertEquals,
  assertFalse,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { join } from "node:path";
import { Client } from "../../client.ts";
import { decodePacket, encodePacket } from "../../wire/mqttsn.ts";
import type { MqttSnPacket } from "../../wire/packets.ts";
import { UdpTransport } from "../../transport/udp.ts";
import { LoggedBroker } from "../support/broker.ts";
import { answerOf } from "../support/gateway.ts";
import { run, SilentPort } from "../support/programs.ts";
import {
  KEY,
  Terminal,
  type TerminalOptions,
  testAtTerminal as test,
  TIDY,
} from "../support/terminal.ts";

const TOPIC = "? Topic, or exit_ to end ›";
const PAYLOAD = "? Payload ›";
const QOS = "? QoS 0, 1 or 2 (0) ›";
const QOS_1 = "? QoS 0, 1 or 2 (1) ›";
const RETAIN = "? Retain, y or n (n) ›";
const FILTER = "? Topic filter, or exit_ to end ›";
const SUBSCRIBED = "Subscribed at QoS 0; Ctrl-C ends";
const WAITING = "Waiting for the broker; Ctrl-C ends";
const INTERRUPTIONS = [
  ["Ctrl-D", KEY.ctrlD, 0],
  ["Ctrl-C", KEY.ctrlC, 130],
] as const;

// The publisher

test(
  "the publisher asks for a message and tells what came of it when a person types",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using terminal = new Terminal("publisher", broker.flags);
    await publish(terminal, "weather", "  21.5 °C ");
    await terminal.expect("Sent");
    await publish(terminal, "a b", "", "1", "yes");
    await terminal.expect("Acknowledged");
    await publish(terminal, "lamp", "on", "2", "Y");
    await terminal.expect("Acknowledged");
    await terminal.answer(TOPIC, " exit_ ");
    assertEquals(await ending(terminal), {
      code: 0,
      screen: [
        `${TOPIC} weather`,
        `${PAYLOAD}   21.5 °C`,
        `${QOS} 0`,
        `${RETAIN} n`,
        "Sent",
        `${TOPIC} a b`,
        PAYLOAD,
        `${QOS} 1`,
        `${RETAIN} yes`,
        "Acknowledged after N ms",
        `${TOPIC} lamp`,
        `${PAYLOAD} on`,
        `${QOS_1} 2`,
        `${RETAIN} Y`,
        "Acknowledged after N ms",
        `${TOPIC}  exit_`,
      ],
      leftovers: TIDY,
    });
    assertEquals(broker.broker.stats().published, 3);
    assertEquals(broker.broker.stats().mqttsn.retained, 1); // no empty one
    assertEquals(await broker.history("weather"), "  21.5 °C ");
  },
);

test(
  "the publisher takes the last QoS for the usual one when Enter is pressed",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using terminal = new Terminal("publisher", broker.flags);
    await publish(terminal, "a", "1", "1");
    await publish(terminal, "a", "2");
    await publish(terminal, "a", "3", " 0 ");
    await publish(terminal, "a", "4");
    await terminal.answer(TOPIC, "exit_");
    const { screen, leftovers } = await ending(terminal);
    assertEquals(leftovers, TIDY);
    assertEquals(
      screen.filter((line) => /^\? QoS|^Sent|^Ack/.test(line)),
      [
        `${QOS} 1`,
        "Acknowledged after N ms",
        `${QOS_1} 1`,
        "Acknowledged after N ms",
        `${QOS_1}  0`,
        "Sent",
        `${QOS} 0`,
        "Sent",
      ],
    );
  },
);

test(
  "the publisher says what is wrong and lets it be mended when an answer will not do",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using terminal = new Terminal("publisher", broker.flags);
    const wrong = "No topic: it is empty, too long, or has + or # in it";
    await terminal.expect(TOPIC);
    await terminal.type(KEY.enter);
    await terminal.expect(wrong);
    await terminal.type("a/+", KEY.enter);
    await terminal.expect(wrong);
    await terminal.type(KEY.backspace, "b", KEY.enter);
    await terminal.answer(PAYLOAD, "1");
    for (
      const [question, answer, mend, what] of [
        [QOS, "3", "1", "Type 0, 1 or 2"],
        [RETAIN, "maybe", "y", "Type y or n"],
      ] as const
    ) {
      await terminal.expect(question);
      await terminal.type(answer, KEY.enter);
      await terminal.expect(what);
      await terminal.type(KEY.ctrlU, mend, KEY.enter);
    }
    await terminal.expect("Acknowledged");
    await terminal.answer(TOPIC, "exit_");
    assertEquals(await ending(terminal), {
      code: 0,
      screen: [
        `${TOPIC} a/b`,
        `${PAYLOAD} 1`,
        `${QOS} 1`,
        `${RETAIN} y`,
        "Acknowledged after N ms",
        `${TOPIC} exit_`,
      ],
      leftovers: TIDY,
    });
    assertEquals(broker.broker.stats().mqttsn.retained, 1);
  },
);

test(
  "the publisher tells of it and asks on when the broker refuses or is silent",
  async () => {
    await using gateway = await Gateway.bind();
    const args = [...gateway.flags, "--timeout", "0.3"];
    await using terminal = new Terminal("publisher", args);
    gateway.returnCode = 3;
    await publish(terminal, "a", "1", "1");
    await terminal.expect("refuses");
    gateway.isSilent = true;
    await publish(terminal, "a", "2");
    await terminal.expect("No broker answered");
    gateway.returnCode = 0;
    gateway.isSilent = false;
    await publish(terminal, "a", "3");
    await terminal.expect("Acknowledged");
    await terminal.answer(TOPIC, "exit_");
    const { code, screen, leftovers } = await ending(terminal);
    assertEquals([code, leftovers], [0, TIDY]);
    assertEquals(
      screen.filter((line) => !line.startsWith("?")),
      [
        "The broker refuses to publish: it does not support that",
        `No broker answered at 127.0.0.1:${gateway.port} within 0.3 s`,
        "Acknowledged after N ms",
      ],
    );
  },
);

test(
  "the publisher completes a topic that was used when Tab is pressed",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using terminal = new Terminal("publisher", broker.flags);
    await publish(terminal, "weather", "1");
    await terminal.expect(TOPIC);
    await terminal.type("we");
    await terminal.expect("weather");
    await terminal.type(KEY.tab, KEY.enter);
    await terminal.expect(`${TOPIC} weather\r\n`);
    await answerRest(terminal, "we");
    await terminal.expect("Sent");
    // What is only shown is not taken.
    await publish(terminal, "we", "2");
    await terminal.answer(TOPIC, "exit_");
    const { screen, leftovers } = await ending(terminal);
    assertEquals(leftovers, TIDY);
    assertEquals(
      screen.filter((line) => /^\? (Topic|Payload)/.test(line)),
      [
        `${TOPIC} weather`,
        `${PAYLOAD} 1`,
        `${TOPIC} weather`,
        `${PAYLOAD} we`,
        `${TOPIC} we`,
        `${PAYLOAD} 2`,
        `${TOPIC} exit_`,
      ],
    );
  },
);

test(
  "the publisher offers the topics that were used, the last one first, when Up is pressed",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using terminal = new Terminal("publisher", broker.flags);
    for (const topic of ["first", "second", "third", "first"]) {
      await publish(terminal, topic, "1");
    }
    await terminal.expect(TOPIC);
    for (
      const [key, topic] of [
        [KEY.up, "first"],
        [KEY.up, "third"],
        [KEY.up, "second"],
        [KEY.down, "third"],
      ] as const
    ) {
      await terminal.type(key);
      await terminal.expect(topic);
    }
    await terminal.type(KEY.right, KEY.enter);
    await answerRest(terminal, "2");
    await terminal.answer(TOPIC, "exit_");
    const { screen, leftovers } = await ending(terminal);
    assertEquals(leftovers, TIDY);
    assertEquals(screen.at(-6), `${TOPIC} third`);
    assertEquals(await broker.history("third"), "1\n2");
  },
);

test(
  "the publisher answers a prompt with each line when four are pasted at once",
  async () => {
    await using broker = await LoggedBroker.listen();
    await Promise.all(["\r", "\n", "\r\n"].map(async (end) => {
      await using terminal = new Terminal("publisher", broker.flags);
      await terminal.expect(TOPIC);
      await terminal.type(["weather", "21.5", "1", "n", "exit_", ""].join(end));
      assertEquals(await ending(terminal), {
        code: 0,
        screen: [
          `${TOPIC} weather`,
          `${PAYLOAD} 21.5`,
          `${QOS} 1`,
          `${RETAIN} n`,
          "Acknowledged after N ms",
          `${TOPIC} exit_`,
        ],
        leftovers: TIDY,
      }, JSON.stringify(end));
    }));
    assertEquals(await broker.history("weather"), "21.5\n21.5\n21.5");
  },
);

test(
  "the publisher asks for the rest when three lines are pasted at once",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using terminal = new Terminal("publisher", broker.flags);
    await terminal.expect(TOPIC);
    await terminal.type("weather\r21.5\r2\r");
    await terminal.answer(RETAIN, "y");
    await terminal.expect("Acknowledged");
    // The fourth line, of a paste without an end, waits for one.
    await terminal.type("weather\r22\r\rn");
    await terminal.expect(`${RETAIN} n`);
    await terminal.type(KEY.enter);
    await terminal.expect("Acknowledged");
    await terminal.answer(TOPIC, "exit_");
    const { code, leftovers } = await terminal.end();
    assertEquals([code, leftovers], [0, TIDY]);
    assertEquals(await broker.history("weather"), "21.5\n22");
  },
);

test(
  "the publisher stays tidy when a line is longer than the screen is wide",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using terminal = new Terminal("publisher", broker.flags, {
      columns: 40,
      rows: 8,
    });
    const digits = "0123456789";
    await publish(terminal, digits.repeat(5), digits.repeat(10), "1");
    await terminal.expect("Acknowledged");
    await terminal.expect(TOPIC);
    await terminal.type("+", KEY.enter);
    await terminal.expect("No topic");
    await terminal.type(KEY.ctrlD);
    assertEquals(await ending(terminal), {
      code: 0,
      screen: [
        `${TOPIC} 0123456789012`,
        digits.repeat(4).slice(3),
        `${PAYLOAD} ${digits.repeat(3).slice(0, 28)}`,
        digits.repeat(5).slice(8, 48),
        digits.repeat(4).slice(8),
        `${QOS} 1`,
        `${RETAIN} n`,
        "Acknowledged after N ms",
        `${TOPIC} +`,
      ],
      leftovers: TIDY,
    });
    assertEquals(await broker.history(digits.repeat(5)), digits.repeat(10));
  },
);

test(
  "the publisher stays tidy when the screen's size changes",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using terminal = new Terminal("publisher", broker.flags);
    await terminal.expect(TOPIC);
    await terminal.type("wea");
    await terminal.expect("wea");
    await terminal.resize(120, 10);
    await terminal.type("ther");
    await terminal.expect("weather");
    await terminal.resize(40, 40);
    await terminal.type(KEY.enter);
    await terminal.answer(PAYLOAD, "21.5");
    await terminal.expect(QOS);
    await terminal.type("7", KEY.enter);
    await terminal.expect("Type 0, 1 or 2");
    await terminal.resize(80, 24);
    await terminal.type(KEY.backspace, KEY.enter);
    await terminal.answer(RETAIN, "");
    await terminal.answer(TOPIC, "exit_");
    assertEquals(await terminal.end(), {
      code: 0,
      screen: [
        `${TOPIC} weather`,
        `${PAYLOAD} 21.5`,
        `${QOS} 0`,
        `${RETAIN} n`,
        "Sent",
        `${TOPIC} exit_`,
      ],
      leftovers: TIDY,
    });
  },
);

const ANSWERED = [`${TOPIC} a`, `${PAYLOAD} 1`, `${QOS} 2`, RETAIN];

for (
  const [name, keys, code] of [
    ["exit_ is typed", `exit_${KEY.enter}`, 0],
    ...INTERRUPTIONS.map(([name, key, code]) =>
      [`${name} is pressed`, key, code] as const
    ),
  ] as const
) {
  test(`the publisher ends with ${code} when ${name} at any of its questions`, async () => {
    await using broker = await LoggedBroker.listen();
    await Promise.all(ANSWERED.map(async (_, count) => {
      await using terminal = new Terminal("publisher", broker.flags);
      const screen = ANSWERED.slice(0, count);
      for (const line of screen) {
        const [, question, answer] = /^(.+ ›) (.+)$/.exec(line)!;
        await terminal.answer(question!, answer!);
      }
      const question = [TOPIC, PAYLOAD, QOS, RETAIN][count]!;
      await terminal.expect(question);
      await terminal.type(keys);
      screen.push(
        code === 0 && keys.length > 1 ? `${question} exit_` : question,
      );
      assertEquals(await terminal.end(), { code, screen, leftovers: TIDY });
    }));
    assertEquals(broker.broker.stats().published, 0);
  });
}

test(
  "the publisher ends with 130 when Ctrl-C is pressed before an answer",
  async () => {
    await using gateway = await Gateway.bind();
    const args = [...gateway.flags, "--timeout", "1000"];
    await using terminal = new Terminal("publisher", args);
    await terminal.expect(TOPIC);
    gateway.isSilent = true;
    await terminal.type("a\r1\r1\r\r");
    await terminal.expect(WAITING);
    await terminal.type(KEY.ctrlC);
    assertEquals(await terminal.end(), {
      code: 130,
      screen: [
        `${TOPIC} a`,
        `${PAYLOAD} 1`,
        `${QOS} 1`,
        `${RETAIN} n`,
        WAITING,
        "^C",
      ],
      leftovers: TIDY,
    });
  },
);

// The publisher's progress

/** Publishes for longer than anybody wonders why nothing happens. */
const SLOWLY = [
  "-t",
  "a",
  "-m",
  "1",
  "--repeat",
  "15",
  "--repeat-delay",
  ".05",
];
const ALL_15 = /^15 of 15 \(100 %\) published, \d+\/s$/;

test(
  "the publisher tells how far it is on a line, and how far it came, when it takes long",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using terminal = new Terminal("publisher", [
      ...broker.flags,
      ...SLOWLY,
    ]);
    await terminal.expect(" of 15 (");
    await terminal.expect("\r");
    const { code, screen, leftovers } = await terminal.end();
    assertEquals([code, screen.length, leftovers], [0, 1, TIDY]);
    assertMatch(screen[0]!, ALL_15);
    // A pipe is told nothing, and nobody when it is done at once.
    const silent = { code: 0, stdout: "", stderr: "" };
    const piped = run("publisher", [...broker.flags, ...SLOWLY]);
    await using soon = new Terminal("publisher", [
      ...broker.flags,
      ...["-t", "a", "-m", "1"],
    ]);
    assertEquals((await soon.end()).screen, []);
    assertEquals(await piped, silent);
  },
);

test(
  "the publisher tells how far it came when Ctrl-C is pressed",
  async () => {
    await using broker = await LoggedBroker.listen();
    const args = ["-t", "a", "-m", "1", "-q", "1", "--repeat", "100000"];
    await using terminal = new Terminal("publisher", [
      ...broker.flags,
      ...args,
    ]);
    await terminal.expect(" of 100,000 (");
    await terminal.type(KEY.ctrlC);
    const { code, screen, leftovers } = await terminal.end();
    assertEquals([code, screen.length, leftovers], [130, 1, TIDY]);
    assertMatch(
      screen[0]!,
      /^[\d,]+ of 100,000 \(\d+ %\) published, [\d,]+\/s$/,
    );
  },
);

test(
  "the publisher tells how many lines of a file it published on a narrow screen",
  async () => {
    await using broker = await LoggedBroker.listen();
    const directory = await Deno.makeTempDir();
    try {
      // A file that takes as long as it is to take.
      const file = join(directory, "fifo");
      await new Deno.Command("mkfifo", { args: [file] }).output();
      await using terminal = new Terminal("publisher", [
        ...broker.flags,
        ...["-t", "a", "-l", "-f", file],
      ], { columns: 20 });
      using writer = await Deno.open(file, { write: true });
      let isShown = false;
      const shown = terminal.expect(" published,").then(() => isShown = true);
      let count = 0;
      for (; !isShown; count++) {
        await writer.write(new TextEncoder().encode("1\n"));
        await broker.published("a");
      }
      await shown;
      writer.close();
      const { code, screen, leftovers } = await terminal.end();
      assertEquals([code, leftovers], [0, TIDY]);
      const line = `${count.toLocaleString("en")} published, `;
      assertEquals(screen.length, 1);
      assertStringIncludes(screen[0]!, line.slice(0, 19));
      assert(screen[0]!.length < 20);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  },
);

test(
  "the publisher says what went wrong on a line of its own when it was telling how far it is",
  async () => {
    await using gateway = await Gateway.bind();
    const args = ["-t", "a", "-m", "1", "-q", "1", "--repeat", "100000"];
    await using terminal = new Terminal("publisher", [
      ...gateway.flags,
      ...["--timeout", "0.3", ...args],
    ], { columns: 150 });
    await terminal.expect(" of 100,000 (");
    gateway.isSilent = true;
    const { code, screen, leftovers } = await terminal.end();
    assertEquals([code, screen.length, leftovers], [1, 2, TIDY]);
    assertMatch(screen[0]!, / of 100,000 \(\d+ %\) published, [\d,]+\/s$/);
    assertMatch(screen[1]!, /^publisher: No broker answered at /);
  },
);

test(
  "the publisher logs on lines of their own when it tells how far it is",
  async () => {
    await using broker = await LoggedBroker.listen();
    const args = [...broker.flags, "--debug", ...SLOWLY];
    await using terminal = new Terminal("publisher", args, { columns: 200 });
    const { code, screen, leftovers } = await terminal.end();
    assertEquals([code, leftovers], [0, TIDY]);
    const others = screen.filter((line) => !/^\d{4}-\S+Z debug \S/.test(line));
    assertEquals(others.length, 1, others.join("\n"));
    assertMatch(others[0]!, ALL_15);
  },
);

test(
  "the publisher keeps what is typed as it is when a person types its lines",
  async () => {
    await using broker = await LoggedBroker.listen();
    const args = [...broker.flags, "-t", "a", "-l"];
    await using terminal = new Terminal("publisher", args);
    const until = performance.now() + 700; // when progress would be told
    let count = 0;
    do {
      await terminal.type(`${++count}`, KEY.enter);
      await broker.published("a");
    } while (performance.now() < until);
    await terminal.type(KEY.ctrlD);
    const { code, screen, leftovers } = await terminal.end();
    assertEquals([code, leftovers], [0, TIDY]);
    assertEquals(screen, Array.from({ length: count }, (_, i) => `${i + 1}`));
  },
);

// The subscriber

test(
  "the subscriber asks for a filter and shows what comes when a person types",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using client = await Client.connect({ port: broker.broker.port });
    await client.publish("room/1", "21.5 °C", { qos: 1, retain: true });
    const args = [...broker.flags, "-q", "1"];
    await using terminal = new Terminal("subscriber", args);
    await terminal.answer(FILTER, "room/#");
    await terminal.expect("21.5 °C");
    await client.publish("room/2", "on", { qos: 2 });
    await terminal.expect("on");
    await client.publish("room/1", "22 °C", { retain: true });
    await terminal.expect("22 °C");
    await terminal.type(KEY.ctrlC);
    assertEquals(await ending(terminal), {
      code: 130,
      screen: [
        `${FILTER} room/#`,
        "Subscribed at QoS 1; Ctrl-C ends",
        "TIME QoS 1 retained room/1 21.5 °C",
        "TIME QoS 1 room/2 on",
        "TIME QoS 0 room/1 22 °C",
      ],
      leftovers: TIDY,
    });
  },
);

test(
  "the subscriber explains and lets it be mended when a filter is none",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using terminal = new Terminal("subscriber", broker.flags);
    const wrong =
      "No filter: it is empty, or + is not a whole level or # not the last";
    await terminal.expect(FILTER);
    await terminal.type(KEY.enter);
    await terminal.expect(wrong);
    await terminal.type("a/#/b", KEY.enter);
    await terminal.expect(wrong);
    await terminal.type(KEY.backspace, KEY.backspace, KEY.enter);
    await terminal.expect(SUBSCRIBED);
    await terminal.type(KEY.ctrlC);
    assertEquals(await terminal.end(), {
      code: 130,
      screen: [`${FILTER} a/#`, SUBSCRIBED],
      leftovers: TIDY,
    });
  },
);

test(
  "the subscriber sets off time, QoS and topic in color unless NO_COLOR is set",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using client = await Client.connect({ port: broker.broker.port });
    await client.publish("a", "1", { qos: 1, retain: true });
    const [colored, plain] = await Promise.all(
      ["", "1"].map(async (NO_COLOR) => {
        const options = { env: { NO_COLOR } };
        const terminal = await showing(broker, "a", [], options);
        await using _ = terminal;
        await terminal.expect(" 1");
        await terminal.type(KEY.ctrlC);
        assertEquals((await terminal.end()).leftovers, TIDY);
        return terminal.output;
      }),
    );
    const [dim, yellow, cyan] = ["2", "33", "36"].map((on) => `\x1b[${on}m`);
    const shown = colored!.split("\n").find((line) =>
      line.includes("retained")
    )!;
    assertEquals(
      shown.replace(/\d\d:\d\d:\d\d/, "TIME").trimEnd(),
      `${dim}TIME\x1b[22m ${yellow}QoS 0 retained\x1b[39m ${cyan}a\x1b[39m 1`,
    );
    // deno-lint-ignore no-control-regex -- it is control characters that are meant
    assertFalse(/\x1b\[[\d;]*m/.test(plain!), plain);
  },
);

test(
  "the subscriber shows escapes, hex and lines set in when payloads would steer the terminal",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using client = await Client.connect({ port: broker.broker.port });
    await using terminal = await showing(broker, "#");
    await client.publish("e\x1b[2Jvil", "a\tb\x1b[2J\x1b]0;t\x07c\x9b31md\x7f");
    await client.publish("lines", "1\n12:00:00 QoS 0 lamp on\r\n");
    await client.publish("octets", new Uint8Array([0xff, 0x00, 0x0a]));
    await client.publish("nothing", "");
    await terminal.expect("(empty)");
    await terminal.type(KEY.ctrlC);
    assertEquals(await ending(terminal), {
      code: 130,
      screen: [
        `${FILTER} #`,
        SUBSCRIBED,
        // A tab goes to the next column that 8 divides.
        "TIME QoS 0 e\\u001b[2Jvil a  b\\u001b[2J\\u001b]0;t\\u0007c\\u009b31md\\u007f",
        "TIME QoS 0 lines 1",
        "         12:00:00 QoS 0 lamp on\\u000d",
        "TIME QoS 0 octets hex ff000a",
        "TIME QoS 0 nothing (empty)",
      ],
      leftovers: TIDY,
    });
  },
);

test(
  "the subscriber ends when as many messages as -C says were shown",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using client = await Client.connect({ port: broker.broker.port });
    await using terminal = await showing(broker, "a", ["-C", "2"]);
    for (const text of ["1", "2", "3"]) await client.publish("a", text);
    assertEquals(await ending(terminal), {
      code: 0,
      screen: [`${FILTER} a`, SUBSCRIBED, "TIME QoS 0 a 1", "TIME QoS 0 a 2"],
      leftovers: TIDY,
    });
  },
);

test(
  "the subscriber prints by the format that a flag asks for when it shows what comes",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using client = await Client.connect({ port: broker.broker.port });
    const args = ["-C", "1", "-F", "%q|%t|%p"];
    await using terminal = await showing(broker, "a", args);
    await client.publish("a", "1\x1b[2J");
    assertEquals((await terminal.end()).screen, [
      `${FILTER} a`,
      SUBSCRIBED,
      "0|a|1\\u001b[2J",
    ]);
  },
);

test(
  "the subscriber keeps keys from the screen and from whoever is next when it shows what comes",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using client = await Client.connect({ port: broker.broker.port });
    await using terminal = new Terminal("subscriber", [
      ...broker.flags,
      ...["-C", "2"],
    ]);
    await terminal.expect(FILTER);
    // The first line of a paste is the answer, the others are nobody's.
    await terminal.type("a\recho 1\recho 2\r");
    await terminal.expect(SUBSCRIBED);
    await terminal.type(KEY.up, "x", KEY.tab, KEY.escape, KEY.ctrlD, KEY.enter);
    await terminal.type("echo 1\necho 2\necho 3\n");
    await terminal.drain();
    await client.publish("a", "1");
    await terminal.expect("a 1");
    await terminal.type("echo 4");
    await terminal.drain();
    await client.publish("a", "2");
    assertEquals(await ending(terminal), {
      code: 0,
      screen: [`${FILTER} a`, SUBSCRIBED, "TIME QoS 0 a 1", "TIME QoS 0 a 2"],
      leftovers: TIDY,
    });
  },
);

test(
  "the subscriber shows no keys when it goes on after Ctrl-Z",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using terminal = await showing(broker, "a");
    await terminal.hide();
    await terminal.kill("SIGSTOP");
    await terminal.reset();
    await terminal.kill("SIGCONT");
    await terminal.hide();
    await terminal.type("xyz");
    await terminal.drain();
    await terminal.type(KEY.ctrlC);
    assertEquals(await terminal.end(), {
      code: 130,
      screen: [`${FILTER} a`, SUBSCRIBED],
      leftovers: TIDY,
    });
  },
);

test(
  "the subscriber stays tidy when the screen's size changes",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using client = await Client.connect({ port: broker.broker.port });
    await using terminal = new Terminal("subscriber", broker.flags);
    await terminal.expect(FILTER);
    await terminal.type("room");
    await terminal.expect("room");
    await terminal.resize(120, 10);
    await terminal.type("/1", KEY.enter);
    await terminal.expect(SUBSCRIBED);
    await terminal.resize(40, 24);
    const digits = "0123456789";
    await client.publish("room/1", digits.repeat(4));
    await terminal.expect(digits.repeat(4));
    await terminal.resize(80, 10);
    await client.publish("room/1", digits.repeat(4));
    await terminal.expect(digits.repeat(4));
    await terminal.type(KEY.ctrlC);
    assertEquals(await ending(terminal), {
      code: 130,
      screen: [
        `${FILTER} room/1`,
        SUBSCRIBED,
        `TIME QoS 0 room/1 ${digits.repeat(2).slice(0, 18)}`,
        digits.repeat(3).slice(8),
        `TIME QoS 0 room/1 ${digits.repeat(4)}`,
      ],
      leftovers: TIDY,
    });
  },
);

test(
  "the subscriber tells of it when the broker is lost, and when it is back",
  async () => {
    await using gateway = await Gateway.bind();
    const args = ["-k", "1", "--timeout", "0.3"];
    await using terminal = await showing(gateway, "a", args);
    gateway.isSilent = true;
    const lost = "The broker does not answer; looking for it";
    await terminal.expect(lost);
    gateway.isSilent = false;
    const found = "The broker is back";
    await terminal.expect(found);
    await terminal.type(KEY.ctrlC);
    assertEquals(await terminal.end(), {
      code: 130,
      screen: [`${FILTER} a`, SUBSCRIBED, lost, found],
      leftovers: TIDY,
    });
  },
);

for (const [name, key, code] of INTERRUPTIONS) {
  test(`the subscriber ends with ${code} when ${name} is pressed at its question`, async () => {
    await using broker = await LoggedBroker.listen();
    await using terminal = new Terminal("subscriber", broker.flags);
    await terminal.expect(FILTER);
    await terminal.type("wea");
    await terminal.expect("wea");
    await terminal.type(key);
    const screen = [`${FILTER} wea`];
    assertEquals(await terminal.end(), { code, screen, leftovers: TIDY });
  });
}

test(
  "the subscriber ends with 0 when exit_ is typed at its question",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using terminal = new Terminal("subscriber", broker.flags);
    await terminal.answer(FILTER, " exit_");
    const screen = [`${FILTER}  exit_`];
    assertEquals(await terminal.end(), { code: 0, screen, leftovers: TIDY });
  },
);

test(
  "the subscriber ends with 130 when Ctrl-C comes along with the answer",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using terminal = new Terminal("subscriber", broker.flags);
    await terminal.expect(FILTER);
    await terminal.type(`a${KEY.enter}${KEY.ctrlC}`);
    const { code, screen, leftovers } = await terminal.end();
    assertEquals([code, leftovers], [130, TIDY]);
    assertEquals(screen[0], `${FILTER} a`);
  },
);

test("the subscriber leaves the terminal as it was when it shows what comes and gets a signal", async () => {
  await using broker = await LoggedBroker.listen();
  await Promise.all((["SIGINT", "SIGTERM"] as const).map(async (signal) => {
    await using terminal = await showing(broker, "a");
    await terminal.type("xyz");
    await terminal.drain();
    await terminal.kill(signal);
    const screen = [`${FILTER} a`, SUBSCRIBED];
    assertEquals(await terminal.end(), {
      code: 130,
      screen,
      leftovers: TIDY,
    }, signal);
  }));
});

// Both

for (const name of ["publisher", "subscriber"] as const) {
  const question = name === "publisher" ? TOPIC : FILTER;

  test(`the ${name} says in a line that no broker answered when there is none`, async () => {
    using nobody = new SilentPort();
    const args = ["-p", String(nobody.port), "--timeout", "0.3"];
    await using terminal = new Terminal(name, args, { columns: 150 });
    assertEquals(await terminal.end(), {
      code: 1,
      screen: [
        `${name}: No broker answered at 127.0.0.1:${nobody.port} within 0.3 s; ` +
        `start one with: deno run -A broker.ts --port ${nobody.port}`,
      ],
      leftovers: TIDY,
    });
  });

  test(`the ${name} says what is wrong in a line when a flag is`, async () => {
    await using terminal = new Terminal(name, ["--bad"], { columns: 150 });
    const { code, screen, leftovers } = await terminal.end();
    assertEquals([code, screen.length, leftovers], [1, 1, TIDY]);
    assertStringIncludes(screen[0]!, `see ${name} --help`);
  });

  test(`the ${name} leaves the terminal as it was when it asks and gets a signal`, async () => {
    await using broker = await LoggedBroker.listen();
    await Promise.all((["SIGINT", "SIGTERM"] as const).map(async (signal) => {
      await using terminal = new Terminal(name, broker.flags);
      await terminal.expect(question);
      await terminal.type("wea");
      await terminal.expect("wea");
      await terminal.kill(signal);
      const screen = [`${question} wea`];
      assertEquals(await terminal.end(), {
        code: 130,
        screen,
        leftovers: TIDY,
      }, signal);
    }));
  });
}

/** Answers the publisher's questions. */
async function publish(
  terminal: Terminal,
  topic: string,
  payload: string,
  qos = "",
  retain = "",
): Promise<void> {
  await terminal.answer(TOPIC, topic);
  await answerRest(terminal, payload, qos, retain);
}

/** Answers those behind the first. */
async function answerRest(
  terminal: Terminal,
  payload: string,
  qos = "",
  retain = "",
): Promise<void> {
  await terminal.answer(PAYLOAD, payload);
  await terminal.answer("? QoS 0, 1 or 2 (", qos);
  await terminal.answer(RETAIN, retain);
}

/** A subscriber that has been told a filter, and shows what comes. */
async function showing(
  { flags }: { readonly flags: readonly string[] },
  filter: string,
  args: readonly string[] = [],
  options: TerminalOptions = {},
): Promise<Terminal> {
  const terminal = new Terminal("subscriber", [...flags, ...args], options);
  await terminal.answer(FILTER, filter);
  await terminal.expect(SUBSCRIBED);
  return terminal;
}

/** How a program ended, without what is different each time. */
async function ending(terminal: Terminal) {
  const { screen, ...others } = await terminal.end();
  const lasting = screen.map((line) =>
    line.replace(/^\d\d:\d\d:\d\d/, "TIME").replace(/[\d.]+ ms$/, "N ms")
  );
  return { screen: lasting, ...others };
}

/** A gateway that is silent, or refuses publishes, when a test wants it to. */
class Gateway implements AsyncDisposable {
  isSilent = false;
  /** Of the PUBACKs. */
  returnCode = 0;
  readonly #transport: UdpTransport;

  private constructor(transport: UdpTransport) {
    this.#transport = transport;
    transport.receive((peer, bytes) => {
      const answer = this.#answerTo(decodePacket(bytes));
      if (this.isSilent || answer === undefined) return;
      transport.send(peer, encodePacket(answer));
    });
  }

  static async bind(): Promise<Gateway> {
    return new Gateway(await UdpTransport.bind());
  }

  get port(): number {
    return this.#transport.address.port;
  }

  /** The flags that lead a client to it. */
  get flags(): readonly string[] {
    return ["-p", String(this.port)];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#transport[Symbol.asyncDispose]();
  }

  #answerTo(packet: MqttSnPacket): MqttSnPacket | undefined {
    switch (packet.type) {
      case "CONNECT":
        return { type: "CONNACK", returnCode: 0 };
      case "PINGREQ":
        return { type: "PINGRESP" };
      case "DISCONNECT":
        return { type: "DISCONNECT", duration: undefined };
      case "REGISTER": {
        const { msgId } = packet;
        return { type: "REGACK", topicId: 1, msgId, returnCode: 0 };
      }
      case "SUBSCRIBE": {
        const { msgId } = packet;
        return { type: "SUBACK", qos: 0, topicId: 1, msgId, returnCode: 0 };
      }
      default: {
        const answer = answerOf(packet);
        const { returnCode } = this;
        return answer?.type === "PUBACK" ? { ...answer, returnCode } : answer;
      }
    }
  }
}
