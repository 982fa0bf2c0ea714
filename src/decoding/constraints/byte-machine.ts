/**
 * Grammars as machines over bytes. A state is a set of places in a program, each with its stack of rules to return to;
 * equal states are one object, so that what follows from them is worked out once.
 */
import { LinnetError } from '../../errors.ts';
import type { CodePoints, Grammar, Pattern } from './pattern.ts';

/** Where rules return to. */
interface Frame {
  readonly id: number;
  readonly place: number;
  readonly parent: Frame | undefined;
  readonly depth: number;
}

type Instruction =
  | { readonly op: 'byte'; readonly first: number; readonly last: number; readonly next: number }
  | { readonly op: 'split'; readonly targets: readonly number[] }
  | { readonly op: 'call'; readonly rule: string; readonly next: number }
  | { readonly op: 'return' };

interface Thread {
  readonly place: number;
  readonly frame: Frame | undefined;
}

/** State of the machine after a text. */
export interface MachineState {
  /** Whether the text may end here. */
  readonly accepts: boolean;
  readonly threads: readonly Thread[];
  /** By byte: the state after it, null for none; undefined where nobody has asked. */
  readonly next: (MachineState | null | undefined)[];
}

/** Bounds of a grammar. */
const most = { instructions: 200_000, depth: 64, threads: 2_000, states: 50_000 };

export class ByteMachine {
  readonly start: MachineState;
  readonly #program: Instruction[] = [{ op: 'return' }];
  readonly #compiled = new Map<Pattern, Map<number, number>>();
  readonly #entries = new Map<string, number>();
  #states = new Map<string, MachineState>();
  #frames = new Map<string, Frame>();
  #madeFrames = 0;

  /** @throws LinnetError `INPUT` for a grammar that is too large */
  constructor({ root, rules }: Grammar) {
    const entry = this.#compile(root, 0);
    for (const [name, pattern] of rules) this.#entries.set(name, this.#compile(pattern, 0));
    this.start = this.#intern([{ place: entry, frame: undefined }]);
  }

  /** The state after one more byte; null where the text could not go on like this. */
  step(state: MachineState, byte: number): MachineState | null {
    const known = state.next[byte];
    if (known !== undefined) return known;
    const threads: Thread[] = [];
    for (const { place, frame } of state.threads) {
      const instruction = this.#program[place];
      if (instruction.op === 'byte' && instruction.first <= byte && byte <= instruction.last) {
        threads.push({ place: instruction.next, frame });
      }
    }
    const reached = threads.length === 0 ? null : this.#intern(threads);
    const after = reached !== null && (reached.accepts || reached.threads.length > 0) ? reached : null;
    state.next[byte] = after;
    return after;
  }

