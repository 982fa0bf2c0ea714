/** Whatever comes and goes next to it, a text is what it is alone. */
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { letters } from '../../../test/models/letters.ts';
import { randomParameters, randomTokens, tinyLlama } from '../../../test/models/tiny-llama.ts';
import { mixerPreset } from '../../attention/presets.ts';
import { DecodingEngine } from '../../decoding/engine.ts';
import { type Generation, generateToEnd } from '../generate.ts';
import { Sampler } from '../../decoding/sampler.ts';
import { LookupDrafter } from '../../decoding/speculation/drafters/lookup-drafter.ts';
import { speculative } from '../../decoding/speculation/speculative.ts';
import type { EventQueue } from './event-queue.ts';
import { FairQueue } from './fair-queue.ts';
import { OverloadError, Scheduler } from './scheduler.ts';
import type { RequestEvent, TextRequest } from './text-request.ts';

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
  /** Whether the scheduler says when to draft. */
  readonly paced?: boolean;
}

const promptOf = ({ length }: Spec): number[] => [...randomTokens(model, length, length)];
const samplerOf = ({ temperature }: Spec, choice: number): Sampler => new Sampler({ temperature, seed: choice });

function requestOf(spec: Spec, scheduler?: Scheduler): TextRequest {
  return {
    key: spec.key,
    prompt: promptOf(spec),
    maxTokens: spec.maxTokens,
    ignoreEos: true,
    tokenizer: letters,
    choices: Array.from({ length: spec.n }, (_, choice) => {
      const pace = spec.drafts && spec.paced === true ? scheduler?.pacing.newText() : undefined;
      const method = spec.drafts ? speculative(new LookupDrafter(), { adaptive: pace }) : undefined;
      return { sampler: samplerOf(spec, choice), method, pace };
    }),
  };
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

async function collect(events: EventQueue<RequestEvent>, n: number, onEvent: () => void): Promise<Collected> {
  const texts = Array.from({ length: n }, () => '');
  let ended = 0;
  try {
    for await (const event of events) {
      if (event.type === 'tokens') texts[event.choice] += event.text;
      if (event.type === 'end') ended++;
      onEvent();
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
    const queue = new FairQueue<string>();
    queue.push('a', 'a, later', 1);
    queue.push('a', 'a, first');
    queue.push('a', 'a, second');
    queue.push('a', 'a, urgent', -5);
    queue.push('b', 'b');
    const order: string[] = [];
    const held = new Map<string, number>();
    for (let next = queue.peek((key) => held.get(key) ?? 0); next !== undefined; ) {
      const [key] = next;
      order.push(next);
      expect(queue.remove(key, next)).toBe(true);
      held.set(key, (held.get(key) ?? 0) + 1);
      next = queue.peek((other) => held.get(other) ?? 0);
    }
    expect(order).toEqual(['a, urgent', 'b', 'a, first', 'a, second', 'a, later']);
  });
});

