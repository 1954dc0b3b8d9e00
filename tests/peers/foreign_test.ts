/**
 * The broker against clients of MQTT-SN that others wrote.
 *
 * Of one, scapy, only the codec is used (`foreign_client.py`), so that each
 * conversation is here octet for octet. It wants a Python that has scapy: the
 * one that `PYTHON` names, or the system's.
 *
 * The others are whole clients: `mqtt-sn-pub` and `mqtt-sn-sub` of
 * mqtt-sn-tools, in the directory that `MQTT_SN_TOOLS` names or on the path, and
 * Paho's for Python, where `PAHO_MQTT_SN` names the directory of its `mqttsn`.
 *
 * What is not here is skipped.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import type { BrokerOptions } from "../../broker.ts";
import { LoggedBroker } from "../support/broker.ts";
import { type Outcome, Running } from "../support/programs.ts";

/** A pre-defined topic that every broker here has. */
const PREDEFINED = new Map([[5, "a/b"]]);

/** How the driver is run. */
interface Driver {
  readonly python: string;
  readonly library: "scapy" | "paho";
  readonly env: Record<string, string>;
}

const SCAPY = findDriver("scapy", "scapy.contrib.mqttsn");
const PAHO = findPaho();
const TOOLS = findTools();

/** A packet as scapy names its fields. */
type ScapyPacket = Readonly<Record<string, string | number>> & {
  readonly type: string;
};

/** Who does a step. */
interface Who {
  readonly client: string;
  /** Whether it answers what asks for an answer. Default true. */
  readonly answer?: boolean;
  /** The node behind a forwarder, in hexadecimal. */
  readonly node?: string;
  /** Which of its sockets. */
  readonly port?: string;
}

/** What a client sends, if anything, and all that it then sends and gets. */
type Step = readonly [
  who: string | Who,
  send: ScapyPacket | undefined,
  ...lines: readonly string[],
];

// Connections and discovery

talk("search and find the gateway", [
  [
    "c",
    { type: "SEARCHGW", radius: 0 },
    "-> 03 01 00 SEARCHGW",
    "<- 03 02 01 GWINFO",
  ],
]);

talk("connect, ping and disconnect", [
  [
    "clientId",
    { type: "CONNECT", cleansess: 1, duration: 60, client_id: "clientId" },
    '-> 0e 04 04 01 003c "clientId" CONNECT',
    "<- 03 05 00 CONNACK",
  ],
  ["clientId", { type: "PINGREQ" }, "-> 02 16 PINGREQ", "<- 02 17 PINGRESP"],
  [
    "clientId",
    { type: "DISCONNECT" },
    "-> 02 18 DISCONNECT",
    "<- 02 18 DISCONNECT",
  ],
  // Who is not connected is told so.
  ["clientId", { type: "PINGREQ" }, "-> 02 16 PINGREQ", "<- 02 18 DISCONNECT"],
]);

// Topics

talk("register a name twice, and one that is none", [
  connect("c"),
  [
    "c",
    { type: "REGISTER", mid: 1, topic_name: "x/y" },
    '-> 09 0a 0000 0001 "x/y" REGISTER',
    "<- 07 0b 0001 0001 00 REGACK",
  ],
  [
    "c",
    { type: "REGISTER", mid: 2, topic_name: "x/z" },
    '-> 09 0a 0000 0002 "x/z" REGISTER',
    "<- 07 0b 0002 0002 00 REGACK",
  ],
  [
    "c",
    { type: "REGISTER", mid: 3, topic_name: "x/y" },
    '-> 09 0a 0000 0003 "x/y" REGISTER',
    "<- 07 0b 0001 0003 00 REGACK",
  ],
  [
    "c",
    { type: "REGISTER", mid: 4, topic_name: "x/#" },
    '-> 09 0a 0000 0004 "x/#" REGISTER',
    "<- 07 0b 0000 0004 03 REGACK",
  ],
]);

