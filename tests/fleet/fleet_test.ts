/**
 * Tests of a fleet, and of the report on it.
 *
 * @module
 */

import {
  assert,
  assertEquals,
  assertNotEquals,
  assertStringIncludes,
} from "@std/assert";
import { seededRandom } from "../../base/clock.ts";
import { Fleet } from "../../fleet/fleet.ts";
import {
  DEFAULT_FLEET,
  type FleetOptions,
  TopicTree,
} from "../../fleet/options.ts";
import { pageOf } from "../../fleet/page.ts";
import { describeReport, reportOf } from "../../fleet/report.ts";
import { FleetPaths } from "../../netsim/paths.ts";
import { peerOf } from "../../base/peer.ts";
import { parseNetSpec } from "../../netsim/spec_text.ts";

const SMALL: FleetOptions = {
  ...DEFAULT_FLEET,
  clients: 60,
  listeners: 3,
  fanout: 2,
  rate: 1 / 20,
  commands: 1 / 60,
  sleep: 60,
  durationMs: 300_000,
  graceMs: 300_000,
};

function told(options: Partial<FleetOptions> = {}, net?: string): Fleet {
  const fleet = new Fleet({
    ...SMALL,
    ...options,
    ...net !== undefined && { net: parseNetSpec(net, { side: "client" }) },
  });
  fleet.run(fleet.endsAt);
  return fleet;
}

Deno.test("Fleet brings everything to everybody on a perfect network", () => {
  const fleet = told();
  const { readings, commands } = fleet.ledger.accounts;
  for (const account of [...readings, ...commands]) {
    assert(account.published > 5, `${account.published}`);
    assertEquals(account.arrived, account.expected);
  }
  assertEquals(readings.map(({ duplicates }) => duplicates), [0, 0, 0]);
  // At QoS 1 an acknowledgement may cross the DISCONNECT of who falls asleep.
  assertEquals([commands[0].duplicates, commands[2].duplicates], [0, 0]);
  assertEquals(readings[0].expected, 2 * readings[0].published);
  // What sleeps gets its commands when it wakes.
  const slowest = commands[1].latency.percentile(100)!;
  assert(slowest > 1_000 && slowest <= 60_000, `${slowest}`);
  assertEquals([fleet.unsent, fleet.withheld, fleet.repeats], [0, 0, 0]);
  assertEquals(fleet.stats().mqttsn.queued, 0);
  assertEquals(fleet.net.counts.lost, 0);
});

Deno.test("Fleet loses nothing at QoS 1, and doubles nothing at QoS 2, on a bad network", () => {
  const fleet = told({}, "loss 15% delay 300ms 200ms duplicate 5%");
  const { readings, commands } = fleet.ledger.accounts;
  for (const [zero, one, two] of [readings, commands]) {
    assert(zero.arrived < zero.expected, "QoS 0 lost nothing");
    assertEquals(one.arrived, one.expected);
    assertEquals(two.arrived, two.expected);
    assertEquals(two.duplicates, 0);
  }
  assert(readings[1].duplicates > 0, "nothing came twice at QoS 1");
  assert(fleet.repeats > 0 && fleet.stats().mqttsn.retried > 0);
  assertEquals(fleet.ways.lost > 0, true);
  assertEquals(fleet.ledger.spoiled, 0);
});

Deno.test("Fleet tells what came spoiled", () => {
  const fleet = told({ qos: [1, 0, 0] }, "corrupt 30%");
  assert(fleet.ledger.spoiled > 0);
});

Deno.test("Fleet is the same to the octet for the same seed, however it is run", () => {
  const net = "wifi-poor";
  const digest = told({}, net).net.digest;
  assertEquals(told({}, net).net.digest, digest);
  const stepwise = new Fleet({
    ...SMALL,
    net: parseNetSpec(net, { side: "client" }),
  });
  for (let at = 0; at < stepwise.endsAt; at += 777) stepwise.run(at);
  stepwise.run(stepwise.endsAt);
  assertEquals(stepwise.net.digest, digest);
  assertNotEquals(told({ seed: 2 }, net).net.digest, digest);
  assertNotEquals(told({ rate: 1 / 21 }, net).net.digest, digest);
});

