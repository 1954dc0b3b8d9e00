/**
 * A client of MQTT-SN that asks one thing after the other and takes each answer as
 * it is: it neither repeats nor waits after a refusal, as the library's does. Topics
 * are short names of two octets.
 *
 * @module
 */

import { type Peer, peerOf } from "../../base/peer.ts";
import { decodePacket, encodePacket } from "../../wire/mqttsn.ts";
import type { MqttSnPacket } from "../../wire/packets.ts";
import { UdpTransport } from "../../transport/udp.ts";

/** How long an answer may take, in milliseconds, before it counts as missing. */
const PATIENCE_MS = 20_000;

/** A client at a socket of its own. */
export class Probe implements AsyncDisposable {
  /** The types of the packets that came so far. */
  readonly log: string[] = [];
  readonly #socket: UdpTransport;
  readonly #broker: Peer;
  readonly #packets: MqttSnPacket[] = [];
  #more = Promise.withResolvers<void>();
  #msgId = 0;

  private constructor(socket: UdpTransport, broker: Peer) {
    this.#socket = socket;
    this.#broker = broker;
    socket.receive((_peer, bytes) => {
      const packet = decodePacket(bytes.slice());
      this.log.push(packet.type);
      this.#packets.push(packet);
      this.#more.resolve();
      this.#more = Promise.withResolvers();
    });
  }

  /** A client of the broker at a port of this machine. */
  static async to(port: number): Promise<Probe> {
    return new Probe(await UdpTransport.bind(), peerOf("127.0.0.1", port));
  }

  /** Sends CONNECT, and gives the return code. */
  async connect(
    clientId: string,
    { clean = true }: { readonly clean?: boolean } = {},
  ): Promise<number> {
    this.#send({
      type: "CONNECT",
      will: false,
      cleanSession: clean,
      protocolId: 1,
      duration: 0,
      clientId,
    });
    return (await this.#take("CONNACK")).returnCode;
  }

  /** Sends SUBSCRIBE at QoS 1, and gives the return code. */
  async subscribe(shortTopic: string): Promise<number> {
    this.#send({
      type: "SUBSCRIBE",
      dup: false,
      qos: 1,
      msgId: ++this.#msgId,
      topic: { topicIdType: "short", topicId: idOf(shortTopic) },
    });
    return (await this.#take("SUBACK")).returnCode;
  }

  /** Publishes at QoS 1, and gives the return code; none for a DISCONNECT. */
  async publish(shortTopic: string, text: string): Promise<number | undefined> {
    this.#publish(shortTopic, text, 1);
    const packet = await this.#take("PUBACK", "DISCONNECT");
    return packet.type === "PUBACK" ? packet.returnCode : undefined;
  }

  /** Publishes at QoS 0. */
  publishUnasked(shortTopic: string, text: string): void {
    this.#publish(shortTopic, text, 0);
  }

  /** Waits for a message, and acknowledges it. */
  async message(): Promise<string> {
    const { qos, topicId, msgId, data } = await this.#take("PUBLISH");
    if (qos > 0) {
      this.#send({ type: "PUBACK", topicId, msgId, returnCode: 0 });
    }
    return new TextDecoder().decode(data);
  }

  /** Sends DISCONNECT, and waits for the answer. */
  async disconnect(): Promise<void> {
    this.#send({ type: "DISCONNECT", duration: undefined });
    await this.#take("DISCONNECT");
  }

  /** Closes its socket, without a word. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#socket[Symbol.asyncDispose]();
  }

  #publish(shortTopic: string, text: string, qos: 0 | 1): void {
    this.#send({
      type: "PUBLISH",
      dup: false,
      qos,
      retain: false,
      topicIdType: "short",
      topicId: idOf(shortTopic),
      msgId: qos === 0 ? 0 : ++this.#msgId,
      data: new TextEncoder().encode(text),
    });
  }

  #send(packet: MqttSnPacket): void {
    this.#socket.send(this.#broker, encodePacket(packet));
  }

  /** Takes the next packet of one of these types; others stay for later. */
  async #take<const Type extends MqttSnPacket["type"]>(
    ...types: readonly Type[]
  ): Promise<Extract<MqttSnPacket, { type: Type }>> {
    const missing = Promise.withResolvers<never>();
    const timer = setTimeout(
      () =>
        missing.reject(new Error(`No ${types} came: ${this.log.slice(-20)}`)),
      PATIENCE_MS,
    );
    try {
      for (;;) {
        const at = this.#packets.findIndex(({ type }) =>
          types.some((wanted) => wanted === type)
        );
        const [packet] = at < 0 ? [] : this.#packets.splice(at, 1);
        if (packet !== undefined) {
          return packet as Extract<MqttSnPacket, { type: Type }>;
        }
        await Promise.race([this.#more.promise, missing.promise]);
      }
    } finally {
      clearTimeout(timer);
    }
  }
}

function idOf(shortTopic: string): number {
  const [high, low] = new TextEncoder().encode(shortTopic);
  return high! << 8 | low!;
}
