/**
 * A client's connection, told through the device: how commands are given up,
 * sleep as a mode, who leaves, and what its will is. C12 to C14 are the duties of
 * a client as the checklist numbers them.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { type Millis, seededRandom } from "../../base/clock.ts";
import type { Device } from "../../client/device.ts";
import type { Command } from "../../client/commands.ts";
import type { MqttSnPacket } from "../../wire/packets.ts";
import {
  Bench,
  CONNACK,
  CONNECT,
  PATIENCE_MS,
  RESUME,
  RETRY_MS,
  suback,
  text,
  withMsgId,
} from "../support/device.ts";
import {
  GOODBYE,
  PONG,
  puback,
  publishOf,
  regack,
} from "../support/gateway.ts";

const SHORT = { short: "ab" };

/** One command of each kind. */
const COMMANDS: Readonly<
  Record<Command["type"], (device: Device, now: Millis) => number>
> = {
  connect: (device, now) => device.connect(now),
  disconnect: (device, now) => device.disconnect(now),
  sleep: (device, now) => device.sleep(now, 20),
  wake: (device, now) => device.wake(now),
  register: (device, now) => device.register(now, "a"),
  subscribe: (device, now) => device.subscribe(now, "a", 1),
  unsubscribe: (device, now) => device.unsubscribe(now, "a"),
  publish: (device, now) => device.publish(now, SHORT, text("1"), { qos: 2 }),
  willTopic: (device, now) => device.updateWillTopic(now, undefined),
  willMsg: (device, now) => device.updateWillMsg(now, text("x")),
};

const GIVE_UP_MS = 100_000;

// Giving up

for (const [name, give] of Object.entries(COMMANDS)) {
  Deno.test(`A command to ${name} ends with silence when its time is up`, () => {
    const bench = Bench.active({ giveUpMs: GIVE_UP_MS });
    if (name === "wake") bench.sleep(10_000);
    bench.events.length = 0;
    if (name === "connect") {
      bench.take(GOODBYE);
      assertEquals(bench.device.state, "lost");
    }
    bench.run(1_000);
    bench.tell((device, now) => void give(device, now));
    const isPatient = name !== "disconnect" && name !== "wake" &&
      name !== "connect"; // those three end when the gateway is silent
    bench.run(GIVE_UP_MS - 1);
    assertEquals(bench.ends.length, isPatient ? 0 : 1);
    bench.run(1);
    const token = name === "wake" ? 3 : 2;
    assertEquals(bench.ends, [
      name === "disconnect" ? `done ${token}` : `silence ${token}`,
    ]);
    // And never twice, whatever comes.
    for (let turn = 0; turn < 20; turn++) {
      bench.run(RETRY_MS);
      bench.take(CONNACK);
      bench.take(GOODBYE);
      for (let msgId = 1; msgId < 20; msgId++) {
        bench.take(regack(1, msgId));
        bench.take(suback(1, msgId));
        bench.take({ type: "UNSUBACK", msgId });
        bench.take(withMsgId("PUBREC", msgId));
        bench.take(withMsgId("PUBCOMP", msgId));
      }
      bench.take("03 1b 00");
      bench.take("03 1d 00");
      bench.take(PONG);
    }
    assertEquals(bench.ends.length, 1);
  });

  Deno.test(`A command to ${name} in time ends once`, () => {
    // So short that even those end by it that end when the gateway is silent.
    const giveUpMs = PATIENCE_MS - 1;
    const bench = Bench.active({ giveUpMs });
    if (name === "wake") bench.sleep(10_000);
    if (name === "connect") {
      bench.take(GOODBYE);
      bench.run(0);
    }
    bench.events.length = 0;
    bench.tell((device, now) => void give(device, now));
    bench.run(giveUpMs - 1);
    assertEquals(bench.ends, []);
    bench.run(1);
    assertEquals(bench.ends, [`silence ${name === "wake" ? 3 : 2}`]);
    const later = bench.run(1_000_000);
    assertEquals(bench.ends.length, 1);
    // Whoever is told that a connection is none is not connected behind his back.
    if (name !== "connect" && name !== "disconnect") return;
    assertEquals(later, []);
    assertEquals(bench.device.state, "disconnected");
  });

  if (name === "wake") continue; // does nothing unless asleep

  Deno.test(`A command to ${name} that was never begun ends with silence`, () => {
    const bench = new Bench({ giveUpMs: GIVE_UP_MS, search: {} });
    bench.tell((device, now) => {
      // It may have to wait for another one.
      device.publish(now, SHORT, text("0"), { qos: 1 });
      give(device, now);
    });
    bench.run(GIVE_UP_MS);
    assertEquals(bench.ends.toSorted(), ["silence 1", "silence 2"]);
    assertEquals(bench.device.pending, 0);
    assertEquals(bench.device.nextTimeout(), undefined);
    assertEquals(bench.take("03 02 01"), []); // GWINFO
  });
}