Deno.test("Fleet gives chosen clients a network of their own, and a cell to share", () => {
  const alone = told({ sleepers: 0 }, "client c7: down");
  assertEquals(alone.stats().mqttsn.clients.total, SMALL.clients - 1 + 3);
  // 60 clients on one slow line wait for each other.
  const shared = told({ sleepers: 0, commands: 0 }, "shared rate 2kbit");
  const apart = told({ sleepers: 0, commands: 0 }, "rate 2kbit");
  const [slow, fast] = [shared, apart].map(({ ledger }) =>
    ledger.accounts.readings[0].latency.percentile(99)!
  );
  assert(slow! > 2 * fast!, `${slow} against ${fast}`);
});

Deno.test("Fleet goes on when nobody answers at first, and withholds what it cannot send", () => {
  const fleet = told(
    { rate: 1, qos: [0, 1, 0], retryMs: 1_000, durationMs: 600_000 },
    "down 290s every 300s",
  );
  assert(fleet.turnedAway > 0);
  assert(fleet.withheld > 0);
  const { arrived, expected } = fleet.ledger.accounts.readings[1];
  assert(arrived > 0 && arrived <= expected);
});

Deno.test("reportOf() comes to the sums of what happened", () => {
  const fleet = told({}, "loss 15% delay 300ms 200ms");
  const report = reportOf(fleet, "loss 15% delay 300ms 200ms");
  const sum = (count: (flow: (typeof report.flows)[number]) => number) =>
    report.flows.reduce((sum, flow) => sum + count(flow), 0);
  assertEquals(sum(({ arrived }) => arrived), report.total.arrived);
  assertEquals(sum(({ duplicates }) => duplicates), report.total.duplicates);
  const { datagrams, air } = report;
  // But for the few that are on their way at the end.
  const underWay = datagrams.sent - datagrams.lost - datagrams.delivered;
  assert(underWay >= 0 && underWay < 10, `${underWay} are under way`);
  assert(air.datagrams < datagrams.sent && air.octets < datagrams.sentOctets);
  assertEquals(
    Math.round(
      (air.withHeaders - air.octetsPerDelivery) * report.total.arrived,
    ),
    28 * air.datagrams,
  );
  assertEquals(report.samples.length, 120);
  const last = report.samples.at(-1)!;
  assertEquals(last.at, SMALL.durationMs + SMALL.graceMs);
  assertEquals(last.arrived, report.total.arrived);
  for (const { curve, arrived } of report.flows) {
    assertEquals(curve.at(-1)?.share, arrived > 0 ? 1 : undefined);
    assert(curve.length <= 202);
  }
});

Deno.test("describeReport() and pageOf() tell the same, and the page loads nothing", () => {
  const fleet = told({ tree: TopicTree.parse("a/{client}") }, "nbiot");
  const report = reportOf(fleet, "nbiot <b>");
  const text = describeReport(report);
  const page = pageOf(report, {
    seconds: 2,
    datagramsPerSecond: 1e5,
    peakMemory: 2 ** 26,
  });
  assertStringIncludes(text, report.digest);
  assertStringIncludes(page, report.digest);
  assertStringIncludes(page, "nbiot &#60;b&#62;");
  assertStringIncludes(page, "64 MiB of memory");
  assertEquals(
    text.split("\n").filter((line) => /QoS \d/.test(line)).length,
    6,
  );
  assertEquals(page.match(/<svg viewBox="0 0 640/g)?.length, 5);
  assert(!/(?:src|href|url\(|@import)/.test(page));
  assert(!/NaN|undefined|Infinity/.test(page + text), text);
});

Deno.test("describeReport() tells of a fleet that has said nothing", () => {
  const fleet = told({ rate: 0, commands: 0, clients: 2 });
  const text = describeReport(reportOf(fleet));
  assert(!/NaN|undefined|Infinity/.test(text + pageOf(reportOf(fleet))), text);
  assertStringIncludes(text, "over a perfect network");
});

Deno.test("FleetPaths gives a member the last of the words that mean it", () => {
  const spec = "loss 100% client c*: mtu 5 off client c1: off mtu 9";
  const ways = new FleetPaths(parseNetSpec(spec, { side: "client" }), 1);
  const arrives = (clientId: string, length: number) => {
    let count = 0;
    const way = ways.of(clientId, peerOf("10.0.0.1", 9), seededRandom(1))!;
    way.out!.send(0, new Uint8Array(length), () => count++);
    return count === 1;
  };
  assertEquals(arrives("lamp", 9), false);
  assertEquals(arrives("c2", 10), true);
  assertEquals([arrives("c1", 9), arrives("c1", 10)], [true, false]);
});
