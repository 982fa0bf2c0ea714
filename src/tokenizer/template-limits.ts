/**
 * Limits the work and the size of values in a template. Template values are made from earlier ones and never change, so the
 * written length of a value is known, and bounded, when it is made: a list that holds itself twice, fifty times over, is
 * refused before anything writes it. Only namespaces change, and they are never written.
 */
import { Environment, Interpreter, type RuntimeValue } from '@huggingface/jinja';
import { isRuntimeValue, setMethod, textFilters } from './template-methods.ts';

/** One rendering's limits. */
export interface TemplateLimits {
  /** Most list entries, and the largest number given to a function or filter. */
  readonly entries: number;
  /** Most characters in a text, intermediate ones included, and in the written form of a list or object. */
  readonly characters: number;
  /** Most parts evaluated; one with a large value counts as several. */
  readonly work: number;
  /** Milliseconds, checked after every part. */
  readonly time: number;
}

/** Far beyond any conversation's needs: a thousand messages take some 20,000 units of work. */
export const templateLimits: TemplateLimits = { entries: 1 << 18, characters: 16 << 20, work: 1 << 20, time: 5000 };

/** Deepest nesting of lists and objects. */
const mostDepth = 128;
/** Characters counted per entry of a list or object, besides its own. */
const entrySize = 16;
/** Most spaces in an indent, of JSON or text. */
const mostIndent = 16;
const mostTextIndent = 64;

/**
 * How a part's value is used: named; joined to the output; iterated by a loop, function or filter; written by a filter; or
 * written with an indent before every entry.
 */
type Use = 'named' | 'joined' | 'worked' | 'written' | 'indented';

interface Cost {
  /** Work units per character of a text. */
  readonly character: number;
  /** Work units per entry of a list or object. */
  readonly entry: number;
  /** Work units per character of a list's or object's written form. */
  readonly inner?: number;
}

const costs: Readonly<Record<Use, Cost>> = {
  named: { character: 1 / 1024, entry: 1 / 64 },
  joined: { character: 1 / 1024, entry: 4, inner: 1 / 16 },
  worked: { character: 1 / 16, entry: 4 },
  written: { character: 1 / 16, entry: 4, inner: 1 / 16 },
  indented: { character: 1 / 16, entry: 4, inner: 1 / 16 },
};

/** A value's size when written. */
interface Extent {
  readonly characters: number;
  /** Entries at all depths. */
  readonly entries: number;
  readonly depth: number;
}

/** A part of a parsed template. */
export interface Part {
  readonly type?: unknown;
  readonly [field: string]: unknown;
}

/** Filters that iterate over a list without writing its entries. */
const cheapFilters = new Set<unknown>([
  ...['length', 'list', 'first', 'last', 'default', 'd', 'items', 'keys', 'values', 'map', 'selectattr', 'rejectattr'],
  ...['reverse', 'safe', 'unique'],
]);
/** Operators that join nothing; all others may write both sides. */
const binaryUses: Readonly<Record<string, { readonly left: Use; readonly right: Use }>> = {
  and: { left: 'named', right: 'named' },
  or: { left: 'named', right: 'named' },
  in: { left: 'named', right: 'worked' },
  'not in': { left: 'named', right: 'worked' },
};
/** How a value is used that its part made by iterating over others. */
const afterWork: Readonly<Record<Use, Use>> = {
  named: 'worked',
  joined: 'written',
  worked: 'worked',
  written: 'written',
  indented: 'indented',
};
/** Parts that make their value by iterating over others. */
const workingParts = new Set<unknown>(['CallExpression', 'CallStatement', 'FilterExpression', 'FilterStatement']);

/** Checks every value that a template's parts produce. */
export class LimitedInterpreter extends Interpreter {
  readonly #limits: TemplateLimits;
  readonly #until: number;
  #work = 0;
  readonly #extents = new WeakMap<RuntimeValue, Extent>();
  /** How a part's value is used, once the whole containing it has been met. */
  readonly #uses = new WeakMap<object, Use>();
  /** Parts whose value is a text's method or a filter, with its name. */
  readonly #methods = new WeakMap<object, unknown>();
  /** Parts that are arguments of functions and filters, with the filter's name. */
  readonly #arguments = new WeakMap<object, unknown>();

  constructor(environment: Environment, limits: TemplateLimits) {
    super(environment);
    this.#limits = limits;
    this.#until = performance.now() + limits.time;
  }

