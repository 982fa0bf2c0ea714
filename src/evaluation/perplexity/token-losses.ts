/** −log p of every token of some texts, and what it is by position. */
import { LinnetError } from '../../errors.ts';
import { dataOf, type Tensor } from '../../graph/tensor.ts';
import type { CausalModel } from '../../models/model.ts';
import { compile, type CompileOptions, type Program } from '../../runtime/compile.ts';
import { windowLossGraph, onlyInputs } from './perplexity.ts';
import { checkTokens, type ScoredWindow } from './scored-windows.ts';
import { batchTensors, windowBatches } from './window-batches.ts';

/** Padded tokens that run at once. */
const batchTokens = 2048;

/**
 * −log p in nats of the tokens of every window but the first: index i is that of token i + 1.
 * @throws LinnetError `MISMATCH` for tokens outside the vocabulary, `ABORTED` between two batches
 */
export async function tokenLosses(
  model: CausalModel,
  parameters: ReadonlyMap<string, Tensor<'float32'>>,
  windows: readonly ScoredWindow[],
  { signal, ...options }: CompileOptions & { readonly signal?: AbortSignal } = {},
): Promise<Float32Array[]> {
  checkTokens(windows, model.sizes.vocabulary);
  const programs = new Map<string, Program>();
  const losses = new Map<ScoredWindow, Float32Array>();
  try {
    for (const batch of windowBatches(windows, batchTokens)) {
      if (signal?.aborted === true) throw new LinnetError('ABORTED', 'stopped while tokens were scored');
      const shape = `${batch.rows}x${batch.length}`;
      const program = programs.get(shape) ?? (await compile(windowLossGraph(model, batch), options));
      programs.set(shape, program);
      const feeds = { ...Object.fromEntries(parameters), ...batchTensors(batch) };
      const results = await program.run(onlyInputs(program, feeds), ['losses']);
      const data = dataOf(results.losses, 'float32');
      batch.windows.forEach((window, row) => {
        losses.set(window, data.slice(row * batch.length, row * batch.length + window.tokens.length - 1));
      });
    }
  } finally {
    for (const program of programs.values()) await program.dispose();
  }
  return windows.map((window) => losses.get(window) ?? new Float32Array(0));
}

/** Mean −log p of the tokens of a range of positions. */
export interface PositionLoss {
  /** First and last position of the range. */
  readonly from: number;
  readonly to: number;
  /** exp of the mean. */
  readonly perplexity: number;
  readonly tokens: number;
}

/** Perplexity by position, in ranges that double in length: 1–63, 64–127, 128–255, … @param losses as `tokenLosses` has them */
export function perplexityByPosition(losses: readonly Float32Array[], first = 64): PositionLoss[] {
  const ranges: { from: number; to: number; total: number; tokens: number }[] = [];
  for (const row of losses) {
    row.forEach((loss, i) => {
      const position = i + 1;
      const index = position < first ? 0 : 1 + Math.floor(Math.log2(position / first));
      ranges[index] ??= {
        from: index === 0 ? 1 : first * 2 ** (index - 1),
        to: first * 2 ** index - 1,
        total: 0,
        tokens: 0,
      };
      ranges[index].total += loss;
      ranges[index].tokens++;
    });
  }
  return ranges.map(({ from, to, total, tokens }) => ({ from, to, perplexity: Math.exp(total / tokens), tokens }));
}
