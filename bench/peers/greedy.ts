/** Greedy tokens of llama.cpp after given ids: one JSON argument, a list of models, the tokens as JSON on the last line. */
import type { Token } from 'node-llama-cpp';
import { openLlama } from './open-llama.ts';

export interface GreedyRequest {
  /** Path of a GGUF file. */
  readonly model: string;
  readonly sequences: readonly (readonly number[])[];
  /** Tokens after each sequence. */
  readonly count: number;
}

const [, , json] = process.argv;
if (json === undefined) throw new Error('usage: one JSON argument, a list of GreedyRequest');
const requests = JSON.parse(json) as GreedyRequest[];
const llama = await openLlama(1);
const answers: number[][][] = [];
for (const { model: modelPath, sequences, count } of requests) {
  const model = await llama.loadModel({ modelPath, ignoreMemorySafetyChecks: true });
  const longest = Math.max(...sequences.map(({ length }) => length)) + count;
  const context = await model.createContext({ contextSize: longest + 8, threads: 1, ignoreMemorySafetyChecks: true });
  const sequence = context.getSequence();
  const texts: number[][] = [];
  for (const ids of sequences) {
    await sequence.clearHistory();
    const tokens: number[] = [];
    for await (const token of sequence.evaluate([...ids] as Token[], { temperature: 0, yieldEogToken: true })) {
      tokens.push(token);
      if (tokens.length >= count) break;
    }
    texts.push(tokens);
  }
  answers.push(texts);
  await model.dispose();
}
await llama.dispose();
console.log(JSON.stringify(answers));
