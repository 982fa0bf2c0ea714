/**
 * Grammars as machines over bytes. A state is a set of places in a program, each with its stack of rules to return to;
 * equal states are one object, so that what follows from them is worked out once.
 */
import { internalError, LinnetError } from '../../errors.ts';
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
  readonly id: number;
  readonly place: number;
  readonly frame: Frame | undefined;
  /** The search for a state that last came by. */
  seenBy: number;
}

/** State of the machine after a text. */
export interface MachineState {
  /** Whether the text may end here. */
  readonly accepts: boolean;
  readonly threads: readonly Thread[];
  /** By class of bytes: the state after one of them, null for none; undefined where it is not computed yet. */
  readonly next: (MachineState | null | undefined)[];
}

/** Bounds of a grammar. */
const most = { instructions: 200_000, depth: 64, threads: 2_000 };

/** Time and memory that the states of a grammar may take. */
export interface MachineBudget {
  /** Threads that are followed before the first token of a text, about 20 to a microsecond. */
  readonly steps: number;
  /** Threads that each token of a text adds, until `steps` are left again. */
  readonly stepsPerToken: number;
  /** Memory of states, estimated. Where half of it is used, states are made anew between two tokens. */
  readonly bytes: number;
}

/** A long string with a length takes some 5,000 steps a token, and 200 bytes a state. */
const defaultBudget: MachineBudget = { steps: 4_000_000, stepsPerToken: 50_000, bytes: 32 << 20 };

/** Estimated bytes of objects. */
const bytesOf = { thread: 96, frame: 96, state: 160, place: 16, instruction: 64 };

export class ByteMachine {
  /** Counts how often states were made anew; states of an earlier count are not to be stepped from. */
  generation = 0;
  /** Threads followed so far. */
  steps = 0;
  /** Memory of the program and its states, estimated. */
  bytes = 0;
  readonly #entry: number;
  readonly #budget: MachineBudget;
  #stepsLeft: number;
  readonly #program: Instruction[] = [{ op: 'return' }];
  readonly #compiled = new Map<Pattern, Map<number, number>>();
  readonly #entries = new Map<string, number>();
  /** Class of each byte: bytes of one class lead from every state to the same state. */
  readonly #classes = new Uint8Array(256);
  #states = new Map<string, MachineState>();
  #frames = new Map<number, Frame>();
  #threads = new Map<number, Thread>();
  #searches = 0;
  #start: MachineState | undefined;

  /** @throws LinnetError `INPUT` for a grammar that is too large */
  constructor({ root, rules }: Grammar, budget: MachineBudget = defaultBudget) {
    this.#budget = budget;
    this.#stepsLeft = budget.steps;
    this.#entry = this.#compile(root, 0);
    for (const [name, pattern] of rules) this.#entries.set(name, this.#compile(pattern, 0));
    this.#compiled.clear();
    this.bytes = this.#program.length * bytesOf.instruction;
    const begins = new Set<number>();
    for (const instruction of this.#program) {
      if (instruction.op === 'byte') begins.add(instruction.first).add(instruction.last + 1);
    }
    for (let byte = 1; byte < 256; byte++) {
      this.#classes[byte] = this.#classes[byte - 1] + (begins.has(byte) ? 1 : 0);
    }
  }

  /** The state before the first byte. @throws LinnetError as `step` */
  get start(): MachineState {
    this.#start ??= this.#intern([[this.#entry, undefined]]);
    return this.#start;
  }

