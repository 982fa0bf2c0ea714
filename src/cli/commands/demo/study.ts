/** The measurements of `linnet demo`, in the order in which its report tells them. */
import { preparePrompt } from '../../../engine/prompt.ts';
import { describeMixer } from '../../../attention/mixers.ts';
import { mixerPreset } from '../../../attention/presets.ts';
import type { LoadedModel } from '../../../checkpoint/load-model.ts';
import { type Document, loadDocuments } from '../../../data/documents/documents.ts';
import { packDocuments } from '../../../data/datasets/packing.ts';
import { splitDocuments } from '../../../data/documents/split.ts';
import { DecodingEngine } from '../../../decoding/engine.ts';
import { generateToEnd } from '../../../engine/generate.ts';
import type { Generation } from '../../../engine/text-job.ts';
import { Sampler } from '../../../decoding/sampler.ts';
import { internalError } from '../../../errors.ts';
import { compareMixers, type ComparisonRow } from '../../../studies/comparison.ts';
import { perplexity } from '../../../evaluation/perplexity/perplexity.ts';
import { evaluationData } from '../../../evaluation/perplexity/scored-windows.ts';
import { type DecodingSpeed, decodingSpeed } from '../../../evaluation/speed/decoding-speed.ts';
import { formatFixed } from '../../../report/quantities.ts';
import type { Tokenizer } from '../../../tokenizer/tokenizer.ts';
import { parseTrainingSettings, type TrainingSettings } from '../../../training/settings.ts';
import type { CommandContext } from '../../framework/context.ts';
import {
  describeSpeculationStudy,
  speculationPrompts,
  type SpeculationStudy,
  speculationStudy,
} from './speculation.ts';

/** Mixers that are compared, softmax first: it is the reference. */
export const comparedMixers = ['softmax', 'local', 'local+global', 'local+conv', 'augmented'] as const;

export interface DemoOptions {
  /** The book, as a data source. */
  readonly data: string;
  /** Seconds of training of the conversion. */
  readonly budget: number;
  readonly steps: number;
  readonly learningRate: number;
  readonly batch: number;
  readonly length: number;
  /** Windows of held-out text that are scored. */
  readonly heldOutWindows: number;
  readonly contexts: readonly number[];
  readonly prompt: string;
  readonly maxTokens: number;
  readonly seed: number;
  readonly threads?: number;
}

/** Everything the report shows. */
export interface DemoResults {
  readonly settings: TrainingSettings;
  readonly trainingDocuments: number;
  readonly heldOutTokens: number;
  /** Perplexity of the original model, on the held-out text. */
  readonly base: number;
  readonly rows: readonly ComparisonRow[];
  readonly samples: readonly { readonly name: string; readonly generation: Generation; readonly stateBytes: number }[];
  /** Several tokens per step of the augmented model. */
  readonly speculation: SpeculationStudy;
  readonly speeds: ReadonlyMap<string, readonly DecodingSpeed[]>;
  readonly seconds: number;
}

/** The last documents of the book, which nothing is trained on; of one with fewer, the last tenth. */
const heldOutDocuments = 12;
const heldOutShare = 0.1;

/** A book that comes as one document is cut at the end of a line (or word), so that its last tenth can be kept aside. */
function cutBook(documents: readonly Document[]): readonly Document[] {
  const [book] = documents;
  if (documents.length !== 1) return documents;
  const nearly = Math.floor((1 - heldOutShare) * book.text.length);
  const boundary = ['\n', ' '].map((end) => book.text.lastIndexOf(end, nearly) + 1).find((at) => at > 0);
  if (boundary === undefined) return documents;
  return [
    { ...book, text: book.text.slice(0, boundary) },
    { ...book, text: book.text.slice(boundary) },
  ];
}