talk("subscribe and unsubscribe in every way", [
  connect("c"),
  [
    "c",
    { type: "SUBSCRIBE", qos: 1, mid: 1, topic_name: "test" },
    '-> 09 12 20 0001 "test" SUBSCRIBE',
    "<- 08 13 20 0001 0001 00 SUBACK",
  ],
  [
    "c",
    { type: "SUBSCRIBE", qos: 2, mid: 2, topic_name: "x/#" },
    '-> 08 12 40 0002 "x/#" SUBSCRIBE',
    "<- 08 13 40 0000 0002 00 SUBACK",
  ],
  [
    "c",
    { type: "SUBSCRIBE", mid: 3, tid_type: 2, short_topic: "ab" },
    '-> 07 12 02 0003 "ab" SUBSCRIBE',
    "<- 08 13 00 0000 0003 00 SUBACK",
  ],
  [
    "c",
    { type: "SUBSCRIBE", qos: 1, mid: 4, tid_type: 1, tid: 5 },
    "-> 07 12 21 0004 0005 SUBSCRIBE",
    "<- 08 13 20 0005 0004 00 SUBACK",
  ],
  [
    "c",
    { type: "SUBSCRIBE", mid: 5, tid_type: 1, tid: 6 },
    "-> 07 12 01 0005 0006 SUBSCRIBE",
    "<- 08 13 00 0006 0005 02 SUBACK",
  ],
  [
    "c",
    { type: "UNSUBSCRIBE", mid: 6, topic_name: "test" },
    '-> 09 14 00 0006 "test" UNSUBSCRIBE',
    "<- 04 15 0006 UNSUBACK",
  ],
  [
    "c",
    { type: "UNSUBSCRIBE", mid: 7, topic_name: "x/#" },
    '-> 08 14 00 0007 "x/#" UNSUBSCRIBE',
    "<- 04 15 0007 UNSUBACK",
  ],
  [
    "c",
    { type: "UNSUBSCRIBE", mid: 8, tid_type: 2, short_topic: "ab" },
    '-> 07 14 02 0008 "ab" UNSUBSCRIBE',
    "<- 04 15 0008 UNSUBACK",
  ],
  [
    "c",
    { type: "UNSUBSCRIBE", mid: 9, tid_type: 1, tid: 5 },
    "-> 07 14 01 0009 0005 UNSUBSCRIBE",
    "<- 04 15 0009 UNSUBACK",
  ],
  // None of them is left.
  [
    "c",
    { type: "PUBLISH", tid: 1, data: "1" },
    '-> 08 0c 00 0001 0000 "1" PUBLISH',
  ],
  [
    "c",
    { type: "PUBLISH", tid_type: 1, tid: 5, data: "2" },
    '-> 08 0c 01 0005 0000 "2" PUBLISH',
  ],
  fence("c"),
]);

// Messages

talk("publish to each other at every QoS", [
  connect("s"),
  [
    "s",
    { type: "SUBSCRIBE", qos: 2, mid: 1, topic_name: "news" },
    '-> 09 12 40 0001 "news" SUBSCRIBE',
    "<- 08 13 40 0001 0001 00 SUBACK",
  ],
  connect("p"),
  // Ids are each client's own.
  [
    "p",
    { type: "REGISTER", mid: 1, topic_name: "else" },
    '-> 0a 0a 0000 0001 "else" REGISTER',
    "<- 07 0b 0001 0001 00 REGACK",
  ],
  [
    "p",
    { type: "REGISTER", mid: 2, topic_name: "news" },
    '-> 0a 0a 0000 0002 "news" REGISTER',
    "<- 07 0b 0002 0002 00 REGACK",
  ],
  [
    "p",
    { type: "PUBLISH", tid: 2, data: "0" },
    '-> 08 0c 00 0002 0000 "0" PUBLISH',
  ],
  ["s", undefined, '<- 08 0c 00 0001 0000 "0" PUBLISH'],
  [
    "p",
    { type: "PUBLISH", qos: 1, tid: 2, mid: 3, data: "1" },
    '-> 08 0c 20 0002 0003 "1" PUBLISH',
    "<- 07 0d 0002 0003 00 PUBACK",
  ],
  [
    "s",
    undefined,
    '<- 08 0c 20 0001 0001 "1" PUBLISH',
    "-> 07 0d 0001 0001 00 PUBACK",
  ],
  [
    "p",
    { type: "PUBLISH", qos: 2, tid: 2, mid: 4, data: "2" },
    '-> 08 0c 40 0002 0004 "2" PUBLISH',
    "<- 04 0f 0004 PUBREC",
    "-> 04 10 0004 PUBREL",
    "<- 04 0e 0004 PUBCOMP",
  ],
  [
    "s",
    undefined,
    '<- 08 0c 40 0001 0002 "2" PUBLISH',
    "-> 04 0f 0002 PUBREC",
    "<- 04 10 0002 PUBREL",
    "-> 04 0e 0002 PUBCOMP",
  ],
  fence("s"),
  fence("p"),
]);

talk("publish to an id that is not known", [
  connect("c"),
  [
    "c",
    { type: "PUBLISH", tid: 0x63, data: "hi" },
    '-> 09 0c 00 0063 0000 "hi" PUBLISH',
    "<- 07 0d 0063 0000 02 PUBACK",
  ],
  [
    "c",
    { type: "PUBLISH", qos: 1, tid_type: 1, tid: 6, mid: 7, data: "hi" },
    '-> 09 0c 21 0006 0007 "hi" PUBLISH',
    "<- 07 0d 0006 0007 02 PUBACK",
  ],
  [
    "c",
    { type: "PUBLISH", qos: 2, tid: 0x63, mid: 8, data: "hi" },
    '-> 09 0c 40 0063 0008 "hi" PUBLISH',
    "<- 07 0d 0063 0008 02 PUBACK",
  ],
]);

