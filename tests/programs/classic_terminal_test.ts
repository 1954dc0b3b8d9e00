/**
 * Tests of publisher and subscriber of the classic protocol as a person meets
 * them: at a terminal, by what is typed and what is left on the screen.
 *
 * @module
 */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import {
  CLASSIC_REPLY,
  decodeRequest,
  encodeReply,
} from "../../wire/classic.ts";
import { ClassicClient } from "../../classic_client.ts";
import { UdpTransport } from "../../transport/udp.ts";
import { LoggedBroker } from "../support/broker.ts";
import { SilentPort } from "../support/programs.ts";
import {
  KEY,
  Terminal,
  testAtTerminal as test,
  TIDY,
} from "../support/terminal.ts";

const TO_PUBLISH = "? Enter topic to publish or exit_ to terminate ›";
const DATA = "? Enter data to publish ›";
const TO_SUBSCRIBE = "? Enter topic to subscribe or exit_ to terminate ›";
const ACCEPTED = "Broker has recieved message";
const CLASSIC: readonly string[] = ["--protocol", "classic"];

// The publisher

test(
  "the publisher asks for topic and data and prints the answer when a person types",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using terminal = new Terminal("publisher", classicTo(broker));
    await terminal.answer(TO_PUBLISH, "weather");
    await terminal.answer(DATA, "  21.5 °C ");
    await terminal.expect(ACCEPTED);
    await terminal.answer(TO_PUBLISH, "exit_");
    assertEquals(await terminal.end(), {
      code: 0,
      screen: [
        `${TO_PUBLISH} weather`,
        `${DATA}   21.5 °C`,
        ACCEPTED,
        `${TO_PUBLISH} exit_`,
      ],
      leftovers: TIDY,
    });
    assertEquals(await broker.history("weather"), "  21.5 °C ");
  },
);

test(
  "the publisher prints the refusal and asks on when the broker refuses",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using terminal = new Terminal("publisher", classicTo(broker));
    for (const [topic, data] of [["", "1"], ["a", " "]] as const) {
      await terminal.answer(TO_PUBLISH, topic);
      await terminal.answer(DATA, data);
    }
    await terminal.answer(TO_PUBLISH, " exit_ ");
    assertEquals(await terminal.end(), {
      code: 0,
      screen: [
        TO_PUBLISH,
        `${DATA} 1`,
        "Invalid topic provided",
        `${TO_PUBLISH} a`,
        DATA,
        "Invalid data provided",
        `${TO_PUBLISH}  exit_`,
      ],
      leftovers: TIDY,
    });
  },
);

test(
  "the publisher says so and asks on when the broker is silent",
  async () => {
    await using broker = await LoggedBroker.listen();
    const args = [...classicTo(broker), "--timeout", "0.3"];
    await using terminal = new Terminal("publisher", args);
    await terminal.answer(TO_PUBLISH, "a");
    await broker.broker.close();
    await terminal.answer(DATA, "1");
    await terminal.expect("Broker is taking too much time for reply");
    await terminal.answer(TO_PUBLISH, "exit_");
    assertEquals(await terminal.end(), {
      code: 0,
      screen: [
        `${TO_PUBLISH} a`,
        `${DATA} 1`,
        "Broker is taking too much time for reply",
        `${TO_PUBLISH} exit_`,
      ],
      leftovers: TIDY,
    });
  },
);

test(
  "the publisher completes a topic that was used when Tab is pressed",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using terminal = new Terminal("publisher", classicTo(broker));
    await terminal.answer(TO_PUBLISH, " weather ");
    await terminal.answer(DATA, "1");
    await terminal.expect(TO_PUBLISH);
    await terminal.type("we");
    await terminal.expect("weather");
    await terminal.type(KEY.tab, KEY.enter);
    await terminal.answer(DATA, "2");
    await terminal.answer(TO_PUBLISH, "exit_");
    assertEquals(await terminal.end(), {
      code: 0,
      screen: [
        `${TO_PUBLISH}  weather`,
        `${DATA} 1`,
        ACCEPTED,
        `${TO_PUBLISH} weather`,
        `${DATA} 2`,
        ACCEPTED,
        `${TO_PUBLISH} exit_`,
      ],
      leftovers: TIDY,
    });
    assertEquals(await broker.history("weather"), "1\n2");
  },
);

