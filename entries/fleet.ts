/**
 * Thousands of clients and a broker on a bad network, in virtual time: an hour of a
 * fleet takes seconds, and the same seed gives the same run.
 *
 * ```ts
 * import { assert } from "@std/assert";
 * import { DEFAULT_FLEET, Fleet, reportOf } from "./fleet.ts";
 *
 * const fleet = new Fleet({ ...DEFAULT_FLEET, clients: 10, seed: 1 });
 * fleet.run(fleet.endsAt);
 * assert(reportOf(fleet).flows.length > 0);
 * ```
 *
 * @module
 */

export {
  DEFAULT_FLEET,
  type FleetOptions,
  parseQosMix,
  parseRate,
  parseShare,
  parseSizes,
  parseTime,
  type QosMix,
  TopicTree,
} from "../fleet/options.ts";
export { type AirCounts, Fleet, type FleetSample } from "../fleet/fleet.ts";
export { type CurvePoint, Histogram } from "../fleet/histogram.ts";
export {
  Account,
  Ledger,
  type LedgerEntry,
  MESSAGE_KINDS,
  type MessageKind,
} from "../fleet/ledger.ts";
export {
  describeReport,
  type FleetReport,
  type FlowReport,
  type LatencyReport,
  reportOf,
  type RunCost,
} from "../fleet/report.ts";
export { pageOf } from "../fleet/page.ts";