talk("publish at QoS −1 without a connection", [
  connect("s"),
  [
    "s",
    { type: "SUBSCRIBE", mid: 1, tid_type: 2, short_topic: "ab" },
    '-> 07 12 02 0001 "ab" SUBSCRIBE',
    "<- 08 13 00 0000 0001 00 SUBACK",
  ],
  [
    "s",
    { type: "SUBSCRIBE", mid: 2, tid_type: 1, tid: 5 },
    "-> 07 12 01 0002 0005 SUBSCRIBE",
    "<- 08 13 00 0005 0002 00 SUBACK",
  ],
  [
    "p",
    { type: "PUBLISH", qos: 3, tid_type: 2, tid: 0x6162, data: "x" },
    '-> 08 0c 62 "ab" 0000 "x" PUBLISH',
  ],
  ["s", undefined, '<- 08 0c 02 "ab" 0000 "x" PUBLISH'],
  [
    "p",
    { type: "PUBLISH", qos: 3, tid_type: 1, tid: 5, data: "y" },
    '-> 08 0c 61 0005 0000 "y" PUBLISH',
  ],
  ["s", undefined, '<- 08 0c 01 0005 0000 "y" PUBLISH'],
  // Neither does what cannot be published have an answer.
  [
    "p",
    { type: "PUBLISH", qos: 3, tid_type: 1, tid: 6, data: "z" },
    '-> 08 0c 61 0006 0000 "z" PUBLISH',
  ],
  [
    "p",
    { type: "SEARCHGW", radius: 0 },
    "-> 03 01 00 SEARCHGW",
    "<- 03 02 01 GWINFO",
  ],
  fence("s"),
]);

talk("get what is retained", [
  connect("p"),
  [
    "p",
    {
      type: "PUBLISH",
      qos: 1,
      retain: 1,
      tid_type: 1,
      tid: 5,
      mid: 1,
      data: "hi",
    },
    '-> 09 0c 31 0005 0001 "hi" PUBLISH',
    "<- 07 0d 0005 0001 00 PUBACK",
  ],
  connect("s"),
  [
    "s",
    { type: "SUBSCRIBE", qos: 0, mid: 1, tid_type: 1, tid: 5 },
    "-> 07 12 01 0001 0005 SUBSCRIBE",
    "<- 08 13 00 0005 0001 00 SUBACK",
    '<- 09 0c 11 0005 0000 "hi" PUBLISH',
  ],
  [
    "p",
    { type: "PUBLISH", retain: 1, tid_type: 1, tid: 5, data: "ho" },
    '-> 09 0c 11 0005 0000 "ho" PUBLISH',
  ],
  ["s", undefined, '<- 09 0c 01 0005 0000 "ho" PUBLISH'],
  fence("s"),
]);

talk("publish 600 octets, in the long form", [
  connect("s"),
  [
    "s",
    { type: "SUBSCRIBE", qos: 1, mid: 1, tid_type: 1, tid: 5 },
    "-> 07 12 21 0001 0005 SUBSCRIBE",
    "<- 08 13 20 0005 0001 00 SUBACK",
  ],
  connect("p"),
  [
    "p",
    {
      ...{ type: "PUBLISH", qos: 1, tid_type: 1, tid: 5, mid: 1 },
      data: "x".repeat(600),
    },
    `-> 01 0261 0c 21 0005 0001 "${"x".repeat(600)}" PUBLISH`,
    "<- 07 0d 0005 0001 00 PUBACK",
  ],
  [
    "s",
    undefined,
    `<- 01 0261 0c 21 0005 0001 "${"x".repeat(600)}" PUBLISH`,
    "-> 07 0d 0005 0001 00 PUBACK",
  ],
  // The last size of the short form, and the first of the long one.
  ...[248, 249].flatMap((size): Step[] => {
    const length = size === 248 ? "ff" : "01 0102";
    const octets = `${length} 0c 01 0005 0000 "${"y".repeat(size)}" PUBLISH`;
    return [
      [
        "p",
        { type: "PUBLISH", tid_type: 1, tid: 5, data: "y".repeat(size) },
        `-> ${octets}`,
      ],
      ["s", undefined, `<- ${octets}`],
    ];
  }),
  fence("s"),
]);

talk("publish once at QoS 2, whatever is sent again", [
  connect("s"),
  [
    "s",
    { type: "SUBSCRIBE", qos: 2, mid: 1, tid_type: 1, tid: 5 },
    "-> 07 12 41 0001 0005 SUBSCRIBE",
    "<- 08 13 40 0005 0001 00 SUBACK",
  ],
  connect("p"),
  [
    { client: "p", answer: false },
    { type: "PUBLISH", qos: 2, tid_type: 1, tid: 5, mid: 9, data: "ok" },
    '-> 09 0c 41 0005 0009 "ok" PUBLISH',
    "<- 04 0f 0009 PUBREC",
  ],
  [
    "p",
    {
      type: "PUBLISH",
      dup: 1,
      qos: 2,
      tid_type: 1,
      tid: 5,
      mid: 9,
      data: "ok",
    },
    '-> 09 0c c1 0005 0009 "ok" PUBLISH',
    "<- 04 0f 0009 PUBREC",
    "-> 04 10 0009 PUBREL",
    "<- 04 0e 0009 PUBCOMP",
  ],
  [
    "p",
    { type: "PUBREL", mid: 9 },
    "-> 04 10 0009 PUBREL",
    "<- 04 0e 0009 PUBCOMP",
  ],
  [
    "s",
    undefined,
    '<- 09 0c 41 0005 0001 "ok" PUBLISH',
    "-> 04 0f 0001 PUBREC",
    "<- 04 10 0001 PUBREL",
    "-> 04 0e 0001 PUBCOMP",
  ],
  fence("s"),
]);