test(
  "the publisher takes what was typed when a suggestion is not taken",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using terminal = new Terminal("publisher", classicTo(broker));
    await terminal.answer(TO_PUBLISH, "weather");
    await terminal.answer(DATA, "1");
    await terminal.answer(TO_PUBLISH, "we");
    await terminal.answer(DATA, "we");
    await terminal.answer(TO_PUBLISH, "exit_");
    const { screen, leftovers } = await terminal.end();
    assertEquals(leftovers, TIDY);
    assertEquals(screen.slice(3, 5), [`${TO_PUBLISH} we`, `${DATA} we`]);
    assertEquals(await broker.history("we"), "we");
  },
);

test(
  "the publisher offers the topics that were used, the last one first, when Up is pressed",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using terminal = new Terminal("publisher", classicTo(broker));
    for (const topic of ["first", "second", "third", "first"]) {
      await terminal.answer(TO_PUBLISH, topic);
      await terminal.answer(DATA, "1");
    }
    await terminal.expect(TO_PUBLISH);
    await terminal.type(KEY.up);
    await terminal.expect("first");
    await terminal.type(KEY.up);
    await terminal.expect("third");
    await terminal.type(KEY.up);
    await terminal.expect("second");
    await terminal.type(KEY.down);
    await terminal.expect("third");
    await terminal.type(KEY.right, KEY.enter);
    await terminal.answer(DATA, "2");
    await terminal.answer(TO_PUBLISH, "exit_");
    const { screen, leftovers } = await terminal.end();
    assertEquals(leftovers, TIDY);
    assertEquals(screen.at(-4), `${TO_PUBLISH} third`);
    assertEquals(await broker.history("third"), "1\n2");
  },
);

test(
  "the publisher lets a line be edited when the arrow keys are pressed",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using terminal = new Terminal("publisher", classicTo(broker));
    await terminal.expect(TO_PUBLISH);
    await terminal.type("kitchon", KEY.left, KEY.backspace, "e", KEY.end, "!!");
    await terminal.expect("kitchen!!");
    await terminal.type(KEY.left, KEY.delete, KEY.home, "my ", KEY.enter);
    await terminal.expect(`${TO_PUBLISH} my kitchen!`);
    await terminal.expect(DATA);
    await terminal.type("wrong", KEY.ctrlU, "é🌡x", KEY.backspace, KEY.enter);
    await terminal.expect(ACCEPTED);
    await terminal.answer(TO_PUBLISH, "exit_");
    assertEquals(await terminal.end(), {
      code: 0,
      screen: [
        `${TO_PUBLISH} my kitchen!`,
        `${DATA} é🌡`,
        ACCEPTED,
        `${TO_PUBLISH} exit_`,
      ],
      leftovers: TIDY,
    });
    assertEquals(await broker.history("my kitchen!"), "é🌡");
  },
);

test(
  "the publisher answers a prompt with each line when three are pasted at once",
  async () => {
    await using broker = await LoggedBroker.listen();
    for (const lineEnd of ["\r", "\n", "\r\n"]) {
      await using terminal = new Terminal("publisher", classicTo(broker));
      await terminal.expect(TO_PUBLISH);
      await terminal.type(["weather", "21.5", "exit_", ""].join(lineEnd));
      assertEquals(await terminal.end(), {
        code: 0,
        screen: [
          `${TO_PUBLISH} weather`,
          `${DATA} 21.5`,
          ACCEPTED,
          `${TO_PUBLISH} exit_`,
        ],
        leftovers: TIDY,
      }, JSON.stringify(lineEnd));
    }
    assertEquals(await broker.history("weather"), "21.5\n21.5\n21.5");
  },
);

