/** What people see of a conversion while it goes on. */
import type { ConversionEvent } from '../../conversion/convert.ts';
import { formatDuration, formatFixed } from '../../report/quantities.ts';
import type { CommandContext } from '../framework/context.ts';

/** Tells people what happens, and shows a line of progress for every stage. */
export function conversionPrinter(context: CommandContext): (event: ConversionEvent) => void {
  let line: ReturnType<CommandContext['progress']> | undefined;
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
    } else if (event.kind === 'step') {
      open(event.stage, 'steps').update(event.done, event.total, `loss ${formatFixed(event.loss, 4)}`);
    } else {
      close();
      const { name, perplexity, seconds, kept } = event.result;
      context.print(
        `${name.padEnd(10)} perplexity ${formatFixed(perplexity, 4)} after ${formatDuration(seconds)}` +
          `${kept ? '' : ', undone'}${event.resumed ? ' (done before)' : ''}`,
      );
    }
  };
}
