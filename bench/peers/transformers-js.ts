/** transformers.js in Node, on the CPU: greedy generation by its own generator, int4 weights, float32 cache. */
import { basename, dirname } from 'node:path';
import { AutoModelForCausalLM, env, StoppingCriteria, StoppingCriteriaList, Tensor } from '@huggingface/transformers';
import { median, readOptions, report, someTokens } from './measurement.ts';

const { model: folder, contexts, prompts, threads, steps } = readOptions();
env.allowRemoteModels = false;
env.localModelPath = `${dirname(folder)}/`;
const model = await AutoModelForCausalLM.from_pretrained(basename(folder), {
  dtype: 'q4',
  device: 'cpu',
  session_options: { intraOpNumThreads: threads },
});

/** Records each token's time and never stops generation. */
class Stopwatch extends StoppingCriteria {
  readonly times = [performance.now()];
  override _call(sequences: number[][]): boolean[] {
    this.times.push(performance.now());
    return sequences.map(() => false);
  }
}

async function generate(length: number, newTokens: number): Promise<{ prefillMs: number; stepMs: number }> {
  const ids = BigInt64Array.from(someTokens(length, 32_000), BigInt);
  const stopwatch = new Stopwatch();
  const criteria = new StoppingCriteriaList();
  criteria.push(stopwatch);
  await model.generate({
    inputs: new Tensor('int64', ids, [1, length]),
    attention_mask: new Tensor('int64', new BigInt64Array(length).fill(1n), [1, length]),
    max_new_tokens: newTokens,
    do_sample: false,
    stopping_criteria: criteria,
  });
  const [start, first, ...rest] = stopwatch.times;
  const differences = rest.map((time, i) => time - (i === 0 ? first : rest[i - 1]));
  return { prefillMs: first - start, stepMs: median(differences) };
}

const decode: Record<string, number> = {};
const prefill: Record<string, number> = {};
await generate(16, 3);
for (const length of [...new Set([...prompts, ...contexts])].sort((a, b) => a - b)) {
  const { prefillMs, stepMs } = await generate(length, contexts.includes(length) ? steps + 2 : 2);
  if (prompts.includes(length)) prefill[length] = (1000 * length) / prefillMs;
  if (contexts.includes(length)) decode[length] = 1000 / stepMs;
}
report({
  engine: 'transformers.js',
  notes: `${env.version}, ONNX Runtime on the CPU, ${threads} threads`,
  decode,
  prefill,
});
await model.dispose();
