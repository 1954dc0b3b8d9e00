/**
 * A stand-in for `@cliffy/prompt` where JSR cannot be reached: {@linkcode Input},
 * with the original's options, keys and looks, on `npm:@inquirer/core`.
 *
 * Served: the options that {@linkcode InputOptions} names. Not served: the
 * options `cbreak`, `complete`, `files`, `hideDefault`, `id`, `keys` and
 * `listPointer`, an instance of {@linkcode Input}, and the other prompts.
 *
 * @module
 */

export { Input, type InputOptions } from "./input.ts";
