/** Several texts written to their ends, in common steps. */
import type { StepEngine } from '../decoding/step-engine.ts';
import { LinnetError } from '../errors.ts';
import { Runner } from './runner.ts';
import type { Generation, RunnerOptions, TextJob } from './text-job.ts';

/**
 * Runs jobs of one text each in common steps, so that the weights are read once a round and not once a text.
 * @returns in the order of the jobs
 * @throws LinnetError `ABORTED` when the signal fires between two rounds, and as `Runner.submit`
 * @example
 * ```ts
 * const [{ text }] = await runTogether(engine, [{ prompt: { tokens: [1, 403, 407] }, maxTokens: 20 }], {});
 * ```
 */
export async function runTogether(
  engine: StepEngine,
  jobs: readonly TextJob[],
  { signal, ...options }: Pick<RunnerOptions, 'tokenizer' | 'observer'> & { readonly signal?: AbortSignal } = {},
): Promise<Generation[]> {
  // Texts are read one after the other, and may be ahead of that.
  const bounds = { parallel: Math.max(1, jobs.length), readerBytes: Number.POSITIVE_INFINITY };
  const runner = new Runner(engine, { ...options, ...bounds });
  const generations: Generation[] = [];
  for (const events of runner.submitAll(jobs.map((job) => ({ ...job, signal })))) {
    for await (const event of events) if (event.type === 'end') generations.push(event.generation);
  }
  if (!generations.some(({ finish }) => finish === 'abort')) return generations;
  throw new LinnetError('ABORTED', 'stopped while generating an answer');
}