test(
  "the publisher stays tidy when the screen's size changes",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using terminal = new Terminal("publisher", classicTo(broker));
    await terminal.expect(TO_PUBLISH);
    await terminal.type("wea");
    await terminal.expect("wea");
    await terminal.resize(120, 10);
    await terminal.type("ther");
    await terminal.expect("weather");
    await terminal.resize(60, 40);
    await terminal.type(KEY.enter);
    await terminal.answer(DATA, "21.5");
    await terminal.expect(ACCEPTED);
    await terminal.answer(TO_PUBLISH, "exit_");
    assertEquals(await terminal.end(), {
      code: 0,
      screen: [
        `${TO_PUBLISH} weather`,
        `${DATA} 21.5`,
        ACCEPTED,
        `${TO_PUBLISH} exit_`,
      ],
      leftovers: TIDY,
    });
  },
);

test(
  "the publisher stays tidy when a line is longer than the screen is wide",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using terminal = new Terminal("publisher", classicTo(broker), {
      columns: 40,
      rows: 6,
    });
    await terminal.answer(TO_PUBLISH.slice(0, 40), "a");
    await terminal.answer(DATA, "0123456789".repeat(5));
    await terminal.expect(ACCEPTED);
    await terminal.answer(TO_PUBLISH.slice(0, 40), "exit_");
    assertEquals(await terminal.end(), {
      code: 0,
      screen: [
        TO_PUBLISH.slice(0, 40),
        `${TO_PUBLISH.slice(40)} a`,
        `${DATA} 01234567890123`,
        "456789012345678901234567890123456789",
        ACCEPTED,
        TO_PUBLISH.slice(0, 40),
        `${TO_PUBLISH.slice(40)} exit_`,
      ],
      leftovers: TIDY,
    });
    assertEquals(await broker.history("a"), "0123456789".repeat(5));
  },
);

test(
  "the publisher shows no control character when one is pasted",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using terminal = new Terminal("publisher", classicTo(broker));
    await terminal.answer(TO_PUBLISH, "a");
    await terminal.expect(DATA);
    await terminal.type("1\x07\x1a2", KEY.enter);
    await terminal.expect(ACCEPTED);
    await terminal.answer(TO_PUBLISH, "exit_");
    const { code, screen, leftovers } = await terminal.end();
    assertEquals([code, leftovers], [0, TIDY]);
    assertMatch(screen[1]!, /^\? Enter data to publish › 1\ufffd?2$/);
  },
);

for (
  const [name, key, code] of [
    ["Ctrl-D", KEY.ctrlD, 0],
    ["Ctrl-C", KEY.ctrlC, 130],
  ] as const
) {
  test(`the classic publisher ends with ${code} when ${name} is pressed at a topic`, async () => {
    await using broker = await LoggedBroker.listen();
    await using terminal = new Terminal("publisher", classicTo(broker));
    await terminal.expect(TO_PUBLISH);
    await terminal.type(key);
    const screen = [TO_PUBLISH];
    assertEquals(await terminal.end(), { code, screen, leftovers: TIDY });
  });

  test(`the classic publisher ends with ${code} when ${name} is pressed at data`, async () => {
    await using broker = await LoggedBroker.listen();
    await using terminal = new Terminal("publisher", classicTo(broker));
    await terminal.answer(TO_PUBLISH, "weather");
    await terminal.expect(DATA);
    await terminal.type("21");
    await terminal.expect("21");
    await terminal.type(key);
    const screen = [`${TO_PUBLISH} weather`, `${DATA} 21`];
    assertEquals(await terminal.end(), { code, screen, leftovers: TIDY });
    assertEquals(broker.broker.stats().published, 0);
  });

  test(`the classic subscriber ends with ${code} when ${name} is pressed at a topic`, async () => {
    await using broker = await LoggedBroker.listen();
    await using terminal = new Terminal("subscriber", classicTo(broker));
    await terminal.expect(TO_SUBSCRIBE);
    await terminal.type("wea");
    await terminal.expect("wea");
    await terminal.type(key);
    const screen = [`${TO_SUBSCRIBE} wea`];
    assertEquals(await terminal.end(), { code, screen, leftovers: TIDY });
  });
}

