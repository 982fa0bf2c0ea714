/** Texts that are drafted against the same texts alone, by stored type: the small LLaMA of `assets/`. */
import { fileURLToPath } from 'node:url';
import { loadCausalModel } from '../../src/checkpoint/load-model.ts';
import { compileDecoding } from '../../src/decoding/compile-decoding.ts';
import { drafterMakers, drafters, LearnedTexts } from '../../src/decoding/speculation/drafters/registry.ts';
import { speculative } from '../../src/decoding/speculation/speculative.ts';
import { StepEngine } from '../../src/decoding/step-engine.ts';
import { generateToEnd } from '../decoding/generated.ts';
import { storedSource } from '../../src/export/encoded-graphs.ts';
import type { BlockSize } from '../../src/graph/ops/quantized.ts';
import { readerOf } from '../../src/quantization/weight-reader.ts';
import type { WeightType } from '../../src/quantization/sources.ts';
import { compile } from '../../src/runtime/compile.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import type { ModelWithWeights } from './exported-model.ts';

const source = fileURLToPath(new URL('../../assets/tiny-llama', import.meta.url));

/** How weights are stored: for prompts by another type in the last. */
export const storedTypes = ['f32', 'f16', 'w8a8', 'int4-32', 'int4-64', 'int4-128', 'mixed-32'] as const;
export type StoredType = (typeof storedTypes)[number];

const openings = [
  'Once upon a time',
  'Call me',
  'The state of the union',
  'It was a dark night, and the',
  'We the people',
  'My name is',
  'In the beginning there was',
  'On the way home she saw',
];

export async function tinyLlamaOfPackage(): Promise<ModelWithWeights> {
  return loadCausalModel(source);
}

/** An engine of a model whose weights are stored as a type. */
export async function engineOf({ model, parameters }: ModelWithWeights, type: StoredType): Promise<StepEngine> {
  const [name, block] = type.split('-');
  const compiled = (dtype: WeightType): ReturnType<typeof compileDecoding> => {
    const source = storedSource(model, readerOf(parameters), { dtype, block: blockOf(block), device: 'cpu' });
    return compileDecoding(model, source, (graph) => compile(graph, { threads: 1 }), 'cpu');
  };
  if (name !== 'mixed') {
    return new StepEngine(...(await compiled(name === 'f16' || name === 'w8a8' || name === 'int4' ? name : 'f32')));
  }
  const [[, prompt], [decoder, program, folds, programs, layout]] = [await compiled('w8a8'), await compiled('int4')];
  return new StepEngine(decoder, program, folds, { ...programs, prompt }, layout);
}

function blockOf(text: string | undefined): BlockSize {
  return ([32, 64, 128] as const).find((size) => String(size) === text) ?? 32;
}

/** Texts, and how many of them differ from the text of one token a step. */
export interface DraftedTexts {
  texts: number;
  tokens: number;
  differ: number;
}

/** Greedy texts of `prompts` prompts with each drafter. */
export async function draftedTexts(
  engine: StepEngine,
  { prompts = openings.length, maxTokens = 200 }: { prompts?: number; maxTokens?: number } = {},
): Promise<DraftedTexts> {
  const tokenizer = await loadTokenizer(source);
  const counts = { texts: 0, tokens: 0, differ: 0 };
  const learned = new LearnedTexts();
  for (const opening of openings.slice(0, prompts)) {
    const options = { promptTokens: tokenizer.encode(opening, { bos: true }), maxTokens, ignoreEos: true };
    const alone = await generateToEnd(engine, options);
    for (const name of drafters) {
      if (name === 'off') continue;
      const method = speculative(drafterMakers[name](learned));
      const { tokens } = await generateToEnd(engine, { ...options, method });
      counts.texts++;
      counts.tokens += tokens.length;
      if (tokens.some((token, i) => token !== alone.tokens[i])) counts.differ++;
    }
  }
  return counts;
}