Deno.test("What is given up at once is told in any case, each once", () => {
  for (let seed = 1; seed <= 100; seed++) {
    const random = seededRandom(seed);
    const bench = new Bench({ random, giveUpMs: 50_000 });
    const names = Object.keys(COMMANDS) as (keyof typeof COMMANDS)[];
    const tokens: number[] = [];
    for (let count = 0; count < 10; count++) {
      const name = names[Math.floor(random() * names.length)]!;
      bench.tell((device, now) => tokens.push(COMMANDS[name](device, now)));
      bench.run(Math.floor(random() * 20_000));
      if (random() < 0.3) bench.take(CONNACK);
      if (random() < 0.1) bench.take(GOODBYE);
    }
    bench.run(50_000);
    const ended = bench.ends.map((end) => Number(end.split(" ")[1]));
    assertEquals(ended.toSorted((a, b) => a - b), tokens, `seed ${seed}`);
  }
});

Deno.test("What T_WAIT holds is refused for congestion when its time is up", () => {
  const bench = Bench.active({ giveUpMs: GIVE_UP_MS, waitMs: 300_000 });
  bench.tell((device, now) => {
    device.register(now, "a"); // 2
    device.subscribe(now, "a", 1); // 3
    device.publish(now, SHORT, text("1"), { qos: 1 }); // 4
    device.updateWillMsg(now, text("x")); // 5
  });
  bench.take(regack(0, 1, 1));
  bench.take(suback(0, 2, 1));
  bench.take(puback(0x6162, 3, 1));
  bench.take("03 1d 01");
  assertEquals(bench.ends, [2, 3, 4, 5].map((at) => `refused ${at} with 1`));
  bench.events.length = 0;
  bench.run(1_000);
  bench.tell((device, now) => {
    device.register(now, "b"); // 6
    device.unsubscribe(now, "a"); // 7
    device.publish(now, SHORT, text("2")); // 8
    device.updateWillTopic(now, undefined); // 9
  });
  bench.run(GIVE_UP_MS - 1);
  assertEquals(bench.ends, []);
  bench.run(1);
  assertEquals(bench.ends, [6, 7, 8, 9].map((at) => `refused ${at} with 1`));
  assertEquals(bench.device.pending, 0);
  assertEquals(bench.run(1_000_000), []);
});

Deno.test("A PUBLISH that T_WAIT keeps from its id is refused for congestion", () => {
  const bench = Bench.active({ giveUpMs: GIVE_UP_MS, waitMs: 300_000 });
  bench.tell((device, now) => device.register(now, "a"));
  bench.take(regack(0, 1, 1));
  bench.tell((device, now) => device.publish(now, "b", text("1")));
  bench.run(GIVE_UP_MS);
  assertEquals(bench.ends, ["refused 2 with 1", "refused 3 with 1"]);
});

Deno.test("What T_WAIT keeps from connecting is refused for congestion", () => {
  const bench = new Bench({ giveUpMs: GIVE_UP_MS, waitMs: 300_000 });
  bench.tell((device, now) => device.connect(now));
  bench.take("03 05 01");
  bench.tell((device, now) => {
    device.connect(now);
    device.publish(now, SHORT, text("1"));
  });
  bench.run(GIVE_UP_MS);
  assertEquals(bench.ends, [1, 2, 3].map((at) => `refused ${at} with 1`));
  assertEquals(bench.run(1_000_000), []);
});