test(
  "the publisher ends with 130 when Ctrl-C is pressed before an answer",
  async () => {
    // A broker that answers who looks for one, and nobody else.
    await using transport = await UdpTransport.bind();
    const published = Promise.withResolvers<void>();
    transport.receive((peer, bytes) => {
      if (decodeRequest(bytes).type === "publish") return published.resolve();
      transport.send(peer, encodeReply(CLASSIC_REPLY.invalidTopic));
    });
    const args = [
      ...CLASSIC,
      "-p",
      String(transport.address.port),
      "--timeout",
      "1000",
    ];
    await using terminal = new Terminal("publisher", args);
    await terminal.answer(TO_PUBLISH, "a");
    await terminal.answer(DATA, "1");
    await published.promise;
    await terminal.type(KEY.ctrlC);
    assertEquals(await terminal.end(), {
      code: 130,
      screen: [`${TO_PUBLISH} a`, `${DATA} 1`, "^C"],
      leftovers: TIDY,
    });
  },
);

// The subscriber

test(
  "the subscriber asks for a topic and prints its history when a person types",
  async () => {
    await using broker = await LoggedBroker.listen();
    await publish(broker, "weather", "  21.5 °C", "22");
    await using terminal = new Terminal("subscriber", classicTo(broker));
    await terminal.answer(TO_SUBSCRIBE, " weather ");
    await terminal.expect("22");
    await terminal.answer(TO_SUBSCRIBE, " ");
    await terminal.answer(TO_SUBSCRIBE, "exit_");
    assertEquals(await terminal.end(), {
      code: 0,
      screen: [
        `${TO_SUBSCRIBE}  weather`,
        "  21.5 °C",
        "22",
        TO_SUBSCRIBE,
        "Invalid topic provided",
        `${TO_SUBSCRIBE} exit_`,
      ],
      leftovers: TIDY,
    });
  },
);

test(
  "the subscriber completes a topic that was used when Tab is pressed",
  async () => {
    await using broker = await LoggedBroker.listen();
    await publish(broker, "weather", "1");
    await using terminal = new Terminal("subscriber", classicTo(broker));
    await terminal.answer(TO_SUBSCRIBE, "weather");
    await terminal.expect(TO_SUBSCRIBE);
    await terminal.type("we");
    await terminal.expect("weather");
    await terminal.type(KEY.tab, KEY.enter);
    await terminal.expect("weather\r\n");
    await terminal.answer(TO_SUBSCRIBE, "exit_");
    const once = [`${TO_SUBSCRIBE} weather`, "1"];
    assertEquals(await terminal.end(), {
      code: 0,
      screen: [...once, ...once, `${TO_SUBSCRIBE} exit_`],
      leftovers: TIDY,
    });
  },
);

test(
  "the subscriber waits for the first publish when a topic has no history",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using terminal = new Terminal("subscriber", classicTo(broker));
    await terminal.answer(TO_SUBSCRIBE, "later");
    const waiting = 'Waiting for the first publish to "later"; Ctrl-C ends';
    await terminal.expect(waiting);
    await publish(broker, "later", "1");
    await terminal.answer(TO_SUBSCRIBE, "exit_");
    assertEquals(await terminal.end(), {
      code: 0,
      screen: [`${TO_SUBSCRIBE} later`, waiting, "1", `${TO_SUBSCRIBE} exit_`],
      leftovers: TIDY,
    });
  },
);

test(
  "the subscriber ends with 130 when Ctrl-C is pressed while it waits",
  async () => {
    await using broker = await LoggedBroker.listen();
    await using terminal = new Terminal("subscriber", classicTo(broker));
    await terminal.answer(TO_SUBSCRIBE, "later");
    const waiting = 'Waiting for the first publish to "later"; Ctrl-C ends';
    await terminal.expect(waiting);
    await terminal.type(KEY.ctrlC);
    assertEquals(await terminal.end(), {
      code: 130,
      screen: [`${TO_SUBSCRIBE} later`, waiting, "^C"],
      leftovers: TIDY,
    });
  },
);