/** Runs the demo's measurements; what it does is printed as it goes. */
export async function runDemoStudy(
  context: CommandContext,
  { model, parameters }: LoadedModel,
  tokenizer: Tokenizer,
  options: DemoOptions,
): Promise<DemoResults> {
  const started = performance.now();
  const { length, batch, steps, learningRate, seed, threads } = options;
  const compile = { threads };
  const settings = parseTrainingSettings({
    steps,
    batch,
    length,
    learningRate,
    schedule: 'linear',
    warmup: Math.min(10, steps),
    seed,
  });
  const documents = cutBook(await loadDocuments([options.data]));
  const { training, heldOut } = splitDocuments(documents, {
    heldOut: documents.length > heldOutDocuments ? heldOutDocuments : heldOutShare,
  });
  const dataset = await packDocuments(training, tokenizer, { length });
  const allWindows = await evaluationData(heldOut, tokenizer, { mode: 'text', length, stride: length });
  const windows = { ...allWindows, windows: allWindows.windows.slice(0, options.heldOutWindows) };
  const base = await perplexity(model, parameters, windows, { ...compile, signal: context.signal });
  context.print(
    `original model: perplexity ${formatFixed(base.perplexity, 2)} on ${base.tokens} held-out tokens of ${options.data}`,
  );

  const rows: ComparisonRow[] = [];
  const total = comparedMixers.length * steps;
  const progress = context.progress('tune', 'steps');
  progress.update(0, total);
  const mixers = new Map(comparedMixers.map((name) => [name, mixerPreset(name)]));
  for await (const row of compareMixers({
    model,
    parameters,
    mixers,
    dataset,
    heldOut: windows,
    settings,
    compile,
    signal: context.signal,
    onUpdate: (name, { update, loss }) => {
      progress.update(rows.length * steps + update, total, `${name}, loss ${formatFixed(loss, 3)}`);
    },
  })) {
    rows.push(row);
    progress.finish();
    context.print(
      `${row.name.padEnd(13)} perplexity ${formatFixed(row.before, 1).padStart(8)} after conversion, ` +
        `${formatFixed(row.after, 2).padStart(6)} after ${steps} optimizer steps   (${describeMixer(row.mixer)})`,
    );
  }
  progress.finish();

  const samples = [];
  for (const name of ['softmax', 'augmented']) {
    const row = rows.find((candidate) => candidate.name === name);
    if (row === undefined) continue;
    await using engine = await DecodingEngine.create(row.model, row.parameters, compile);
    const state = engine.newState();
    const generation = await generateToEnd(engine, {
      promptTokens: preparePrompt({ engine, tokenizer }, { text: options.prompt }).tokens,
      maxTokens: options.maxTokens,
      sampler: new Sampler({ temperature: 0.7, topP: 0.95, seed }),
      tokenizer,
      state,
      signal: context.signal,
    });
    context.print(`\n${name} generates: ${options.prompt}${generation.text}\n`);
    samples.push({ name, generation, stateBytes: state.bytes });
  }

  const augmented = rows.find(({ name }) => name === 'augmented');
  if (augmented === undefined) throw internalError('the demo compares no augmented model');
  const speculation = await speculationStudy(augmented, {
    prompts: speculationPrompts(heldOut, tokenizer, options.prompt),
    maxTokens: options.maxTokens,
    compile,
    signal: context.signal,
  });
  context.print(describeSpeculationStudy(speculation));

  const speeds = new Map<string, DecodingSpeed[]>();
  for (const name of ['softmax', 'augmented']) {
    const row = rows.find((candidate) => candidate.name === name);
    if (row === undefined) continue;
    const speed = await context.withProgress(`time ${name}`, 'rounds', (clock) =>
      decodingSpeed(row.model, row.parameters, {
        contexts: options.contexts,
        compile,
        signal: context.signal,
        onProgress: (done, all) => clock.update(done, all),
      }),
    );
    speeds.set(name, speed);
  }
  return {
    settings,
    trainingDocuments: training.length,
    heldOutTokens: base.tokens,
    base: base.perplexity,
    rows,
    samples,
    speculation,
    speeds,
    seconds: (performance.now() - started) / 1000,
  };
}
