/**
 * Templates of models and tasks, written in Jinja and run by `@huggingface/jinja` within limits: a template comes with a file
 * of somebody else, and `range(10 ** 9)`, a text that doubles in every turn of a loop or loops in loops would take all memory
 * or never end.
 */
import { Environment, Interpreter, type RuntimeValue, Template } from '@huggingface/jinja';

/** Limits of one rendering. */
export interface TemplateLimits {
  /** Entries of a list, and the largest number that a function or filter is given. */
  readonly entries: number;
  /** Characters of a text, intermediate ones included. */
  readonly characters: number;
  /** Parts that are evaluated; one whose value is large counts as several (`sizePerUnit`). */
  readonly work: number;
}

/** Far beyond what conversations need: one of a thousand messages takes some 20,000 units of work. */
const defaultLimits: TemplateLimits = { entries: 1 << 18, characters: 16 << 20, work: 1 << 20 };

/**
 * How much of a value one unit of work goes over: little where a function, a filter or a loop works on it, much where it is
 * only named, compared or joined to another.
 */
const charactersPerUnit = { worked: 16, named: 1024 };
const entriesPerUnit = { worked: 0.25, named: 64 };

/** A template that can be rendered again and again. */
export class JinjaTemplate {
  readonly #program: object;
  readonly #limits: TemplateLimits;

  /** @throws an Error for a template that cannot be parsed */
  constructor(source: string, limits: TemplateLimits = defaultLimits) {
    this.#program = new Template(source).parsed;
    this.#limits = limits;
  }

  /** @throws an Error that says why, for values that the template refuses and where it goes beyond a limit */
  render(values: Readonly<Record<string, unknown>>): string {
    const environment = new Environment();
    for (const [name, value] of Object.entries({ ...globals(this.#limits), ...values })) environment.set(name, value);
    const { value } = new LimitedInterpreter(environment, this.#limits).run(this.#program);
    return String(value);
  }
}

/** Looks at every value that comes out of a part of a template. */
class LimitedInterpreter extends Interpreter {
  readonly #limits: TemplateLimits;
  #work = 0;
  /** Parts that are arguments of functions and filters. */
  readonly #arguments = new WeakSet();
  /** Parts that loops, functions and filters go over. */
  readonly #worked = new WeakSet();

  constructor(environment: Environment, limits: TemplateLimits) {
    super(environment);
    this.#limits = limits;
  }

  override evaluate(part: object | undefined, environment: Environment): RuntimeValue {
    const { entries, characters, work } = this.#limits;
    if (this.#work > work) throw new Error(`it takes more than ${work} units of work`);
    if (part !== undefined) {
      for (const argument of argumentsOf(part)) this.#arguments.add(argument);
      for (const worked of workedPartsOf(part)) this.#worked.add(worked);
    }
    const result = super.evaluate(part, environment);
    const { value } = result;
    const isWorked = part !== undefined && (('type' in part && workingParts.has(part.type)) || this.#worked.has(part));
    this.#work += 1 + costOf(value, isWorked ? 'worked' : 'named');
    if (typeof value === 'string' && value.length > characters) {
      throw new Error(`it makes a text of more than ${characters} characters`);
    }
    if (Array.isArray(value) && value.length > entries)
      throw new Error(`it makes a list of more than ${entries} entries`);
    // `indent` makes as many blanks.
    if (typeof value === 'number' && value > entries && part !== undefined && this.#arguments.has(part)) {
      throw new Error(`it gives a function the number ${value}; at most ${entries} is allowed`);
    }
    return result;
  }
}

/** The cost of a value, in units of work. */
function costOf(value: unknown, how: 'worked' | 'named'): number {
  if (typeof value === 'string') return value.length / charactersPerUnit[how];
  if (Array.isArray(value)) return value.length / entriesPerUnit[how];
  return value instanceof Map ? value.size / entriesPerUnit[how] : 0;
}

/** Parts that make their value by going over others. */
const workingParts = new Set<unknown>(['CallExpression', 'CallStatement', 'FilterExpression', 'FilterStatement']);

/** The arguments of a function, or of the filter that is applied. */
function argumentsOf(part: object): object[] {
  const called: unknown = 'filter' in part ? part.filter : part;
  if (typeof called !== 'object' || called === null || !('args' in called) || !Array.isArray(called.args)) return [];
  const given: readonly unknown[] = called.args;
  return given.flatMap((argument) => {
    if (typeof argument !== 'object' || argument === null) return [];
    // Of a keyword argument, its value.
    return 'key' in argument && 'value' in argument && typeof argument.value === 'object' && argument.value !== null
      ? [argument.value]
      : [argument];
  });
}

/** The value that a loop, a filter or a method goes over. */
function workedPartsOf(part: object): object[] {
  const callee: unknown = 'callee' in part ? part.callee : undefined;
  const owner: unknown =
    typeof callee === 'object' && callee !== null && 'object' in callee ? callee.object : undefined;
  const operand: unknown = 'operand' in part ? part.operand : undefined;
  const iterable: unknown = 'iterable' in part ? part.iterable : undefined;
  return [owner, operand, iterable].filter((value) => typeof value === 'object' && value !== null);
}

/** Globals of templates, under the library's names. */
function globals({ entries }: TemplateLimits): Record<string, unknown> {
  return {
    ...{ true: true, false: false, none: null, True: true, False: false, None: null },
    raise_exception(message: unknown): never {
      throw new Error(String(message));
    },
    range: (...given: readonly unknown[]) => range(given.map(Number), entries),
    strftime_now: (format: unknown) => formatTime(new Date(), String(format)),
  };
}

/** As of Python: `range(stop)`, `range(start, stop)` or `range(start, stop, step)`. */
function range([first = 0, second, step = 1]: readonly number[], most: number): number[] {
  const [start, stop] = second === undefined ? [0, first] : [first, second];
  const count = Math.max(0, Math.ceil((stop - start) / step));
  if (step === 0 || !Number.isFinite(count)) throw new Error('range() takes numbers, and a step other than 0');
  if (count > most) throw new Error(`range() of ${count} numbers; at most ${most} are made`);
  return Array.from({ length: count }, (_, i) => start + i * step);
}

const twoDigits = (value: number): string => String(value).padStart(2, '0');

const timeParts: Readonly<Record<string, (date: Date) => string>> = {
  '%Y': (date) => String(date.getFullYear()),
  '%m': (date) => twoDigits(date.getMonth() + 1),
  '%d': (date) => twoDigits(date.getDate()),
  '%b': (date) => date.toLocaleString(undefined, { month: 'short' }),
  '%B': (date) => date.toLocaleString(undefined, { month: 'long' }),
  '%H': (date) => twoDigits(date.getHours()),
  '%M': (date) => twoDigits(date.getMinutes()),
  '%%': () => '%',
};

/** The local time by the directives of C's `strftime` that chat templates use. */
function formatTime(date: Date, format: string): string {
  return format.replace(/%[YmdbBHM%]/g, (part) => timeParts[part](date));
}
