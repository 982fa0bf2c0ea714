/**
 * Every reader of files and requests, given some damaged and malicious input: a typed error or a right result. The long run
 * is `scripts/fuzz.ts`; its figures are in docs/verify.md.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Random } from '../../src/random.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { mutated } from './mutations.ts';
import { fuzz, judgeInput } from './reader.ts';
import { type OpenReaders, openReaders } from './readers.ts';

const folder = suiteFolder();
let open: OpenReaders;
beforeAll(async () => {
  open = await openReaders(folder);
}, 120_000);
afterAll(() => open[Symbol.asyncDispose]());

describe('readers', () => {
  it('accept what they are to be given', async () => {
    const refused: string[] = [];
    for (const { name, samples, ...reader } of open.readers) {
      for (const [index, sample] of samples.entries()) {
        const { accepted, failure, refusal } = await judgeInput({ name, samples, ...reader }, sample);
        if (!accepted || failure !== undefined) refused.push(`${name}, sample ${index}: ${failure ?? refusal ?? ''}`);
      }
    }
    expect(refused).toEqual([]);
  });

  it('answer hostile input with typed errors or right results', async () => {
    let inputs = 0;
    for (const reader of open.readers) {
      const count = Math.max(10, Math.round(500 / reader.cost));
      const counts = await fuzz(reader, { seed: 1, count });
      expect(counts.failures).toEqual([]);
      inputs += counts.inputs;
    }
    expect(inputs).toBeGreaterThan(1000);
  }, 120_000);
});

/** Inputs that long runs found, as reader, seed and number. */
const found: readonly (readonly [string, number, number])[] = [
  ['record of a run, run.json', 1, 306], // a schema that calls itself, for lists 5000 deep
  ['rows of tasks, .parquet', 2, 550], // a failure that nobody waited for ended the process
];

it.each(found)('what was found stays mended: %s, seed %i, input %i', async (name, seed, number) => {
  const reader = open.readers.find((one) => one.name === name);
  const counts = reader === undefined ? undefined : await fuzz(reader, { seed, count: 1, first: number });
  await new Promise((later) => setImmediate(later)); // a rejection without a listener fails the run
  expect(counts?.failures ?? []).toEqual([]); // Parquet needs the third-party fixtures
});

describe('the fuzzer', () => {
  const reader = (read: (bytes: Buffer) => unknown) => ({
    ...{ name: 'x', kind: 'json' as const, samples: [Buffer.from('{"a":[1,2]}')], cost: 1 },
    read,
  });

  it('finds what is not a typed error, and what repeats it', async () => {
    const { failures } = await fuzz(
      reader((bytes) => JSON.parse(bytes.toString())),
      { seed: 1, count: 50 },
    );
    expect(failures[0]).toMatch(/^x, seed 1, input \d+: not a typed error: SyntaxError/);
  });

  it('ends when its time is over, after one input at least', async () => {
    const slow = reader(() => new Promise((later) => setTimeout(later, 5)));
    const counts = await fuzz(slow, { seed: 1, count: Infinity, until: performance.now() + 50 });
    expect(counts.inputs).toBeLessThan(20);
    expect(await fuzz(slow, { seed: 1, count: Infinity, until: 0 })).toMatchObject({ inputs: 1, accepted: 1 });
  });

  it('finds what is accepted and should not be', async () => {
    const { failures } = await fuzz({ ...reader(() => 0), isOriginal: () => false }, { seed: 1, count: 1 });
    expect(failures).toEqual([expect.stringContaining('accepted with other content')]);
  });

  it('gives the same input for the same seed, and others for others', () => {
    const samples = [Buffer.from('{"a":[1,2],"b":"text"}')];
    const made = (seed: number): string => mutated(samples, 'json', new Random(seed)).toString('hex');
    expect(made(3)).toBe(made(3));
    expect(new Set(Array.from({ length: 40 }, (_, seed) => made(seed))).size).toBeGreaterThan(30);
  });
});
