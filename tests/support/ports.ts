/**
 * A port for a broker that ends and starts again.
 *
 * @module
 */

/**
 * A free UDP port of 127.0.0.1 that no system gives to whoever asks for any: while
 * nobody has it, a test that runs at the same time might be given it.
 */
export function unsoughtPort(): number {
  while (true) {
    const port = 20_000 + Math.floor(Math.random() * 10_000);
    try {
      Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port })
        .close();
      return port;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
}
