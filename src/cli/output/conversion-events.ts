/** Events of a conversion: printed for people, and kept in its record. */
import { describeMixer } from '../../attention/mixers.ts';
import type { Conversion } from '../../conversion/convert.ts';
import type { ConversionEvent, ConversionOptions } from '../../conversion/options.ts';
import { formatDuration, formatFixed } from '../../report/quantities.ts';
import { recordedWork, type Run, type RunDescription } from '../../report/record.ts';
import type { Progress } from '../../report/progress.ts';
import type { CommandContext } from '../framework/context.ts';

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
      context.note(
        `${event.stage}: ${event.description}${event.steps === 0 ? '' : `, ${event.steps} optimizer steps`}`,
      );
    } else if (event.kind === 'skipped') {
      close();
      context.note(`${event.stage} is left out: ${event.reason}`);
    } else if (event.kind === 'step') {
      open(event.stage, 'steps').update(event.done, event.total, `loss ${formatFixed(event.loss, 4)}`);
    } else {
      close();
      const { name, perplexity, seconds, kept } = event.result;
      context.print(
        `${name.padEnd(14)} perplexity ${formatFixed(perplexity, 4)} after ${formatDuration(seconds)}` +
          `${kept ? '' : ', undone'}${event.resumed ? ' (done before)' : ''}`,
      );
    }
  };
}

interface RecordedConversion extends RunDescription {
  readonly folder: string;
}

/**
 * Converts with a printer of the events, and a record of them: losses of every step, perplexities of every stage.
 * @param work converts with the callbacks that it is given
 */
export function recordedConversion(
  context: CommandContext,
  { folder, ...description }: RecordedConversion,
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
    // Without the branches that are switched off in the end.
    run?.report({ perplexity: best?.perplexity ?? null, steps, mixer: describeMixer(conversion.mixer) });
    return conversion;
  });
}