Deno.test("A request that is out when T_WAIT begins ends with silence", () => {
  const bench = Bench.active({ giveUpMs: PATIENCE_MS - 1, waitMs: 300_000 });
  bench.tell((device, now) => {
    device.publish(now, SHORT, text("1"));
    device.publish(now, SHORT, text("2"), { qos: 1 });
  });
  bench.take(puback(0x6162, 0, 1)); // that is for the first
  bench.run(PATIENCE_MS);
  assertEquals(bench.ends, ["done 2", "silence 3"]);
});

Deno.test("Without giveUpMs only connect() is given up", () => {
  const bench = new Bench();
  bench.tell((device, now) => {
    device.publish(now, SHORT, text("1"), { qos: 1 });
    device.connect(now);
  });
  bench.run(10_000_000);
  assertEquals(bench.ends, ["silence 2"]);
  assertEquals(bench.device.pending, 1);
});

Deno.test("A disconnect() that is given up stays disconnected", () => {
  // PINGREQ is out as well: its retries must not bring the connection back.
  for (const giveUpMs of [undefined, 15_000]) {
    const bench = Bench.active({
      keepAlive: 20,
      ...giveUpMs === undefined ? {} : { giveUpMs },
    });
    bench.run(5_000);
    bench.tell((device, now) => device.disconnect(now));
    bench.run(60_000);
    assertEquals(bench.ends, [giveUpMs === undefined ? "done 2" : "silence 2"]);
    assertEquals(bench.device.state, "disconnected");
    assertEquals(bench.device.nextTimeout(), undefined);
    assertEquals(bench.run(1_000_000), []);
  }
});

Deno.test("A connect() that is given up tries each gateway the next time", () => {
  const bench = new Bench({ search: {}, giveUpMs: 45_000 });
  const gateways = ["05 00 01 ff ff", "05 00 02 ff ff"];
  bench.take(gateways[0]!);
  bench.take(gateways[1]!, { ...bench.device.gateways[0]!.peer, key: "b" });
  bench.tell((device, now) => device.connect(now));
  bench.run(45_000); // in the middle of the second one
  assertEquals(bench.ends, ["silence 1"]);
  assertEquals(bench.gateways.length, 2);
  bench.tell((device, now) => device.connect(now));
  bench.run(44_999);
  assertEquals(bench.gateways.length, 3);
  assertEquals(bench.device.state, "connecting");
});

Deno.test("connect() while it searches is done when a gateway is found", () => {
  const bench = new Bench({ search: {}, giveUpMs: GIVE_UP_MS });
  bench.tell((device, now) => device.connect(now));
  bench.run(50_000);
  assertEquals(bench.tell((device, now) => device.connect(now)), []);
  assertEquals(bench.take("03 02 01"), [CONNECT]);
  bench.take(CONNACK);
  assertEquals(bench.ends, ["done 1", "done 2"]);
  bench.run(1_000_000);
  assertEquals(bench.ends.length, 2);
});

// C13, C14: sleep is a mode

Deno.test("C13: it wakes again and again, until it is told otherwise", () => {
  const bench = Bench.active();
  bench.sleep(20);
  for (let count = 1; count <= 5; count++) {
    assertEquals(bench.run(18_000), [
      `${count * 18_000} PINGREQ clientId="lamp"`,
    ]);
    bench.take(PONG);
  }
  assertEquals(bench.ends, ["done 2"]); // its own are not told
});

Deno.test("C13: a gateway that is silent for long is still asked each time", () => {
  const bench = Bench.active();
  bench.sleep(20);
  // Its sleep begins when it has given up the last awakening.
  assertEquals(bench.run(100_000).map((line) => line.split(" ")[0]), [
    "18000",
    "28000",
    "38000",
    "66000",
    "76000",
    "86000",
  ]);
  assertEquals(bench.ends, ["done 2"]);
  bench.run(20_000);
  bench.take(PONG);
  assertEquals(bench.device.state, "asleep");
});

