// deno-lint-ignore-file no-console -- an example prints
/**
 * Publish and subscribe, all in one program.
 *
 * Run it with `deno run -A examples/hello.ts`.
 *
 * @module
 */

import { Broker, ClassicClient } from "../mod.ts";

await using broker = await Broker.listen({ port: 0 });
await using publisher = await ClassicClient.connect({ port: broker.port });
await using subscriber = await ClassicClient.connect({ port: broker.port });

// Nothing was published yet: this waits for the first datum.
const first = subscriber.subscribe("weather");
await publisher.publish("weather", "21.5 °C");
console.log(await first);

// From then on a subscription is answered at once, with all there is.
await publisher.publish("weather", "22.0 °C");
console.log(await subscriber.subscribe("weather"));
