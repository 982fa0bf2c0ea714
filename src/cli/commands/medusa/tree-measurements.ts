/** Measurements for the choice of a candidate tree: calibration text, and times of steps and drafting on this machine. */
import type { z } from 'zod';
import { documentTokens } from '../../../data/documents/document-tokens.ts';
import type { LoadedModel } from '../../../checkpoint/load-model.ts';
import type { StoredMedusa } from '../../../checkpoint/medusa-files.ts';
import { type Document, loadDocuments } from '../../../data/documents/documents.ts';
import { readRecords } from '../../../data/files/records.ts';
import { DecodingEngine } from '../../../decoding/engine.ts';
import type { StepEngine } from '../../../decoding/step-engine.ts';
import type { StepTime } from '../../../decoding/speculation/tree-search.ts';
import { answers, type ContinuationOptions, continuations } from '../../../evaluation/medusa/calibration.ts';
import { type ScoredWindow, slidingWindows } from '../../../evaluation/perplexity/scored-windows.ts';
import { draftTime, measuredSizes, verificationSpeed } from '../../../evaluation/speed/verification-speed.ts';
import { MedusaHeads } from '../../../models/medusa/medusa-heads.ts';
import { byKind, decoderOf, type EncoderDecoderModel, type GeneratingModel } from '../../../models/model.ts';
import type { CompileOptions } from '../../../runtime/compile.ts';
import { loadTokenizer, type Tokenizer } from '../../../tokenizer/tokenizer.ts';
import { checkPairFields, pairShape } from '../../../training/plans/pairs.ts';
import { onlyHeldOut } from '../../../training/plans/text.ts';
import { UsageError } from '../../framework/exit-codes.ts';
import type { CommandContext } from '../../framework/context.ts';
import { settings, withDefault } from '../../framework/command.ts';
import { choice, decimal, integer } from '../../framework/option-values.ts';
import { optionsOf } from '../../framework/schema-options.ts';
import { documentSources, fieldOption } from '../../options/text-options.ts';

export const measurementOptions = {
  data: documentSources,
  heldOut: withDefault(integer(0), 0, 'read only the last documents, as training with this option leaves out (0: all)'),
  calibrate: withDefault(
    choice(['generated', 'text'], 'kind'),
    'generated',
    'generated: what the model generates after prompts from the data, or for its texts; text: the data itself, pairs ' +
      'for an encoder-decoder model',
  ),
  maxNodes: withDefault(integer(2, 512), 64, 'largest tree, its root included'),
  seed: withDefault(integer(0, 0x7fffffff, 'number'), 0, 'of prompts and continuations'),
  ...settings({
    ...optionsOf(pairShape),
    field: fieldOption,
    prompts: withDefault(integer(2, 4096), 32, 'calibration texts: continuations, or windows of the data'),
    promptLength: withDefault(
      integer(1, 65536, 'tokens'),
      48,
      'prompt of a continuation; of encoder-decoder models, the most that is read of a text',
    ),
    tokens: withDefault(integer(8, 65536), 160, 'length of a calibration text'),
    temperature: withDefault(decimal(0, 100), 0, 'of the continuations'),
    context: withDefault(
      integer(1, 1 << 24, 'tokens'),
      256,
      'tokens read before the timed steps; matters for softmax layers',
    ),
    rounds: withDefault(integer(1, 10_000), 9, 'timed steps of each size'),
    ranks: withDefault(integer(1, 64), 10, 'guesses of a head that a tree may use'),
  }),
};
export type TreeMeasurementOptions = z.output<z.ZodObject<typeof measurementOptions>>;

export interface TreeMeasurements {
  readonly windows: readonly ScoredWindow[];
  readonly times: readonly StepTime[];
  /** Median time in which the heads guess. */
  readonly draftMs: number;
}

/**
 * Generates or reads calibration text, and times steps of every size and drafting.
 * @throws LinnetError as `continuations` and the readers of texts; UsageError for pairs that only one field is given of
 */