talk("get again what it has not acknowledged", [
  connect("s"),
  [
    "s",
    { type: "SUBSCRIBE", qos: 2, mid: 1, tid_type: 1, tid: 5 },
    "-> 07 12 41 0001 0005 SUBSCRIBE",
    "<- 08 13 40 0005 0001 00 SUBACK",
  ],
  [
    { client: "s", answer: false },
    { type: "PUBLISH", qos: 1, tid_type: 1, tid: 5, mid: 1, data: "hi" },
    '-> 09 0c 21 0005 0001 "hi" PUBLISH',
    "<- 07 0d 0005 0001 00 PUBACK",
    '<- 09 0c 21 0005 0001 "hi" PUBLISH',
  ],
  [
    "s",
    undefined,
    '<- 09 0c a1 0005 0001 "hi" PUBLISH',
    "-> 07 0d 0005 0001 00 PUBACK",
  ],
  fence("s"),
], { retryMs: 1_000 });

// Wills

talk("change and delete a will, which a disconnect does not fire", [
  connect("s"),
  [
    "s",
    { type: "SUBSCRIBE", qos: 1, mid: 1, topic_name: "a/+" },
    '-> 08 12 20 0001 "a/+" SUBSCRIBE',
    "<- 08 13 20 0000 0001 00 SUBACK",
  ],
  ...connectWithWill("c", 60),
  [
    "c",
    { type: "WILLTOPICUPD", qos: 1, retain: 1, will_topic: "a/w" },
    '-> 06 1a 30 "a/w" WILLTOPICUPD',
    "<- 03 1b 00 WILLTOPICRESP",
  ],
  [
    "c",
    { type: "WILLTOPICUPD" },
    "-> 02 1a WILLTOPICUPD",
    "<- 03 1b 00 WILLTOPICRESP",
  ],
  [
    "c",
    { type: "WILLMSGUPD", will_msg: "bye" },
    '-> 05 1c "bye" WILLMSGUPD',
    "<- 03 1d 00 WILLMSGRESP",
  ],
  [
    "c",
    { type: "WILLTOPICUPD", qos: 1, will_topic: "a/w" },
    '-> 06 1a 20 "a/w" WILLTOPICUPD',
    "<- 03 1b 00 WILLTOPICRESP",
  ],
  ["c", { type: "DISCONNECT" }, "-> 02 18 DISCONNECT", "<- 02 18 DISCONNECT"],
  fence("s"),
]);

// This takes a second and a half: no keep alive is shorter.
talk("leave a will, which fires when nothing more is heard", [
  connect("s"),
  [
    "s",
    { type: "SUBSCRIBE", qos: 1, mid: 1, topic_name: "a/+" },
    '-> 08 12 20 0001 "a/+" SUBSCRIBE',
    "<- 08 13 20 0000 0001 00 SUBACK",
  ],
  ...connectWithWill("c", 1),
  [
    "c",
    { type: "WILLTOPICUPD", qos: 2, retain: 1, will_topic: "a/v" },
    '-> 06 1a 50 "a/v" WILLTOPICUPD',
    "<- 03 1b 00 WILLTOPICRESP",
  ],
  [
    "c",
    { type: "WILLMSGUPD", will_msg: "gone" },
    '-> 06 1c "gone" WILLMSGUPD',
    "<- 03 1d 00 WILLMSGRESP",
  ],
  [
    "s",
    undefined,
    '<- 09 0a 0001 0001 "a/v" REGISTER',
    "-> 07 0b 0001 0001 00 REGACK",
    '<- 0b 0c 20 0001 0002 "gone" PUBLISH',
    "-> 07 0d 0001 0002 00 PUBACK",
  ],
  ["c", { type: "PINGREQ" }, "-> 02 16 PINGREQ", "<- 02 18 DISCONNECT"],
  fence("s"),
]);

// Sleep