  /** The place from which a pattern is matched and then the text goes on at `next`. */
  #compile(pattern: Pattern, next: number): number {
    const before = this.#compiled.get(pattern) ?? new Map<number, number>();
    this.#compiled.set(pattern, before);
    const known = before.get(next);
    if (known !== undefined) return known;
    const place = this.#translate(pattern, next);
    before.set(next, place);
    return place;
  }

  #translate(pattern: Pattern, next: number): number {
    if (pattern.kind === 'text') {
      return this.#bytes(
        Array.from(new TextEncoder().encode(pattern.text), (byte): ByteRange => [byte, byte]),
        next,
      );
    }
    if (pattern.kind === 'rule') return this.#add({ op: 'call', rule: pattern.name, next });
    if (pattern.kind === 'sequence')
      return pattern.parts.reduceRight((after, part) => this.#compile(part, after), next);
    if (pattern.kind === 'choice') {
      return this.#add({ op: 'split', targets: pattern.options.map((option) => this.#compile(option, next)) });
    }
    if (pattern.kind === 'character') {
      const targets = pattern.ranges.flatMap(utf8Ranges).map((bytes) => this.#bytes(bytes, next));
      return this.#add({ op: 'split', targets });
    }
    return this.#repeat(pattern, next);
  }

  #repeat({ part, least, most: times }: Extract<Pattern, { kind: 'repeat' }>, next: number): number {
    let place = next;
    if (times === Infinity) {
      const targets: number[] = [];
      place = this.#add({ op: 'split', targets });
      targets.push(this.#translate(part, place), next);
    } else {
      for (let made = least; made < times; made++) {
        place = this.#add({ op: 'split', targets: [this.#translate(part, place), next] });
      }
    }
    for (let made = 0; made < least; made++) place = this.#translate(part, place);
    return place;
  }

  #bytes(bytes: readonly ByteRange[], next: number): number {
    return bytes.reduceRight((after, [first, last]) => this.#add({ op: 'byte', first, last, next: after }), next);
  }

  #add(instruction: Instruction): number {
    if (this.#program.length >= most.instructions) {
      throw new LinnetError('INPUT', 'the schema is too large; ask for shorter strings and lists, or fewer properties');
    }
    return this.#program.push(instruction) - 1;
  }

  /** The state of some threads, followed to where each waits for a byte. */
  #intern(threads: readonly Thread[]): MachineState {
    const waiting = new Map<string, Thread>();
    const seen = new Set<string>();
    let accepts = false;
    const open = [...threads];
    for (let thread = open.pop(); thread !== undefined; thread = open.pop()) {
      const { place, frame } = thread;
      const key = `${place}.${frame?.id ?? ''}`;
      if (seen.has(key)) continue;
      seen.add(key);
      if (seen.size > most.threads) throw new LinnetError('INPUT', 'the schema leaves too much open at a time');
      const instruction = this.#program[place];
      if (instruction.op === 'byte') waiting.set(key, thread);
      else if (instruction.op === 'split')
        open.push(...instruction.targets.map((target) => ({ place: target, frame })));
      else if (instruction.op === 'call') this.#enter(instruction, frame, open);
      else if (frame === undefined) accepts = true;
      else open.push({ place: frame.place, frame: frame.parent });
    }
    const name = `${accepts ? '+' : ''}${[...waiting.keys()].sort().join(' ')}`;
    const known = this.#states.get(name);
    if (known !== undefined) return known;
    // States that texts still hold stay valid; everything cached is computed again when it is needed.
    if (this.#states.size >= most.states) {
      this.#states = new Map();
      this.#frames = new Map();
    }
    const state = { accepts, threads: [...waiting.values()], next: [] };
    this.#states.set(name, state);
    return state;
  }

  #enter({ rule, next }: { rule: string; next: number }, frame: Frame | undefined, open: Thread[]): void {
    const entry = this.#entries.get(rule);
    if (entry === undefined) throw new LinnetError('INTERNAL', `internal: a grammar without its rule ${rule}`);
    // What only returns after the rule need not be returned to, so that lists do not grow the stack.
    if (this.#program[next].op === 'return') {
      open.push({ place: entry, frame });
      return;
    }
    const depth = (frame?.depth ?? 0) + 1;
    if (depth > most.depth) return;
    const key = `${next}.${frame?.id ?? ''}`;
    const known = this.#frames.get(key);
    const entered = known ?? { id: ++this.#madeFrames, place: next, parent: frame, depth };
    if (known === undefined) this.#frames.set(key, entered);
    open.push({ place: entry, frame: entered });
  }
}

/** A byte from the first to the last, both included. */
export type ByteRange = readonly [first: number, last: number];

/** Last code points of each length in bytes. */
const lengths = [0x7f, 0x7ff, 0xffff, 0x10ffff];

/** Sequences of byte ranges that together match the code points of a range, surrogates excepted. */
export function utf8Ranges([first, last]: CodePoints): ByteRange[][] {
  if (first > last) return [];
  if (first < 0xd800 && last > 0xdfff) return [...utf8Ranges([first, 0xd7ff]), ...utf8Ranges([0xe000, last])];
  if (first >= 0xd800 && first <= 0xdfff) return utf8Ranges([0xe000, last]);
  if (last >= 0xd800 && last <= 0xdfff) return utf8Ranges([first, 0xd7ff]);
  const boundary = lengths.find((length) => first <= length && length < last);
  if (boundary !== undefined) return [...utf8Ranges([first, boundary]), ...utf8Ranges([boundary + 1, last])];
  if (last <= 0x7f) return [[[first, last]]];
  // Cut so that in each piece the bytes after the first that differs run over all of their values.
  for (let bits = 6; bits <= 18; bits += 6) {
    const mask = (1 << bits) - 1;
    if (first >> bits === last >> bits) continue;
    if ((first & mask) !== 0) return [...utf8Ranges([first, first | mask]), ...utf8Ranges([(first | mask) + 1, last])];
    if ((last & mask) !== mask)
      return [...utf8Ranges([first, (last & ~mask) - 1]), ...utf8Ranges([last & ~mask, last])];
  }
  const from = utf8(first);
  const to = utf8(last);
  return [from.map((byte, place): ByteRange => [byte, to[place]])];
}

function utf8(codePoint: number): number[] {
  return [...new TextEncoder().encode(String.fromCodePoint(codePoint))];
}
