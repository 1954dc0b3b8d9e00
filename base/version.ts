/**
 * The version of this package.
 *
 * @module
 */

import config from "../deno.json" with { type: "json" };

/** What `--version` prints, and the broker in `$SYS/broker/version`. */
export const VERSION: string = config.version;
