/** Conversions on the command line: events printed and kept in a record, and `--target`, the container of another family. */
import { describeMixer } from '../../attention/mixers.ts';
import { type Conversion, forget } from '../../conversion/convert.ts';
import type { ConversionEvent, ConversionOptions } from '../../conversion/options.ts';
import { formatDuration, formatFixed, signedPercent } from '../../report/quantities.ts';
import { recordedWork, type Run, type RunDescription } from '../../report/record.ts';
import type { Progress } from '../../report/progress.ts';
import type { CommandContext, CommandResult } from '../framework/context.ts';
import { type LoadedModel, saveModel } from '../../checkpoint/load-model.ts';
import { convertIntoQwen35 } from '../../conversion/container.ts';
import type { Weighted } from '../../conversion/stages.ts';
import type { ConversionTexts } from '../../conversion/texts.ts';
import { perplexity } from '../../evaluation/perplexity/perplexity.ts';
import { lockFolder } from '../../files/folder-lock.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';

function conversionPrinter(context: CommandContext): (event: ConversionEvent) => void {
  let line: Progress | undefined;
  const open = (label: string, unit: string) => (line ??= context.progress(label, unit));
  const close = (): void => {
    line?.finish();
    line = undefined;
  };
  return (event) => {
    if (event.kind === 'sensitivity') {
      open('sensitivity', 'layers').update(event.done, event.total);
      if (event.done === event.total) close();
    } else if (event.kind === 'started') {
      close();
      const steps = event.steps === 0 ? '' : `, ${event.steps} optimizer steps`;
      context.note(`${event.stage}: ${event.description}${steps}`);
    } else if (event.kind === 'skipped') {
      close();
      context.note(`skipped ${event.stage}: ${event.reason}`);
    } else if (event.kind === 'step') {
      open(event.stage, 'steps').update(event.done, event.total, `loss ${formatFixed(event.loss, 4)}`);
    } else {
      close();
      const { name, perplexity, seconds, kept } = event.result;
      const after = `${formatDuration(seconds)}${kept ? '' : ', undone'}${event.resumed ? ' (done before)' : ''}`;
      context.print(`${name.padEnd(14)} perplexity ${formatFixed(perplexity, 4)} after ${after}`);
    }
  };
}

/** Converts, prints the events, and records losses of every step and perplexities of every stage. */
export function recordedConversion(
  context: CommandContext,
  { folder, ...description }: RunDescription & { readonly folder: string },
  work: (watching: Pick<ConversionOptions, 'onStart' | 'onEvent'>) => Promise<Conversion>,
): Promise<Conversion> {
  const print = conversionPrinter(context);
  return recordedWork(folder, description, async (start) => {
    let run: Run | undefined;
    const conversion = await work({
      async onStart(original, mixer) {
        run = await start();
        run.log({ stage: 'original', perplexity: original, mixer: describeMixer(mixer) });
      },
      onEvent(event) {
        print(event);
        if (event.kind === 'step') run?.log({ stage: event.stage, update: event.done, loss: event.loss });
        else if (event.kind === 'finished') {
          const { name, perplexity, seconds, steps, kept } = event.result;
          run?.log({ stage: name, perplexity, kept, stageSeconds: seconds, stageSteps: steps });
        }
      },
    });
    const { stages } = conversion.progress;
    const best = stages.findLast(({ kept }) => kept);
    const steps = stages.reduce((sum, stage) => sum + stage.steps, 0);
    // Without branches switched off in the end.
    run?.report({ perplexity: best?.perplexity ?? null, steps, mixer: describeMixer(conversion.mixer) });
    return conversion;
  });
}

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
  const conversion = await context.withProgress('train', 'steps', ({ signal, onProgress }) =>
    convertIntoQwen35(original, tokenizer, texts, {
      ...options,
      signal,
      onEvent(event) {
        if (event.kind === 'step') onProgress(event.done, event.total, `loss ${formatFixed(event.loss, 4)}`);
      },
    }),
  );
  const test = async ({ model, parameters }: Weighted): Promise<number> =>
    (await perplexity(model, parameters, texts.test, { ...compile, signal: context.signal })).perplexity;
  const [before, after] = [await test(original), await test(conversion)];
  await saveModel(out, conversion, { tokenizerFiles: { from: original.path }, dtype, replace });
  await forget(folder);
  const change = signedPercent(after / before - 1, 2);
  const moved = `${formatFixed(before, 4)} → ${formatFixed(after, 4)} (${change})`;
  context.print(`perplexity ${moved} on test text; saved ${out}`);
  const { family, mixers } = conversion.model;
  const kept = 'layers' in keep ? keep.layers : [];
  const converted = mixers.flatMap((_, layer) => (kept.includes(layer) ? [] : [layer]));
  return {
    json: { out, family, original: { perplexity: before }, converted: after, keptLayers: kept, layers: converted },
  };
}
