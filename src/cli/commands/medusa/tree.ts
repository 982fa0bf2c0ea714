/** `linnet medusa tree`: finds the candidate tree that suits a model's heads, a text and this machine. */
import { loadGeneratingModel } from '../../../checkpoint/load-model.ts';
import { loadMedusaHeads, updateMedusaNotes } from '../../../checkpoint/medusa-files.ts';
import type { MedusaTree } from '../../../checkpoint/medusa-trees.ts';
import { defaultTreePaths } from '../../../decoding/speculation/drafters/medusa-drafter.ts';
import {
  interpolateStepTime,
  observedLength,
  searchTrees,
  treeMethods,
} from '../../../decoding/speculation/tree-search.ts';
import { halves } from '../../../evaluation/medusa/calibration.ts';
import { acceptanceByRank, headRanks } from '../../../evaluation/medusa/ranks.ts';
import type { ScoredWindow } from '../../../evaluation/perplexity/scored-windows.ts';
import { fixed, formatFixed, formatRatio } from '../../../report/quantities.ts';
import type { Column } from '../../../report/table.ts';
import { defineCommand, engineOptions, flag, optional, withDefault } from '../../framework/command.ts';
import { folderOf } from '../../options/model-options.ts';
import { readTreeFile } from '../../options/speculation-options.ts';
import { choice, filePath } from '../../framework/option-values.ts';
import { measureForTree, measurementOptions } from './tree-measurements.ts';

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
    const given = await readTreeFile(options.tree);
    const { vocabulary } = loaded.model.sizes;
    const ranks = Math.min(options.ranks, vocabulary);
    const compile = { device: options.device, threads: options.threads };
    const { windows, times, draftMs } = await measureForTree(context, loaded, medusa, compile, options);
    const parameters = new Map([...loaded.parameters, ...medusa.parameters]);
    const [found, compared] = halves(windows);
    const observe = (part: readonly ScoredWindow[]): ReturnType<typeof headRanks> =>
      headRanks(loaded.model, medusa.config, parameters, part, { ...compile, signal: context.signal });
    const calibration = await observe(found);
    const validation = await observe(compared);
    const acceptance = acceptanceByRank(calibration, ranks);
    const search = { acceptance, calibration, validation, times, draftMs, mostNodes: options.maxNodes };
    const sequentialMs = interpolateStepTime(times, 1);
    const rated = (method: MedusaTree['method'], paths: readonly (readonly number[])[]): RatedTree => {
      const nodes = paths.length + 1;
      const depth = Math.max(0, ...paths.map((steps) => steps.length));
      const length = observedLength(paths, validation);
      const ms = interpolateStepTime(times, nodes) + draftMs;
      const speeds = { tokensPerSecond: (1000 * length) / ms, speedup: (length * sequentialMs) / ms };
      return { method, paths, nodes, depth, length, ms, ...speeds };
    };
    const fits = (tree: readonly number[]): boolean =>
      tree.length <= medusa.config.heads && tree.every((rank) => rank < vocabulary);
    const trees: RatedTree[] = [
      ...searchTrees(search).map(({ method, paths }) => rated(method, paths)),
      rated('stock', defaultTreePaths().filter(fits)),
      ...(given === undefined ? [] : [rated('given', given)]),
    ];
    const wanted = given === undefined ? options.method : 'given';
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
        ...{ acceptance, positions: calibration.positions + validation.positions, times, draftMs },
        trees: trees.map(({ paths: _, ...reported }) => reported),
        chosen: { ...chosen, written: !options.dryRun },
      },
    };
  },
});

interface RatedTree {
  readonly method: MedusaTree['method'];
  readonly paths: readonly (readonly number[])[];
  /** Nodes, the root included. */
  readonly nodes: number;
  readonly depth: number;
  readonly length: number;
  readonly ms: number;
  readonly tokensPerSecond: number;
  /** Over one token a step. */
  readonly speedup: number;
}

const columns: readonly Column<RatedTree>[] = [
  { header: 'nodes', value: ({ nodes }) => nodes },
  { header: 'depth', value: ({ depth }) => depth },
  { header: 'tokens/step', value: ({ length }) => length, format: fixed(2) },
  { header: 'step', unit: 'ms', value: ({ ms }) => ms, format: fixed(2) },
  { header: 'tokens/s', value: ({ tokensPerSecond }) => tokensPerSecond, format: fixed(0) },
  { header: 'speed-up', value: ({ speedup }) => speedup, format: formatRatio },
];
