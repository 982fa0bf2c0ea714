/** The metrics of a run as numbers for TensorBoard: under which tag each stands, and what follows from them. */
import type { Metric, MetricValue } from '../record.ts';
import { EventFile, type Scalars } from './event-file.ts';

/** Tags of the fields of metrics; others are not written. */
const tags: Readonly<Record<string, string>> = {
  loss: 'training/loss',
  gradientNorm: 'training/gradient norm',
  learningRate: 'training/learning rate',
  heldOutLoss: 'held-out/loss',
  perplexity: 'perplexity',
};

/** Writes metrics to an event file, as they come. */
export class MetricEvents {
  readonly #file: EventFile;
  #tokens = 0;

  /** @param kept metrics of an earlier process that stay */
  private constructor(file: EventFile, kept: readonly Metric[]) {
    this.#file = file;
    this.#tokens = numberOf(kept.findLast(({ tokens }) => tokens !== undefined)?.tokens) ?? 0;
  }

  /** As `EventFile.open`; steps up to that of the last metric that is kept stay. */
  static open(folder: string, kept: readonly Metric[], now?: () => Date): MetricEvents {
    const done = kept.reduce((most, { update }) => Math.max(most, numberOf(update) ?? 0), 0);
    return new MetricEvents(EventFile.open(folder, done, now), kept);
  }

  /** Takes a metric that has an `update`; one of a stage or trial stands under its name. */
  write(metric: Metric): void {
    const step = numberOf(metric.update);
    if (step === undefined) return;
    const group = metric.stage ?? metric.trial;
    const prefix = typeof group === 'string' ? `${group}/` : '';
    const named = Object.entries(this.#scalarsOf(metric)).map(([tag, value]) => [`${prefix}${tag}`, value] as const);
    this.#file.write(step, Object.fromEntries(named));
  }

  close(): void {
    this.#file.close();
  }

  #scalarsOf(metric: Metric): Scalars {
    const scalars: Record<string, number> = {};
    for (const [field, tag] of Object.entries(tags)) {
      const value = numberOf(metric[field]);
      if (value !== undefined) scalars[tag] = value;
    }
    const heldOut = numberOf(metric.heldOutLoss);
    if (heldOut !== undefined) scalars['held-out/perplexity'] = Math.exp(heldOut);
    const [tokens, seconds] = [numberOf(metric.tokens), numberOf(metric.seconds)];
    if (tokens !== undefined && seconds !== undefined && seconds > 0) {
      scalars['training/tokens per second'] = (tokens - this.#tokens) / seconds;
    }
    if (tokens !== undefined) this.#tokens = tokens;
    return scalars;
  }
}

function numberOf(value: MetricValue | undefined): number | undefined {
  return typeof value === 'number' ? value : undefined;
}
