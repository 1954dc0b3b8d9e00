/**
 * Networks that have a name, each in the words of the language for a bad network.
 * Knows figures; where each comes from stands in the README, next to it.
 *
 * @module
 */

/** A network by its name. */
export interface NetPreset {
  /** What happens on the way from clients to their broker. */
  readonly uplink: string;
  /** What happens on the way back. */
  readonly downlink: string;
}

/** Of a network that is the same both ways. */
function both(words: string): NetPreset {
  return { uplink: words, downlink: words };
}

/** The networks that have a name. */
export const NET_PRESETS: ReadonlyMap<string, NetPreset> = new Map([
  ["lan", both("delay 0.3ms rate 100mbit 66 mtu 1472")],
  [
    "wifi-poor",
    both(
      "loss gemodel 2.8% 25% delay 20ms 20ms distribution pareto rate 1mbit 66 mtu 1472",
    ),
  ],
  ["2g", {
    uplink: "delay 350ms 200ms rate 28.8kbit 28 mtu 1472",
    downlink: "delay 350ms 200ms rate 57.6kbit 28 mtu 1472",
  }],
  ["nbiot", {
    uplink: "delay 2s 700ms distribution pareto rate 62kbit 28 mtu 1330",
    downlink: "delay 500ms 250ms rate 26kbit 28 mtu 1330",
  }],
  ["lora", {
    uplink: "loss 12% rate 1760bit 13 mtu 115",
    downlink: "loss 12% delay 1s rate 1760bit 13 mtu 115",
  }],
  ["satellite", both("delay 280ms rate 448kbit 28 mtu 1472")],
  ["zigbee", both("loss 1% delay 15ms 8ms rate 250kbit 69 mtu 64")],
]);
