/** Writes several texts to their ends, in common steps. */
import type { StepEngine } from '../decoding/step-engine.ts';
import { LinnetError, type Stoppable } from '../errors.ts';
import { Runner } from './runner.ts';
import type { Generation, RunnerOptions, TextJob } from './text-job.ts';

/**
 * Runs single-text jobs in common steps, so that weights are read once per round, not once per text.
 * @returns results in the order of the jobs
 * @throws LinnetError `ABORTED` when the signal fires between two rounds, and like `Runner.submit`
 * @example
 * ```ts
 * const [generation] = await runTogether(engine, [{ prompt: { tokens: [1, 403, 407] }, maxTokens: 20 }], {});
 * ```
 */
export async function runTogether(
  engine: StepEngine,
  jobs: readonly TextJob[],
  { signal, ...options }: Pick<RunnerOptions, 'tokenizer' | 'observer'> & Stoppable = {},
): Promise<Generation[]> {
  // Texts are consumed one after the other, so others may run ahead.
  const bounds = { parallel: Math.max(1, jobs.length), readerBytes: Number.POSITIVE_INFINITY };
  const runner = new Runner(engine, { ...options, ...bounds });
  const generations: Generation[] = [];
  for (const events of runner.submitAll(jobs.map((job) => ({ ...job, signal })))) {
    for await (const event of events) if (event.type === 'end') generations.push(event.generation);
  }
  if (!generations.some(({ finish }) => finish === 'abort')) return generations;
  throw new LinnetError('ABORTED', 'stopped while generating an answer');
}
