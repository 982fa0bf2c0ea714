/**
 * Model and task templates, written in Jinja and run by `@huggingface/jinja` within limits: templates come in strangers'
 * files, and `range(10 ** 9)`, a text that doubles in every turn of a loop, or nested loops would take all memory or never
 * end.
 */
import { Environment, Template } from '@huggingface/jinja';
import { templateLimits, LimitedInterpreter, type TemplateLimits } from './template-limits.ts';
import type { JsonObject } from '../files/json-object.ts';

/** A template, parsed once and rendered any number of times. */
export class JinjaTemplate {
  readonly #program: object;
  readonly #limits: TemplateLimits;
  readonly #now: () => Date;

  /**
   * @param now the time for `strftime_now`
   * @throws an Error for a template that cannot be parsed
   */
  constructor(source: string, limits: Partial<TemplateLimits> = {}, now = () => new Date()) {
    // Jinja treats all line ends alike.
    this.#program = new Template(source.replace(/\r\n?/g, '\n')).parsed;
    this.#limits = { ...templateLimits, ...limits };
    this.#now = now;
  }

  /** @throws an Error with the reason if the template refuses the values or exceeds a limit */
  render(values: JsonObject): string {
    const environment = new Environment();
    for (const [name, value] of Object.entries({ ...globals(this.#limits, this.#now), ...values }))
      environment.set(name, value);
    const { value } = new LimitedInterpreter(environment, this.#limits).run(this.#program);
    return String(value);
  }
}

/** Template globals, under the library's names. */
function globals({ entries }: TemplateLimits, now: () => Date): Record<string, unknown> {
  return {
    true: true,
    false: false,
    none: null,
    True: true,
    False: false,
    None: null,
    raise_exception(message: unknown): never {
      throw new Error(typeof message === 'string' ? message : 'an exception without a text');
    },
    range: (...given: readonly unknown[]) => range(given.map(Number), entries),
    strftime_now: (format: unknown) => formatTime(now(), format),
  };
}

/** Python's: `range(stop)`, `range(start, stop)` or `range(start, stop, step)`. */
function range([first = 0, second, step = 1]: readonly number[], most: number): number[] {
  const [start, stop] = second === undefined ? [0, first] : [first, second];
  const count = Math.max(0, Math.ceil((stop - start) / step));
  if (step === 0 || !Number.isFinite(count)) throw new Error('range() takes numbers, and a step other than 0');
  if (count > most) throw new Error(`range() of ${count} numbers; at most ${most} are made`);
  return Array.from({ length: count }, (_, i) => start + i * step);
}

const twoDigits = (value: number): string => String(value).padStart(2, '0');

function named(form: Intl.DateTimeFormatOptions): (date: Date) => string {
  return (date) => date.toLocaleString('en-US', form);
}

const timeParts: Readonly<Record<string, (date: Date) => string>> = {
  Y: (date) => String(date.getFullYear()),
  y: (date) => twoDigits(date.getFullYear() % 100),
  m: (date) => twoDigits(date.getMonth() + 1),
  d: (date) => twoDigits(date.getDate()),
  b: named({ month: 'short' }),
  B: named({ month: 'long' }),
  a: named({ weekday: 'short' }),
  A: named({ weekday: 'long' }),
  H: (date) => twoDigits(date.getHours()),
  I: (date) => twoDigits(date.getHours() % 12 || 12),
  M: (date) => twoDigits(date.getMinutes()),
  S: (date) => twoDigits(date.getSeconds()),
  p: (date) => (date.getHours() < 12 ? 'AM' : 'PM'),
  '%': () => '%',
};

/** The local time by those directives of C's `strftime` that chat templates use, with English names on any machine. */
function formatTime(date: Date, format: unknown): string {
  if (typeof format !== 'string') throw new Error('strftime_now takes a text');
  return format.replace(/%(-?)([A-Za-z%])/g, (whole, bare: string, letter: string) => {
    if (!Object.hasOwn(timeParts, letter)) return whole;
    const part = timeParts[letter](date);
    return bare === '' ? part : part.replace(/^0(?=\d)/, '');
  });
}