talk("sleep, wake for what has come, wake for nothing, and return", [
  connect("s"),
  [
    "s",
    { type: "SUBSCRIBE", qos: 2, mid: 1, topic_name: "x/#" },
    '-> 08 12 40 0001 "x/#" SUBSCRIBE',
    "<- 08 13 40 0000 0001 00 SUBACK",
  ],
  [
    "s",
    { type: "DISCONNECT", duration: 60 },
    "-> 04 18 003c DISCONNECT",
    "<- 02 18 DISCONNECT",
  ],
  connect("p"),
  ...["x/0", "x/1", "x/2"].map((name, i): Step => [
    "p",
    { type: "REGISTER", mid: 1 + i, topic_name: name },
    `-> 09 0a 0000 000${1 + i} "${name}" REGISTER`,
    `<- 07 0b 000${1 + i} 000${1 + i} 00 REGACK`,
  ]),
  [
    "p",
    { type: "PUBLISH", tid: 1, data: "zero" },
    '-> 0b 0c 00 0001 0000 "zero" PUBLISH',
  ],
  [
    "p",
    { type: "PUBLISH", qos: 1, tid: 2, mid: 4, data: "one" },
    '-> 0a 0c 20 0002 0004 "one" PUBLISH',
    "<- 07 0d 0002 0004 00 PUBACK",
  ],
  [
    "p",
    { type: "PUBLISH", qos: 2, tid: 3, mid: 5, data: "two" },
    '-> 0a 0c 40 0003 0005 "two" PUBLISH',
    "<- 04 0f 0005 PUBREC",
    "-> 04 10 0005 PUBREL",
    "<- 04 0e 0005 PUBCOMP",
  ],
  [
    "s",
    { type: "PINGREQ", client_id: "s" },
    '-> 03 16 "s" PINGREQ',
    '<- 09 0a 0001 0001 "x/0" REGISTER',
    "-> 07 0b 0001 0001 00 REGACK",
    '<- 0b 0c 00 0001 0000 "zero" PUBLISH',
    '<- 09 0a 0002 0002 "x/1" REGISTER',
    "-> 07 0b 0002 0002 00 REGACK",
    '<- 0a 0c 20 0002 0003 "one" PUBLISH',
    "-> 07 0d 0002 0003 00 PUBACK",
    '<- 09 0a 0003 0004 "x/2" REGISTER',
    "-> 07 0b 0003 0004 00 REGACK",
    '<- 0a 0c 40 0003 0005 "two" PUBLISH',
    "-> 04 0f 0005 PUBREC",
    "<- 04 10 0005 PUBREL",
    "-> 04 0e 0005 PUBCOMP",
    "<- 02 17 PINGRESP",
  ],
  // Once only, and from a new address as well.
  [
    { client: "s", port: "another" },
    { type: "PINGREQ", client_id: "s" },
    '-> 03 16 "s" PINGREQ',
    "<- 02 17 PINGRESP",
  ],
  [
    "p",
    { type: "PUBLISH", qos: 1, tid: 2, mid: 6, data: "more" },
    '-> 0b 0c 20 0002 0006 "more" PUBLISH',
    "<- 07 0d 0002 0006 00 PUBACK",
  ],
  // It may have lost its ids: they are registered anew.
  [
    { client: "s", port: "another" },
    { type: "CONNECT", duration: 60, client_id: "s" },
    '-> 07 04 00 01 003c "s" CONNECT',
    "<- 03 05 00 CONNACK",
    '<- 09 0a 0002 0006 "x/1" REGISTER',
    "-> 07 0b 0002 0006 00 REGACK",
    '<- 0b 0c 20 0002 0007 "more" PUBLISH',
    "-> 07 0d 0002 0007 00 PUBACK",
  ],
  [
    { client: "s", port: "another" },
    { type: "PINGREQ" },
    "-> 02 16 PINGREQ",
    "<- 02 17 PINGRESP",
  ],
  // What comes between two connections is kept as well.
  [
    { client: "s", port: "another" },
    { type: "DISCONNECT" },
    "-> 02 18 DISCONNECT",
    "<- 02 18 DISCONNECT",
  ],
  [
    "p",
    { type: "PUBLISH", qos: 1, tid: 2, mid: 7, data: "last" },
    '-> 0b 0c 20 0002 0007 "last" PUBLISH',
    "<- 07 0d 0002 0007 00 PUBACK",
  ],
  [
    { client: "s", port: "another" },
    { type: "CONNECT", duration: 60, client_id: "s" },
    '-> 07 04 00 01 003c "s" CONNECT',
    "<- 03 05 00 CONNACK",
    '<- 09 0a 0002 0008 "x/1" REGISTER',
    "-> 07 0b 0002 0008 00 REGACK",
    '<- 0b 0c 20 0002 0009 "last" PUBLISH',
    "-> 07 0d 0002 0009 00 PUBACK",
  ],
]);

// Forwarders

