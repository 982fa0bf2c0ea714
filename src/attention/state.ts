/**
 * A mixer's state per layer and sequence, and its size.
 *
 * Up to three parts, as the kind's formula needs (its folder's `recurrent.state`):
 *
 * - rows of positions, keys [M,C,D] and values [M,C,E]: the s sinks and a ring of the last C − s positions, or all
 *   positions: the key-value cache. A ring serves the window (at most W·G − 1 positions between steps, W·G while a leaving
 *   group is folded; W = 1 in most kinds) and the convolution, which looks P positions back. So C = s + max(W·G, P), plus
 *   the rows that wait for a fold of several groups (`Horizon.span`); terms of absent branches drop out. Query heads share
 *   their key-value head's rows.
 * - S [M,rows,columns], sums over the groups that have left the window, g + W ≤ ⌊L/G⌋: of constant size.
 * - rows that closed groups are projected to, a memory that grows with the text.
 *
 * The session knows which position is in which ring slot, once for all layers; it is not counted here.
 */
import { LinnetError } from '../errors.ts';
import { requireCount } from '../files/arguments.ts';
import { type ConvolutionConfig, reachOf } from './convolution-config.ts';
import { foldStart } from './masks.ts';
import type { AttentionDims, FoldedShape, Horizon, StateShape } from './mixer.ts';

/** @throws LinnetError `CONFIG` for impossible sizes */
export function checkDims({ heads, keyValueHeads, headWidth, valueWidth = headWidth }: AttentionDims): void {
  requireCount(heads, 'the number of heads', 1, 'CONFIG');
  requireCount(keyValueHeads, 'the number of key-value heads', 1, 'CONFIG');
  requireCount(headWidth, 'the head width', 1, 'CONFIG');
  requireCount(valueWidth, 'the value width', 1, 'CONFIG');
  if (heads % keyValueHeads !== 0) {
    throw new LinnetError('CONFIG', `${heads} query heads cannot share ${keyValueHeads} key-value heads evenly`);
  }
}

/** Sums of keysᵀ·values, [D,E] per key-value head. @param span as in `Horizon` */
export function sumsOfHeads({ headWidth, valueWidth = headWidth }: AttentionDims, span?: number): FoldedShape {
  return { kind: 'sums', rows: headWidth, columns: valueWidth, span };
}

/**
 * The state of a kind that reads rows one by one within a group and possibly by a convolution.
 *
 * @param horizon G, infinite for a growing cache; W and s if the kind has them
 * @param keyWidth numbers of a key row; default the head width
 */
export function ringState(
  { headWidth, valueWidth = headWidth }: AttentionDims,
  {
    group,
    window = 1,
    sinks = 0,
    convolution,
    folded = null,
    keyWidth = headWidth,
  }: Pick<Horizon, 'group' | 'window' | 'sinks'> & {
    readonly convolution: ConvolutionConfig | null;
    readonly folded?: FoldedShape | null;
    readonly keyWidth?: number;
  },
): StateShape {
  // At least one slot, so that no tensor is empty: only a lone convolution with a single filter weight would need none.
  const unfolded = (window - 1) * group + (folded?.span ?? group);
  const slots = Number.isFinite(group) ? sinks + Math.max(unfolded, reachOf(convolution), 1) : 'growing';
  return { slots, keyWidth, valueWidth, folded };
}

/** Numbers in a layer's state after a text of `context` tokens. @throws LinnetError `CONFIG` for an impossible length */
export function stateNumbers(
  { slots, keyWidth, valueWidth, folded, heads }: StateShape,
  keyValueHeads: number,
  group: number,
  context: number,
): number {
  requireCount(context, 'the context length', 0, 'CONFIG');
  const rows = (slots === 'growing' ? context : slots) * (keyWidth + valueWidth);
  const M = heads ?? keyValueHeads;
  if (folded === null) return M * rows;
  const kept =
    folded.kind === 'sums'
      ? folded.rows * folded.columns
      : folded.perGroup * (keyWidth + valueWidth) * (foldStart(context, { group, span: folded.span }) / group);
  return M * (rows + kept);
}

/** Whether a state grows with the text. */
export function grows({ slots, folded }: StateShape): boolean {
  return slots === 'growing' || folded?.kind === 'rows';
}
