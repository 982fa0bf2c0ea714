/** `linnet medusa train`: trains draft heads for a model and saves both in one folder. */

import { openCheckpoint } from '../../../checkpoint/huggingface.ts';
import { loadCausalModel, saveModel } from '../../../checkpoint/load-model.ts';
import { saveMedusaHeads } from '../../../checkpoint/medusa-files.ts';
import type { Document } from '../../../data/documents.ts';
import { PackedDataset } from '../../../data/packing.ts';
import { LinnetError } from '../../../errors.ts';
import { headRanks, topAccuracy } from '../../../evaluation/medusa/ranks.ts';
import type { ScoredWindow } from '../../../evaluation/perplexity/scored-windows.ts';
import { isMedusaParameter, medusaLimits } from '../../../models/medusa.ts';
import { formatPercent } from '../../../report/quantities.ts';
import { makeTable, textTable } from '../../../report/table.ts';
import { loadTokenizer, type Tokenizer } from '../../../tokenizer/tokenizer.ts';
import { hiddenStatePlaces } from '../../../training/objectives/hidden-states.ts';
import {
  medusaObjective,
  type MedusaTraining,
  medusaTrainingDefaults,
  trainMedusa,
} from '../../../training/objectives/medusa.ts';
import { defineCommand, flag, optional, withDefault } from '../../framework/command.ts';
import type { CommandContext } from '../../framework/context.ts';
import { UsageError } from '../../framework/exit-codes.ts';
import { folderOf } from '../../options/folder-parameters.ts';
import { choice, decimal, integer } from '../../framework/option-values.ts';
import { trainingOptions } from '../../options/training-options.ts';
import { runTraining } from '../../training-run.ts';
import { loadPackedText } from '../../training-text.ts';

/** Ranks that accuracy is told for, as in Medusa's own reports. */
const toldRanks = 10;
/** Share of the rows that is set aside where no documents are held out. */
const heldOutShare = 1 / 20;

export const medusaTrain = defineCommand({
  description:
    'Trains Medusa heads, which guess several tokens ahead from the hidden state of a model, and saves model and heads ' +
    'as a new folder. The model is left as it is, unless --joint. Accuracy is told on text that was not trained on: the ' +
    'documents that --held-out leaves out or, without it, the last twentieth of the rows. Hidden states of a frozen ' +
    'model are computed once where rows are seen several times. Runs are recorded and resumed as by finetune.',
  examples: [
    'linnet medusa train runs/augmented --data stories.jsonl --heads 4 --steps 500 --lr 1e-3 --out runs/medusa',
    'linnet medusa train runs/augmented --data stories.jsonl --held-out 50 --heads 4 --steps 500 --out runs/medusa --json',
    'linnet medusa train runs/augmented --data stories.jsonl --joint --base-rate 0.25 --steps 500 --out runs/medusa',
  ],
  arguments: { model: folderOf('the model') },
  options: {
    heads: withDefault(integer({ min: 1, max: medusaLimits.heads }), 4, {
      placeholder: 'count',
      description: 'heads; head i guesses the token i places after the next one',
    }),
    headLayers: withDefault(integer({ min: 1, max: medusaLimits.layers }), 1, {
      placeholder: 'count',
      description: 'residual blocks of a head',
    }),
    headDecay: withDefault(decimal({ min: 0.01, max: 1 }), medusaTrainingDefaults.decay, {
      placeholder: 'factor',
      description: 'the loss of head i weighs this to the power i',
    }),
    joint: flag('train the model too (Medusa-2): its own loss plus that of the heads'),
    headWeight: optional(decimal({ min: 0, max: 100 }), {
      placeholder: 'factor',
      description: `weight of the heads' loss with --joint (default: ${medusaTrainingDefaults.joint.weight})`,
    }),
    baseRate: optional(decimal({ min: 0, max: 1 }), {
      placeholder: 'factor',
      description: `learning rate of the model over that of the heads with --joint (default: ${medusaTrainingDefaults.joint.rateFactor})`,
    }),
    hiddenStates: withDefault(choice(['auto', ...hiddenStatePlaces]), 'auto', {
      placeholder: 'place',
      description: `where hidden states of a frozen model are kept: auto, ${hiddenStatePlaces.join(', ')}`,
    }),
    ...trainingOptions,
  },
  async run(
    context,
    { model: folder, heads, headLayers, headDecay, joint, headWeight, baseRate, hiddenStates, ...values },
  ) {
    if (!joint && (headWeight ?? baseRate) !== undefined) {
      throw new UsageError('--head-weight and --base-rate are of joint training; give --joint too');
    }
    const medusa: MedusaTraining = {
      heads,
      layers: headLayers,
      decay: headDecay,
      joint: joint
        ? {
            weight: headWeight ?? medusaTrainingDefaults.joint.weight,
            rateFactor: baseRate ?? medusaTrainingDefaults.joint.rateFactor,
          }
        : undefined,
    };
    return runTraining(context, values, async (settings) => {
      const { model, parameters, fingerprint, path: from } = await loadCausalModel(folder);
      const tokenizer = await loadTokenizer(from);
      const text = await loadPackedText(values, settings, tokenizer);
      const { training: dataset, windows } =
        text.heldOut.length > 0
          ? { training: text.dataset, windows: windowsOf(text.heldOut, tokenizer, settings.length) }
          : splitRows(text.dataset);
      const compile = { device: values.device, threads: values.threads };
      return {
        model,
        parameters,
        origin: fingerprint,
        dataset,
        objective: medusaObjective(medusa, model, settings.length),
        summary: text.summary,
        configuration: { ...text.configuration, heads, headLayers, headDecay, ...(joint && { joint: medusa.joint }) },
        async train(job, runFolder) {
          const outcome = await context.withProgress('hidden states', 'rows', (progress) =>
            trainMedusa({
              ...job,
              model,
              dataset,
              origin: fingerprint,
              medusa,
              hiddenStates: hiddenStates === 'auto' ? undefined : hiddenStates,
              hiddenStateFolder: runFolder,
              onHiddenStates: (rows, total) => {
                progress.update(rows, total);
                if (rows === total) progress.finish();
              },
            }),
          );
          return { ...outcome, parameters: new Map([...outcome.base, ...outcome.heads]) };
        },
        async save(out, trained) {
          const ranks = await headRanks(model, medusa, trained, windows, { ...compile, signal: context.signal });
          const accuracy = topAccuracy(ranks, Math.min(toldRanks, model.sizes.vocabulary));
          const trainedHeads = new Map([...trained].filter(([name]) => isMedusaParameter(name)));
          const { dtype, replace } = values;
          const complete = async (unfinished: string): Promise<void> => {
            const base = await fingerprintOf(unfinished);
            const config = { heads, layers: headLayers };
            await saveMedusaHeads(unfinished, { config, parameters: trainedHeads, base, dtype, accuracy });
          };
          const options = { tokenizerFiles: { from }, dtype, replace, complete };
          await saveModel(out, { model, parameters: trained }, options);
          printAccuracy(context, accuracy, ranks.positions);
          return { heads, headLayers, heldOutTokens: ranks.positions, topAccuracy: accuracy };
        },
      };
    });
  },
});

