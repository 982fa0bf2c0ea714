import { describe, expect, it } from 'vitest';
import { mixerPreset } from '../../attention/presets.ts';
import { type CausalModel, describeCausalModel } from '../../models/index.ts';
import { slotOf } from '../../attention/masks.ts';
import { modelLayout } from '../../models/graphs/model-layout.ts';
import { BatchRows } from './batch-rows.ts';
import { SequenceState } from './sequence-state.ts';

const M = 2;
const width = 4;

function modelWith(mixer: string): CausalModel {
  return describeCausalModel({
    model_type: 'llama',
    vocab_size: 8,
    hidden_size: 16,
    intermediate_size: 8,
    num_hidden_layers: 1,
    num_attention_heads: 4,
    num_key_value_heads: M,
    max_position_embeddings: 4096,
    linnet: { version: 1, mixers: [mixerPreset(mixer, mixer === 'softmax' ? {} : { group: 4 })] },
  });
}

let written = 0;

/** Writes keys of `count` more positions, and folds at times, as a commit does. */
function grow(state: SequenceState, count: number): void {
  state.reserve(count);
  const [{ slots }] = state.layout.layers;
  for (let i = 0; i < count; i++, state.length++) {
    const slot = slotOf(state.length, state.positions[slots.index].length, slots.horizon);
    for (let head = 0; head < M; head++) {
      const start = (head * state.positions[slots.index].length + slot) * width;
      state.layers[0].keys.fill(++written, start, start + width);
    }
  }
  if (state.layout.folds.length > 0 && count > 1)
    state.takeFolded(
      0,
      Float32Array.from({ length: state.layerSums.reduce((n, sums) => n + (sums?.length ?? 0), 0) }, () => ++written),
    );
}

/** What a buffer must hold: rows of each sequence, zeros behind them. */
function expected(states: readonly SequenceState[], slots: number): number[] {
  return states.flatMap((state) => {
    const own = state.layers[0].keys;
    const ownSize = own.length / M;
    return [0, 1].flatMap((head) => {
      const part = Array.from({ length: slots * width }, () => 0);
      own.subarray(head * ownSize, (head + 1) * ownSize).forEach((value, i) => {
        part[i] = value;
      });
      return part;
    });
  });
}

describe.each(['window', 'augmented', 'softmax'])('states side by side: %s', (mixer) => {
  const model = modelWith(mixer);
  const layout = modelLayout(model);
  const [{ slots }] = layout.layers;

  it('are what the states hold, whoever comes, goes, grows or changes places', () => {
    const rows = new BatchRows('step');
    const states = Array.from({ length: 4 }, () => new SequenceState(model, layout));
    const check = (batch: readonly SequenceState[]): void => {
      const most = Math.max(...batch.map((state) => state.positions[slots.index].length));
      const shape = { name: 'keys.0', layer: 0, part: 'keys', heads: M, width, horizon: slots.horizon } as const;
      const { data: keys } = rows.rows(shape, batch, most);
      expect([...keys]).toEqual(expected(batch, most));
      if (layout.folds.length === 0) return;
      const { data: sums } = rows.sums('sums.0', batch, 0);
      expect([...sums]).toEqual(batch.flatMap(({ layerSums: [first = []] }) => [...first]));
    };
    const [a, b, c, d] = states;
    const steps: readonly (readonly [batch: readonly SequenceState[], growth: number])[] = [
      [[a, b], 3],
      [[a, b], 1],
      [[b, a], 1],
      [[a, b, c], 2],
      [[a, b, c], 1],
      [[c], 5],
      [[a, b, c, d], 1],
      [[a, d, c, b], 9],
      [[a, d, c.fork(), b], 1],
      [[a, d], 300],
      [[a, d, c], 1],
      [[a, d, c], 40],
      [[a, d, c], 0],
    ];
    for (const [batch, growth] of steps) {
      check(batch);
      check(batch);
      for (const state of batch) grow(state, growth);
    }
    check(states);
  });
});