talk("talk from behind a forwarder", [
  [
    { client: "f", node: "0102" },
    { type: "CONNECT", cleansess: 1, duration: 60, client_id: "n1" },
    '-> 05 fe 00 0102 08 04 04 01 003c "n1" CONNECT',
    "<- 05 fe 00 0102 03 05 00 CONNACK",
  ],
  [
    { client: "f", node: "0304ff" },
    { type: "CONNECT", cleansess: 1, duration: 60, client_id: "n2" },
    '-> 06 fe 00 0304ff 08 04 04 01 003c "n2" CONNECT',
    "<- 06 fe 00 0304ff 03 05 00 CONNACK",
  ],
  [
    { client: "f", node: "0102" },
    { type: "SUBSCRIBE", qos: 1, mid: 1, tid_type: 1, tid: 5 },
    "-> 05 fe 00 0102 07 12 21 0001 0005 SUBSCRIBE",
    "<- 05 fe 00 0102 08 13 20 0005 0001 00 SUBACK",
  ],
  [
    { client: "f", node: "0304ff" },
    { type: "PUBLISH", qos: 1, tid_type: 1, tid: 5, mid: 1, data: "hi" },
    '-> 06 fe 00 0304ff 09 0c 21 0005 0001 "hi" PUBLISH',
    "<- 06 fe 00 0304ff 07 0d 0005 0001 00 PUBACK",
  ],
  [
    { client: "f", node: "0102" },
    undefined,
    '<- 05 fe 00 0102 09 0c 21 0005 0001 "hi" PUBLISH',
    "-> 05 fe 00 0102 07 0d 0005 0001 00 PUBACK",
  ],
  // The end of one node's connection is not the other's.
  [
    { client: "f", node: "0304ff" },
    { type: "DISCONNECT" },
    "-> 06 fe 00 0304ff 02 18 DISCONNECT",
    "<- 06 fe 00 0304ff 02 18 DISCONNECT",
  ],
  [
    { client: "f", node: "0102" },
    { type: "PINGREQ" },
    "-> 05 fe 00 0102 02 16 PINGREQ",
    "<- 05 fe 00 0102 02 17 PINGRESP",
  ],
]);

// Whole programs

tools("publish and subscribe in every way", async (here) => {
  for (
    const [filter, subscriber, publisher, line] of [
      ["news", "-t news", "-t news -m hi", "news: hi"],
      ["news", "-t news -q 1", "-t news -m hi -q 1", "news: hi"],
      ["x/#", "-t x/#", "-t x/y -m hi -q 1", "x/y: hi"],
      ["x/+/z", "-t x/+/z -q 1", "-t x/y/z -m hi", "x/y/z: hi"],
      ["x/+/z", "-t x/+/z -q 1", "-t x/y/z -m hi -q 1", "x/y/z: hi"],
      ["ab", "-t ab", "-t ab -m hi", "ab: hi"],
      ["ab", "-t ab -q 1", "-t ab -m hi -q 1", "ab: hi"],
      ["ab", "-t ab -q 1", "-t ab -m hi -q -1", "ab: hi"],
      ["a/b", "-T 5", "-T 5 -m hi", "0005: hi"],
      ["a/b", "-T 5 -q 1", "-T 5 -m hi -q 1", "0005: hi"],
      ["a/b", "-T 5", "-T 5 -m hi -q -1", "0005: hi"],
      // One topic has two ways to be named.
      ["a/b", "-t a/b", "-T 5 -m hi -q -1", "a/b: hi"],
      ["a/b", "-T 5", "-t a/b -m hi", "0005: hi"],
      ["news", "-t news --fe", "-t news -m hi", "news: hi"],
      ["x/#", "-t x/# -q 1 --fe --wlnid n1", "-t x/y -m hi -q 1", "x/y: hi"],
      ["news", "-t news", "-t news -m hi -q 1 --fe --wlnid n2", "news: hi"],
      ["ab", "-t ab --fe --wlnid n1", "-t ab -m hi -q -1 --fe", "ab: hi"],
    ] as const
  ) {
    await using subscribing = startTool(here, "sub", `-1 -v ${subscriber}`);
    await here.subscribed(filter);
    await runTool(here, "pub", publisher);
    const what = `${subscriber}, ${publisher}`;
    assertEquals(await outcomeOf(subscribing), printed(`${line}\n`), what);
  }
});

tools("retain, and get what is retained", async (here) => {
  await runTool(here, "pub", "-t news -m old -r");
  await runTool(here, "pub", "-t news -m retained -q 1 -r");
  await runTool(here, "pub", "-t news -m live");
  for (
    const [filter, args] of [
      ["news", "-t news"],
      ["news", "-t news -q 1"],
      ["+", "-t x/# -t +"],
    ] as const
  ) {
    await using subscriber = startTool(here, "sub", `-1 -v ${args}`);
    await here.subscribed(filter);
    const outcome = await outcomeOf(subscriber);
    assertEquals(outcome, printed("news: retained\n"), args);
  }
  await runTool(here, "pub", "-t news -n -r");
  await using subscriber = startTool(here, "sub", "-1 -v -t news");
  await here.subscribed("news");
  await runTool(here, "pub", "-t news -m new");
  assertEquals(await outcomeOf(subscriber), printed("news: new\n"));
});

tools("fill the longest packet that they know", async (here) => {
  const data = "x".repeat(248);
  await using subscriber = startTool(here, "sub", "-1 -T 5 -q 1");
  await here.subscribed("a/b");
  await runTool(here, "pub", `-T 5 -q 1 -m ${data}`);
  assertEquals(await outcomeOf(subscriber), printed(`${data}\n`));
});

tools("publish line by line", async (here) => {
  await runTool(here, "pub", "-t news -q 1 -l", "1\n2\n3\n");
  assertEquals(await here.history("news"), "1\n2\n3");
});

