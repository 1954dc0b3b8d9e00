/**
 * The window of a client's messages at QoS 0 alone. How a device keeps to it is
 * in `client/connection_test.ts`.
 *
 * @module
 */

import { assert, assertFalse } from "@std/assert";
import { SendWindow } from "../../client/send_window.ts";

function send(flow: SendWindow, messages: number): void {
  for (let i = 0; i < messages; i++) flow.count();
}

Deno.test("SendWindow wants a PINGREQ once when half its window is sent", () => {
  const flow = new SendWindow(6);
  send(flow, 2);
  assertFalse(flow.wantsPing);
  send(flow, 1);
  assert(flow.wantsPing);
  flow.ask();
  send(flow, 2);
  assertFalse(flow.wantsPing);
});

Deno.test("SendWindow is full at the end of its window, whatever was asked", () => {
  const flow = new SendWindow(4);
  send(flow, 3);
  flow.ask();
  assertFalse(flow.isFull);
  send(flow, 1);
  assert(flow.isFull);
});

Deno.test("SendWindow.answer() makes room for what was sent before it was asked", () => {
  const flow = new SendWindow(4);
  send(flow, 2);
  flow.ask();
  send(flow, 2);
  flow.answer();
  assertFalse(flow.isFull);
  assert(flow.wantsPing); // two are still on their way
  send(flow, 2);
  assert(flow.isFull);
});

Deno.test("SendWindow.answer() that answers nothing makes no room", () => {
  const flow = new SendWindow(2);
  send(flow, 2);
  flow.answer();
  assert(flow.isFull);
});

Deno.test("SendWindow.reset() begins anew, and forgets what was asked", () => {
  const flow = new SendWindow(2);
  send(flow, 2);
  flow.ask();
  flow.reset();
  send(flow, 2);
  flow.answer();
  assert(flow.isFull);
});

Deno.test("SendWindow without an end is never full, and asks nothing", () => {
  const flow = new SendWindow(Infinity);
  send(flow, 10_000);
  assertFalse(flow.isFull);
  assertFalse(flow.wantsPing);
});
