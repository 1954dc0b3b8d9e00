/**
 * A broker in a crowd: each seed is one story (`support/crowd_story.ts`).
 *
 * - `deno test -A tests/stories/crowd_test.ts -- --seeds 10000` tells more stories.
 * - `deno test -A tests/stories/crowd_test.ts -- --seed 17` tells one, and prints it.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { peerOf } from "../../base/peer.ts";
import { encodePacket } from "../../wire/mqttsn.ts";
import { CrowdStory } from "../support/crowd_story.ts";
import { Scales } from "../support/scales.ts";
import { testStories, troubleIn } from "../support/stories.ts";

testStories({
  file: "tests/stories/crowd_test.ts",
  name: "No crowd ends a broker, fills it or turns it on others",
  seeds: 50,
  begin: (seed, trace) => new CrowdStory(seed, trace),
});

const BROKER = peerOf("127.0.0.1", 1);
const ANN = peerOf("127.0.0.1", 2);

Deno.test("Scales find a broker that sends more than came, to who has not connected", () => {
  const pong = encodePacket({ type: "PINGRESP" });
  const scales = new Scales([BROKER]);
  scales.handleDelivery(ANN, BROKER, new Uint8Array(4));
  scales.handleSend(1, BROKER, ANN, pong);
  scales.handleSend(1, BROKER, undefined, pong);
  scales.handleSend(2, BROKER, ANN, pong);
  assertEquals(scales.weighed, 2);
  assertThrows(
    () => scales.handleSend(3, BROKER, ANN, pong),
    Error,
    "at 3 more octets went",
  );
  scales.handleEvent({
    type: "connect",
    peer: ANN,
    clientId: "ann",
    cleanSession: true,
    duration: 0,
  });
  scales.handleSend(5, BROKER, ANN, new Uint8Array(1_000).fill(3, 0, 2));
});

Deno.test("troubleIn() finds a story that breaks, and one that differs", () => {
  let told = 0;
  const story = (why?: string) => ({
    lines: [],
    digest: String(told++),
    tell: () => {
      if (why !== undefined) throw new Error(why);
    },
  });
  assertEquals(troubleIn(() => story(), 7), undefined);
  assertEquals(troubleIn(() => story("no"), 7), "Error: no");
  assertEquals(troubleIn(() => story(), 20), "it is not told the same twice");
});
