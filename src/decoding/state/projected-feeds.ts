/** What the step graph reads of Linformer by blocks, beside rings and masks: see `ProjectedMemory`. */
import { blockPlaces } from '../../attention/block-places.ts';
import type { TreeRule } from '../../attention/masks.ts';
import { groupOf, type MixerConfig } from '../../attention/mixer.ts';
import type { TokenTree } from '../../attention/tree.ts';
import { type Tensor, tensor } from '../../graph/tensor.ts';
import { stateLayout } from '../../models/step-graph.ts';
import type { SequenceState } from './sequence-state.ts';

/** A sequence of a step. */
interface Sequence {
  readonly state: SequenceState;
  readonly tree: TokenTree;
  readonly rule?: TreeRule;
}

/** S: rows that the longest memory of a layer has room for; at least one, so that no tensor is empty. */
function memorySize(sequences: readonly Sequence[], layer: number): number {
  return Math.max(1, ...sequences.map(({ state }) => state.projected[layer]?.capacity ?? 0));
}

/** `memory.keys.i` [B,M,S,D] and `memory.values.i` [B,M,S,E] of a layer that projects blocks. */
export function projectedFeeds(sequences: readonly Sequence[], layer: number): Record<string, Tensor> {
  const [{ state: first }] = sequences;
  const { keyValueHeads: M } = first.model.sizes;
  const S = memorySize(sequences, layer);
  const feeds: Record<string, Tensor> = {};
  for (const part of ['keys', 'values'] as const) {
    const { width } = first.rowLayout.layers[layer][part];
    const size = M * S * width;
    const memories = sequences.map(({ state }) => state.projected[layer]?.padded(part, S) ?? new Float32Array(size));
    // One sequence's memory is read in place.
    let [rows] = memories;
    if (memories.length > 1) {
      rows = new Float32Array(memories.length * size);
      for (const [b, memory] of memories.entries()) rows.set(memory, b * size);
    }
    feeds[`memory.${part}.${layer}`] = tensor('float32', [sequences.length, M, S, width], rows);
  }
  return feeds;
}

/**
 * `held.ℓ`, `closed.ℓ`, `offsets.ℓ.…` and `member.ℓ.…`: which rows of memories are in use, and where new rows belong.
 *
 * @param mixer of a layer of layout `name`
 * @param T nodes per tree
 * @param C slots per ring
 */
export function placeFeeds(
  sequences: readonly Sequence[],
  mixer: MixerConfig,
  name: string,
  T: number,
  C: number,
): Record<string, Tensor> {
  const B = sequences.length;
  const layer = sequences[0].state.model.mixers.findIndex((candidate) => stateLayout(candidate).name === name);
  const S = memorySize(sequences, layer);
  const held = new Float32Array(B * S);
  sequences.forEach(({ state }, b) => held.fill(1, b * S, b * S + (state.projected[layer]?.count ?? 0)));
  const steps = sequences.map(({ state, tree, rule }) => ({
    slotPositions: state.slots.get(name)?.positions ?? new Int32Array(0),
    tree,
    committed: state.length,
    rule,
  }));
  const places = blockPlaces(steps, T, C, groupOf(mixer));
  return {
    [`held.${name}`]: tensor('float32', [B, 1, 1, S], held),
    [`closed.${name}`]: tensor('float32', [B, 1, T, places.count], places.closed),
    [`offsets.${name}.ring`]: tensor('int32', [B, C], places.ring.offsets),
    [`offsets.${name}.tree`]: tensor('int32', [B, T], places.tree.offsets),
    [`member.${name}.ring`]: tensor('float32', [B, C, places.count], places.ring.member),
    [`member.${name}.tree`]: tensor('float32', [B, T, places.count], places.tree.member),
  };
}
