/**
 * llama.cpp through node-llama-cpp and the binary in its npm package: downloads and compiles nothing.
 * Decode steps are greedy tokens from its own generator.
 */
import type { Token } from 'node-llama-cpp';
import { median, readOptions, report, someTokens } from './measurement.ts';
import { openLlama } from './open-llama.ts';

const { model: modelPath, contexts, prompts, threads, steps } = readOptions();
const llama = await openLlama(threads);
const model = await llama.loadModel({ modelPath, ignoreMemorySafetyChecks: true });
const longest = Math.max(...prompts, ...contexts.map((context) => context + steps));
const context = await model.createContext({ contextSize: longest + 8, batchSize: 512, threads });
const sequence = context.getSequence();
const tokens = someTokens(longest, 32_000) as Token[];

const decode: Record<string, number> = {};
const prefill: Record<string, number> = {};
for (const length of [...new Set([...prompts, ...contexts])].sort((a, b) => a - b)) {
  await sequence.clearHistory();
  const started = performance.now();
  await sequence.evaluateWithoutGeneratingNewTokens(tokens.slice(0, length - 1));
  if (prompts.includes(length)) prefill[length] = (1000 * (length - 1)) / (performance.now() - started);
  if (!contexts.includes(length)) continue;
  const times: number[] = [];
  let last = performance.now();
  // A sampled end-of-text token ends nothing: its step costs as much as any other.
  const generated = sequence.evaluate(tokens.slice(length - 1, length), { temperature: 0, yieldEogToken: true });
  for await (const _ of generated) {
    const now = performance.now();
    times.push(now - last);
    last = now;
    if (times.length > steps) break;
  }
  decode[length] = 1000 / median(times.slice(1));
}
report({
  engine: 'llama.cpp',
  notes:
    `${llama.llamaCppRelease.release} through node-llama-cpp, ${context.currentThreads || threads} threads, ` +
    `flash attention ${String(context.flashAttention)}`,
  decode,
  prefill,
});
await llama.dispose();
