/**
 * How much a client publishes at QoS 0 before it hears that the gateway keeps up.
 *
 * Nothing answers a message at QoS 0, and what comes faster than it is taken is
 * lost in the receiver's buffer. But a gateway answers PINGREQ (MQTT-SN 1.2
 * §6.11), and takes datagrams in the order in which they come: its PINGRESP says
 * that all before it is off the wire. So half a window of messages is followed by
 * a PINGREQ, and at the end of the window the client waits for the answer.
 *
 * @module
 */

/**
 * The window of one client.
 *
 * @example
 * ```ts
 * import { assert, assertFalse } from "@std/assert";
 * import { SendWindow } from "./send_window.ts";
 *
 * const flow = new SendWindow(4);
 * flow.count();
 * flow.count();
 * assert(flow.wantsPing);
 * flow.ask();
 * flow.count();
 * flow.count();
 * assert(flow.isFull);
 * flow.answer();
 * assertFalse(flow.isFull);
 * ```
 */
export class SendWindow {
  readonly #window: number;
  #sent = 0;
  /** How many the answer to the PINGREQ will be about. */
  #asked: number | undefined;

  /**
   * Begins with nothing sent.
   *
   * @param window messages without a word from the gateway, 2 or more; `Infinity`
   * for any number
   */
  constructor(window: number) {
    this.#window = window;
  }

  /** Whether the next message has to wait. */
  get isFull(): boolean {
    return this.#sent >= this.#window;
  }

  /** Whether it is time for a PINGREQ. */
  get wantsPing(): boolean {
    return this.#asked === undefined && this.#sent >= this.#window / 2;
  }

  /** A message was sent. */
  count(): void {
    this.#sent++;
  }

  /** A PINGREQ was sent. */
  ask(): void {
    this.#asked = this.#sent;
  }

  /** Its PINGRESP came. */
  answer(): void {
    this.#sent -= this.#asked ?? 0;
    this.#asked = undefined;
  }

  /** The connection is another one. */
  reset(): void {
    this.#sent = 0;
    this.#asked = undefined;
  }
}
