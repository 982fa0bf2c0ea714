/** `linnet convert --target`: a model in the container of another family, written and measured. */
import { type LoadedModel, saveModel } from '../../checkpoint/load-model.ts';
import { convertIntoQwen35 } from '../../conversion/container.ts';
import { forget } from '../../conversion/convert.ts';
import type { ConversionOptions } from '../../conversion/options.ts';
import type { Weighted } from '../../conversion/stages.ts';
import type { ConversionTexts } from '../../conversion/texts.ts';
import { perplexity } from '../../evaluation/perplexity/perplexity.ts';
import { lockFolder } from '../../files/folder-lock.ts';
import { formatFixed, signedPercent } from '../../report/quantities.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import type { CommandContext } from '../framework/context.ts';
import type { CommandResult } from '../framework/io.ts';

/** Options of the command that count; `steps` of logits do. */
interface ContainerChoice extends ConversionOptions {
  readonly out: string;
  readonly replace: boolean;
  readonly dtype: 'F32' | 'F16' | 'BF16';
}

/** @throws OptionsError for layers chosen by measurement, and as `convertIntoQwen35` */
export async function writeContainer(
  context: CommandContext,
  original: LoadedModel,
  tokenizer: Tokenizer,
  texts: ConversionTexts,
  { out, dtype, ...options }: ContainerChoice,
): Promise<CommandResult> {
  const { folder, replace, keep, compile } = options;
  await using _lock = await lockFolder(folder);
  const conversion = await context.withProgress('train', 'steps', (progress, { signal }) =>
    convertIntoQwen35(original, tokenizer, texts, {
      ...{ ...options, signal },
      onEvent(event) {
        if (event.kind === 'step') progress.update(event.done, event.total, `loss ${formatFixed(event.loss, 4)}`);
      },
    }),
  );
  const test = async ({ model, parameters }: Weighted): Promise<number> =>
    (await perplexity(model, parameters, texts.test, { ...compile, signal: context.signal })).perplexity;
  const [before, after] = [await test(original), await test(conversion)];
  await saveModel(out, conversion, { tokenizerFiles: { from: original.path }, dtype, replace });
  await forget(folder);
  const change = signedPercent(after / before - 1, 2);
  context.print(
    `perplexity ${formatFixed(before, 4)} → ${formatFixed(after, 4)} (${change}) on test text; saved ${out}`,
  );
  const { family, mixers } = conversion.model;
  const kept = 'layers' in keep ? keep.layers : [];
  const converted = mixers.flatMap((_, layer) => (kept.includes(layer) ? [] : [layer]));
  return {
    json: { out, family, original: { perplexity: before }, converted: after, keptLayers: kept, layers: converted },
  };
}
