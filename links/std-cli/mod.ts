/**
 * A stand-in for `@std/cli` where JSR cannot be reached: {@linkcode parseArgs}
 * with the original's name, options and results.
 *
 * Served: the options `string`, `boolean`, `collect`, `alias`, `default` and
 * `unknown`. Not served: `"--"`, `stopEarly`, `negatable`, `boolean: true`,
 * dotted keys (`a.b` stays one key), and every other module of the original.
 *
 * @module
 */

export { type Args, parseArgs, type ParseOptions } from "./parse_args.ts";