export async function measureForTree(
  context: CommandContext,
  loaded: LoadedModel<GeneratingModel>,
  medusa: StoredMedusa,
  compile: CompileOptions,
  options: TreeMeasurementOptions,
): Promise<TreeMeasurements> {
  const { model } = loaded;
  const tokenizer = await loadTokenizer(loaded.path);
  await using engine = await DecodingEngine.create(model, loaded.parameters, compile);
  const windows = await byKind(model, {
    causal: () => plainWindows(context, engine, tokenizer, options),
    'encoder-decoder': (own) => pairWindows(context, engine, own, tokenizer, options),
  });
  await using heads = await MedusaHeads.create(medusa.config, model.sizes, medusa.parameters, compile);
  const source = windows.find((window) => window.source !== undefined)?.source;
  const encoded = source && (await engine.encode(source));
  const { rounds, ranks, maxNodes } = options;
  const times = await context.withProgress('step times', 'rounds', (_, hooks) =>
    verificationSpeed(engine, {
      ...{ nodes: measuredSizes(maxNodes), context: options.context, depth: medusa.config.heads, rounds, encoded },
      ...hooks,
    }),
  );
  return { windows, times, draftMs: await draftTime(heads, decoderOf(model).sizes, ranks, rounds) };
}

async function plainWindows(
  context: CommandContext,
  engine: StepEngine,
  tokenizer: Tokenizer,
  options: TreeMeasurementOptions,
): Promise<ScoredWindow[]> {
  const { tokens: length, prompts } = options;
  const documents = await documentsOf(options);
  const tokens = documents.map(({ text }) => documentTokens(tokenizer, text));
  if (options.calibrate === 'text') {
    return tokens.flatMap((document) => slidingWindows(document, length, length)).slice(0, prompts);
  }
  return await generated(context, options, (generation) => continuations(engine, tokens, generation));
}

async function documentsOf(options: TreeMeasurementOptions): Promise<readonly Document[]> {
  return onlyHeldOut(await loadDocuments(options.data, { field: options.field }), options, 'documents');
}

async function pairWindows(
  context: CommandContext,
  engine: StepEngine,
  { startId, eosIds }: EncoderDecoderModel,
  tokenizer: Tokenizer,
  options: TreeMeasurementOptions,
): Promise<ScoredWindow[]> {
  const { sourceField, targetField, data, prompts, promptLength, tokens } = options;
  checkPairFields(options);
  const end = eosIds.slice(0, 1);
  if (options.calibrate === 'text') {
    if (sourceField === undefined || targetField === undefined) {
      throw new UsageError(
        '--calibrate text of an encoder-decoder model needs pairs; name their columns with --set sourceField and --set targetField',
      );
    }
    const records = onlyHeldOut(await readRecords(data, [sourceField, targetField]), options, 'pairs');
    const encode = (text = '', most = tokens): Int32Array => documentTokens(tokenizer, text, false).subarray(0, most);
    return records.slice(0, prompts).map(({ fields }) => ({
      source: Int32Array.from([...encode(fields.get(sourceField), promptLength), ...end]),
      tokens: Int32Array.from([startId, ...encode(fields.get(targetField)), ...end]),
      scoredFrom: 1,
    }));
  }
  const texts =
    sourceField === undefined
      ? (await documentsOf(options)).map(({ text }) => text)
      : onlyHeldOut(await readRecords(data, [sourceField]), options, 'pairs').map(
          ({ fields }) => fields.get(sourceField) ?? '',
        );
  const sources = texts.map((text) => documentTokens(tokenizer, text, false));
  return await generated(context, options, (generation) => answers(engine, sources, { ...generation, startId }));
}

async function generated(
  context: CommandContext,
  { prompts, promptLength, tokens, temperature, seed }: TreeMeasurementOptions,
  generate: (options: ContinuationOptions) => Promise<ScoredWindow[]>,
): Promise<ScoredWindow[]> {
  return await context.withProgress('calibration', 'tokens', (_, hooks) =>
    generate({ ...{ count: prompts, promptLength, length: tokens, temperature, seed }, ...hooks }),
  );
}