Deno.test("C13: sleep() again while asleep changes how long", () => {
  const bench = Bench.active({ cleanSession: false });
  bench.sleep(20);
  assertEquals(bench.tell((device, now) => device.sleep(now, 50)), [RESUME]);
  assertEquals(bench.take(CONNACK), ["DISCONNECT duration=50"]);
  bench.take(GOODBYE);
  assertEquals(bench.run(50_000), ['45000 PINGREQ clientId="lamp"']);
});

Deno.test("C13: wake() of one that is told DISCONNECT ends, and it sleeps on", () => {
  const bench = Bench.active({ cleanSession: false });
  bench.sleep(20);
  bench.tell((device, now) => device.wake(now));
  bench.take(GOODBYE); // the gateway has forgotten it
  assertEquals(bench.ends, ["done 2", "done 3"]);
  assertEquals(bench.run(5_000), [`5000 ${RESUME}`]);
  bench.take(CONNACK);
  assertEquals(bench.run(0), ["5000 DISCONNECT duration=20"]);
  bench.take(GOODBYE);
  assertEquals(bench.device.state, "asleep");
});

Deno.test("C14: whatever is to be sent, it connects, and sleeps on", () => {
  const answers: Partial<Record<Command["type"], MqttSnPacket | string>> = {
    register: regack(5, 1),
    subscribe: suback(1, 1),
    unsubscribe: { type: "UNSUBACK", msgId: 1 },
    publish: puback(0x6162, 1, 3),
    willTopic: "03 1b 00",
    willMsg: "03 1d 00",
  };
  for (const [name, answer] of Object.entries(answers)) {
    const bench = Bench.active({ cleanSession: false });
    bench.sleep(20);
    bench.run(15_000);
    const give = COMMANDS[name as Command["type"]];
    assertEquals(bench.tell((device, now) => void give(device, now)), [RESUME]);
    assertEquals(bench.take(CONNACK).length, 1, name);
    assertEquals(bench.take(answer), [], name);
    assertEquals(bench.ends.length, 2, name);
    assertEquals(bench.run(0), ["15000 DISCONNECT duration=20"], name);
    bench.take(GOODBYE);
    assertEquals(bench.run(20_000), ['33000 PINGREQ clientId="lamp"'], name);
  }
});

Deno.test("C14: it does not sleep on before all is done", () => {
  const bench = Bench.active({ cleanSession: false });
  bench.sleep(20);
  bench.tell((device, now) => {
    device.publish(now, SHORT, text("1"), { qos: 1 });
    device.publish(now, SHORT, text("2"), { qos: 1 });
  });
  bench.take(CONNACK);
  assertEquals(bench.take(puback(0x6162, 1)).length, 1);
  assertEquals(bench.run(1_000), []);
  bench.take(puback(0x6162, 2));
  assertEquals(bench.run(0), ["1000 DISCONNECT duration=20"]);
});

Deno.test("C14: connect() ends the mode, wherever it is given", () => {
  // While it is asleep, awake, connected to send, and about to sleep on.
  for (const where of ["asleep", "awake", "sending", "sleeping on"]) {
    const bench = Bench.active({ cleanSession: false });
    bench.sleep(20);
    if (where === "awake") bench.tell((device, now) => device.wake(now));
    if (where === "sending" || where === "sleeping on") {
      bench.tell((device, now) => device.publish(now, SHORT, text("1")));
      bench.take(CONNACK);
    }
    if (where === "sleeping on") bench.run(0);
    bench.tell((device, now) => device.connect(now));
    if (where === "awake") bench.take(PONG);
    if (where === "sleeping on") bench.take(GOODBYE);
    bench.take(CONNACK);
    assertEquals(bench.device.state, "active", where);
    assertEquals(bench.run(100_000), [], where);
    // Nor does it go to sleep after the next command.
    bench.tell((device, now) => device.publish(now, SHORT, text("2")));
    assertEquals(bench.run(100_000), [], where);
  }
});