/** Rows trained on, and the last twentieth as windows. @throws LinnetError `INPUT` if there is only one row */
function splitRows(dataset: PackedDataset): { training: PackedDataset; windows: ScoredWindow[] } {
  const kept = dataset.rows - Math.max(1, Math.round(dataset.rows * heldOutShare));
  if (kept < 1) {
    throw new LinnetError(
      'INPUT',
      'one row of text cannot be both trained on and measured on; give more text, or a smaller --length',
    );
  }
  const { starts, counts, tokens } = dataset;
  const training = new PackedDataset({
    ...partsOf(dataset),
    starts: starts.subarray(0, kept),
    counts: counts.subarray(0, kept),
  });
  const windows = Array.from({ length: dataset.rows - kept }, (_, i) => ({
    tokens: tokens.subarray(starts[kept + i], starts[kept + i] + counts[kept + i]),
    scoredFrom: 1,
  }));
  return { training, windows };
}

function partsOf({
  length,
  documents,
  padId,
  tokens,
  starts,
  counts,
}: PackedDataset): ConstructorParameters<typeof PackedDataset>[0] {
  return { length, documents, padId, tokens, starts, counts };
}

/** Documents with BOS, cut into windows as long as the rows that were trained on. */
function windowsOf(documents: readonly Document[], tokenizer: Tokenizer, length: number): ScoredWindow[] {
  const windows: ScoredWindow[] = [];
  for (const { text } of documents) {
    const tokens = tokenizer.encode(text, { bos: tokenizer.bosId !== undefined });
    for (let start = 0; start + 2 < tokens.length; start += length) {
      windows.push({ tokens: tokens.subarray(start, start + length + 1), scoredFrom: 1 });
    }
  }
  return windows;
}

async function fingerprintOf(folder: string): Promise<string> {
  const checkpoint = await openCheckpoint(folder);
  try {
    return await checkpoint.fingerprint();
  } finally {
    await checkpoint.close();
  }
}

function printAccuracy(context: CommandContext, accuracy: readonly (readonly number[])[], positions: number): void {
  const shown = [1, 2, 3, 5, 10].filter((k) => k <= toldRanks);
  const rows = accuracy.map((within, head) => ({ head: head + 1, within }));
  context.print(`share of tokens among the most likely k of each head, over ${positions} held-out positions:`);
  context.print(
    textTable(
      makeTable(
        [
          { header: 'head', value: ({ head }) => head },
          ...shown.map((k) => ({
            header: `top ${k}`,
            value: ({ within }: (typeof rows)[number]) => within[Math.min(k, within.length) - 1] ?? 0,
            format: (share: number) => formatPercent(share),
          })),
        ],
        rows,
      ),
    ),
  );
}
