/** Damage and malice done to bytes: what disks, networks and attackers make of a file. All random choices are seeded. */
import type { Random } from '../../src/random.ts';

/** What kind of content a file has: some mutations only make sense in texts. */
export type ContentKind = 'binary' | 'text' | 'json';

type Mutation = (bytes: Buffer, random: Random, other: Buffer) => Buffer;

const place = (bytes: Buffer, random: Random): number => random.integer(bytes.length + 1);
const pick = <T>(items: readonly T[], random: Random): T => items[random.integer(items.length)];

function range(bytes: Buffer, random: Random): [number, number] {
  const start = place(bytes, random);
  return [start, Math.min(bytes.length, start + 1 + random.integer(32))];
}

const spliced = (bytes: Buffer, start: number, end: number, inserted: Buffer): Buffer =>
  Buffer.concat([bytes.subarray(0, start), inserted, bytes.subarray(end)]);

/** Integers that overflow something, in eight bytes; the first four stand for themselves too. */
const extremes = [0n, 1n, 0xffn, 0x7fffffffn, 0x80000000n, 0xffffffffn, 1n << 53n, (1n << 63n) - 1n, (1n << 64n) - 1n];

const byteMutations: readonly Mutation[] = [
  function flipBit(bytes, random) {
    const changed = Buffer.from(bytes);
    if (changed.length > 0) changed[random.integer(changed.length)] ^= 1 << random.integer(8);
    return changed;
  },
  function setBytes(bytes, random) {
    const changed = Buffer.from(bytes);
    const [start, end] = range(bytes, random);
    for (let i = start; i < end; i++) changed[i] = random.integer(256);
    return changed;
  },
  function truncate(bytes, random) {
    return bytes.subarray(0, place(bytes, random));
  },
  function remove(bytes, random) {
    return spliced(bytes, ...range(bytes, random), Buffer.alloc(0));
  },
  function repeat(bytes, random) {
    const [start, end] = range(bytes, random);
    return spliced(bytes, end, end, Buffer.concat(Array(1 + random.integer(4)).fill(bytes.subarray(start, end))));
  },
  function insert(bytes, random) {
    const at = place(bytes, random);
    const inserted = Buffer.from(Array.from({ length: 1 + random.integer(9) }, () => random.integer(256)));
    return spliced(bytes, at, at, inserted);
  },
  function extremeInteger(bytes, random) {
    const field = Buffer.alloc(8);
    field.writeBigUInt64LE(pick(extremes, random));
    const width = pick([1, 2, 4, 8], random);
    const at = random.integer(2) === 0 ? Math.min(bytes.length, random.integer(16)) : place(bytes, random);
    return spliced(bytes, at, Math.min(bytes.length, at + width), field.subarray(0, width));
  },
  function splice(bytes, random, other) {
    return Buffer.concat([bytes.subarray(0, place(bytes, random)), other.subarray(place(other, random))]);
  },
];

/** Texts that mean something to some parser. */
const hostileTexts = [
  ...['null', 'true', '-1', '1e999', '-0', '9007199254740993', '0.5', 'NaN', '""', '[]', '{}', '"\\ud800"', '\u0000'],
  ...[
    '{"__proto__":1}',
    '"constructor"',
    '../../etc/passwd',
    '\ufeff',
    '\r',
    '\n\n',
    '"',
    "'",
    ',',
    '\t',
    ':',
    '&a *a',
  ],
  ...['\ud83d\ude00', '$&', '{{', '{% for i in range(9) %}', '[['.repeat(20), '{"a":'.repeat(80), '!!js/function'],
];

const textMutations: readonly Mutation[] = [
  ...byteMutations,
  function insertText(bytes, random) {
    const at = place(bytes, random);
    return spliced(bytes, at, at, Buffer.from(pick(hostileTexts, random)));
  },
  function changeNumber(bytes, random) {
    const text = bytes.toString('latin1');
    const numbers = [...text.matchAll(/-?\d+(\.\d+)?/g)];
    if (numbers.length === 0) return bytes;
    const { 0: found, index } = pick(numbers, random);
    const value = pick(['0', '-1', '1', '2147483648', '1e300', '0.5', '999999999999', `${found}0`, 'null'], random);
    return Buffer.from(text.slice(0, index) + value + text.slice(index + found.length), 'latin1');
  },
  function deepNesting(bytes, random) {
    const depth = pick([100, 1000, 20_000], random);
    const at = place(bytes, random);
    return spliced(bytes, at, at, Buffer.from(pick(['[', '{"a":', '(', '- '], random).repeat(depth)));
  },
  function removeLine(bytes, random) {
    const lines = bytes.toString('latin1').split('\n');
    lines.splice(random.integer(lines.length), 1);
    return Buffer.from(lines.join('\n'), 'latin1');
  },
];

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Stands for lists inside lists, too deep for JSON.stringify. */
const deepMark = '@deep@';
const deepLists = `${'['.repeat(5000)}${']'.repeat(5000)}`;

const hostileValues: readonly (() => Json)[] = [
  ...[null, true, false, 0, -1, 1, 0.5, 3, 1e9, 2 ** 31, 2 ** 53, -1e300, '', 'x', '__proto__', '../x', [], {}].map(
    (value) => (): Json => value,
  ),
  () => 'y'.repeat(5000),
  () => Array<Json>(2000).fill(0),
  () => deepMark,
  () => ({ constructor: { prototype: {} } }),
  () => [[0], [0, 0], [-1], [1e9]],
];

/** Replaces, removes, adds or swaps one value anywhere in a JSON text. */
function mutateValue(bytes: Buffer, random: Random): Buffer {
  let root: Json;
  try {
    root = JSON.parse(bytes.toString('utf8')) as Json;
  } catch {
    return bytes;
  }
  const holders: (Json[] | Record<string, Json>)[] = [];
  const open = [root];
  for (let value = open.pop(); value !== undefined; value = open.pop()) {
    if (typeof value !== 'object' || value === null) continue;
    holders.push(value);
    for (const inner of Object.values(value)) open.push(inner);
  }
  if (holders.length === 0) return Buffer.from(JSON.stringify(pick(hostileValues, random)()));
  const holder = pick(holders, random);
  const keys = Object.keys(holder);
  const key = keys.length === 0 ? 'a' : pick(keys, random);
  const entries = holder as Record<string, Json>;
  pick<() => void>(
    [
      () => (entries[key] = pick(hostileValues, random)()),
      () => (entries[key] = pick(hostileValues, random)()),
      () => Reflect.deleteProperty(entries, key),
      () => (entries[pick(['more', '0', 'size', 'type', 'constructor'], random)] = pick(hostileValues, random)()),
      () => (entries[key] = entries[keys.length === 0 ? 'a' : pick(keys, random)]),
      () => (entries[key] = { ...entries }),
    ],
    random,
  )();
  try {
    return Buffer.from(JSON.stringify(root).replace(`"${deepMark}"`, deepLists));
  } catch {
    return bytes; // an earlier mutation nested it too deep
  }
}

const mutations: Readonly<Record<ContentKind, readonly Mutation[]>> = {
  binary: byteMutations,
  text: textMutations,
  json: [...textMutations, ...Array<Mutation>(textMutations.length).fill(mutateValue)],
};

/** A hostile variant of one of the samples: one to four mutations of it. */
export function mutated(samples: readonly Buffer[], kind: ContentKind, random: Random): Buffer {
  let bytes = pick(samples, random);
  const count = 1 + random.integer(4);
  for (let i = 0; i < count; i++) bytes = pick(mutations[kind], random)(bytes, random, pick(samples, random));
  return bytes;
}