Deno.test("C13: disconnect() ends the mode, wherever it is given", () => {
  for (const where of ["asleep", "awake", "sending"]) {
    const bench = Bench.active({ cleanSession: false });
    bench.sleep(20);
    if (where === "awake") bench.tell((device, now) => device.wake(now));
    if (where === "sending") {
      bench.tell((device, now) => device.publish(now, SHORT, text("1")));
      bench.take(CONNACK);
    }
    bench.tell((device, now) => device.disconnect(now));
    if (where === "awake") bench.take(PONG);
    bench.take(GOODBYE);
    assertEquals(bench.device.state, "disconnected", where);
    assertEquals(bench.run(100_000), [], where);
    bench.tell((device, now) => device.publish(now, SHORT, text("2")));
    bench.take(CONNACK);
    assertEquals(bench.run(100_000), [], where); // connected, for good
    assertEquals(bench.device.state, "active", where);
  }
});

Deno.test("C13: the silence of DISCONNECT to sleep makes the connection anew", () => {
  const bench = Bench.active({ cleanSession: false });
  bench.tell((device, now) => device.sleep(now, 20));
  bench.run(PATIENCE_MS);
  assertEquals(bench.states, ["lost"]);
  assertEquals(bench.run(5_000), [`35000 ${RESUME}`]);
  assertEquals(bench.take(CONNACK), ["DISCONNECT duration=20"]);
  bench.take(GOODBYE);
  assertEquals(bench.ends, ["done 2"]);
});

// C12: reconnecting

Deno.test("C12: it connects again after a pause by chance, half of it at least", () => {
  const pauses = new Set<number>();
  for (let seed = 1; seed <= 20; seed++) {
    const bench = Bench.active({ random: seededRandom(seed) });
    bench.take(GOODBYE);
    const at = bench.device.nextTimeout()!;
    assert(at >= RETRY_MS / 2 && at <= RETRY_MS, `seed ${seed}: ${at}`);
    pauses.add(at);
  }
  assert(pauses.size > 15);
});

Deno.test("C12: a connect() that ends with silence is the last", () => {
  const bench = Bench.active();
  bench.take(GOODBYE);
  bench.tell((device, now) => device.connect(now));
  bench.run(PATIENCE_MS + 5_000);
  assertEquals(bench.ends, ["silence 2"]);
  assertEquals(bench.run(1_000_000), []);
});

Deno.test("C12: a connection that is refused is not tried again by itself", () => {
  for (const isTold of [true, false]) {
    const bench = Bench.active();
    bench.take(GOODBYE);
    if (isTold) bench.tell((device, now) => device.connect(now));
    bench.run(5_000);
    bench.take("03 05 03");
    assertEquals(bench.ends, isTold ? ["refused 2 with 3"] : []);
    assertEquals(bench.run(1_000_000), []);
  }
});

Deno.test("C12: a connection that congestion refuses is tried after T_WAIT", () => {
  // Unless there was somebody to tell.
  for (const isTold of [true, false]) {
    const bench = Bench.active({ waitMs: 300_000 });
    bench.take(GOODBYE);
    if (isTold) bench.tell((device, now) => device.connect(now));
    bench.run(5_000);
    bench.take("03 05 01");
    assertEquals(bench.ends, isTold ? ["refused 2 with 1"] : []);
    assertEquals(
      bench.run(300_000),
      isTold ? [] : [`305000 ${CONNECT}`],
    );
  }
});

Deno.test("disconnect() of one that is lost is done at once", () => {
  const bench = Bench.active();
  bench.take(GOODBYE);
  assertEquals(bench.tell((device, now) => device.disconnect(now)), []);
  assertEquals(bench.ends, ["done 2"]);
  assertEquals(bench.run(1_000_000), []);
});