  /** A token of a text has been decided: the budget grows, and states are made anew where they have become too many. */
  nextToken(): void {
    this.#stepsLeft = Math.min(this.#budget.steps, this.#stepsLeft + this.#budget.stepsPerToken);
    if (this.bytes <= this.#budget.bytes / 2) return;
    this.generation++;
    this.bytes = this.#program.length * bytesOf.instruction;
    this.#start = undefined;
    this.#states = new Map();
    this.#frames = new Map();
    this.#threads = new Map();
  }

  /**
   * The state after one more byte; null where the text could not go on like this.
   * @throws LinnetError `INPUT` where the grammar has more to follow than its budget
   */
  step(state: MachineState, byte: number): MachineState | null {
    const known = state.next[this.#classes[byte]];
    if (known !== undefined) return known;
    const targets: Target[] = [];
    for (const { place, frame } of state.threads) {
      const instruction = this.#program[place];
      if (instruction.op === 'byte' && instruction.first <= byte && byte <= instruction.last) {
        targets.push([instruction.next, frame]);
      }
    }
    this.#spend(1 + state.threads.length / 16, bytesOf.place);
    const reached = targets.length === 0 ? null : this.#intern(targets);
    const after = reached !== null && (reached.accepts || reached.threads.length > 0) ? reached : null;
    state.next[this.#classes[byte]] = after;
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

  /** The state of some places, followed to where each waits for a byte. */
  #intern(targets: readonly Target[]): MachineState {
    const waiting: Thread[] = [];
    const search = ++this.#searches;
    let accepts = false;
    let seen = 0;
    const open = [...targets];
    for (let target = open.pop(); target !== undefined; target = open.pop()) {
      const thread = this.#thread(target);
      if (thread.seenBy === search) continue;
      thread.seenBy = search;
      if (++seen > most.threads) throw new LinnetError('INPUT', 'the schema leaves too much open at a time');
      const { place, frame } = thread;
      const instruction = this.#program[place];
      if (instruction.op === 'byte') waiting.push(thread);
      else if (instruction.op === 'split') for (const next of instruction.targets) open.push([next, frame]);
      else if (instruction.op === 'call') this.#enter(instruction, frame, open);
      else if (frame === undefined) accepts = true;
      else open.push([frame.place, frame.parent]);
      this.#spend(1, 0);
    }
    waiting.sort((a, b) => a.id - b.id);
    const name = stateName(waiting, accepts);
    const known = this.#states.get(name);
    if (known !== undefined) return known;
    this.#spend(waiting.length, bytesOf.state + waiting.length * bytesOf.place);
    const state = { accepts, threads: waiting, next: [] };
    this.#states.set(name, state);
    return state;
  }

  #thread([place, frame]: Target): Thread {
    const key = place + (frame?.id ?? 0) * this.#program.length;
    const known = this.#threads.get(key);
    if (known !== undefined) return known;
    const thread = { id: this.#threads.size, place, frame, seenBy: 0 };
    this.#threads.set(key, thread);
    this.#spend(0, bytesOf.thread);
    return thread;
  }

  #spend(steps: number, bytes: number): void {
    this.steps += steps;
    this.bytes += bytes;
    this.#stepsLeft -= steps;
    if (this.#stepsLeft >= 0 && this.bytes <= this.#budget.bytes) return;
    const advice = 'ask for fewer alternatives, repetitions or optional parts that may begin alike';
    throw new LinnetError('INPUT', `the schema leaves too much open at a time: ${advice}`);
  }

  #enter({ rule, next }: { rule: string; next: number }, frame: Frame | undefined, open: Target[]): void {
    const entry = this.#entries.get(rule);
    if (entry === undefined) throw internalError(`a grammar without its rule ${rule}`);
    // What only returns after the rule need not be returned to, so that lists do not grow the stack.
    if (this.#program[next].op === 'return') {
      open.push([entry, frame]);
      return;
    }
    const depth = (frame?.depth ?? 0) + 1;
    if (depth > most.depth) return;
    const key = next + (frame?.id ?? 0) * this.#program.length;
    const known = this.#frames.get(key);
    const entered = known ?? { id: this.#frames.size + 1, place: next, parent: frame, depth };
    if (known === undefined) {
      this.#frames.set(key, entered);
      this.#spend(0, bytesOf.frame);
    }
    open.push([entry, entered]);
  }
}

/** A place in the program, and where it returns to. */
type Target = readonly [place: number, frame: Frame | undefined];

/** Tells states apart: the ids of their threads as pairs of UTF-16 units. */
function stateName(threads: readonly Thread[], accepts: boolean): string {
  const ids = Int32Array.from(threads, ({ id }) => id);
  return `${accepts ? '+' : ''}${String.fromCharCode(...new Uint16Array(ids.buffer))}`;
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
