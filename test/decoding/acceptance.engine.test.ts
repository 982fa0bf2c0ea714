import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { goldenConfig, goldenNumbers, readGolden } from '../parity/golden.ts';
import { randomParameters, randomTokens, tinyLlama } from '../models/tiny-llama.ts';
import { mixerPreset } from '../../src/attention/presets.ts';
import { TokenTree } from '../../src/attention/tree.ts';
import { largest } from '../../src/graph/largest.ts';
import { modelLayout } from '../../src/models/graphs/model-layout.ts';
import type { Random } from '../../src/random.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import { Sampler, type SamplerInput } from '../../src/decoding/sampler.ts';
import { SequenceState } from '../../src/decoding/state/sequence-state.ts';
import {
  type AcceptanceRule,
  acceptanceRules,
  exact,
  rejection,
  typical,
  type Verdict,
} from '../../src/decoding/speculation/acceptance.ts';
import type { Draft } from '../../src/decoding/speculation/drafters/drafter.ts';
import { MedusaDrafter } from '../../src/decoding/speculation/drafters/medusa-drafter.ts';

const golden = goldenConfig(
  'medusa_acceptance',
  z.object({
    vocab: z.int(),
    trees: z.record(z.string(), z.object({ choices: z.array(z.array(z.int())) })),
    cases: z.array(
      z.object({
        case: z.int(),
        tree: z.string(),
        temperature: z.number(),
        posterior_threshold: z.number(),
        posterior_alpha: z.number(),
        pad_slots_change_the_result: z.boolean(),
        pad_safe_accept_length: z.int(),
        pad_safe_emitted_tokens: z.array(z.int()),
      }),
    ),
  }),
);

/** Rows of a golden tensor [rows,V]. */
function goldenRows(io: ReturnType<typeof readGolden>, name: string, V: number): Float32Array[] {
  const data = Float32Array.from(goldenNumbers(io, name));
  return Array.from({ length: data.length / V }, (_, row) => data.subarray(row * V, (row + 1) * V));
}

describe('acceptance as Medusa has it', () => {
  const io = readGolden('medusa_acceptance');
  const { vocab: V, trees, cases } = golden;

  it.each(cases)('case $case, $tree, T = $temperature, ε = $posterior_threshold', async (entry) => {
    const name = `c${entry.case}`;
    const [lm] = goldenRows(io, `${name}.lm_logits`, V);
    const heads = goldenRows(io, `${name}.medusa_logits`, V);
    const root = largest(lm, 1)[0];
    const drafter = new MedusaDrafter(
      { count: heads.length, topK: (_, k) => Promise.resolve(heads.map((logits) => largest(logits, k))) },
      trees[entry.tree].choices,
    );
    const model = tinyLlama([{ kind: 'softmax' }]);
    const state = new SequenceState(model, modelLayout(model));
    const draft = await drafter.propose({ tokens: [root], root, hidden: new Float32Array(0), state, maxDepth: 9 });
    expect([...draft.tokens]).toEqual([...goldenNumbers(io, `${name}.tree_candidates`)]);

    const { temperature, posterior_threshold: epsilon, posterior_alpha: delta } = entry;
    const rule = temperature === 0 ? exact : typical({ epsilon, delta });
    const logits = goldenRows(io, `${name}.tree_logits`, V);
    const { path, next } = await rule({ draft, logits, text: [root], sampler: new Sampler({ temperature }) });
    expect(path.map((node) => draft.tokens[node])).toEqual(entry.pad_safe_emitted_tokens);
    expect(path.length - 1).toBe(entry.pad_safe_accept_length);
    expect(next).toBeGreaterThanOrEqual(0);
  });

  it('covers cases in which padding would have been accepted', () => {
    expect(cases.filter((entry) => entry.pad_slots_change_the_result).length).toBeGreaterThan(5);
  });

  it('typical acceptance at temperature 0 is greedy', async () => {
    for (const { case: number, tree } of cases) {
      const logits = goldenRows(io, `c${number}.tree_logits`, V);
      const tokens = Int32Array.from(goldenNumbers(io, `c${number}.tree_candidates`));
      const draft = { tree: treeOf(trees[tree].choices), tokens };
      const verified = { draft, logits, text: [tokens[0]], sampler: new Sampler() };
      expect(await typical()(verified)).toEqual(await exact(verified));
    }
  });

  it('refuses thresholds that are no probabilities', () => {
    for (const options of [{ epsilon: -0.1 }, { epsilon: 2 }, { delta: Number.NaN }]) {
      expect(() => typical(options)).toThrow(expect.objectContaining({ code: 'CONFIG' }));
    }
  });
});

