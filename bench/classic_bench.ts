/**
 * What the classic protocol costs without a socket: the parts of a request's
 * way through the broker, each by itself.
 *
 * ```sh
 * deno bench bench/
 * ```
 *
 * @module
 */

import {
  decodeRequest,
  encodePublish,
  encodeSubscribe,
  parseClassicTopic,
} from "../wire/classic.ts";
import { ClassicHistory } from "../broker/classic_history.ts";
import { encodeUtf8 } from "../base/utf8.ts";
import { MalformedPacketError } from "../base/errors.ts";
import { type Peer, peerOf } from "../base/peer.ts";
import { Router } from "../broker/router.ts";

const TOPICS = 100;
const HISTORY = 1_000;
const WAITING = 100;
const DATUM = "x".repeat(40);

const publishes = Array.from(
  { length: TOPICS },
  (_, i) => encodePublish(`bench/${i}`, DATUM),
);
const publish = publishes[0]!;
const subscribe = encodeSubscribe("bench/0");
const publishAsNumber = new TextEncoder().encode(
  '{"type": "publish", "topic": "bench/0", "data": 21.50}',
);
const junk = Uint8Array.from({ length: publish.length }, (_, i) => i + 0x20);
const peer = peerOf("127.0.0.1", 4711);
const subscribers = Array.from(
  { length: WAITING },
  (_, i) => peerOf("127.0.0.1", 50_000 + i),
);

{
  const table = new Map<string, Peer>();
  let next = 0;

  Deno.bench("peerOf() and its key in a table", () => {
    const peer = peerOf("127.0.0.1", 50_000 + next++ % WAITING);
    table.set(peer.key, peer);
  });
}

Deno.bench("decodeRequest() of a publish", { group: "decode" }, () => {
  decodeRequest(publish);
});

Deno.bench("decodeRequest() of a publish of a number", {
  group: "decode",
}, () => {
  decodeRequest(publishAsNumber);
});

Deno.bench("decodeRequest() of a subscribe", { group: "decode" }, () => {
  decodeRequest(subscribe);
});

Deno.bench("decodeRequest() of junk", { group: "decode" }, () => {
  try {
    decodeRequest(junk);
  } catch (error) {
    if (!(error instanceof MalformedPacketError)) throw error;
  }
});

{
  const names = publishes.map((_, i) => parseClassicTopic(`bench/${i}`)!);
  const limits = {
    history: HISTORY,
    maxTopics: TOPICS,
    maxMemory: 64 * 1024 * 1024,
  };
  const histories = new ClassicHistory(limits, () => {});
  const datum = encodeUtf8(DATUM);
  for (let i = 0; i < TOPICS * HISTORY; i++) {
    histories.append(names[i % TOPICS]!, datum);
  }
  let next = 0;

  Deno.bench("ClassicHistory.append() at a full history", {
    group: "history",
  }, () => {
    histories.append(names[next++ % TOPICS]!, datum);
  });

  Deno.bench(
    "ClassicHistory.read() of 1,000 data",
    { group: "history" },
    () => {
      histories.read(names[0]!);
    },
  );
}

{
  const router = fullRouter();
  let next = 0;

  Deno.bench("Router, a publish and its effects", { group: "router" }, () => {
    router.handleDatagram(0, peer, publishes[next++ % TOPICS]!);
    drain(router);
  });

  Deno.bench("Router, a subscribe answered with 1,000 data", {
    group: "router",
  }, () => {
    router.handleDatagram(0, peer, subscribe);
    drain(router);
  });

  Deno.bench("Router, junk", { group: "router" }, () => {
    router.handleDatagram(0, peer, junk);
    drain(router);
  });
}

Deno.bench("Router, a publish to 100 who wait", (b) => {
  // A topic that has no history yet is the only one that anybody waits for.
  const router = waitedForRouter(subscribers);
  b.start();
  router.handleDatagram(0, peer, publish);
  drain(router);
  b.end();
});

/** A router whose topics all have their full history. */
function fullRouter(): Router {
  const router = new Router({ history: HISTORY });
  for (let i = 0; i < TOPICS * HISTORY; i++) {
    router.handleDatagram(0, peer, publishes[i % TOPICS]!);
    drain(router);
  }
  return router;
}

function waitedForRouter(subscribers: readonly Peer[]): Router {
  const router = new Router();
  for (const subscriber of subscribers) {
    router.handleDatagram(0, subscriber, subscribe);
  }
  drain(router);
  return router;
}

/** Takes the effects out, as the shell would; returns how many there were. */
function drain(router: Router): number {
  let count = 0;
  while (router.pollEffect() !== undefined) count++;
  return count;
}
