/**
 * A small model trained with a convolution that reads the future (paper, section 4.2 and Figure 4). Unmasked, the loss
 * collapses, since the label of a position is the input of the next, which the filter hands over; asked without a future,
 * the model knows nothing. Between both ends filter weights of the future are multiplied by 1 − s: wrong on purpose for every
 * s below 1, so that mask is made here, of parameters, and no mixer knows it.
 */
import { z } from 'zod';
import { convolutionReach, filterName } from '../../attention/convolution-config.ts';
import { parseMixer } from '../../attention/mixers.ts';
import { type PackedDataset, packDocuments } from '../../data/datasets/packing.ts';
import type { Document } from '../../data/documents/document.ts';
import { documentTokens } from '../../data/documents/document-tokens.ts';
import { readDocuments } from '../../data/documents/documents.ts';
import { LinnetError } from '../../errors.ts';
import { perplexity } from '../../evaluation/perplexity/perplexity.ts';
import type { EvaluationData } from '../../evaluation/perplexity/scored-windows.ts';
import { mul } from '../../graph/ops/elementwise.ts';
import { dataOf, float32, type Weights } from '../../graph/tensor.ts';
import { describeCausalModel } from '../../models/families/index.ts';
import { withMixer } from '../../models/linearization/linearize.ts';
import { initializeParameters } from '../../models/initialize.ts';
import type { CausalModel } from '../../models/model.ts';
import type { ParameterSource } from '../../nn/parameters.ts';
import { Random } from '../../random.ts';
import { byteTokenizer } from '../../tokenizer/bytes.ts';
import { causalObjective, type Objective } from '../../training/objectives/next-token.ts';
import { parseTrainingSettings } from '../../training/settings.ts';
import type { TrialHooks } from '../frame/study.ts';
import { trainTrial } from '../frame/train-trial.ts';

export const leakRun = z.strictObject({
  /** Mean −log p per byte of the batch, in nats, before each optimizer step; counted from 1. */
  points: z.array(z.strictObject({ step: z.int(), loss: z.number() })).readonly(),
  /** Mean −log p, in nats, of the byte after a stretch of held-out text that ends there: there is no future to read. */
  nextByteLoss: z.number(),
});

export type LeakRun = z.output<typeof leakRun>;

/** Enough for a book; longer texts are cut. */
const mostCharacters = 400_000;

const length = 128;

/** Bytes before the one asked for; a multiple of 64, so that no padding stands in for the future. */
const contextBytes = 64;

const questions = 256;

/** Local relu² attention and a convolution of 4 past and, unmasked, 4 future filter weights. */
function demonstrationModel(masked: boolean): CausalModel {
  const mixer = parseMixer({ kind: 'linear', group: 16, local: {}, convolution: { kernel: 9, masked } });
  const plain = describeCausalModel({
    model_type: 'llama',
    vocab_size: byteTokenizer().vocabularySize,
    hidden_size: 64,
    intermediate_size: 128,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    max_position_embeddings: length,
    tie_word_embeddings: true,
  });
  return withMixer(plain, mixer);
}

/** The training text, and questions about its held-out last tenth. */
interface LeakText {
  readonly dataset: PackedDataset;
  readonly asked: EvaluationData;
}

/** @throws LinnetError `INPUT` for too little text, and as `readDocuments` */
export async function leakText(sources: readonly string[]): Promise<LeakText> {
  const text = await beginningOf(readDocuments(sources));
  const heldOut = Math.floor(0.9 * text.length);
  const dataset = await packDocuments([{ text: text.slice(0, heldOut) }], byteTokenizer(), { length });
  return { dataset, asked: nextByteQuestions(text.slice(heldOut)) };
}

/** One training: how much of the future is masked, and the seed of weights and batches. */
export interface LeakTraining {
  /** 0 applies the future's filter weights in full, 1 not at all, s multiplies them by 1 − s. */
  readonly strength: number;
  readonly seed: number;
  readonly steps: number;
  readonly text: LeakText;
}

/** Trains a model, then tests it without a future. @throws LinnetError `ABORTED` when the signal fires */
export async function trainAndAsk(
  { strength, seed, steps, text: { dataset, asked } }: LeakTraining,
  hooks: TrialHooks,
): Promise<LeakRun> {
  const model = demonstrationModel(strength === 1);
  const plain = causalObjective(model, length);
  const objective: Objective = {
    ...plain,
    loss: (source, batch) => plain.loss(strength === 1 ? source : maskedToDegree(source, strength), batch),
  };
  const job = {
    model,
    dataset,
    variant: { strength },
    parameters: initializeParameters(model, new Random(seed)),
    objective,
    // The rate is large for a model this small: the point shows within a minute.
    settings: parseTrainingSettings({
      steps,
      seed,
      length,
      batch: 8,
      learningRate: 5e-3,
      schedule: 'cosine',
      warmup: Math.min(20, Math.floor(steps / 10)),
    }),
  };
  const { losses, parameters } = await trainTrial(job, hooks);
  const masked = maskedTensors(parameters, strength);
  return {
    points: losses.map((value, at) => ({ step: at + 1, loss: value })),
    nextByteLoss: (await perplexity(model, masked, asked, hooks.compile)).nll,
  };
}

/** Parameters whose filters are masked to a degree s, for a model whose convolution is not masked. */
function maskedToDegree(source: ParameterSource, strength: number): ParameterSource {
  if (strength === 0) return source;
  const { graph } = source;
  return {
    graph,
    multiply: source.multiply?.bind(source),
    lookUp: source.lookUp?.bind(source),
    parameter(name, shape) {
      const value = source.parameter(name, shape);
      if (!name.endsWith(filterName)) return value;
      const K = shape[2];
      const factors = graph.sharedNumbers(`mask of degree ${strength}, K=${K}`, [1, 1, K, 1], (at) =>
        degree(K, strength, at),
      );
      return mul(value, factors);
    },
  };
}

function maskedTensors(parameters: Weights, strength: number): typeof parameters {
  return new Map(
    [...parameters].map(([name, value]) => {
      if (!name.endsWith(filterName)) return [name, value];
      const K = value.shape[2];
      const data = dataOf(value, 'float32').map((weight, at) => weight * Math.fround(degree(K, strength, at % K)));
      return [name, float32(value.shape, data)];
    }),
  );
}

/** Factor of a filter weight; the weights after the centre read the future. */
function degree(K: number, strength: number, at: number): number {
  return at > convolutionReach(K) ? 1 - strength : 1;
}

/** Stretches of held-out text that ask only for their last byte: the model sees nothing after it. */
function nextByteQuestions(text: string): EvaluationData {
  const tokens = documentTokens(byteTokenizer(), text, false);
  const places = tokens.length - contextBytes - 1;
  if (places < 1) {
    throw new LinnetError(
      'INPUT',
      `the held-out text has only ${tokens.length} bytes; give at least 10,000 characters of text`,
    );
  }
  const count = Math.min(questions, places);
  const windows = Array.from({ length: count }, (_, i) => {
    const start = Math.floor((i * places) / count);
    return { tokens: tokens.slice(start, start + contextBytes + 1), scoredFrom: contextBytes };
  });
  return { windows, documents: 1 };
}

async function beginningOf(documents: AsyncIterable<Document>): Promise<string> {
  let text = '';
  for await (const document of documents) {
    text += document.text;
    if (text.length >= mostCharacters) break;
  }
  return text.slice(0, mostCharacters);
}
