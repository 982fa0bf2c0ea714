/** `linnet medusa train`: trains draft heads for a model and saves both in one folder. */
import { headRanks, topAccuracy } from '../../../evaluation/medusa/ranks.ts';
import { formatPercent } from '../../../report/quantities.ts';
import { pairShape } from '../../../training/plans/text.ts';
import { type HeadAccuracy, headsShape, type TrainedHeads, trainHeads } from '../../../training/plans/heads.ts';
import type { CompileOptions } from '../../../runtime/compile.ts';
import { defineCommand, settings } from '../../framework/command.ts';
import type { CommandContext } from '../../framework/context.ts';
import { optionsOf } from '../../framework/schema-options.ts';
import { folderOf } from '../../options/model-options.ts';
import { trainingOptions } from '../../options/training-options.ts';
import { reportTraining } from '../../output/training-report.ts';

/** Ranks that accuracy is reported for, as in Medusa's own reports. */
const reportedRanks = 10;

const { heads, joint, mtp, ...headsSettings } = optionsOf(headsShape);

export const medusaTrain = defineCommand({
  description:
    "Trains Medusa heads, which guess several tokens ahead from a model's hidden state, and saves model and heads as a new folder. The model itself " +
    'changes only with --joint. Heads of an encoder-decoder model train on pairs (--source-field, --target-field) or, without these, on plain text ' +
    "with spans cut out. Accuracy is measured on held-out text: --held-out documents or, without it, the last twentieth of the rows. A frozen model's " +
    "hidden states are computed once if rows are seen several times. Runs are recorded and resumed like finetune's.",
  examples: [
    'linnet medusa train runs/augmented --data stories.jsonl --heads 4 --steps 500 --lr 1e-3 --out runs/medusa',
    'linnet medusa train runs/augmented --data stories.jsonl --held-out 50 --heads 4 --steps 500 --out runs/medusa --json',
    'linnet medusa train models/t5 --data pairs.csv --source-field en --target-field de --steps 500 --out runs/t5-medusa',
    'linnet medusa train runs/augmented --data stories.jsonl --joint --base-rate 0.25 --steps 500 --out runs/medusa',
    'linnet medusa train models/qwen3.5 --data stories.jsonl --mtp --heads 3 --steps 500 --out runs/mtp',
  ],
  arguments: { model: folderOf('the model') },
  options: { heads, mtp, joint, ...settings({ ...headsSettings, ...optionsOf(pairShape) }), ...trainingOptions },
  async run(context, { model, lr: learningRate, ...values }) {
    const { device, threads } = values;
    const progress = context.progress('hidden states', 'rows');
    try {
      return await reportTraining(
        context,
        (hooks) =>
          trainHeads(
            model,
            { ...values, learningRate },
            {
              ...hooks,
              onHiddenStates(rows, total) {
                progress.update(rows, total);
                if (rows === total) progress.finish();
              },
              measure: (trained) => measureHeads(context, trained, { device, threads }),
            },
          ),
        ({ heads, headLayers, measured }) => ({
          heads,
          headLayers,
          heldOutTokens: measured?.positions,
          topAccuracy: measured?.accuracy,
        }),
      );
    } finally {
      progress.finish();
    }
  },
});

async function measureHeads(
  context: CommandContext,
  { model, medusa, parameters, heldOut }: TrainedHeads,
  compile: CompileOptions,
): Promise<HeadAccuracy> {
  const windows = heldOut.map((text) => ({ ...text, scoredFrom: 1 }));
  const ranks = await headRanks(model, medusa, parameters, windows, { ...compile, signal: context.signal });
  const accuracy = topAccuracy(ranks, Math.min(reportedRanks, model.sizes.vocabulary));
  printAccuracy(context, accuracy, ranks.positions);
  return { accuracy, positions: ranks.positions };
}

function printAccuracy(context: CommandContext, accuracy: readonly (readonly number[])[], positions: number): void {
  const shown = [1, 2, 3, 5, 10].filter((k) => k <= reportedRanks);
  const rows = accuracy.map((within, head) => ({ head: head + 1, within }));
  context.print(`share of tokens among the most likely k of each head, over ${positions} held-out positions:`);
  context.table(rows, [
    { header: 'head', value: 'head' },
    ...shown.map((k) => ({
      header: `top ${k}`,
      value: ({ within }: (typeof rows)[number]) => within[Math.min(k, within.length) - 1] ?? 0,
      format: formatPercent,
    })),
  ]);
}
