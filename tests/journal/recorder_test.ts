import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "node:path";
import { Broker } from "../../broker.ts";
import { Client } from "../../client.ts";
import { ManualClock } from "../../base/clock.ts";
import { Journal } from "../../journal/journal.ts";
import { Log } from "../../base/log.ts";
import { peerOf } from "../../base/peer.ts";
import { Recorder, type RecorderOptions } from "../../journal/recorder.ts";
import { parseRecording } from "../../journal/recording.ts";
import { SmallDisk, testOnSmallDisk } from "../support/disk.ts";
import {
  assertFailed,
  portOf,
  run,
  start,
  testSignals,
} from "../support/programs.ts";
import { Directory } from "../support/store.ts";
import { testWithTshark, tshark } from "../support/tshark.ts";

// Off unless asked for.
Deno.test.sanitizer({ ops: true, resources: true });

const BROKER = peerOf("127.0.0.1", 12003);
const LAMP = peerOf("127.0.0.1", 4711);

function read(path: string) {
  return parseRecording(Deno.readTextFileSync(path));
}

/** A journal, and a recorder of it that says what goes wrong. */
async function setUp(
  options: Partial<RecorderOptions>,
  size: { maxEntries?: number } = {},
) {
  const clock = new ManualClock();
  const said: string[] = [];
  const log = new Log({ write: (line) => said.push(line.slice(25)) });
  const journal = new Journal({ clock, ...size });
  const recorder = await Recorder.start(journal, {
    ...{ broker: BROKER, clock, log, timeOfDay: () => 1_000 },
    ...options,
  });
  const add = (octet: number) =>
    journal.add("received", LAMP, Uint8Array.of(3, 5, octet));
  return { clock, journal, recorder, said, add };
}

for (const workers of [0, 1] as const) {
  const where = workers === 0 ? "in this thread" : "in a worker";

  Deno.test(`Recorder writes all that a broker receives and sends ${where}`, async () => {
    using directory = new Directory();
    const record = directory.file("mqtt.jsonl");
    const pcap = directory.file("mqtt.pcap");
    let sent = 0;
    let received = 0;
    {
      await using broker = await Broker.listen({
        ...{ port: 0, record, pcap, workers },
      });
      await using client = await Client.connect({ port: broker.port });
      const messages = await client.subscribe("count/+", { qos: 1 });
      for (let i = 0; i < 50; i++) {
        await client.publish("count/up", `${i}`, { qos: 1 });
      }
      for (let i = 0; i < 50; i++) await messages.take();
      await client.close();
      await broker.journal.received({ type: "DISCONNECT" });
      await broker.close();
      const { recording, ...stats } = broker.stats();
      sent = stats.sent;
      received = stats.received;
      assertEquals(recording, {
        recorded: sent + received,
        lost: 0,
        failed: 0,
      });
    }
    const { datagrams, lost } = read(record);
    assertEquals(lost, 0);
    assertEquals(datagrams.filter(({ way }) => way === "sent").length, sent);
    assertEquals(datagrams.length, sent + received);
    assert(datagrams.length > 200);
    // The capture has the same octets.
    let octets = 24;
    for (const { bytes } of datagrams) octets += 16 + 28 + bytes.length;
    assertEquals(Deno.statSync(pcap).size, octets);
  });

  Deno.test(`Recorder leaves out what the journal had to forget, and counts it, ${where}`, async () => {
    using directory = new Directory();
    const record = directory.file("mqtt.jsonl");
    const { recorder, add, said } = await setUp(
      { record, workers },
      { maxEntries: 8 },
    );
    for (let i = 0; i < 100; i++) add(i);
    await recorder.close();
    assertEquals(recorder.stats(), { recorded: 8, lost: 92, failed: 0 });
    const { datagrams, lost } = read(record);
    assertEquals(lost, 92);
    assertEquals(datagrams.map(({ bytes }) => bytes[2]), [
      ...[92, 93, 94, 95, 96, 97, 98, 99],
    ]);
    assertEquals(said, [
      "warn  The recording cannot keep up: some datagrams are left out, and counted in it",
      "warn  Datagrams left out of the recording: 92",
    ]);
  });

  Deno.test(`Recorder writes soon, also when little happens, ${where}`, async () => {
    using directory = new Directory();
    const record = directory.file("mqtt.jsonl");
    const { recorder, add } = await setUp({ record, workers });
    await using _ = recorder;
    add(7);
    while (read(record).datagrams.length === 0) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  });

  Deno.test(`Recorder.start() says why a file cannot be written ${where}`, async () => {
    using directory = new Directory();
    const path = directory.file("no/mqtt.jsonl");
    const good = directory.file("mqtt.pcap");
    const fails = (options: Partial<RecorderOptions>) =>
      assertRejects(() => setUp({ workers, ...options }), Error);
    assertEquals(
      (await fails({ pcap: good, record: path })).message,
      `Cannot write "${path}": there is no such directory`,
    );
    assertMatch(
      (await fails({ pcap: directory.path })).message,
      /^Cannot write ".+": .+/,
    );
    assertEquals(
      (await fails({ pcap: good, record: good })).message,
      `Cannot write recording and capture to one file, "${good}"`,
    );
    const detour = directory.file("./no/../mqtt.jsonl");
    assertEquals(
      (await fails({ pcap: directory.file("mqtt.jsonl"), record: detour }))
        .message,
      `Cannot write recording and capture to one file, "${detour}"`,
    );
    // Nor over what the broker keeps.
    const db = directory.file("broker.db");
    await Deno.writeTextFile(db, "precious");
    for (const what of ["record", "pcap"]) {
      await assertRejects(
        () => Broker.listen({ port: 0, db, [what]: db, workers }),
        TypeError,
        `Cannot record into "${db}": it is the file that keeps the sessions`,
      );
    }
    assertEquals(await Deno.readTextFile(db), "precious");
    // The socket is closed again, as the sanitizer sees.
    await assertRejects(
      () => Broker.listen({ port: 0, record: path, workers }),
      Error,
      "there is no such directory",
    );
  });

  testOnSmallDisk(
    `Recorder says once that the disk is full, and goes on with the other file ${where}`,
    async () => {
      using disk = SmallDisk.mount();
      using directory = new Directory();
      const record = disk.file("mqtt.jsonl");
      const pcap = directory.file("mqtt.pcap");
      const { recorder, add, said, journal } = await setUp({
        ...{ record, pcap, workers },
      });
      disk.fill();
      for (let i = 0; i < 5_000; i++) {
        add(i & 255);
        if (i % 1_000 === 0) await new Promise((go) => setTimeout(go, 1));
      }
      await recorder.close();
      assertEquals(said, [
        `error Cannot write "${record}": the disk is full; the broker goes on without it`,
      ]);
      assertEquals(recorder.stats(), { recorded: 5_000, lost: 0, failed: 1 });
      assertEquals(Deno.statSync(pcap).size, 24 + 5_000 * (16 + 28 + 3));
      add(1); // and nobody follows any more
      assertEquals(journal.mark(), 5_001);
    },
  );
}

