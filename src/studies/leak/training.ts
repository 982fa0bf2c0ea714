/**
 * A small model trained with a convolution that reads the future (paper, section 4.2 and Figure 4). Unmasked, the loss
 * collapses, since the label of a position is the input of the next, which the filter hands over; asked without a future,
 * the model knows nothing.
 */
import { documentTokens } from '../../data/documents/document-tokens.ts';
import { z } from 'zod';
import type { MixerConfig } from '../../attention/mixer.ts';
import { parseMixer } from '../../attention/mixers.ts';
import { BatchStream } from '../../data/rows/batches.ts';
import { type Document, readDocuments } from '../../data/documents/documents.ts';
import { type PackedDataset, packDocuments } from '../../data/datasets/packing.ts';
import { LinnetError, requireRunning } from '../../errors.ts';
import { describeCausalModel } from '../../models/families/index.ts';
import { initializeParameters } from '../../models/initialize.ts';
import type { CausalModel } from '../../models/model.ts';
import { Random } from '../../random.ts';
import { compile } from '../../runtime/compile.ts';
import { byteTokenizer } from '../../tokenizer/bytes.ts';
import { adamWDefaults } from '../../training/adamw.ts';
import { learningRate } from '../../training/schedule.ts';
import { causalObjective } from '../../training/objectives/next-token.ts';
import { initialState, TrainingProgram } from '../../training/step-program.ts';
import type { TrialHooks } from '../frame/study.ts';
import { maskedTensors, maskedToDegree } from './masking-degree.ts';
import { perplexity } from '../../evaluation/perplexity/perplexity.ts';
import type { EvaluationData } from '../../evaluation/perplexity/scored-windows.ts';

/** Measurements of a training. */
export const leakRun = z.strictObject({
  /** Mean −log p per byte of the batch, in nats, before each optimizer step; counted from 1. */
  points: z.array(z.strictObject({ step: z.int(), loss: z.number() })).readonly(),
  /** Mean −log p, in nats, of the byte after a stretch of held-out text that ends there: there is no future to read. */
  nextByteLoss: z.number(),
});

export type LeakRun = z.output<typeof leakRun>;

/** Enough for a book; longer texts are cut. */
const mostCharacters = 400_000;

/** Rows of a batch and bytes per row. */
const rows = 8;
const length = 128;

/** Large for a model this small: the point shows within a minute. */
const peakLearningRate = 5e-3;

/** Bytes read before the one that is asked for; a multiple of 64, so that no padding stands in for the future. */
const contextBytes = 64;

/** Held-out bytes asked for. */
const questions = 256;

/** Local relu² attention and a convolution of 4 past and, unmasked, 4 future filter weights. */
function demonstrationMixer(masked: boolean): MixerConfig {
  return parseMixer({ kind: 'linear', group: 16, local: {}, convolution: { kernel: 9, masked } });
}

function demonstrationModel(masked: boolean): CausalModel {
  const layers = 2;
  const plain = describeCausalModel({
    model_type: 'llama',
    vocab_size: byteTokenizer().vocabularySize,
    hidden_size: 64,
    intermediate_size: 128,
    num_hidden_layers: layers,
    num_attention_heads: 4,
    max_position_embeddings: length,
    tie_word_embeddings: true,
  });
  return plain.withMixers(new Array<MixerConfig>(layers).fill(demonstrationMixer(masked)));
}

/** The text that is trained on, and the questions about the last tenth, which is held out. */
export interface LeakText {
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
  /** 0 applies the filter weights of the future as they are, 1 not at all, s multiplies them by 1 − s. */
  readonly strength: number;
  readonly seed: number;
  readonly steps: number;
  readonly text: LeakText;
}

/** Trains a model, and asks it where there is no future. @throws LinnetError `ABORTED` when the signal fires */
export async function trainAndAsk(
  { strength, seed, steps, text: { dataset, asked } }: LeakTraining,
  { compile: compileOptions, onUpdate, signal }: TrialHooks,
): Promise<LeakRun> {
  const model = demonstrationModel(strength === 1);
  const objective = causalObjective(model, length);
  const batches = new BatchStream(dataset, { batchSize: rows, seed });
  const program = await TrainingProgram.create({
    parameters: model.parameters,
    objective: {
      ...objective,
      loss: (source, batch) => objective.loss(strength === 1 ? source : maskedToDegree(source, strength), batch),
    },
    rows,
    accumulate: 1,
    optimizer: adamWDefaults,
    clip: 1,
    compile: (graph) => compile(graph, compileOptions),
  });
  try {
    const state = initialState(program.blocks, initializeParameters(model, new Random(seed)));
    const warmup = Math.min(20, Math.floor(steps / 10));
    const points: LeakRun['points'][number][] = [];
    for (let update = 0; update < steps; update++) {
      requireRunning(signal, `after ${update} of ${steps} optimizer steps`);
      const { value: batch } = batches.next();
      if (batch === undefined) throw new LinnetError('INTERNAL', 'internal: an endless stream of batches ended');
      const rate = learningRate({ name: 'cosine', peak: peakLearningRate, warmup, total: steps }, update);
      const { loss } = await program.step(state, [batch.values], rate, update);
      points.push({ step: update + 1, loss });
      onUpdate?.({ update: update + 1, total: steps, loss, learningRate: rate });
    }
    const parameters = maskedTensors(state.parameters, strength);
    return { points, nextByteLoss: (await perplexity(model, parameters, asked, compileOptions)).nll };
  } finally {
    await program.dispose();
  }
}

/** Stretches of held-out text, of which only the last byte is asked for: the model is given nothing behind it. */
function nextByteQuestions(text: string): EvaluationData {
  const tokens = documentTokens(byteTokenizer(), text, false);
  const places = tokens.length - contextBytes - 1;
  if (places < 1) {
    throw new LinnetError(
      'INPUT',
      `${tokens.length} bytes of held-out text are too few; give at least 10,000 characters`,
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