Deno.test("What comes before CONNACK is taken", () => {
  const bench = new Bench();
  bench.tell((device, now) => device.connect(now));
  const publish = { qos: 1, msgId: 1, topicIdType: "short" } as const;
  assertEquals(bench.take(publishOf(0x6162, "x", publish)).length, 1);
  assertEquals(bench.payloads, ["x"]);
});

Deno.test("C11: who only hears says something in time", () => {
  const bench = Bench.active({ keepAlive: 10 });
  for (let count = 0; count < 4; count++) {
    assertEquals(bench.run(1_000), []);
    bench.take(publishOf(0x6162, "x", { topicIdType: "short" }));
  }
  assertEquals(bench.run(1_000), ['5000 PINGREQ clientId=""']);
});

// leave()

Deno.test("leave() forgets all, whatever it is doing", () => {
  const DISCONNECT = "DISCONNECT";
  const cases: Record<string, [(bench: Bench) => void, string[]]> = {
    disconnected: [() => {}, [DISCONNECT]], // what is given makes it connect
    searching: [(bench) => bench.device.connect(0), []],
    connecting: [(bench) => bench.device.connect(0), [DISCONNECT]],
    active: [activate, [DISCONNECT]],
    asleep: [(bench) => (activate(bench), bench.sleep(20)), [DISCONNECT]],
    awake: [(bench) => {
      activate(bench);
      bench.sleep(20);
      bench.run(20_000);
    }, [DISCONNECT]],
    lost: [(bench) => (activate(bench), bench.take(GOODBYE)), []],
  };
  for (const [state, [prepare, sent]] of Object.entries(cases)) {
    const bench = new Bench({
      keepAlive: 60,
      ...state === "searching" ? { search: {} } : {},
    });
    prepare(bench);
    bench.drain();
    assertEquals(bench.device.state, state);
    bench.tell((device, now) => {
      for (const give of Object.values(COMMANDS)) give(device, now);
      device.publish(now, SHORT, text("1"), { qos: -1 });
    });
    bench.events.length = 0;
    assertEquals(bench.tell((device, now) => device.leave(now)), sent, state);
    assertEquals(bench.device.state, "disconnected");
    assertEquals(bench.device.pending, 0, state);
    assertEquals(bench.device.nextTimeout(), undefined, state);
    for (let msgId = 0; msgId < 20; msgId++) {
      bench.take(GOODBYE);
      bench.take(CONNACK);
      bench.take(PONG);
      bench.take(regack(1, msgId));
      bench.take(puback(0x6162, msgId));
    }
    assertEquals(bench.run(1_000_000), [], state);
    assertEquals(bench.ends, [], state);
    // And it can begin anew.
    bench.tell((device, now) => device.connect(now));
    bench.run(RETRY_MS); // its pause may not be over
    if (state === "searching") bench.take("03 02 01");
    bench.take(CONNACK);
    assertEquals(bench.device.state, "active", state);
    assertEquals(bench.ends.length, 1, state);
    assertEquals(bench.device.pending, 0, state);
  }
});

function activate(bench: Bench): void {
  bench.tell((device, now) => device.connect(now));
  bench.take(CONNACK);
}

Deno.test("leave() ends the sleep, and a search", () => {
  const bench = Bench.active();
  bench.sleep(20);
  bench.tell((device, now) => device.leave(now));
  bench.tell((device, now) => device.publish(now, SHORT, text("1")));
  bench.take(CONNACK);
  assertEquals(bench.run(100_000), []);
  const other = new Bench({ search: {} });
  other.tell((device, now) => device.connect(now));
  other.tell((device, now) => device.leave(now));
  assertEquals(other.run(1_000_000), []);
  assertEquals(other.take("03 02 01"), []);
});

Deno.test("leave() in the middle of an exchange leaves no trace of it", () => {
  const bench = Bench.active({ cleanSession: false });
  bench.tell((device, now) => {
    device.publish(now, SHORT, text("1"), { qos: 2 });
    device.publish(now, "a", text("2"), { qos: 1 });
    device.leave(now);
  });
  assertEquals(bench.take(withMsgId("PUBREC", 1)), []);
  bench.tell((device, now) => device.connect(now));
  assertEquals(bench.take(CONNACK), []);
  assertEquals(bench.device.pending, 0);
});

