/**
 * Whether two values have the same structure. `node:util` has an answer too,
 * but not the original's: there 0 and -0 are equal, an object without a
 * prototype equals a literal, and a getter counts for its value.
 *
 * @module
 */

/** Whether `a` and `b` have the same structure and the same values in it. */
export function equal(a: unknown, b: unknown): boolean {
  // Pairs under comparison: one met again inside itself is taken for equal.
  const open = new Map<object, object>();
  return same(a, b);

  function same(a: unknown, b: unknown): boolean {
    if (a === b || Object.is(a, b)) return true;
    if (!isObject(a) || !isObject(b)) return false;
    if (a instanceof Date && b instanceof Date) {
      return Object.is(a.getTime(), b.getTime());
    }
    if (prototypeOf(a) !== prototypeOf(b)) return false;
    if (ArrayBuffer.isView(a)) {
      return sameElements(elements(a), elements(b as ArrayBufferView));
    }
    if (a instanceof ArrayBuffer || a instanceof SharedArrayBuffer) {
      return sameElements(
        new Uint8Array(a),
        new Uint8Array(b as ArrayBuffer | SharedArrayBuffer),
      );
    }
    if (a instanceof WeakMap || a instanceof WeakSet) {
      throw new TypeError(`Cannot compare ${a.constructor.name} instances`);
    }
    if (a instanceof WeakRef) return same(a.deref(), (b as typeof a).deref());
    if (open.get(a) === b) return true;
    if (Object.keys(a).length !== Object.keys(b).length) return false;
    open.set(a, b);
    if (a instanceof Set) return sameMembers([...a], [...b as typeof a]);
    if (a instanceof Map) return sameEntries(a, b as typeof a);
    if (isText(a)) return String(a) === String(b);
    return sameProperties(a, b);
  }

  function sameMembers(a: unknown[], b: unknown[]): boolean {
    if (a.length !== b.length) return false;
    const left = new Set(b);
    return a.every((member) => {
      if (left.delete(member)) return true;
      if (!isObject(member)) return false;
      for (const other of left) {
        if (same(member, other)) return left.delete(other);
      }
      return false;
    });
  }

  function sameEntries(
    a: Map<unknown, unknown>,
    b: Map<unknown, unknown>,
  ): boolean {
    if (a.size !== b.size) return false;
    const left = new Map(b);
    for (const [key, value] of a) {
      if (left.has(key) && same(value, left.get(key))) {
        left.delete(key);
        continue;
      }
      if (!isObject(key)) return false;
      const found = left.entries().find(([otherKey, other]) =>
        same(key, otherKey) && same(value, other)
      );
      if (!found) return false;
      left.delete(found[0]);
    }
    return true;
  }

  function sameProperties(a: object, b: object): boolean {
    for (const key of new Set([...propertyKeys(a), ...propertyKeys(b)])) {
      if (key in a !== key in b) return false;
      if (!same(Reflect.get(a, key), Reflect.get(b, key))) return false;
    }
    return true;
  }
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

/** The prototype, where none at all counts as that of a literal. */
function prototypeOf(value: object): object {
  return Object.getPrototypeOf(value) ?? Object.prototype;
}

function elements(view: ArrayBufferView): ArrayLike<unknown> {
  return view instanceof DataView
    ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
    : view as Uint8Array;
}

function sameElements(a: ArrayLike<unknown>, b: ArrayLike<unknown>): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) {
    if (a[i] !== b[i] && !Object.is(a[i], b[i])) return false;
  }
  return true;
}

/** Whether all that an object says is in its text. */
function isText(value: object): boolean {
  return value instanceof RegExp || value instanceof URL ||
    value instanceof URLSearchParams || value instanceof Intl.Locale ||
    Object.prototype.toString.call(value).startsWith("[object Temporal.");
}

/** The keys of an object, and of its class for the getters there. */
function propertyKeys(value: object): Set<string | symbol> {
  const keys = new Set<string | symbol>();
  for (
    let at: object | null = value;
    at && at !== Object.prototype && at !== Array.prototype;
    at = Object.getPrototypeOf(at)
  ) {
    const own = at === value && !hasClass(value)
      ? Reflect.ownKeys(value).filter((key) =>
        Object.prototype.propertyIsEnumerable.call(value, key)
      )
      : Reflect.ownKeys(at);
    for (const key of own) keys.add(key);
  }
  return keys;
}

function hasClass(value: object): boolean {
  const prototype = prototypeOf(value);
  return prototype !== Object.prototype && prototype !== Array.prototype;
}