  override evaluate(part: Part | undefined, environment: Environment): RuntimeValue {
    this.#spend(1);
    if (part !== undefined) this.#meet(part);
    const result = this.#filtered(part, environment) ?? super.evaluate(part, environment);
    if (part !== undefined) setMethod(result, this.#methods.get(part), this.#limits.characters);
    if (result.type === 'NamespaceValue') result.type = 'Namespace'; // nothing writes a value of this type
    const use = (part && this.#uses.get(part)) ?? 'named';
    this.#judge(result, part !== undefined && workingParts.has(part.type) ? afterWork[use] : use);
    if (part !== undefined && this.#arguments.has(part)) this.#judgeArgument(result, this.#arguments.get(part));
    return result;
  }

  /** The value of a filter that this project has itself. */
  #filtered(part: Part | undefined, environment: Environment): RuntimeValue | undefined {
    const filter = part?.type === 'FilterExpression' && isPart(part.filter) ? part.filter : undefined;
    const name = filter?.type === 'Identifier' ? String(filter.value) : '';
    if (!Object.hasOwn(textFilters, name) || !isPart(part?.operand)) return undefined;
    return new Environment().set('text', textFilters[name](this.evaluate(part.operand, environment)));
  }

  #spend(units: number): void {
    this.#work += units;
    const { work, time } = this.#limits;
    if (this.#work > work) throw new Error(`it takes more than ${work} units of work`);
    if (performance.now() > this.#until) throw new Error(`it takes more than ${time / 1000} s`);
  }

  /** Records how a part uses its own parts. */
  #meet(part: Part): void {
    for (const field of ['body', 'alternate', 'defaultBlock']) {
      const statements = part[field];
      if (Array.isArray(statements)) for (const statement of statements) this.#use(statement, 'joined');
    }
    const { type, operator, filter, callee } = part;
    if (type === 'BinaryExpression' && isPart(operator)) {
      const use = binaryUses[String(operator.value)] ?? { left: 'joined', right: 'joined' };
      this.#use(part.left, use.left);
      this.#use(part.right, use.right);
    }
    this.#use(part.iterable, 'worked');
    if (isPart(part.property) && part.property.type === 'SliceExpression') this.#use(part.object, 'worked');
    if (isPart(callee)) this.#use(callee.object, 'worked');
    if (isPart(part.object) && isPart(part.property)) this.#methods.set(part.object, part.property.value);
    const called = isPart(filter) ? filter : part;
    const name = isPart(filter) ? filterName(filter) : undefined;
    const written = name === 'tojson' && isPart(filter) && isPart(filter.callee) ? 'indented' : 'written';
    if (isPart(part.operand)) this.#methods.set(part.operand, name);
    if (isPart(filter)) this.#use(part.operand, cheapFilters.has(name) ? 'worked' : written);
    if (!Array.isArray(called.args)) return;
    for (const argument of called.args) {
      // A keyword argument's value.
      const value: unknown = isPart(argument) && isPart(argument.value) ? argument.value : argument;
      if (isPart(value)) this.#arguments.set(value, name);
    }
  }

  #use(part: unknown, use: Use): void {
    if (isPart(part)) this.#uses.set(part, use);
  }

  #judge(result: RuntimeValue, use: Use): void {
    const { entries, characters } = this.#limits;
    const { value } = result;
    const size = Array.isArray(value) ? value.length : value instanceof Map ? value.size : 0;
    if (size > entries) throw new Error(`it makes a list of more than ${entries} entries`);
    const extent = this.#extent(result);
    const isText = typeof value === 'string';
    if (extent.characters > characters) {
      throw new Error(`it makes a ${isText ? 'text' : 'value'} of more than ${characters} characters`);
    }
    if (extent.depth > mostDepth) throw new Error(`it makes a value that is nested more than ${mostDepth} deep`);
    const { character, entry, inner = 0 } = costs[use];
    const indents = use === 'indented' ? extent.entries * (extent.depth + 4) : 0;
    this.#spend(isText ? value.length * character : size * entry + extent.characters * inner + indents);
  }

  #judgeArgument(result: RuntimeValue, filter: unknown): void {
    const { entries } = this.#limits;
    const { value } = result;
    // `indent` makes this many blanks.
    const most = Math.min(entries, filter === 'tojson' ? mostIndent : filter === 'indent' ? mostTextIndent : Infinity);
    if (typeof value === 'number' && value > most) {
      throw new Error(`it gives a function the number ${value}; at most ${most} is allowed`);
    }
    if (filter !== 'tojson') return;
    const { characters } = this.#extent(result);
    if (characters > 4 * entrySize) throw new Error(`it gives tojson separators of ${characters} characters`);
  }

  /** A value's extent; most of its parts already have theirs. */
  #extent(value: RuntimeValue): Extent {
    const known = this.#extents.get(value);
    if (known !== undefined) return known;
    const extent = this.#measured(value);
    this.#extents.set(value, extent);
    return extent;
  }

  #measured({ type, value }: RuntimeValue): Extent {
    if (typeof value === 'string') return { characters: value.length, entries: 0, depth: 0 };
    if (type === 'Namespace' || !(Array.isArray(value) || value instanceof Map)) {
      return { characters: entrySize, entries: 0, depth: 0 };
    }
    let [characters, entries, depth, own] = [0, 0, 0, 0];
    const parts: Iterable<readonly [unknown, unknown]> = value.entries();
    for (const [key, entry] of parts) {
      if (++own % 256 === 0) this.#spend(64);
      entries++;
      characters += entrySize + (typeof key === 'string' ? key.length : 0);
      if (!isRuntimeValue(entry)) continue;
      const inner = this.#extent(entry);
      characters += inner.characters;
      entries += inner.entries;
      depth = Math.max(depth, inner.depth);
      if (characters > this.#limits.characters || depth > mostDepth) break;
    }
    return { characters, entries, depth: depth + 1 };
  }
}

function isPart(value: unknown): value is Part {
  return typeof value === 'object' && value !== null;
}

function filterName({ value, callee }: Part): unknown {
  return isPart(callee) ? callee.value : value;
}
