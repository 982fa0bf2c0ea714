/** Training from random weights. */
import { z } from 'zod';
import type { MixerConfig } from '../../attention/mixer.ts';
import { saveModel } from '../../checkpoint/load-model.ts';
import { LinnetError } from '../../errors.ts';
import { describeCausalModel } from '../../models/families/index.ts';
import { recomputing } from '../../models/graphs/parallel-graph.ts';
import { withMixer } from '../../models/linearization/linearize.ts';
import { initializeParameters } from '../../models/initialize.ts';
import { modelPreset } from '../../models/presets/presets.ts';
import { Random } from '../../random.ts';
import { tokenizerFileContents } from '../../tokenizer/byte-level.ts';
import { byteTokenizer, byteTokenizerFiles } from '../../tokenizer/bytes.ts';
import { loadTokenizer, type Tokenizer } from '../../tokenizer/tokenizer.ts';
import { causalObjective } from '../objectives/next-token.ts';
import { requireWeights } from '../memory-form.ts';
import { parseOptions, recomputeShape, settingsOf, trainingShape } from './options.ts';
import { described } from '../settings.ts';
import { runPlan, type TrainingHooks, type TrainingResult } from './run.ts';
import { loadPackedText } from './text.ts';
import { requireKind, requireOptions } from '../../files/arguments.ts';
import type { JsonObject } from '../../files/json-object.ts';
import { filledText } from '../../files/schema-values.ts';

export const pretrainShape = {
  ...recomputeShape,
  tokenizer: described(filledText.optional(), 'folder', 'folder of the tokenizer (default: bytes)'),
};
const pretrainSchema = z.strictObject({ ...trainingShape, ...pretrainShape });
/** The options of `pretrain`; all but `data` and `out` may be left out. */
export type PretrainOptions = z.input<typeof pretrainSchema> & {
  /** The mixer of all layers. Default: as the configuration says. */
  readonly mixer?: MixerConfig;
};

type ModelConfig = JsonObject;

/**
 * Trains a model from random weights, which follow from `seed`.
 *
 * @param config config.json of the model as Hugging Face has it, parsed, or the name of a preset (`modelPresetNames`),
 *   which takes the tokenizer's vocabulary
 * @throws OptionsError and LinnetError as `finetune`; `CONFIG` for an impossible configuration, `MISMATCH` for a
 *   vocabulary smaller than the tokenizer's
 * @example
 * await pretrain('flash-small', { data: ['book.txt'], steps: 500, learningRate: 1e-3, out: 'runs/base' });
 */
export async function pretrain(
  config: string | ModelConfig,
  chosen: PretrainOptions,
  hooks: TrainingHooks = {},
): Promise<TrainingResult> {
  if (typeof config !== 'string')
    requireKind(config, 'the configuration', ['model_type'], 'a config.json or the name of a preset');
  requireKind(chosen, 'the options', ['data', 'out'], 'an object with data and out');
  requireOptions(hooks, 'the hooks');
  const { mixer, ...options } = chosen;
  const parsed = parseOptions(pretrainSchema, options);
  return await runPlan(parsed, hooks, settingsOf(parsed), async (settings) => {
    const { tokenizer: folder, dtype, replace } = parsed;
    const tokenizer = folder === undefined ? byteTokenizer() : await loadTokenizer(folder);
    const given =
      typeof config === 'string' ? { ...modelPreset(config), vocab_size: tokenizer.vocabularySize } : config;
    const described = describeCausalModel({ ...specialTokenIds(tokenizer), ...given });
    const model = mixer === undefined ? described : withMixer(described, mixer);
    if (tokenizer.vocabularySize > model.sizes.vocabulary) {
      throw new LinnetError(
        'MISMATCH',
        `the tokenizer has ${tokenizer.vocabularySize} tokens, but the configuration's vocab_size is ${model.sizes.vocabulary}`,
      );
    }
    requireWeights(model.parameters, parsed.memory);
    const tokenizerFiles = folder === undefined ? tokenizerFileContents(byteTokenizerFiles()) : { from: folder };
    const text = await loadPackedText(parsed, settings, tokenizer, model);
    const objective = causalObjective(parsed.recompute ? recomputing(model) : model, settings.length, settings);
    return {
      ...text,
      heldOutRows: async () => ({ dataset: await text.heldOutRows(), objective }),
      model,
      parameters: initializeParameters(model, new Random(settings.seed)),
      objective,
      async save(out, trained) {
        await saveModel(out, { model, parameters: trained }, { tokenizerFiles, dtype, replace });
        return {};
      },
    };
  });
}

/** BOS and EOS that texts are packed with, for a configuration that lacks them: a trained model continues texts worse without. */
export function specialTokenIds({ bosId, eosId }: Pick<Tokenizer, 'bosId' | 'eosId'>): JsonObject {
  return { bos_token_id: bosId, eos_token_id: eosId };
}