tools("go to sleep, and come back for what has come", async (here) => {
  const args = "-1 -v -c -i sleeper -q 1 -t news";
  await using sleeper = startTool(here, "sub", `${args} -e 600`);
  await here.subscribed("news");
  await runTool(here, "pub", "-t news -q 1 -m first -i p -e 600");
  assertEquals(await outcomeOf(sleeper), printed("news: first\n"));
  await runTool(here, "pub", "-t news -q 1 -m second");
  await using awake = startTool(here, "sub", args);
  assertEquals(await outcomeOf(awake), printed("news: second\n"));
});

tools("end with the return code of a refusal", async (here) => {
  await using unknown = startTool(here, "sub", "-1 -T 6");
  assertEquals(await outcomeOf(unknown), {
    code: 2,
    stdout: "",
    stderr: "ERROR SUBSCRIBE error: Rejected: invalid topic ID\n",
  });
  await using wildcard = startTool(here, "pub", "-t x/# -m hi");
  assertEquals(await outcomeOf(wildcard), {
    code: 3,
    stdout: "",
    stderr: "ERROR REGISTER failed: Rejected: not supported\n",
  });
});

Deno.test({
  name: `\`Broker.listen()\` lets Paho publish and subscribe at every QoS${
    PAHO === undefined ? " (skipped: PAHO_MQTT_SN is not its directory)" : ""
  }`,
  ignore: PAHO === undefined,
  async fn() {
    await using here = await listen({ namedQosMinusOne: true });
    // It answers no REGISTER, and takes every id for a normal one: so there are
    // no wildcards and no short names here.
    await drive(here, PAHO!, [
      [{ client: "s", call: "connect" }, "-> connect"],
      [
        { client: "s", call: "subscribe", args: ["news", 2] },
        "-> subscribe [0, 1]",
      ],
      [{ client: "s", call: "subscribe", args: [5, 1] }, "-> subscribe [0, 5]"],
      [{ client: "p", call: "connect" }, "-> connect"],
      [{ client: "p", call: "register", args: ["a/b"] }, "-> register 1"],
      [{ client: "p", call: "register", args: ["news"] }, "-> register 2"],
      [{ client: "p", call: "publish", args: [2, "0", 0] }, "-> publish 0"],
      [{ client: "s" }, "<- news b'0' at QoS 0 live"],
      [
        { client: "p", call: "publish", args: [2, "1", 1] },
        "-> publish 2",
        "<- published 2",
      ],
      [{ client: "s" }, "<- news b'1' at QoS 1 live"],
      [
        { client: "p", call: "publish", args: [2, "2", 2] },
        "-> publish 3",
        "<- published 3",
      ],
      [{ client: "s" }, "<- news b'2' at QoS 2 live"],
      [
        { client: "p", call: "publish", args: [1, "3", 2] },
        "-> publish 4",
        "<- published 4",
      ],
      [{ client: "s" }, "<- 5 b'3' at QoS 1 live"],
      // Its own way to name a topic at QoS −1.
      [{ call: "publish", args: ["news", "4"] }, "-> publish"],
      [{ client: "s" }, "<- news b'4' at QoS 0 live"],
      [{ client: "p", call: "disconnect" }, "-> disconnect"],
      [{ client: "s", call: "disconnect" }, "-> disconnect"],
    ]);
  },
});

/** A clean connection with a keep alive of a minute. */
function connect(client: string): Step {
  return [
    client,
    { type: "CONNECT", cleansess: 1, duration: 60, client_id: client },
    `-> 07 04 04 01 003c "${client}" CONNECT`,
    "<- 03 05 00 CONNACK",
  ];
}

/** A connection with the will "bye" to "a/w". */
function connectWithWill(client: string, keepAlive: number): Step[] {
  const duration = keepAlive.toString(16).padStart(4, "0");
  return [
    [
      client,
      {
        ...{ type: "CONNECT", cleansess: 1, will: 1 },
        ...{ duration: keepAlive, client_id: client },
      },
      `-> 07 04 0c 01 ${duration} "${client}" CONNECT`,
      "<- 02 06 WILLTOPICREQ",
    ],
    [
      client,
      { type: "WILLTOPIC", qos: 1, will_topic: "a/w" },
      '-> 06 07 20 "a/w" WILLTOPIC',
      "<- 02 08 WILLMSGREQ",
    ],
    [
      client,
      { type: "WILLMSG", will_msg: "bye" },
      '-> 05 09 "bye" WILLMSG',
      "<- 03 05 00 CONNACK",
    ],
  ];
}

/** Shows that nothing else has come to a client: the answer is the next it gets. */
function fence(client: string): Step {
  return [
    client,
    { type: "PINGREQ" },
    "-> 02 16 PINGREQ",
    "<- 02 17 PINGRESP",
  ];
}