// Prompts for the will

Deno.test("connect() with a will begins anew with a gateway that forgot it", () => {
  const bench = new Bench({ will: { topicName: "w", payload: text("x") } });
  bench.tell((device, now) => device.connect(now));
  bench.take("02 06");
  // The gateway starts anew in between: WILLTOPIC means nothing to it.
  assertEquals(bench.take(GOODBYE), []); // not at once, or for ever
  assertEquals(bench.run(RETRY_MS).map((line) => line.split(" ")[1]), [
    "CONNECT",
  ]);
  assertEquals(bench.take("02 06"), ['WILLTOPIC qos=0 topicName="w"']);
  assertEquals(bench.take("02 08"), ['WILLMSG data="x"']);
  bench.take(GOODBYE); // once more, at the last step
  assertEquals(bench.run(RETRY_MS).map((line) => line.split(" ")[1]), [
    "CONNECT",
  ]);
  bench.take(CONNACK);
  assertEquals(bench.ends, ["done 1"]);
});

// Wills

/** What it tells a gateway that asks for its will, when it connects anew. */
function willOf(bench: Bench): string[] {
  bench.take(GOODBYE);
  const [connect] = bench.run(5_000);
  const topic = bench.take("02 06");
  const message = bench.take("02 08");
  bench.take(CONNACK);
  return connect?.includes(" will ") ? [...topic, ...message] : [];
}

Deno.test("updateWillTopic() and updateWillMsg() make a will where there was none", () => {
  const bench = Bench.active();
  assertEquals(
    bench.tell((device, now) => device.updateWillMsg(now, text("bye"))),
    ['WILLMSGUPD data="bye"'],
  );
  bench.take("03 1d 00");
  assertEquals(willOf(bench), []); // without a topic there is no will
  assertEquals(
    bench.tell((device, now) =>
      device.updateWillTopic(now, { topicName: "w" })
    ),
    ['WILLTOPICUPD qos=0 topicName="w"'],
  );
  bench.take("03 1b 00");
  assertEquals(willOf(bench), [
    'WILLTOPIC qos=0 topicName="w"',
    'WILLMSG data="bye"',
  ]);
});

Deno.test("updateWillMsg() after updateWillTopic(undefined) is a new will's", () => {
  const bench = Bench.active({ will: { topicName: "w", payload: text("x") } });
  bench.tell((device, now) => device.updateWillTopic(now, undefined));
  bench.take("03 1b 00");
  assertEquals(willOf(bench), []);
  bench.tell((device, now) => device.updateWillTopic(now, { topicName: "v" }));
  bench.take("03 1b 00");
  // §6.4: with the topic the message went too.
  assertEquals(willOf(bench), [
    'WILLTOPIC qos=0 topicName="v"',
    'WILLMSG data=""',
  ]);
  bench.tell((device, now) => device.updateWillMsg(now, text("y")));
  bench.take("03 1d 00");
  assertEquals(willOf(bench), [
    'WILLTOPIC qos=0 topicName="v"',
    'WILLMSG data="y"',
  ]);
});

Deno.test("A will's update that is not answered is told again, with the old will", () => {
  const bench = Bench.active({ will: { topicName: "w", payload: text("x") } });
  bench.tell((device, now) => device.updateWillMsg(now, text("y")));
  bench.take(GOODBYE);
  bench.run(5_000);
  bench.take("02 06");
  assertEquals(bench.take("02 08"), ['WILLMSG data="x"']);
  assertEquals(bench.take(CONNACK), ['WILLMSGUPD data="y"']);
  bench.take("03 1d 00");
  assertEquals(willOf(bench).at(-1), 'WILLMSG data="y"');
});