test(
  "the subscriber answers the next prompts with what was typed when it waited",
  async () => {
    await using broker = await LoggedBroker.listen();
    await publish(broker, "weather", "21.5");
    await using terminal = new Terminal("subscriber", classicTo(broker));
    await terminal.answer(TO_SUBSCRIBE, "later");
    await broker.subscribed("later");
    await terminal.type("weather\rexit_\r");
    await terminal.expect("exit_");
    await publish(broker, "later", "1");
    const { code, screen, leftovers } = await terminal.end();
    assertEquals([code, leftovers], [0, TIDY]);
    assertEquals(screen.slice(-3), [
      `${TO_SUBSCRIBE} weather`,
      "21.5",
      `${TO_SUBSCRIBE} exit_`,
    ]);
  },
);

test(
  "the subscriber answers a prompt with each line when three are pasted at once",
  async () => {
    await using broker = await LoggedBroker.listen();
    await publish(broker, "a", "1");
    await publish(broker, "b", "2");
    await using terminal = new Terminal("subscriber", classicTo(broker));
    await terminal.expect(TO_SUBSCRIBE);
    await terminal.type("a\rb\rexit_\r");
    assertEquals(await terminal.end(), {
      code: 0,
      screen: [
        `${TO_SUBSCRIBE} a`,
        "1",
        `${TO_SUBSCRIBE} b`,
        "2",
        `${TO_SUBSCRIBE} exit_`,
      ],
      leftovers: TIDY,
    });
  },
);

test(
  "the subscriber shows what data hold and obeys none of it when they would steer the terminal",
  async () => {
    await using broker = await LoggedBroker.listen();
    const data = ["a\tb\x1b[2J\x1b]0;title\x07c\x9b31md", "e"];
    await publish(broker, "evil", ...data);
    await using asking = new Terminal("subscriber", classicTo(broker));
    await asking.answer(TO_SUBSCRIBE, "evil");
    await asking.answer(TO_SUBSCRIBE, "exit_");
    const args = [...classicTo(broker), "-t", "evil"];
    await using told = new Terminal("subscriber", args);
    for (const terminal of [asking, told]) {
      const { code, screen, leftovers } = await terminal.end();
      assertEquals([code, leftovers], [0, TIDY]);
      const shown = screen.filter((line) => !line.startsWith("?"));
      assertMatch(shown[0]!, /^a +b\S+2J\S+title\S+c\S+31md$/);
      assertEquals(shown.slice(1), ["e"]);
    }
  },
);

// Both

for (const name of ["publisher", "subscriber"] as const) {
  const prompt = name === "publisher" ? TO_PUBLISH : TO_SUBSCRIBE;

  test(`the classic ${name} says in a line that no broker answered when there is none`, async () => {
    using nobody = new SilentPort();
    const args = [...CLASSIC, "-p", String(nobody.port), "--timeout", "0.3"];
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

  test(`the classic ${name} says what is wrong in a line when a flag is`, async () => {
    await using terminal = new Terminal(name, [...CLASSIC, "--bad"], {
      columns: 150,
    });
    const { code, screen, leftovers } = await terminal.end();
    assertEquals([code, screen.length, leftovers], [1, 1, TIDY]);
    assertStringIncludes(screen[0]!, `see ${name} --help`);
  });

  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    test(`the classic ${name} leaves the terminal as it was when it gets ${signal}`, async () => {
      await using broker = await LoggedBroker.listen();
      await using terminal = new Terminal(name, classicTo(broker));
      await terminal.expect(prompt);
      await terminal.type("wea");
      await terminal.expect("wea");
      await terminal.kill(signal);
      assertEquals(await terminal.end(), {
        code: 130,
        screen: [`${prompt} wea`],
        leftovers: TIDY,
      });
    });
  }
}

/** The flags that lead a client of the classic protocol to a broker. */
function classicTo(broker: LoggedBroker): string[] {
  return [...CLASSIC, ...broker.flags];
}

/** Publishes from this process. */
async function publish(
  { broker }: LoggedBroker,
  topic: string,
  ...data: string[]
): Promise<void> {
  await using publisher = await ClassicClient.connect(broker);
  for (const datum of data) await publisher.publish(topic, datum);
}