function treeOf(choices: readonly (readonly number[])[]): TokenTree {
  return new MedusaDrafter({ count: 9, topK: () => Promise.resolve([]) }, choices).ranked.tree;
}

/** Rules that look right and are not. */
const wrongRules: Readonly<Record<string, AcceptanceRule>> = {
  'the rest is drawn from all of p, rejected children included': ({ draft, logits, text, sampler }) => {
    const path = [0];
    for (let node = 0; ; ) {
      const probabilities = sampler.probabilities(logits[node], text);
      let remaining = 1;
      const child = childrenOf(draft, node).find((candidate) => {
        const probability = probabilities[draft.tokens[candidate]];
        if (sampler.random.uniform() * remaining < probability) return true;
        remaining -= probability;
        return false;
      });
      if (child === undefined) return { path, next: sampler.next(logits[node], text) };
      path.push(child);
      node = child;
    }
  },
  'children are accepted with p(x), without renormalizing after a rejection': ({ draft, logits, text, sampler }) => {
    const path = [0];
    for (let node = 0; ; ) {
      const probabilities = sampler.probabilities(logits[node], text);
      const children = childrenOf(draft, node);
      const child = children.find((each) => sampler.random.uniform() < probabilities[draft.tokens[each]]);
      if (child === undefined) {
        for (const each of children) probabilities[draft.tokens[each]] = 0;
        return { path, next: drawFrom(probabilities, sampler.random) };
      }
      path.push(child);
      node = child;
    }
  },
  'typical acceptance': typical(),
};

function childrenOf({ tree }: Draft, node: number): number[] {
  return Array.from({ length: tree.size }, (_, child) => child).filter((child) => tree.parents[child] === node);
}

function drawFrom(weights: Float64Array, random: Random): number {
  let left = random.uniform() * weights.reduce((sum, weight) => sum + weight, 0);
  return Math.max(
    0,
    weights.findIndex((weight) => (left -= weight) < 0),
  );
}

/** Pearson's χ² against expected counts, as deviations from its mean in standard deviations. Small cells are pooled. */
function chiSquareDeviations(counts: ReadonlyMap<string, number>, expected: ReadonlyMap<string, number>): number {
  let statistic = 0;
  let cells = 0;
  let [pooledCount, pooledExpected] = [0, 0];
  const add = (count: number, mean: number): void => {
    statistic += (count - mean) ** 2 / mean;
    cells++;
  };
  for (const [key, mean] of expected) {
    const count = counts.get(key) ?? 0;
    if (mean >= 5) add(count, mean);
    else {
      pooledCount += count;
      pooledExpected += mean;
    }
  }
  if (pooledExpected >= 5) add(pooledCount, pooledExpected);
  const freedom = cells - 1;
  return (statistic - freedom) / Math.sqrt(2 * freedom);
}