Deno.test("Will updates go out one at a time, in order", () => {
  const bench = Bench.active();
  assertEquals(
    bench.tell((device, now) => {
      device.updateWillMsg(now, text("1"));
      device.updateWillTopic(now, { topicName: "w", qos: 2, retain: true });
      device.updateWillMsg(now, text("2"));
    }),
    ['WILLMSGUPD data="1"'],
  );
  assertEquals(bench.take("03 1b 00"), []); // an answer to nothing
  assertEquals(bench.take("03 1d 00"), [
    'WILLTOPICUPD qos=2 retain topicName="w"',
  ]);
  assertEquals(bench.take("03 1b 00"), ['WILLMSGUPD data="2"']);
  bench.take("03 1d 00");
  assertEquals(bench.ends, ["done 2", "done 3", "done 4"]);
});

// Congestion of CONNECT

Deno.test("After congestion CONNECT waits for T_WAIT, whatever is given", () => {
  const bench = new Bench({ waitMs: 300_000 });
  bench.tell((device, now) => device.connect(now));
  bench.take("03 05 01");
  for (const give of Object.values(COMMANDS)) {
    bench.run(10_000);
    if (give === COMMANDS.disconnect) continue;
    assertEquals(bench.tell((device, now) => void give(device, now)), []);
  }
  const waited = bench.now;
  assertEquals(bench.run(300_000 - waited).length, 1);
  assertEquals(bench.now, 300_000);
});

Deno.test("Who is congested does not take messages, and is not kept awake", () => {
  const bench = new Bench({ waitMs: 300_000 });
  bench.tell((device, now) => device.publish(now, SHORT, text("1")));
  bench.take("03 05 01");
  assertEquals(bench.device.state, "disconnected");
  bench.take(publishOf(0x6162, "x", { topicIdType: "short" }));
  assertEquals(bench.messages, []);
  assertEquals(bench.run(299_999), []);
  assertEquals(bench.run(1), [`300000 ${CONNECT}`]);
});

Deno.test("disconnect() leaves when its time is up, whatever is under way", () => {
  const bench = Bench.active({ giveUpMs: 15_000 });
  bench.tell((device, now) => {
    device.publish(now, { short: "ab" }, text("1"), { qos: 1 });
    device.disconnect(now);
  });
  bench.run(14_999);
  assertEquals(bench.run(1), ["15000 DISCONNECT"]);
  assertEquals(bench.device.state, "disconnected");
  assertEquals(bench.ends.sort(), ["silence 2", "silence 3"]);
  assertEquals(bench.run(1_000_000), []);
});

Deno.test("publish() at QoS 0 waits for a PINGRESP at the end of its window", () => {
  const bench = Bench.active({ window: 4 });
  const topic = { short: "ab" };
  const sent = bench.tell((device, now) => {
    for (const line of ["1", "2", "3", "4", "5"]) {
      device.publish(now, topic, text(line));
    }
  });
  assertEquals(sent.map((line) => line.split(" ")[0]), [
    "PUBLISH",
    "PUBLISH",
    "PINGREQ",
    "PUBLISH",
    "PUBLISH",
  ]);
  assertEquals(bench.ends, ["done 2", "done 3", "done 4", "done 5"]);
  assertEquals(bench.take(PONG).length, 2); // the fifth, and PINGREQ once more
  assertEquals(bench.ends.at(-1), "done 6");
  assertEquals(bench.take(PONG), []);
});

Deno.test("publish() at QoS 0 goes on when the PINGREQ of its window was lost", () => {
  const bench = Bench.active({ window: 2 });
  const topic = { short: "ab" };
  const sent = bench.tell((device, now) => {
    for (const line of ["1", "2", "3"]) {
      device.publish(now, topic, text(line));
    }
  });
  assertEquals(sent.length, 3);
  assertEquals(bench.run(RETRY_MS), ['10000 PINGREQ clientId=""']);
  assertEquals(bench.take(PONG).length, 2);
  // Without any answer the connection is lost, and the rest goes out anew.
  bench.tell((device, now) => {
    for (const line of ["4", "5"]) device.publish(now, topic, text(line));
  });
  bench.run(3 * RETRY_MS + 10_000);
  assertEquals(bench.device.state, "connecting");
  assert(bench.take(CONNACK).length > 0);
});
