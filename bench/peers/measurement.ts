/** Every engine's report, which a parent process reads from the last line. */

export interface Measurement {
  readonly engine: string;
  /** Version and options. */
  readonly notes: string;
  /** Tokens per second, by context length. */
  readonly decode: Readonly<Record<string, number>>;
  /** Tokens per second, by prompt length. */
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

/** Reads an engine process's options: one JSON argument. */
export function readOptions(): MeasurementOptions {
  const [, , json] = process.argv;
  if (json === undefined) throw new Error('usage: one JSON argument, see MeasurementOptions in measurement.ts');
  const options = JSON.parse(json) as MeasurementOptions;
  return options;
}

export function report(measurement: Omit<Measurement, 'peakMemoryBytes'>): void {
  console.log(JSON.stringify({ ...measurement, peakMemoryBytes: 1024 * process.resourceUsage().maxRSS }));
}

/** Meaningless token ids: neither control tokens nor bytes. */
export function someTokens(count: number, vocabulary: number): number[] {
  return Array.from({ length: count }, (_, i) => 300 + ((i * 7919) % (vocabulary - 300)));
}

export function median(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
