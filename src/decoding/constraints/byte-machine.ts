/**
 * Grammars as machines over bytes. A state is a set of places in a program, each with its stack of rules to return to;
 * equal states are one object, so that their successors are computed once.
 */
import { internalError, LinnetError } from '../../errors.ts';
import type { CodePoints, Grammar, Pattern } from './pattern.ts';

/** Where a rule returns to. */
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
  /** The search that last visited this state. */
  seenBy: number;
}

/** The machine's state after a text. */
export interface MachineState {
  /** Whether the text may end here. */
  readonly accepts: boolean;
  readonly threads: readonly Thread[];
  /** By byte class: the state after a byte of that class, null for none; undefined if not computed yet. */
  readonly next: (MachineState | null | undefined)[];
}

/** A grammar's bounds. Optional properties are two patterns deep each; the stack holds some 1,800 patterns. */
const most = { instructions: 200_000, nesting: 1_000, depth: 64, threads: 2_000 };

/** Time and memory that a grammar's states may take. */
export interface MachineBudget {
  /** Threads followed before a text's first token, about 20 per microsecond. */
  readonly steps: number;
  /** Threads that each token of a text adds, until `steps` are left again. */
  readonly stepsPerToken: number;
  /** Memory for states, estimated. Once half is used, states are rebuilt between two tokens. */
  readonly bytes: number;
}

/** A long string with a length bound takes some 5,000 steps per token, and 200 bytes per state. */
const defaultBudget: MachineBudget = { steps: 4_000_000, stepsPerToken: 50_000, bytes: 32 << 20 };

/** Estimated bytes of objects. */
const bytesOf = { thread: 96, frame: 96, state: 160, place: 16, instruction: 64 };

export class ByteMachine {
  /** Counts rebuilds of the states; never step from states of an earlier count. */
  generation = 0;
  /** Threads followed so far. */
  steps = 0;
  /** Estimated memory of the program and its states. */
  bytes = 0;
  readonly #entry: number;
  readonly #budget: MachineBudget;
  #stepsLeft: number;
  readonly #program: Instruction[] = [{ op: 'return' }];
  readonly #compiled = new Map<Pattern, Map<number, number>>();
  readonly #entries = new Map<string, number>();
  /** Each byte's class: bytes of one class lead from any state to the same state. */
  readonly #classes = new Uint8Array(256);
  #states = new Map<string, MachineState>();
  #frames = new Map<number, Frame>();
  #threads = new Map<number, Thread>();
  #searches = 0;
  #nesting = 0;
  #start: MachineState | undefined;

  /** @throws LinnetError `INPUT` for too large a grammar */
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

  /** The state before the first byte. @throws LinnetError like `step` */
  get start(): MachineState {
    this.#start ??= this.#intern([[this.#entry, undefined]]);
    return this.#start;
  }

  /** Called once a token is decided: the budget grows, and states are rebuilt if there are too many. */
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
   * The state after one more byte; null if no text continues so.
   * @throws LinnetError `INPUT` if the grammar has more to follow than its budget
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

  /** Compiles a pattern to a program; returns the place where it begins. The text then continues at `next`. */
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
    if (++this.#nesting > most.nesting) throw tooLarge();
    const place = this.#instructions(pattern, next);
    this.#nesting--;
    return place;
  }

  #instructions(pattern: Pattern, next: number): number {
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
    if (this.#program.length >= most.instructions) throw tooLarge();
    return this.#program.push(instruction) - 1;
  }

  /** The state for some places, followed until each waits for a byte. */
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
    // No need to return to a place that only returns, so lists do not grow the stack.
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

/** A state's key: its threads' ids as pairs of UTF-16 units. */
function stateName(threads: readonly Thread[], accepts: boolean): string {
  const ids = Int32Array.from(threads, ({ id }) => id);
  return `${accepts ? '+' : ''}${String.fromCharCode(...new Uint16Array(ids.buffer))}`;
}

/** A range of bytes, inclusive. */
export type ByteRange = readonly [first: number, last: number];

/** Last code point of each encoded length. */
const lengths = [0x7f, 0x7ff, 0xffff, 0x10ffff];

/** Sequences of byte ranges that together match a range's code points, except surrogates. */
export function utf8Ranges([first, last]: CodePoints): ByteRange[][] {
  if (first > last) return [];
  if (first < 0xd800 && last > 0xdfff) return [...utf8Ranges([first, 0xd7ff]), ...utf8Ranges([0xe000, last])];
  if (first >= 0xd800 && first <= 0xdfff) return utf8Ranges([0xe000, last]);
  if (last >= 0xd800 && last <= 0xdfff) return utf8Ranges([first, 0xd7ff]);
  const boundary = lengths.find((length) => first <= length && length < last);
  if (boundary !== undefined) return [...utf8Ranges([first, boundary]), ...utf8Ranges([boundary + 1, last])];
  if (last <= 0x7f) return [[[first, last]]];
  // Cuts so that in each piece the bytes after the first difference run over all values.
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

function tooLarge(): LinnetError {
  return new LinnetError('INPUT', 'the schema is too large; ask for shorter strings and lists, or fewer properties');
}
