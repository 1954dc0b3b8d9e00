/**
 * The system's clock and timers.
 *
 * @module
 */

import type { Clock } from "./clock.ts";

/** The system's monotonic clock. */
export const REAL_CLOCK: Clock = { now: () => performance.now() };

/** The longest that a timer of the system can wait, in milliseconds. */
export const MAX_TIMER = 2 ** 31 - 1;
