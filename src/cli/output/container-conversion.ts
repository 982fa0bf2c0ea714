/** `linnet convert --target`: a model in the container of another family, written and measured. */
import { type LoadedModel, saveModel } from '../../checkpoint/load-model.ts';
import { convertIntoQwen35 } from '../../conversion/container.ts';
import type { KeptLayers } from '../../conversion/options.ts';
import type { StageSteps, Weighted } from '../../conversion/stages.ts';
import type { ConversionTexts } from '../../conversion/texts.ts';
import { OptionsError } from '../../errors.ts';
import { perplexity } from '../../evaluation/perplexity/perplexity.ts';
import { formatFixed, signedPercent } from '../../report/quantities.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import type { CommandContext } from '../framework/context.ts';
import type { CommandResult } from '../framework/io.ts';

/** Options of the command that count. */
interface ContainerChoice {
  readonly out: string;
  readonly replace: boolean;
  readonly dtype: 'F32' | 'F16' | 'BF16';
  readonly keep: KeptLayers;
  /** Seconds of training. */
  readonly budget: number;
  /** Those of `logits` count. */
  readonly steps?: StageSteps;
  readonly batch: number;
  readonly length?: number;
  readonly seed: number;
  readonly memoryBytes?: number;
  readonly compile: CompileOptions;
}

/** @throws OptionsError for layers chosen by measurement, and as `convertIntoQwen35` */
export async function writeContainer(
  context: CommandContext,
  original: LoadedModel,
  tokenizer: Tokenizer,
  texts: ConversionTexts,
  { out, replace, dtype, keep, steps, ...options }: ContainerChoice,
): Promise<CommandResult> {
  if (!('layers' in keep)) throw new OptionsError('`target` needs the layers to keep by number, or every:N');
  const { layers: kept } = keep;
  const { compile } = options;
  const conversion = await context.withProgress('train', 'steps', (progress, { signal }) =>
    convertIntoQwen35(original, tokenizer, texts, {
      ...{ ...options, kept, steps: steps?.logits, signal },
      onStep: (done, total, loss) => {
        progress.update(done, total, `loss ${formatFixed(loss, 4)}`);
      },
    }),
  );
  const test = async ({ model, parameters }: Weighted): Promise<number> =>
    (await perplexity(model, parameters, texts.test, { ...compile, signal: context.signal })).perplexity;
  const [before, after] = [await test(original), await test(conversion)];
  await saveModel(out, conversion, { tokenizerFiles: { from: original.path }, dtype, replace });
  const change = signedPercent(after / before - 1, 2);
  context.print(
    `perplexity ${formatFixed(before, 4)} → ${formatFixed(after, 4)} (${change}) on test text; saved ${out}`,
  );
  const { family, mixers } = conversion.model;
  const converted = mixers.flatMap((_, layer) => (kept.includes(layer) ? [] : [layer]));
  return {
    json: { out, family, original: { perplexity: before }, converted: after, keptLayers: kept, layers: converted },
  };
}
