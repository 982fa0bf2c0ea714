/** `linnet medusa tree`: finds the candidate tree that suits a model's heads, a text and this machine. */
import type { z } from 'zod';
import type { Document } from '../../../data/documents/document.ts';
import { documentTokens } from '../../../data/documents/document-tokens.ts';
import { loadDocuments } from '../../../data/documents/documents.ts';
import { type LoadedModel, loadGeneratingModel } from '../../../checkpoint/load-model.ts';
import { type StoredMedusa, loadMedusaHeads, updateMedusaNotes } from '../../../checkpoint/medusa-files.ts';
import { readRecords } from '../../../data/files/records.ts';
import { DecodingEngine } from '../../../decoding/engine.ts';
import type { StepEngine } from '../../../decoding/step-engine.ts';
import { answers, type ContinuationOptions, continuations, halves } from '../../../evaluation/medusa/calibration.ts';
import { type ScoredWindow, slidingWindows } from '../../../evaluation/perplexity/scored-windows.ts';
import { draftTime, measuredSizes, verificationSpeed } from '../../../evaluation/speed/verification-speed.ts';
import { MedusaHeads } from '../../../models/medusa/medusa-heads.ts';
import { byKind, decoderOf, type EncoderDecoderModel, type GeneratingModel } from '../../../models/model.ts';
import type { CompileOptions } from '../../../runtime/compile.ts';
import { loadTokenizer, type Tokenizer } from '../../../tokenizer/tokenizer.ts';
import { checkPairFields, onlyHeldOut, pairShape } from '../../../training/plans/text.ts';
import { UsageError } from '../../framework/exit-codes.ts';
import type { CommandContext } from '../../framework/context.ts';
import { settings, withDefault, defineCommand, engineOptions, flag, optional } from '../../framework/command.ts';
import { choice, decimal, integer, filePath } from '../../framework/option-values.ts';
import { optionsOf } from '../../framework/schema-options.ts';
import { documentSources, fieldOption } from '../../options/text-options.ts';
import type { MedusaTree } from '../../../checkpoint/medusa-trees.ts';
import { defaultTreePaths } from '../../../decoding/speculation/drafters/medusa-drafter.ts';
import {
  interpolateStepTime,
  type RatedTree,
  rateTree,
  searchTrees,
  treeMethods,
} from '../../../decoding/speculation/tree-search.ts';
import { acceptanceByRank, headRanks } from '../../../evaluation/medusa/ranks.ts';
import { fixed, formatFixed, formatRatio } from '../../../report/quantities.ts';
import type { Column } from '../../../report/table.ts';
import { folderOf } from '../../options/model-options.ts';
import { readTreeFile } from '../../options/speculation-options.ts';

const measurementOptions = {
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
    context: withDefault(integer(1, 1 << 24, 'tokens'), 256, 'tokens before timed steps; matters for softmax layers'),
    rounds: withDefault(integer(1, 10_000), 9, 'timed steps of each size'),
    ranks: withDefault(integer(1, 64), 10, 'guesses of a head that a tree may use'),
  }),
};
type TreeMeasurementOptions = z.output<z.ZodObject<typeof measurementOptions>>;

/**
 * Generates or reads calibration text, and times steps of every size and the median draft.
 * @throws LinnetError as `continuations` and the readers of texts; UsageError for pairs that only one field is given of
 */
async function measureForTree(
  context: CommandContext,
  loaded: LoadedModel<GeneratingModel>,
  medusa: StoredMedusa,
  compile: CompileOptions,
  options: TreeMeasurementOptions,
) {
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
      nodes: measuredSizes(maxNodes),
      context: options.context,
      depth: medusa.config.heads,
      rounds,
      encoded,
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
        '--calibrate text of an encoder-decoder model needs pairs; name their columns with --source-field and --target-field',
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
    generate({ count: prompts, promptLength, length: tokens, temperature, seed, ...hooks }),
  );
}

