/** What every engine reports, in a form that a parent process can read from its last line. */

export interface Measurement {
  readonly engine: string;
  /** What was measured with what: version, options. */
  readonly notes: string;
  /** Tokens per second by the number of tokens read before. */
  readonly decode: Readonly<Record<string, number>>;
  /** Tokens per second by the number of tokens of the prompt. */
  readonly prefill: Readonly<Record<string, number>>;
  readonly peakMemoryBytes: number;
}

export interface MeasurementOptions {
  readonly model: string;
  readonly contexts: readonly number[];
  readonly prompts: readonly number[];
  readonly threads: number;
  /** Timed single-token steps per context. */
  readonly steps: number;
}

/** The options of an engine's process: one JSON argument. */
export function readOptions(): MeasurementOptions {
  const [, , json] = process.argv;
  if (json === undefined) throw new Error('usage: one JSON argument, see MeasurementOptions in measurement.ts');
  const options = JSON.parse(json) as MeasurementOptions;
  return options;
}

export function report(measurement: Omit<Measurement, 'peakMemoryBytes'>): void {
  console.log(JSON.stringify({ ...measurement, peakMemoryBytes: 1024 * process.resourceUsage().maxRSS }));
}

/** Token ids that mean nothing, neither control tokens nor bytes. */
export function someTokens(count: number, vocabulary: number): number[] {
  return Array.from({ length: count }, (_, i) => 300 + ((i * 7919) % (vocabulary - 300)));
}

export function median(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
