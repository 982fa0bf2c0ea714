/** `linnet synth`: a model of a published size with random weights, for measurements. */
import { mixerPreset } from '../../attention/presets.ts';
import { requireDiskRoom } from '../../files/disk-room.ts';
import { saveCheckpoint } from '../../checkpoint/save-checkpoint.ts';
import { LinnetError } from '../../errors.ts';
import { exportModel } from '../../export/export-model.ts';
import { RandomWeights } from '../../export/random-weights.ts';
import { type StorageType, storageTypeNames } from '../../export/manifest.ts';
import type { BlockSize } from '../../graph/ops/quantized.ts';
import { parameterCount } from '../../nn/parameters.ts';
import { describeCausalModel } from '../../models/families/index.ts';
import { withMixer } from '../../models/linearization/linearize.ts';
import type { CausalModel } from '../../models/model.ts';
import { publishedShape, publishedShapeNames } from '../../models/presets/presets.ts';
import { formatBytes, formatCount, formatFixed } from '../../report/quantities.ts';
import { tokenizerFileContents } from '../../tokenizer/byte-level.ts';
import { byteTokenizer, byteTokenizerFiles } from '../../tokenizer/bytes.ts';
import { blockOption, requireBlocks, folderFor, replaceOption, mixerNameOption } from '../options/model-options.ts';
import type { CommandContext } from '../framework/context.ts';
import { defineCommand, required, withDefault } from '../framework/command.ts';
import { UsageError } from '../framework/exit-codes.ts';
import { countParameters } from '../output/model-summary.ts';
import { choice, seed32 } from '../framework/option-values.ts';

export const synth = defineCommand({
  description:
    'Writes a model of a published size with random weights, to measure speed and memory without its ' +
    'checkpoint. The text it generates is nonsense, in bytes. Weights are written one by one; the folder appears ' +
    'once it is complete.',
  examples: [
    'linnet synth --like tinyllama-1.1b --dtype int4 --out runs/1.1b-int4',
    'linnet synth --like llama-2-7b --mixer softmax --dtype int4 --out runs/7b-softmax',
    'linnet synth --like gpt2 --format checkpoint --dtype f16 --out runs/gpt2-random',
  ],
  arguments: {},
  options: {
    like: required(choice(publishedShapeNames), publishedShapeNames.join(', ')),
    mixer: mixerNameOption,
    dtype: withDefault(
      choice(storageTypeNames, 'type'),
      'int4',
      `how matrices are stored: ${storageTypeNames.join(', ')}; checkpoints are f32 or f16`,
    ),
    block: blockOption,
    format: withDefault(
      choice(['exported', 'checkpoint'], 'kind'),
      'exported',
      'exported, as linnet export writes it, or checkpoint, a Hugging Face folder',
    ),
    seed: withDefault(seed32, 1, 'seed of the weights'),
    out: folderFor('the model'),
    replace: replaceOption,
  },
  async run(context, { like, mixer, dtype, block, format, seed, out, replace }) {
    requireBlocks(dtype, block);
    const { bosId, eosId } = byteTokenizer();
    const plain = describeCausalModel({ ...publishedShape(like), bos_token_id: bosId, eos_token_id: eosId });
    const model = withMixer(plain, mixerPreset(mixer));
    const weights = new RandomWeights(model, seed);
    const started = performance.now();
    const bytes = await writers[format]({ context, model, weights, dtype, block, out, replace });
    const seconds = (performance.now() - started) / 1000;
    const parameters = countParameters(model).total;
    context.print(
      `saved ${out}: ${formatCount(parameters)} random parameters, ${formatBytes(bytes)}, in ${formatFixed(seconds, 1)} s`,
    );
    return { json: { out, like, mixer, dtype, block, format, seed, parameters, weightBytes: bytes, seconds } };
  },
});

interface Writing {
  readonly context: CommandContext;
  readonly model: CausalModel;
  readonly weights: RandomWeights;
  readonly dtype: StorageType;
  readonly block: BlockSize | undefined;
  readonly out: string;
  readonly replace: boolean;
}

const tokenizerFiles = (): ReadonlyMap<string, string> => tokenizerFileContents(byteTokenizerFiles());

/** Each returns the bytes of the weights. */
const writers: Readonly<Record<'exported' | 'checkpoint', (writing: Writing) => Promise<number>>> = {
  async exported({ context, model, weights, dtype, block, out, replace }) {
    const options = { model, weights, dtype, block, replace, tokenizerFiles: tokenizerFiles() };
    const { weightBytes, prompt } = await context.withProgress('writing', 'bytes', (hooks) =>
      exportModel(out, { ...options, ...hooks }),
    );
    return weightBytes + (prompt?.weightBytes ?? 0);
  },
  async checkpoint({ context, model, weights, dtype, out, replace }) {
    if (dtype !== 'f32' && dtype !== 'f16') {
      throw new UsageError(`--format checkpoint stores f32 or f16, not ${dtype}; --format exported stores all types`);
    }
    const total = parameterCount(model.parameters);
    const bytes = (dtype === 'f16' ? 2 : 4) * total;
    await requireDiskRoom(out, bytes, 'the model');
    let done = 0;
    await context.withProgress('writing', 'parameters', ({ onProgress }) => {
      const read = async (name: string) => {
        if (context.signal.aborted) throw new LinnetError('ABORTED', 'stopped; nothing was written');
        const { data } = await weights.read(name);
        done += data.length;
        onProgress(done, total);
        return data;
      };
      const tensors = [...model.parameters].map(([name, { shape }]) => ({ name, shape, data: () => read(name) }));
      const stored = { tokenizerFiles: tokenizerFiles(), dtype: dtype === 'f16' ? 'F16' : 'F32', replace } as const;
      return saveCheckpoint(out, { config: model.toJson(), tensors, ...stored });
    });
    return bytes;
  },
};