export const medusaTree = defineCommand({
  description:
    'Finds the candidate tree of most tokens per second: how often guesses of each rank are right is counted on ' +
    'calibration text, the time of a step of every size is measured on this machine, and trees of every size are found ' +
    'by greedy growth (as Medusa), dynamic programming (as Sequoia) and by whole paths observed. They are compared on ' +
    'the half of the calibration text that they were not found on, and the best goes into the model folder.',
  examples: [
    'linnet medusa tree runs/medusa --data stories.jsonl',
    'linnet medusa tree runs/medusa --data stories.jsonl --held-out 50 --calibrate text --max-nodes 128 --json',
    'linnet medusa tree runs/medusa --data stories.jsonl --tree paths.json',
  ],
  arguments: { model: folderOf('a model with Medusa heads') },
  options: {
    ...measurementOptions,
    method: withDefault(
      choice(['best', ...treeMethods]),
      'best',
      `which search to take the tree of: best, ${treeMethods.join(', ')}`,
    ),
    tree: optional(filePath, 'JSON of rank paths to measure and write instead'),
    dryRun: flag('leave the model folder as it is'),
    ...engineOptions,
  },
  async run(context, options) {
    const loaded = await loadGeneratingModel(options.model);
    const medusa = await loadMedusaHeads(options.model, loaded);
    const fileTree = await readTreeFile(options.tree);
    const { vocabulary } = loaded.model.sizes;
    const ranks = Math.min(options.ranks, vocabulary);
    const compile = { device: options.device, threads: options.threads };
    const { windows, times, draftMs } = await measureForTree(context, loaded, medusa, compile, options);
    const parameters = new Map([...loaded.parameters, ...medusa.parameters]);
    const [calibrating, compared] = halves(windows);
    const observe = (part: readonly ScoredWindow[]): ReturnType<typeof headRanks> =>
      headRanks(loaded.model, medusa.config, parameters, part, { ...compile, signal: context.signal });
    const calibration = await observe(calibrating);
    const validation = await observe(compared);
    const acceptance = acceptanceByRank(calibration, ranks);
    const search = { acceptance, calibration, validation, times, draftMs, mostNodes: options.maxNodes };
    const sequentialMs = interpolateStepTime(times, 1);
    const fits = (tree: readonly number[]): boolean =>
      tree.length <= medusa.config.heads && tree.every((rank) => rank < vocabulary);
    const trees: RatedTree<MedusaTree['method']>[] = [
      ...searchTrees(search),
      rateTree('stock', defaultTreePaths().filter(fits), search),
      ...(fileTree === undefined ? [] : [rateTree('given', fileTree, search)]),
    ];
    const wanted = fileTree === undefined ? options.method : 'given';
    const eligible = trees.filter(({ method }) => (wanted === 'best' ? method !== 'stock' : method === wanted));
    const best = eligible.toSorted((a, b) => b.tokensPerSecond - a.tokensPerSecond).at(0);
    const chosen = best ?? trees[trees.length - 1];
    const { method, length: expectedLength, speedup: expectedSpeedup } = chosen;
    if (!options.dryRun) {
      const paths = chosen.paths.map((steps) => [...steps]);
      const tree = { paths, method, expectedLength, expectedSpeedup };
      await updateMedusaNotes(options.model, { acceptance, tree });
    }
    context.print(`step of one token ${formatFixed(sequentialMs, 2)} ms, drafting ${formatFixed(draftMs, 2)} ms`);
    context.table(trees, [
      { header: 'tree', value: (tree) => (tree.method === method ? `${method} *` : tree.method) },
      ...columns,
    ]);
    if (expectedSpeedup < 1) context.print('speculation does not pay for this model on this machine');
    return {
      json: {
        acceptance,
        positions: calibration.positions + validation.positions,
        times,
        draftMs,
        trees: trees.map(({ paths: _, ...reported }) => reported),
        chosen: { ...chosen, written: !options.dryRun },
      },
    };
  },
});

const columns: readonly Column<RatedTree>[] = [
  { header: 'nodes', value: 'nodes' },
  { header: 'depth', value: 'depth' },
  { header: 'tokens/step', value: 'length', format: fixed(2) },
  { header: 'step', unit: 'ms', value: 'ms', format: fixed(2) },
  { header: 'tokens/s', value: 'tokensPerSecond', format: fixed(0) },
  { header: 'speed-up', value: 'speedup', format: formatRatio },
];