testWithTshark(
  "Broker's capture is read by tshark as MQTT-SN at its port",
  async () => {
    using directory = new Directory();
    const pcap = directory.file("mqtt.pcap");
    for (const hostname of ["127.0.0.1", "::1"]) {
      const before = Date.now();
      let port: number;
      {
        await using broker = await Broker.listen({ hostname, port: 0, pcap });
        port = broker.port;
        await using client = await Client.connect({ hostname, port });
        await client.publish("room/1/light", "on", { qos: 2 });
      }
      const after = Date.now();
      const rows = await tshark(pcap, [
        ...["frame.time_epoch", "_ws.col.Protocol", "mqttsn.msg.type"],
        ...["udp.checksum.status", "mqttsn.topic", "mqttsn.pub.msg"],
      ], [
        ...["-o", "udp.check_checksum:TRUE"],
        ...["-d", `udp.port==${port},mqttsn`],
      ]);
      assertEquals(
        rows.map((row) => row["mqttsn.msg.type"]),
        ["4", "5", "a", "b", "c", "f", "10", "e", "18", "18"].map((type) =>
          `0x${type.padStart(2, "0")}`
        ),
      );
      assertEquals(rows[2]!["mqttsn.topic"], "room/1/light");
      assertEquals(rows[4]!["mqttsn.pub.msg"], "on");
      for (const row of rows) {
        assertEquals(row["_ws.col.Protocol"], "MQTT-SN");
        assertEquals(row["udp.checksum.status"], "1"); // good
        const at = Number(row["frame.time_epoch"]) * 1_000;
        // The clock of the day and the one that never goes back are read apart.
        assert(at > before - 5 && at < after + 5, `${before} ${at} ${after}`);
      }
    }
  },
);

// The program

/** Ends as many datagrams as a broker that is told to end has still to write. */
async function talk(port: number): Promise<void> {
  await using client = await Client.connect({ port, clientId: "lamp-7" });
  for (let i = 0; i < 20; i++) await client.publish("a", `${i}`, { qos: 1 });
}

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  testSignals(`the broker's files are whole after ${signal}`, async () => {
    using directory = new Directory();
    const record = directory.file("mqtt.jsonl");
    const pcap = directory.file("mqtt.pcap");
    const flags = ["--port", "0", "--record", record, "--pcap", pcap];
    await using broker = start("broker", flags);
    await talk(await portOf(broker));
    broker.kill(signal);
    const { code, stderr } = await broker.outcome();
    assertEquals(code, signal === "SIGINT" ? 130 : 0, stderr);
    const text = Deno.readTextFileSync(record);
    const { datagrams, lost } = parseRecording(text);
    assertEquals([datagrams.length, lost, text.at(-1)], [46, 0, "\n"]);
    assertMatch(text, /"type":"PUBACK","client":"lamp-7"/);
    let octets = 24;
    for (const { bytes } of datagrams) octets += 16 + 28 + bytes.length;
    assertEquals(Deno.statSync(pcap).size, octets);
  });
}

Deno.test("the broker does not start when it cannot record", async () => {
  using directory = new Directory();
  const path = join(directory.path, "no", "mqtt.jsonl");
  assertFailed(
    await run("broker", ["--port", "0", "--record", path]),
    "broker",
    `Cannot write "${path}": there is no such directory`,
  );
  assertFailed(
    await run("broker", ["--port", "0", "--pcap", ""]),
    "broker",
    'Flag "--pcap" takes the name of a file, not ""; see broker --help',
  );
});