/** Defines a test of a conversation with scapy. */
function talk(
  does: string,
  steps: readonly Step[],
  options: BrokerOptions = {},
): void {
  Deno.test({
    name: `\`Broker.listen()\` lets scapy ${does}${
      SCAPY === undefined ? " (skipped: there is no Python with scapy)" : ""
    }`,
    ignore: SCAPY === undefined,
    async fn() {
      await using here = await listen(options);
      await drive(
        here,
        SCAPY!,
        steps.map(([who, send, ...lines]) => [
          {
            ...typeof who === "string" ? { client: who } : who,
            ...send === undefined ? {} : { send },
          },
          ...lines.map(driverLine),
        ]),
      );
    },
  });
}

/** A line of a conversation as the driver writes it. */
function driverLine(line: string): string {
  const hex = line.replace(
    /"(.*?)"/g,
    (_, data) => new TextEncoder().encode(data).toHex(),
  );
  const [, arrow, octets, name] = /^(..) (.+) (\w+)$/.exec(hex)!;
  return `${arrow} ${octets!.replaceAll(" ", "")} ${name}`;
}

/** Lets the driver do some steps, each with the lines that it has to write. */
async function drive(
  { broker }: LoggedBroker,
  { python, library, env }: Driver,
  steps: readonly (readonly [step: object, ...lines: string[]])[],
): Promise<void> {
  const args = [
    "tests/support/foreign_client.py",
    library,
    String(broker.port),
  ];
  await using client = new Running(python, args, { env });
  for (const [step, ...lines] of steps) {
    const receive = lines.filter((line) => line.startsWith("<-")).length;
    await client.write(`${JSON.stringify({ ...step, receive })}\n`);
  }
  await client.endInput();
  const { code, stdout, stderr } = await client.outcome();
  assertEquals(
    stdout.trimEnd().split(/\r?\n/),
    steps.flatMap(([, ...lines]) => lines),
    stderr,
  );
  assertEquals(code, 0, stderr);
  assertEquals(broker.stats().failures, 0);
}

/** Defines a test of mqtt-sn-tools. */
function tools(
  does: string,
  fn: (here: LoggedBroker) => Promise<void>,
): void {
  Deno.test({
    name: `\`Broker.listen()\` lets mqtt-sn-tools ${does}${
      TOOLS === undefined ? " (skipped: there are no mqtt-sn-tools)" : ""
    }`,
    ignore: TOOLS === undefined,
    async fn() {
      await using here = await listen();
      await fn(here);
      assertEquals(here.broker.stats().failures, 0);
    },
  });
}

function startTool(
  { broker }: LoggedBroker,
  tool: "pub" | "sub",
  args: string,
): Running {
  const flags = ["-p", String(broker.port), ...args.split(" ")];
  return new Running(`${TOOLS}mqtt-sn-${tool}`, flags);
}

/** Runs a tool that has nothing to say, with `input` on standard input. */
async function runTool(
  here: LoggedBroker,
  tool: "pub" | "sub",
  args: string,
  input = "",
): Promise<void> {
  await using running = startTool(here, tool, args);
  await running.write(input);
  await running.endInput();
  assertEquals(await outcomeOf(running), printed(""), args);
}

/** What a tool left, without the times in its log. */
async function outcomeOf(tool: Running): Promise<Outcome> {
  const { stderr, ...rest } = await tool.outcome();
  return { ...rest, stderr: stderr.replace(/^[-\d]+ [:\d]+ /gm, "") };
}

function printed(stdout: string): Outcome {
  return { code: 0, stdout, stderr: "" };
}

function listen(options: BrokerOptions = {}): Promise<LoggedBroker> {
  return LoggedBroker.listen({ ...options, predefined: PREDEFINED });
}

function findDriver(
  library: Driver["library"],
  module: string,
  env: Driver["env"] = {},
): Driver | undefined {
  const chosen = Deno.env.get("PYTHON");
  // The system's comes first: where scapy is a package of the system, another
  // one that the path leads to does not have it.
  const candidates = ["/usr/bin/python3", "python3", "python"];
  const python = (chosen === undefined ? candidates : [chosen]).find((name) =>
    canRun(name, ["-c", `import ${module}`], env)
  );
  return python === undefined ? undefined : { python, library, env };
}

function findPaho(): Driver | undefined {
  const directory = Deno.env.get("PAHO_MQTT_SN");
  if (directory === undefined) return undefined;
  const env = { PYTHONPATH: directory };
  return findDriver("paho", "mqttsn.MQTTSNclient", env);
}

/** What comes before the tools' names. */
function findTools(): string | undefined {
  const directory = Deno.env.get("MQTT_SN_TOOLS");
  const prefix = directory === undefined ? "" : `${directory}/`;
  const found = ["pub", "sub"].every((tool) =>
    // Without arguments it says how it is used, and fails.
    canRun(`${prefix}mqtt-sn-${tool}`, [], {}, 1)
  );
  return found ? prefix : undefined;
}

/** Whether a command is there, and ends with a code. */
function canRun(
  command: string,
  args: string[],
  env: Record<string, string>,
  code = 0,
): boolean {
  try {
    return new Deno.Command(command, {
      args,
      env,
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).outputSync().code === code;
  } catch {
    return false;
  }
}
