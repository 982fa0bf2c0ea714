/**
 * llama.cpp's greedy tokens after the given ids, and its next-token probabilities at every position of these texts. Takes one JSON
 * argument, a list of models; prints the answers as JSON on the last line.
 */
import type { Token } from 'node-llama-cpp';
import { openLlama } from './open-llama.ts';

export interface GreedyRequest {
  /** Path of a GGUF file. */
  readonly model: string;
  readonly sequences: readonly (readonly number[])[];
  /** Tokens to add to each sequence. */
  readonly count: number;
  /** Whether to return probabilities. */
  readonly probabilities?: boolean;
}

/** llama.cpp's answer for one sequence. */
export interface GreedyAnswer {
  readonly tokens: readonly number[];
  /** By token, after each id and each token except the last. Empty unless requested. */
  readonly probabilities: readonly (readonly number[])[];
}

const [, , json] = process.argv;
if (json === undefined) throw new Error('usage: one JSON argument, a list of GreedyRequest');
const requests = JSON.parse(json) as GreedyRequest[];
const llama = await openLlama(1);
const answers: GreedyAnswer[][] = [];
for (const { model: modelPath, sequences, count, probabilities } of requests) {
  const model = await llama.loadModel({ modelPath, ignoreMemorySafetyChecks: true });
  const longest = Math.max(...sequences.map(({ length }) => length)) + count;
  // Float32 caches, as in Linnet: only the products differ.
  const context = await model.createContext({
    contextSize: longest + 8,
    threads: 1,
    ignoreMemorySafetyChecks: true,
    experimentalKvCacheKeyType: 'F32',
    experimentalKvCacheValueType: 'F32',
    flashAttention: false,
  });
  const sequence = context.getSequence();
  const texts: GreedyAnswer[] = [];
  for (const ids of sequences) {
    await sequence.clearHistory();
    const tokens: number[] = [];
    for await (const token of sequence.evaluate([...ids] as Token[], { temperature: 0, yieldEogToken: true })) {
      tokens.push(token);
      if (tokens.length >= count) break;
    }
    texts.push({
      tokens,
      probabilities: probabilities === true ? await probabilitiesOf([...ids, ...tokens.slice(0, -1)]) : [],
    });
  }
  answers.push(texts);

  async function probabilitiesOf(text: readonly number[]): Promise<number[][]> {
    await sequence.clearHistory();
    const options = { temperature: 1, topK: 0, topP: 1, minP: 0 };
    const asked = (text as Token[]).map((token): [Token, object] => [
      token,
      { generateNext: { probabilities: true, options } },
    ]);
    return (await sequence.controlledEvaluate(asked)).map((output) => {
      const next = output?.next.probabilities ?? new Map<Token, number>();
      return Array.from({ length: next.size }, (_, token) => next.get(token as Token) ?? 0);
    });
  }
  await model.dispose();
}
await llama.dispose();
console.log(JSON.stringify(answers));
