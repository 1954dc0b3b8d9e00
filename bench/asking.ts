/**
 * What precedes a load: each of many clients asks for something and is answered.
 *
 * @module
 */

import { MSG_TYPE } from "../wire/packets.ts";
import type { ManyClients } from "./many_clients.ts";

/** A request without an answer is sent again after this, in milliseconds. */
const AGAIN_MS = 500;

/** Requests under way: a socket's usual buffer holds them. */
const UNDER_WAY = 100;

/** Until it is given up, in milliseconds, and for each client. */
const [PATIENCE_MS, PATIENCE_EACH_MS] = [20_000, 1];

/** Seconds that a client may be silent, unless told otherwise. */
const KEEP_ALIVE_S = 600;

const CLEAN_SESSION = 0x04;
const PROTOCOL_ID = 1;

/** Answers that end with a return code. */
const WITH_RETURN_CODE: readonly number[] = [
  MSG_TYPE.CONNACK,
  MSG_TYPE.REGACK,
  MSG_TYPE.SUBACK,
];

/** What many clients ask for, and what they wait for. */
export interface Question {
  /** The first client. */
  readonly from: number;
  /** Behind the last. */
  readonly to: number;
  /** The octets of a client's request. */
  readonly request: (client: number) => readonly number[];
  /** The type of the answer; −1 for one of a single octet. */
  readonly answer: number;
  /** Is told of each answer, and where it stands. */
  readonly onAnswer?: (client: number, at: number) => void;
}

/**
 * Has all of them ask, a hundred at a time, until each has its answer.
 *
 * @throws {Error} when one is refused, or has none for too long
 */
export function askAll(clients: ManyClients, question: Question): void {
  const { from, to, request, answer } = question;
  const isAnswered = new Uint8Array(to - from);
  const giveUpAt = performance.now() + PATIENCE_MS +
    PATIENCE_EACH_MS * (to - from);
  let asked = from;
  let answers = 0;
  const ask = (client: number) => {
    const octets = request(client);
    clients.outgoingBytes.set(octets, clients.add(client, octets.length));
  };
  let againAt = performance.now() + AGAIN_MS;
  while (answers < to - from) {
    while (asked < to && asked - from - answers < UNDER_WAY) ask(asked++);
    const now = performance.now();
    if (now > giveUpAt) {
      throw new Error(`No answer for ${to - from - answers} of ${to - from}`);
    }
    if (now > againAt) {
      againAt = now + AGAIN_MS;
      for (let i = from; i < asked; i++) if (!isAnswered[i - from]) ask(i);
    }
    clients.flush();
    const count = clients.receive();
    if (count === 0) clients.wait(1_000);
    for (let i = 0; i < count; i++) {
      const client = clients.receiver(i);
      const at = clients.startOf(i);
      const length = clients.lengthOf(i);
      const type = length > 1 ? clients.incoming.getUint8(at + 1) : -1;
      if (type !== answer || client < from || client >= to) continue;
      if (WITH_RETURN_CODE.includes(type)) {
        const returnCode = clients.incoming.getUint8(at + length - 1);
        if (returnCode !== 0) throw new Error(`Refused: ${returnCode}`);
      }
      if (isAnswered[client - from]) continue;
      isAnswered[client - from] = 1;
      answers++;
      question.onAnswer?.(client, at);
    }
  }
}

/** A CONNECT of a client that is called by its number. */
export function connectOf(client: number, keepAlive = KEEP_ALIVE_S): number[] {
  const clientId = new TextEncoder().encode(`bench-${client}`);
  return [
    6 + clientId.length,
    MSG_TYPE.CONNECT,
    CLEAN_SESSION,
    PROTOCOL_ID,
    keepAlive >> 8,
    keepAlive & 255,
    ...clientId,
  ];
}

/** A SUBSCRIBE to a topic; `flags` has its QoS and its kind of topic. */
export function subscribeOf(topic: string, flags: number): number[] {
  const octets = new TextEncoder().encode(topic);
  return [5 + octets.length, MSG_TYPE.SUBSCRIBE, flags, 0, 1, ...octets];
}

/** A REGISTER of a topic. */
export function registerOf(topic: string): number[] {
  const octets = new TextEncoder().encode(topic);
  return [6 + octets.length, MSG_TYPE.REGISTER, 0, 0, 0, 1, ...octets];
}