describe('the scheduler', () => {
  it('gives each text its lone result, whatever the schedule of arrivals and cancels', async () => {
    const schedule = fc.array(arrival, { minLength: 1, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(
        schedule,
        fc.integer({ min: 3, max: 6 }),
        fc.integer({ min: 1, max: 30 }),
        async (all, parallel, chunk) => {
          const scheduler = new Scheduler(engine, { parallel, chunk });
          await Promise.all(
            all.map(async ({ spec, after, cancelAfter }) => {
              for (let waited = 0; waited < after; waited++) await turn();
              const controller = new AbortController();
              let seen = 0;
              if (cancelAfter === 0) controller.abort();
              const { texts, ended } = await collect(
                scheduler.submit(requestOf(spec, scheduler), controller.signal),
                spec.n,
                () => {
                  if (++seen === cancelAfter) controller.abort();
                },
              );
              if (!controller.signal.aborted) expect(ended).toBe(spec.n);
              for (const [choice, text] of texts.entries()) {
                const whole = (await lone(spec, choice)).text.slice(0, spec.maxTokens);
                if (controller.signal.aborted) expect(whole.startsWith(text)).toBe(true);
                else expect(text).toBe(whole);
              }
            }),
          );
          expect([scheduler.active, scheduler.waiting]).toEqual([0, 0]);
        },
      ),
      { numRuns: 40, seed: 5 },
    );
  });

  const plain: Spec = { length: 5, maxTokens: 30, n: 1, key: 'a', temperature: 0, drafts: false };

  it('lets a cancelled text go within one round', async () => {
    let rounds = 0;
    const scheduler = new Scheduler(engine, { observer: { round: () => rounds++ } });
    const controller = new AbortController();
    const events = scheduler.submit(requestOf({ ...plain, maxTokens: 4000 }), controller.signal);
    while ((await events.next())?.type !== 'tokens');
    const before = rounds;
    controller.abort();
    while (scheduler.active > 0) await turn();
    expect(rounds - before).toBeLessThanOrEqual(1);
  });

  it('pauses the text of a slow reader, goes on with others, and gives up on it in the end', async () => {
    const scheduler = new Scheduler(engine, { readerBytes: 400, readerTimeout: 1500 });
    const slow = scheduler.submit(requestOf({ ...plain, maxTokens: 4000 }));
    const quick = await collect(scheduler.submit(requestOf(plain)), 1, () => undefined);
    expect(quick.texts).toEqual([(await lone(plain, 0)).text.slice(0, 30)]);
    // On a busy machine the reader may be given up before it has taken anything.
    const filled = async (): Promise<void> => {
      while (!slow.full && scheduler.active > 0) await turn();
    };
    await filled();
    for (let taken = 0; taken < 3; taken++) await slow.next();
    await filled();
    while (scheduler.active > 0) await turn();
    await expect(collect(slow, 1, () => undefined)).resolves.toMatchObject({ ended: 0 });
  });

  it('admits keys evenly: the one request of a key does not wait for the many of another', async () => {
    const scheduler = new Scheduler(engine, { parallel: 2 });
    const order: string[] = [];
    const finish = async (key: string): Promise<void> => {
      await collect(scheduler.submit(requestOf({ ...plain, key })), 1, () => undefined);
      order.push(key);
    };
    await Promise.all(['a', 'a', 'a', 'a', 'a', 'a', 'b'].map(finish));
    expect(order.indexOf('b')).toBeLessThan(3);
  });

  it('reads long prompts in chunks between the rounds of others', async () => {
    const order: string[] = [];
    const observer = { round: () => order.push('round'), chunk: () => order.push('chunk') };
    const scheduler = new Scheduler(engine, { chunk: 4, observer });
    const short = collect(scheduler.submit(requestOf({ ...plain, length: 2 })), 1, () => undefined);
    const long = collect(scheduler.submit(requestOf({ ...plain, length: 40, maxTokens: 1 })), 1, () => undefined);
    await Promise.all([short, long]);
    expect(order.slice(3, 17).join(' ')).not.toMatch(/chunk chunk/);
  });

  it('reads short prompts that come together in one step, as far as they fit', async () => {
    const chunks: number[] = [];
    const scheduler = new Scheduler(engine, { chunk: 32, observer: { chunk: (tokens) => chunks.push(tokens) } });
    const lengths = [9, 7, 8, 9, 40];
    await Promise.all(
      lengths.map(async (length) => {
        const spec = { ...plain, length, maxTokens: 3 };
        const { texts } = await collect(scheduler.submit(requestOf(spec)), 1, () => undefined);
        expect(texts).toEqual([(await lone(spec, 0)).text.slice(0, 3)]);
      }),
    );
    // 8 + 6 + 7 + 8 take 4 · 8 places, which is one chunk; the last token of each is read in a round.
    expect(chunks).toEqual([29, 32, 7]);
  });

  it('shares no step where texts are to depend in no bit on each other', async () => {
    const scheduler = new Scheduler(engine, { chunk: 16, deterministic: true });
    const step = vi.spyOn(engine, 'step');
    onTestFinished(() => step.mockRestore());
    await Promise.all(
      [9, 7, 8, 30].map(async (length) => {
        const spec = { ...plain, length, maxTokens: 5, n: 2, temperature: 0.8 };
        const { texts } = await collect(scheduler.submit(requestOf(spec)), 2, () => undefined);
        for (const [choice, text] of texts.entries()) expect(text).toBe((await lone(spec, choice)).text.slice(0, 5));
      }),
    );
    expect(new Set(step.mock.calls.map(([requests]) => requests.length))).toEqual(new Set([1]));
  });

  it('refuses more requests than may wait, more choices than run, and all once it closes', async () => {
    const scheduler = new Scheduler(engine, { parallel: 2, maxQueue: 1 });
    const first = scheduler.submit(requestOf({ ...plain, n: 2 }));
    while (scheduler.active < 2) await turn();
    const refused = (): unknown => scheduler.submit(requestOf(plain));
    const second = scheduler.submit(requestOf(plain));
    expect(refused).toThrow(OverloadError);
    await Promise.all([collect(first, 2, () => undefined), collect(second, 1, () => undefined)]);
    expect(() => scheduler.submit(requestOf({ ...plain, n: 3 }))).toThrow(/3 continuations/);
    const last = scheduler.submit(requestOf(plain));
    const closed = scheduler.close();
    expect(refused).toThrow(/shutting down/);
    await expect(collect(last, 1, () => undefined)).resolves.toMatchObject({ ended: 1 });
    await closed;
  });

  it('hands out the logits after every prompt token, and states at boundaries', async () => {
    const scheduler = new Scheduler(engine, { chunk: 7 });
    const prompt = [...randomTokens(model, 20, 1)];
    const positions: number[] = [];
    const boundaries: number[] = [];
    const events = scheduler.submit({
      key: '',
      prompt,
      maxTokens: 0,
      choices: [],
      onPromptLogits: (position) => positions.push(position),
      boundaries: [5, 13],
      onBoundary: (state, length) => boundaries.push(length, state.length),
    });
    for await (const event of events) expect(event.type).toBe('prompt');
    expect(positions).toEqual(prompt.map((_, position) => position));
    expect(boundaries).toEqual([5, 5, 13, 13]);
  });
});
