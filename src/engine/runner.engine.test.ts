/** Whatever comes and goes next to it, a text is what it is alone. */
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { letters } from '../../test/models/letters.ts';
import { randomParameters, randomTokens, tinyLlama } from '../../test/models/tiny-llama.ts';
import { mixerPreset } from '../attention/presets.ts';
import { DecodingEngine } from '../decoding/engine.ts';
import { generateToEnd } from '../../test/decoding/generated.ts';
import { Sampler } from '../decoding/sampler.ts';
import { drafters, LearnedByOwner, lookupDrafter } from '../decoding/speculation/drafters/registry.ts';
import { speculative } from '../decoding/speculation/speculative.ts';
import { PrefixCache } from './text/prefix-cache.ts';
import { JobRows, type RowHolder } from './job-rows.ts';
import { OverloadError } from '../errors.ts';
import { Runner } from './runner.ts';
import type { Generation, RunnerOptions, TextEvent, TextJob } from './text-job.ts';

const model = tinyLlama([mixerPreset('augmented', { group: 6, kernel: 9 }), { kind: 'softmax' }]);
let engine: DecodingEngine;
beforeAll(async () => {
  engine = await DecodingEngine.create(model, randomParameters(model, 3), { threads: 1 });
});
afterAll(() => engine.dispose());

interface Spec {
  readonly length: number;
  readonly maxTokens: number;
  readonly n: number;
  readonly key: string;
  readonly temperature: number;
  readonly drafts: boolean;
  /** Whether the runner says when to draft. */
  readonly paced?: boolean;
}

const promptOf = ({ length }: Spec): number[] => [...randomTokens(model, length, length)];
const samplerOf = ({ temperature }: Spec, choice: number): Sampler => new Sampler({ temperature, seed: choice });

function jobOf(spec: Spec, signal?: AbortSignal): TextJob {
  const { maxTokens, n, temperature, drafts, paced, key: owner } = spec;
  const own = drafts && n === 1 && paced !== true;
  return {
    owner,
    prompt: { tokens: promptOf(spec) },
    maxTokens,
    n,
    ignoreEos: true,
    sampling: { temperature },
    ...(own ? { method: speculative(lookupDrafter()) } : { drafter: drafts ? drafters[1 + (spec.length % 4)] : 'off' }),
    signal,
  };
}

function newRunner(options: RunnerOptions = {}): Runner {
  return new Runner(engine, { tokenizer: letters, ...options });
}

const known = new Map<string, Promise<Generation>>();
/** What a continuation is alone, with nothing but `generate`. */
function lone(spec: Spec, choice: number): Promise<Generation> {
  const name = JSON.stringify([spec.length, spec.temperature, choice]);
  const found =
    known.get(name) ??
    generateToEnd(engine, {
      promptTokens: promptOf(spec),
      maxTokens: 40,
      ignoreEos: true,
      tokenizer: letters,
      sampler: samplerOf(spec, choice),
    });
  known.set(name, found);
  return found;
}

interface Collected {
  readonly texts: string[];
  readonly ended: number;
}

async function collect(events: AsyncIterable<TextEvent>, n: number, onEvent?: () => void): Promise<Collected> {
  const texts = Array.from({ length: n }, () => '');
  let ended = 0;
  try {
    for await (const event of events) {
      if (event.type === 'tokens') texts[event.choice] += event.text;
      if (event.type === 'end' && event.generation.finish !== 'abort') ended++;
      onEvent?.();
    }
  } catch (error) {
    expect(error).toMatchObject({ code: 'ABORTED' });
  }
  return { texts, ended };
}

const spec = fc.record({
  length: fc.integer({ min: 1, max: 40 }),
  maxTokens: fc.integer({ min: 1, max: 40 }),
  n: fc.integer({ min: 1, max: 3 }),
  key: fc.constantFrom('a', 'b', 'c'),
  temperature: fc.constantFrom(0, 0, 0.8),
  drafts: fc.boolean(),
  paced: fc.boolean(),
});
const arrival = fc.record({
  spec,
  after: fc.integer({ min: 0, max: 30 }),
  cancelAfter: fc.option(fc.integer({ min: 0, max: 30 })),
});

