/** Speculation on a real pretrained LLaMA: greedy text stays the same, token for token, whatever drafts it. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mixerPreset } from '../../src/attention/presets.ts';
import { type LoadedModel, loadCausalModel } from '../../src/checkpoint/load-model.ts';
import { readDocuments } from '../../src/data/documents/documents.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import { generateToEnd } from '../decoding/generated.ts';
import type { Drafter } from '../../src/decoding/speculation/drafters/drafter.ts';
import { lookupDrafter } from '../../src/decoding/speculation/drafters/registry.ts';
import { MedusaDrafter } from '../../src/decoding/speculation/drafters/medusa-drafter.ts';
import { SpeculationStatistics, speculative } from '../../src/decoding/speculation/speculative.ts';
import { compareRules } from '../../src/studies/rules/verification-rules.ts';
import { float32, type Tensor } from '../../src/graph/tensor.ts';
import { linearize } from '../../src/models/linearization/linearize.ts';
import { MedusaHeads } from '../../src/models/medusa/medusa-heads.ts';
import { medusaParameters } from '../../src/models/medusa/medusa.ts';
import { Random } from '../../src/random.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { present, thirdParty } from '../fixtures.ts';

const folder = thirdParty('stories260k');
const texts = thirdParty('text/tinystories.jsonl');
const absent = folder === undefined || texts === undefined;
const count = 20;
const tokens = 256;

/** The pretrained model, and the same linearized with branches that are not idle. */
async function models(loaded: LoadedModel): Promise<Record<string, Pick<LoadedModel, 'model' | 'parameters'>>> {
  const random = new Random(7);
  const augmented = linearize(loaded.model, loaded.parameters, mixerPreset('augmented', { group: 16, kernel: 9 }));
  const parameters = new Map<string, Tensor<'float32'>>();
  for (const [name, { shape, data }] of augmented.parameters) {
    const fill = name.endsWith('global_factor')
      ? () => 0.3
      : name.endsWith('dwconv.weight')
        ? () => 0.1 * random.normal()
        : undefined;
    parameters.set(name, float32(shape, fill === undefined ? data : Float32Array.from(data, fill)));
  }
  return { softmax: loaded, augmented: { model: augmented.model, parameters } };
}

describe.skipIf(absent)(
  `speculation on stories260k${absent ? ' (skipped: third-party fixtures are absent)' : ''}`,
  () => {
    const prompts: number[][] = [];
    const engines: Record<string, DecodingEngine> = {};
    let heads: MedusaHeads;

    beforeAll(async () => {
      const loaded = await loadCausalModel(present(folder));
      const tokenizer = await loadTokenizer(present(folder));
      for await (const { text } of readDocuments([present(texts)])) {
        prompts.push([...tokenizer.encode(text, { bos: true })].slice(0, 4 + 3 * prompts.length));
        if (prompts.length === count) break;
      }
      for (const [name, { model, parameters }] of Object.entries(await models(loaded))) {
        engines[name] = await DecodingEngine.create(model, parameters, { threads: 1 });
      }
      // Heads of random numbers, whose guesses are as good as chance.
      const config = { heads: 3, layers: 1 };
      const random = new Random(3);
      const parameters = new Map(
        [...medusaParameters(config, loaded.model.sizes)].map(([name, { shape }]) => {
          const length = shape.reduce((product, dim) => product * dim, 1);
          return [
            name,
            float32(
              shape,
              Float32Array.from({ length }, () => 0.2 * random.normal()),
            ),
          ] as const;
        }),
      );
      heads = await MedusaHeads.create(config, loaded.model.sizes, parameters, { threads: 1 });
    });
    afterAll(async () => {
      for (const engine of Object.values(engines)) await engine.dispose();
      await heads.dispose();
    });

    it.each(['softmax', 'augmented'])(
      `%s: ${count} prompts × ${tokens} tokens, lookup and random heads`,
      async (name) => {
        const engine = engines[name];
        const statistics = { lookup: new SpeculationStatistics(), medusa: new SpeculationStatistics() };
        for (const promptTokens of prompts) {
          const options = { promptTokens, maxTokens: tokens, ignoreEos: true };
          const expected = await generateToEnd(engine, options);
          const drafters: Record<keyof typeof statistics, Drafter> = {
            lookup: lookupDrafter(),
            medusa: new MedusaDrafter(heads, [[0], [1], [2], [0, 0], [0, 1], [1, 0], [0, 0, 0]]),
          };
          for (const drafter of ['lookup', 'medusa'] as const) {
            const method = speculative(drafters[drafter], { statistics: statistics[drafter] });
            const result = await generateToEnd(engine, { ...options, method });
            expect(result.tokens, `${drafter} after ${promptTokens.length} tokens`).toEqual(expected.tokens);
            expect(result.state.length).toBe(expected.state.length);
          }
        }
        expect(statistics.lookup.summary.tokensPerStep).toBeGreaterThan(1.1);
        expect(statistics.medusa.summary.tokensPerStep).toBeLessThan(1.5); // bad drafts change nothing but the speed
      },
    );

    it.each(['softmax', 'augmented'])(
      '%s: node logits of stock trees equal those of sequential decoding',
      async (name) => {
        const rows = await compareRules(engines[name], prompts.slice(0, 3), { tokens: 128 });
        const [exact, ...others] = rows;
        expect(exact).toMatchObject({ name: 'exact', mismatches: 0 });
        expect(exact.maxLogitError).toBeLessThan(1e-4);
        for (const { mismatches } of others) {
          if (name === 'softmax') expect(mismatches).toBe(0);
          else expect(mismatches).toBeGreaterThan(0);
        }
      },
    );
  },
);