describe('sampling', () => {
  const filtered: SamplerInput = { temperature: 0.9, topK: 7, topP: 0.97 };
  const draws = 30_000;

  /** A tree over a real model: what it says of every node, and the distribution of the two tokens after the root. */
  async function prepare(makeSampler: () => Sampler) {
    const model = tinyLlama([mixerPreset('augmented', { group: 4, kernel: 5 })]);
    await using engine = await DecodingEngine.create(model, randomParameters(model, 3), { threads: 1 });
    const text = [...randomTokens(model, 7, 2)];
    const root = text[6];
    const state = engine.newState();
    await engine.prefill(state, text.slice(0, 6));
    const first = await engine.advance(state.fork(), root);
    const distribution = (logits: Float32Array, ...after: number[]): Float64Array =>
      makeSampler().probabilities(logits, [...text, ...after]);
    const afterRoot = distribution(first.logits);
    const likely = [...largest(Float32Array.from(afterRoot), 7)];
    // Children: the likeliest, the fourth, one that the filters forbid, the second; below the first and last two each.
    const forbidden = afterRoot.indexOf(0);
    const tokens = [root, likely[0], likely[3], forbidden, likely[1], likely[2], likely[5], likely[0], likely[4]];
    const draft: Draft = { tree: new TokenTree([-1, 0, 0, 0, 0, 1, 1, 4, 4]), tokens: Int32Array.from(tokens) };
    const request = { state, ...draft, wanted: tokens.map((_, node) => node) };
    const [{ logits }] = await engine.step([request]);

    // The truth, by sequential decoding alone.
    const expected = new Map<string, number>();
    const second = new Map<number, Float32Array>();
    for (const [a, probability] of afterRoot.entries()) {
      if (probability === 0) continue;
      const branch = state.fork();
      await engine.advance(branch, root);
      const { logits: next } = await engine.advance(branch, a);
      second.set(a, next.slice());
      for (const [b, q] of distribution(next, a).entries()) {
        if (q > 0) expected.set(`${a},${b}`, draws * probability * q);
      }
    }
    return { draft, logits, text, expected, second };
  }

  it.each([
    { name: 'exact', rule: acceptanceRules.exact(), isRight: true },
    { name: 'rejection', rule: acceptanceRules.rejection(), isRight: true },
    ...Object.entries(wrongRules).map(([name, rule]) => ({ name: `wrong: ${name}`, rule, isRight: false })),
  ])('χ² over two tokens, $name', async ({ rule, isRight }) => {
    await expectDistribution(rule, isRight, (seed) => new Sampler({ ...filtered, seed }));
  });

  /** Everything that depends on the text: penalties over what has been generated, a bias, and a constraint. */
  const dependent = (seed: number): Sampler =>
    new Sampler(
      {
        temperature: 1.1,
        topP: 0.99,
        repetitionPenalty: 1.2,
        presencePenalty: 0.4,
        frequencyPenalty: 0.6,
        logitBias: { 3: 1, 4: false },
        seed,
      },
      undefined,
      {
        penalizedFrom: 5,
        constraint: (text) =>
          Uint8Array.from({ length: 50 }, (_, token) => (token % 4 === text[text.length - 1] % 4 ? 0 : 1)),
      },
    );

  it.each([
    { name: 'exact', rule: acceptanceRules.exact(), isRight: true },
    { name: 'rejection', rule: acceptanceRules.rejection(), isRight: true },
    ...Object.entries(wrongRules).map(([name, rule]) => ({ name: `wrong: ${name}`, rule, isRight: false })),
  ])('χ² over two tokens with penalties, bias and constraint, $name', async ({ rule, isRight }) => {
    await expectDistribution(rule, isRight, dependent);
  });

  async function expectDistribution(
    rule: AcceptanceRule,
    isRight: boolean,
    makeSampler: (seed: number) => Sampler,
  ): Promise<void> {
    const { draft, logits, text, expected, second } = await prepare(() => makeSampler(0));
    const sampler = makeSampler(9);
    const counts = new Map<string, number>();
    for (let i = 0; i < draws; i++) {
      const { path, next }: Verdict = await rule({ draft, logits, text, sampler });
      const tokens = [...path.slice(1).map((node) => draft.tokens[node]), next];
      const after = second.get(tokens[0]);
      if (tokens.length === 1 && after !== undefined) tokens.push(sampler.next(after, [...text, ...tokens]));
      const key = tokens.slice(0, 2).join(',');
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    const impossible = [...counts.keys()].filter((key) => !expected.has(key));
    const deviations = chiSquareDeviations(counts, expected);
    expect(expected.size).toBeGreaterThan(20);
    if (isRight) {
      expect(impossible).toEqual([]);
      expect(deviations).toBeLessThan(4);
    } else expect(deviations).toBeGreaterThan(20);
  }

  it('takes the last possible child where rounding leaves nothing else', async () => {
    const draft: Draft = { tree: new TokenTree([-1, 0, 0]), tokens: Int32Array.of(0, 1, 2) };
    const logits = Float32Array.of(-Infinity, 0, 0.3);
    const sampler = new Sampler({ temperature: 1, seed: 4 });
    for (let i = 0; i < 2000; i++) {
      const { path } = await rejection({ draft, logits: [logits, logits, logits], text: [0], sampler });
      expect(path.length).toBeGreaterThan(1); // the two children hold all the probability
    }
  });
});
