import {
  assert,
  assertEquals,
  assertFalse,
  assertInstanceOf,
} from "@std/assert";
import {
  MalformedPacketError,
  NoAnswerError,
  RemoteProtocolError,
} from "../../base/errors.ts";
import { isLoopback, peerOf } from "../../base/peer.ts";

Deno.test("peerOf() gives one key to a peer, whatever the socket shows", () => {
  assertEquals(peerOf("10.0.0.7", 9).key, "10.0.0.7:9");
  assertEquals(peerOf("::ffff:10.0.0.7", 9), peerOf("10.0.0.7", 9));
  assertEquals(peerOf("fe80::1", 9).key, "[fe80::1]:9");
  // In hexadecimal it is no IPv4 address that a socket would show.
  assertEquals(peerOf("::ffff:a00:7", 9).key, "[::ffff:a00:7]:9");
});

Deno.test("isLoopback() knows this machine's addresses of both families", () => {
  for (
    const hostname of ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"]
  ) {
    assert(isLoopback(peerOf(hostname, 1)), hostname);
  }
  for (const hostname of ["0.0.0.0", "128.0.0.1", "12.7.0.1", "::", "::2"]) {
    assertFalse(isLoopback(peerOf(hostname, 1)), hostname);
  }
});

Deno.test("MalformedPacketError is a fault of the peer and says its name", () => {
  const error = new MalformedPacketError("Cannot read it");
  assertInstanceOf(error, RemoteProtocolError);
  assertEquals(String(error), "MalformedPacketError: Cannot read it");
});

Deno.test("NoAnswerError says whom was asked, and how long it had", () => {
  const error = new NoAnswerError(peerOf("::1", 7), 1_500);
  assertEquals(
    String(error),
    "NoAnswerError: No broker answered at [::1]:7 within 1.5 s",
  );
  assertEquals(error.broker, peerOf("::1", 7));
});
