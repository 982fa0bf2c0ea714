/**
 * Progress of long tasks: one line on stderr that redraws itself, with rate and remaining time. Where stderr is not a
 * terminal, a log file say, a new line now and then; short tasks leave logs and pipes clean.
 */
import stringWidth from 'string-width';
import { formatBytes, formatCount, formatDuration, formatNumber } from './quantities.ts';

/** Progress of a long task, which may call `update` at any rate. */
export interface Progress {
  /**
   * The first call sets the starting point, 0 or the units that a resumed task finished earlier; pace counts from there.
   * @param done units finished so far
   * @param total units in all; 0 or NaN if unknown
   * @param info further text, such as `loss 2.31`
   */
  update(done: number, total: number, info?: string): void;
  /** Ends the line. With a message the message stays on the screen, without one the line vanishes. */
  finish(message?: string): void;
}

/** For callers without progress. */
export const silentProgress: Progress = {
  update: () => undefined,
  finish: () => undefined,
};

/** The part of a stream that a progress line needs; `process.stderr` fits. */
interface ProgressStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

interface ProgressOptions {
  /** Name of the task: `fine-tune`. */
  readonly label: string;
  /** Name of the units in the plural, for the rate: `tokens` gives `tokens/s`. `bytes` are shown in KiB, MiB and so on. Default `it`. */
  readonly unit?: string;
  /** Default `process.stderr`. */
  readonly stream?: ProgressStream;
  /** Seconds from any fixed moment; default the monotonic clock of the process. */
  readonly clock?: () => number;
}

/** Seconds between two redraws. */
const REDRAW_INTERVAL = 0.1;
/** Seconds between two lines in a log. */
const LOG_INTERVAL = 30;
/** Seconds after which the weight of an observed pace has fallen to 1/e. */
const MEMORY = 15;
const BAR_WIDTH = 20;

/**
 * Pace of a task, in units per second: units over seconds, both summed with weights that fade with age. A slow start
 * (graphs being compiled) is thus forgotten, a single slow unit is not overrated, and the very first estimate is plain
 * units over seconds.
 */
export class WorkPace {
  #units = 0;
  #seconds = 0;

  /** Takes in that `units` took `seconds`. */
  observe(units: number, seconds: number): void {
    const fade = Math.exp(-seconds / MEMORY);
    this.#units = this.#units * fade + units;
    this.#seconds = this.#seconds * fade + seconds;
  }

  /** Units per second, undefined before anything has been done. */
  get rate(): number | undefined {
    return this.#units > 0 && this.#seconds > 0 ? this.#units / this.#seconds : undefined;
  }
}

/** A progress line on a terminal that redraws itself; elsewhere a line every half a minute, the first after as long. */
export function openProgress(options: ProgressOptions): Progress {
  const { label, unit = 'it', stream = process.stderr, clock = () => performance.now() / 1000 } = options;
  const isTerminal = stream.isTTY === true;
  const interval = isTerminal ? REDRAW_INTERVAL : LOG_INTERVAL;
  let pace = new WorkPace();
  let lastDone: number | undefined;
  let lastTime = 0;
  let lastDrawn = isTerminal ? -Infinity : clock();
  return {
    update(done, total, info) {
      const now = clock();
      if (lastDone === undefined || done < lastDone) {
        // Units done before the first report (a resumed run) do not count for the pace; a new start resets it.
        pace = new WorkPace();
        lastDone = done;
        lastTime = now;
      } else if (done > lastDone) {
        pace.observe(done - lastDone, now - lastTime);
        lastDone = done;
        lastTime = now;
      }
      const isLast = total > 0 && done >= total;
      if (now - lastDrawn < interval && !(isLast && isTerminal)) return;
      lastDrawn = now;
      const line = progressLine({ label, unit, done, total, info, rate: pace.rate, bar: isTerminal });
      if (!isTerminal) {
        stream.write(`${line}\n`);
        return;
      }
      stream.write(`\r${cutToWidth(line, (stream.columns ?? 80) - 1)}\x1b[K`);
    },
    finish(message) {
      if (!isTerminal) return;
      stream.write(message === undefined ? '\r\x1b[K' : `\r${message}\x1b[K\n`);
    },
  };
}

/** `fine-tune ━━━━━━━━━━────────── 100/200 50 % · 1,234 tokens/s · 2m 05s left · loss 2.31` */
function progressLine(state: {
  label: string;
  unit: string;
  done: number;
  total: number;
  info: string | undefined;
  rate: number | undefined;
  bar: boolean;
}): string {
  const { label, unit, done, total, info, rate } = state;
  const amount = unit === 'bytes' ? formatBytes : formatCount;
  const pace = unit === 'bytes' ? formatBytes : (value: number): string => `${formatNumber(value, 3)} ${unit}`;
  const parts: string[] = [];
  if (total > 0) {
    const share = Math.min(1, Math.max(0, done / total));
    const filled = Math.floor(share * BAR_WIDTH);
    const bar = state.bar ? `${'━'.repeat(filled)}${'─'.repeat(BAR_WIDTH - filled)} ` : '';
    parts.push(`${label} ${bar}${amount(done)}/${amount(total)} ${Math.floor(share * 100)} %`);
  } else {
    parts.push(`${label} ${amount(done)}`);
  }
  if (rate !== undefined) {
    parts.push(`${pace(rate)}/s`);
    if (total > done) parts.push(`${formatDuration(Math.max(1, Math.round((total - done) / rate)))} left`);
  }
  if (info !== undefined && info !== '') parts.push(info.replace(/\p{Cc}+/gu, ' '));
  return parts.join(' · ');
}

/** A line that wraps cannot be redrawn. */
function cutToWidth(line: string, width: number): string {
  if (stringWidth(line) <= width) return line;
  let cut = '';
  let used = 1;
  for (const { segment } of new Intl.Segmenter().segment(line)) {
    used += stringWidth(segment);
    if (used > width) break;
    cut += segment;
  }
  return `${cut}…`;
}
