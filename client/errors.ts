/**
 * What a client throws.
 *
 * @module
 */

import { RemoteProtocolError } from "../base/errors.ts";
import { RETURN_CODE } from "../wire/packets.ts";

const REASONS: ReadonlyMap<number, string> = new Map([
  [RETURN_CODE.congestion, "it is congested"],
  [RETURN_CODE.invalidTopicId, "it does not know the topic id"],
  [RETURN_CODE.notSupported, "it does not support that"],
]);

/**
 * The broker refused a request.
 *
 * @example
 * ```ts
 * import { assertEquals, assertRejects } from "@std/assert";
 * import { Broker, Client, RefusedError } from "../mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using client = await Client.connect({ port: broker.port });
 * const error = await assertRejects(
 *   () => client.publish({ predefined: 7 }, "on", { qos: 1 }),
 *   RefusedError,
 * );
 * assertEquals(error.returnCode, 2);
 * ```
 */
export class RefusedError extends RemoteProtocolError {
  /** `"RefusedError"`. */
  override readonly name = "RefusedError";
  /** The return code: 1 congestion, 2 invalid topic id, 3 not supported. */
  readonly returnCode: number;

  /**
   * Says what was refused, and why.
   *
   * @param what it was, as in "connect"
   * @param returnCode the broker's reason, 1 to 255
   */
  constructor(what: string, returnCode: number) {
    const reason = REASONS.get(returnCode) ?? `return code ${returnCode}`;
    super(`The broker refuses to ${what}: ${reason}`);
    this.returnCode = returnCode;
  }
}

/** What ends the promises of a client that is closed. */
export function closedError(): Error {
  return new Error("The client was closed");
}
