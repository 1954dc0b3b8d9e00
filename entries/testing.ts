/**
 * What a test of a device or of a program needs: the journal of what went over the
 * wire, recordings and their replay, a network that is bad on purpose and by seed, a
 * network in memory, and a clock that is moved by hand.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, Client } from "../mod.ts";
 * import { ManualClock, MemoryNetwork } from "./testing.ts";
 *
 * const clock = new ManualClock();
 * const network = new MemoryNetwork();
 * const transport = network.bind({ port: 12003 });
 * await using broker = await Broker.listen({ transport, clock });
 * await using client = await Client.connect({
 *   transport: network.bind(),
 *   clientId: "lamp",
 * });
 * await client.publish("lamp/state", "on", { qos: 1 });
 *
 * const publish = { type: "PUBLISH", topic: "lamp/state" } as const;
 * const [entry] = await broker.journal.received(publish);
 * assertEquals(entry!.clientId, "lamp");
 * ```
 *
 * @module
 */

// Time and chance
export { ManualClock } from "../base/clock.ts";
export { REAL_CLOCK } from "../base/system_clock.ts";
export { MemoryNetwork } from "../transport/memory.ts";
export type { BindOptions, Membership } from "../transport/transport.ts";

// The journal
export {
  type Expectation,
  ExpectationError,
  Journal,
  type JournalOptions,
  type NotedQuery,
  type ReceivedQuery,
  type SentQuery,
} from "../journal/journal.ts";
export type { Slice, Way } from "../journal/buffer.ts";
export type {
  Count,
  DatagramQuery,
  EntryType,
  FieldsOf,
  JournalEntry,
} from "../journal/query.ts";
export type { TableOptions } from "../journal/table.ts";
export {
  Conversation,
  type ConversationOptions,
} from "../wire/conversation.ts";
export {
  OTHER_TYPES,
  type Reading,
  type ReadingType,
} from "../wire/reading.ts";

// Recordings
export {
  parseRecording,
  type RecordedDatagram,
  type Recording,
  RecordingError,
  type RecordingHeader,
} from "../journal/recording.ts";
export {
  type ClientReport,
  describeReplay,
  replay,
  type ReplayOptions,
  type ReplayReport,
} from "../journal/replay.ts";
export type { Answer, Answers, Difference } from "../journal/replay_match.ts";

// The bad network
export { NetSim, type NetSimOptions } from "../netsim/netsim.ts";
export {
  type Chance,
  type Chosen,
  DEFAULT_LIMIT,
  type Delay,
  type Distribution,
  type Down,
  type GeModel,
  type Paths,
  type PathSpec,
  type Rate,
  type Reorder,
} from "../netsim/spec.ts";
export {
  NET_PRESETS,
  type NetPreset,
  type NetTextOptions,
  parseNetSpec,
  printNetSpec,
} from "../netsim/spec_text.ts";
export {
  type Deliver,
  Netem,
  noPathCounts,
  type PathCounts,
} from "../netsim/netem.ts";
export {
  type Access,
  type NetCounts,
  type NetWay,
  VirtualNet,
  type VirtualNetOptions,
} from "../netsim/virtual_net.ts";

// Faults
export {
  describeFault,
  type FaultEvent,
  Faults,
  type FaultsOptions,
  type FaultVerdict,
  type Late,
} from "../netsim/faults.ts";
export { parseFaults } from "../netsim/fault_text.ts";
export type {
  FaultAct,
  FaultMatch,
  FaultRule,
  FaultTurn,
} from "../netsim/fault_rules.ts";
export type {
  DraftType,
  FieldValue,
  PacketDraft,
} from "../netsim/fault_packets.ts";
export type { ClientState } from "../wire/observer.ts";