describe('the queue', () => {
  it('begins with lower priorities of a key, older ones among equals, and takes nothing from other keys', () => {
    const rows = new JobRows<RowHolder & { readonly name: string }>(5, 64);
    const add = (owner: string, name: string, priority?: number): void => {
      const events = { isFull: false, unreadFor: 0 };
      const job = { width: 1, events, chunkLength: () => 1, job: { priority } };
      rows.add([{ owner, name, ...job }]);
    };
    add('a', 'a, later', 1);
    add('a', 'a, first');
    add('a', 'a, second');
    add('a', 'a, urgent', -5);
    add('b', 'b');
    const order = rows.admit().begun.map(({ running }) => running.name);
    expect(order).toEqual(['a, urgent', 'b', 'a, first', 'a, second', 'a, later']);
  });
});

describe('the runner', () => {
  it('gives each text its lone result, whatever the schedule of arrivals and cancels', async () => {
    const schedule = fc.array(arrival, { minLength: 1, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(
        schedule,
        fc.integer({ min: 3, max: 6 }),
        fc.integer({ min: 1, max: 30 }),
        async (all, parallel, chunk) => {
          const runner = newRunner({ parallel, chunk });
          await Promise.all(
            all.map(async ({ spec, after, cancelAfter }) => {
              for (let waited = 0; waited < after; waited++) await turn();
              const controller = new AbortController();
              let seen = 0;
              if (cancelAfter === 0) controller.abort();
              const { texts, ended } = await collect(runner.submit(jobOf(spec, controller.signal)), spec.n, () => {
                if (++seen === cancelAfter) controller.abort();
              });
              if (!controller.signal.aborted) expect(ended).toBe(spec.n);
              for (const [choice, text] of texts.entries()) {
                const whole = (await lone(spec, choice)).text.slice(0, spec.maxTokens);
                if (controller.signal.aborted) expect(whole.startsWith(text)).toBe(true);
                else expect(text).toBe(whole);
              }
            }),
          );
          expect([runner.active, runner.waiting]).toEqual([0, 0]);
        },
      ),
      { numRuns: 40, seed: 5 },
    );
  });

  const plain: Spec = { length: 5, maxTokens: 30, n: 1, key: 'a', temperature: 0, drafts: false };

  it('lets a cancelled text go within one round', async () => {
    let rounds = 0;
    const runner = newRunner({ observer: { round: () => rounds++ } });
    const controller = new AbortController();
    const events = runner.submit(jobOf({ ...plain, maxTokens: 4000 }, controller.signal));
    while ((await events.next()).value?.type !== 'tokens');
    const before = rounds;
    controller.abort();
    while (runner.active > 0) await turn();
    expect(rounds - before).toBeLessThanOrEqual(1);
  });

  it('lets all texts of a signal go when it fires, also after one of them has ended', async () => {
    const runner = newRunner();
    const controller = new AbortController();
    const job = (maxTokens: number): TextJob => jobOf({ ...plain, maxTokens }, controller.signal);
    const [short, long] = runner.submitAll([job(1), job(4000)]);
    const going = collect(long, 1);
    await collect(short, 1);
    controller.abort();
    expect((await going).ended).toBe(0);
  });

  it('leaves no timer of a text whose reader fell behind', async () => {
    const [started, cleared] = [vi.spyOn(globalThis, 'setTimeout'), vi.spyOn(globalThis, 'clearTimeout')];
    onTestFinished(() => {
      vi.restoreAllMocks();
    });
    const runner = newRunner({ readerBytes: 1, readerTimeout: 54_321 });
    const events = runner.submit(jobOf(plain));
    await events.next();
    const other = collect(runner.submit(jobOf(plain)), 1);
    await events.return();
    await other;
    const timers: unknown[] = [];
    for (const [call, [, ms]] of started.mock.calls.entries()) {
      if (ms === 54_322) timers.push(started.mock.results[call].value);
    }
    expect(timers.length).toBeGreaterThan(0);
    for (const timer of timers) expect(cleared).toHaveBeenCalledWith(timer);
  });

  it('pauses the text of a slow reader, goes on with others, and gives up on it in the end', async () => {
    const runner = newRunner({ readerBytes: 400, readerTimeout: 1500 });
    const slow = runner.submit(jobOf({ ...plain, maxTokens: 4000 }));
    await slow.next();
    const quick = await collect(runner.submit(jobOf(plain)), 1);
    expect(quick.texts).toEqual([(await lone(plain, 0)).text.slice(0, 30)]);
    for (let taken = 0; taken < 3; taken++) await slow.next();
    await collect(runner.submit(jobOf(plain)), 1);
    expect(runner.active).toBe(1);
    while (runner.active > 0) await turn();
    await expect(collect(slow, 1)).resolves.toMatchObject({ ended: 0 });
  });

  it('admits keys evenly: the one request of a key does not wait for the many of another', async () => {
    const runner = newRunner({ parallel: 2 });
    const order: string[] = [];
    const finish = async (key: string): Promise<void> => {
      await collect(runner.submit(jobOf({ ...plain, key })), 1);
      order.push(key);
    };
    await Promise.all(['a', 'a', 'a', 'a', 'a', 'a', 'b'].map(finish));
    expect(order.indexOf('b')).toBeLessThan(3);
  });

  it('reads long prompts in chunks between the rounds of others', async () => {
    const order: string[] = [];
    const observer = { round: () => order.push('round'), chunk: () => order.push('chunk') };
    const runner = newRunner({ chunk: 4, observer });
    const short = collect(runner.submit(jobOf({ ...plain, length: 2 })), 1);
    const long = collect(runner.submit(jobOf({ ...plain, length: 40, maxTokens: 1 })), 1);
    await Promise.all([short, long]);
    expect(order.slice(3, 17).join(' ')).not.toMatch(/chunk chunk/);
  });

  it('reads short prompts that come together in one step, as far as they fit', async () => {
    const chunks: number[] = [];
    const runner = newRunner({ chunk: 32, observer: { chunk: (tokens) => chunks.push(tokens) } });
    const lengths = [8, 6, 7, 8, 35];
    await Promise.all(
      lengths.map(async (length) => {
        const spec = { ...plain, length, maxTokens: 3 };
        const { texts } = await collect(runner.submit(jobOf(spec)), 1);
        expect(texts).toEqual([(await lone(spec, 0)).text.slice(0, 3)]);
      }),
    );
    // 8 + 6 + 7 + 8 take 4 · 8 places, which is one chunk; the groups of the model are folded at 36.
    expect(chunks).toEqual([29, 32, 3]);
  });

  it('drafts from earlier texts of the same salt alone', async () => {
    const learned = new LearnedByOwner();
    const runner = newRunner({ learned, drafter: 'suffix' });
    // The last text of a salt that has drafted may go on: it joins the earlier ones when another begins.
    for (const salt of ['a', 'b', 'a', 'b', 'a']) {
      const job = jobOf({ ...plain, paced: true, drafts: true });
      const events = runner.submit({ ...job, drafter: undefined, salt });
      while ((await events.next()).done !== true);
    }
    // All but the first token, an end, and up to eight tokens before the text: 30 to 39 of a text.
    const kept = (salt: string): number => learned.of(salt).earlier.texts.end;
    expect([kept('a') >= 60, kept('a') <= 117, kept('b') >= 30, kept('b') <= 78]).toEqual([true, true, true, true]);
    expect(kept('')).toBe(0);
  });

  it('shares no step where texts are to depend in no bit on each other', async () => {
    const runner = newRunner({ chunk: 16, deterministic: true });
    const step = vi.spyOn(engine, 'step');
    onTestFinished(() => step.mockRestore());
    await Promise.all(
      [9, 7, 8, 30].map(async (length) => {
        const spec = { ...plain, length, maxTokens: 5, n: 2, temperature: 0.8 };
        const { texts } = await collect(runner.submit(jobOf(spec)), 2);
        for (const [choice, text] of texts.entries()) expect(text).toBe((await lone(spec, choice)).text.slice(0, 5));
      }),
    );
    expect(new Set(step.mock.calls.map(([requests]) => requests.length))).toEqual(new Set([1]));
  });

  it('refuses more requests than may wait, more choices than run, and all once it closes', async () => {
    const runner = newRunner({ parallel: 2, maxQueue: 1 });
    const first = runner.submit(jobOf({ ...plain, n: 2 }));
    const texts = collect(first, 2);
    while (runner.active < 2) await turn();
    const refused = (): unknown => runner.submit(jobOf(plain));
    const second = runner.submit(jobOf(plain));
    expect(refused).toThrow(OverloadError);
    await Promise.all([texts, collect(second, 1)]);
    expect(() => runner.submit(jobOf({ ...plain, n: 3 }))).toThrow(/3 continuations/);
    const last = runner.submit(jobOf(plain));
    const closed = runner.close();
    expect(refused).toThrow(/shutting down/);
    await expect(collect(last, 1)).resolves.toMatchObject({ ended: 1 });
    await closed;
  });

  it('hands out scores of every prompt token but the first, and keeps states at boundaries', async () => {
    const prefixes = new PrefixCache(1 << 24);
    const keep = vi.spyOn(prefixes, 'keep');
    const runner = newRunner({ chunk: 7, prefixes });
    const tokens = [...randomTokens(model, 20, 1)];
    const events: TextEvent[] = [];
    const job = { prompt: { tokens, keepAt: [5, 13] }, maxTokens: 0, scores: { prompt: 0 } };
    for await (const event of runner.submit(job)) events.push(event);
    expect(events.map((event) => event.type === 'prompt' && event.done)).toEqual([5, 12, 13, 19, 20]);
    expect(events.map((event) => event.type === 'prompt' && event.scores.map(({ token }) => token))).toEqual([
      ...[[], [], [], []],
      tokens.slice(1),
    ]);
    expect(keep.mock.calls.map(([, , state]) => state.length)).toEqual([20, 20, 20]);
    expect([5, 13, 19].map((length) => prefixes.find('', tokens, length + 1)?.length)).toEqual([5, 13, 19]);
  });

  it('keeps and finds nothing of a job that is not kept, and drafters forget it', async () => {
    const prefixes = new PrefixCache(1 << 24);
    const [keep, find] = [vi.spyOn(prefixes, 'keep'), vi.spyOn(prefixes, 'find')];
    const learned = new LearnedByOwner();
    const of = vi.spyOn(learned, 'of');
    const runner = newRunner({ prefixes, learned, drafter: 'auto' });
    const job = { prompt: { tokens: [...randomTokens(model, 20, 1)] }, maxTokens: 4 };
    await collect(runner.submit({ ...job, kept: false }), 1);
    expect([keep, find, of].map(({ mock }) => mock.calls.length)).toEqual([0, 0, 0]);
    await collect(runner.submit(job), 1);
    expect([keep, find, of].map(({ mock }) => mock.calls.length)).toEqual([2, 1, 1]);
  });

  it('gives a row to another owner at once, whatever one owner has asked for', async () => {
    const runner = newRunner({ parallel: 4 });
    const stop = new AbortController();
    const greedy = Array.from({ length: 20 }, () =>
      collect(runner.submit(jobOf({ ...plain, maxTokens: 100_000 }, stop.signal)), 1),
    );
    while (runner.active < 4) await turn();
    let rounds = 0;
    const spec = { ...plain, key: 'b', maxTokens: 3 };
    for await (const event of runner.submit(jobOf(spec))) {
      rounds++;
      if (event.type === 'end') expect(event.generation.text).toBe((await lone(spec, 0)).text.slice(0, 3));
    }
    expect(rounds).toBeLessThan(10);
    stop.abort();
    await Promise.all(greedy);
    expect([runner.active, runner.waiting]).toEqual([0, 0]);
  });

  it('parks texts that nobody reads where another waits, and goes on with them when they are read again', async () => {
    const runner = newRunner({ parallel: 2 });
    const spec = { ...plain, maxTokens: 40 };
    const unread = Array.from({ length: 2 }, () => runner.submit(jobOf(spec)));
    const begun = await Promise.all(unread.map((events) => events.next()));
    expect(begun.map(({ value }) => value?.type)).toEqual(['prompt', 'prompt']);
    // A turn of another's makes events that are not read.
    await collect(runner.submit({ ...jobOf({ ...plain, key: 'b', maxTokens: 1 }) }), 1);
    await new Promise((resolve) => setTimeout(resolve, 400));
    const others = await Promise.all([1, 2, 3].map(() => collect(runner.submit(jobOf(plain)), 1)));
    expect(others.map(({ ended }) => ended)).toEqual([1, 1, 1]);
    const whole40 = (await lone(spec, 0)).text;
    const rest = await Promise.all(unread.map((events) => collect(events, 1)));
    expect(rest.map(({ texts }) => texts[0])).toEqual([1, 2].map(() => whole40));
  });

  it('lets the jobs of one request wait as one', async () => {
    const runner = newRunner({ parallel: 2, maxQueue: 1 });
    const one = { ...plain, maxTokens: 2 };
    const many = runner.submitAll(Array.from({ length: 40 }, () => jobOf(one)));
    const ended = await Promise.all(many.map((events) => collect(events, 1)));
    expect(ended.filter(({ ended: done }) => done === 1)).toHaveLength(40);
    expect(runner.waiting).toBe(0);
  });

  it('gives up a reader that takes nothing soon after it closes', async () => {
    const runner = newRunner({ closingTimeout: 300 });
    const unread = runner.submit(jobOf({ ...plain, maxTokens: 4000 }));
    await unread.next();
    const started = performance.now();
    await runner.close();
    expect(performance.now() - started).toBeLessThan(4000);
    await expect(collect(unread, 1)).resolves.toMatchObject({ ended: 0 });
  });
});
