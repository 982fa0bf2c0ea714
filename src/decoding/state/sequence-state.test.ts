import { describe, expect, it } from 'vitest';
import { tinyLlama } from '../../../test/models/tiny-llama.ts';
import { mixerPreset } from '../../attention/presets.ts';
import { modelLayout } from '../../models/graphs/model-layout.ts';
import { SequenceState } from './sequence-state.ts';

function deltaState(): SequenceState {
  const model = tinyLlama([mixerPreset('delta')]);
  return new SequenceState(model, modelLayout(model));
}

describe('S of a step', () => {
  const size = deltaState().layerSums[0]?.length ?? 0;
  /** S of two texts of a step, of which the state takes the second. */
  function take(state: SequenceState, value: number): Float32Array {
    const both = new Float32Array(2 * size).fill(value);
    state.takeSums(new Map([[0, both.subarray(size)]]));
    return both;
  }

  it('does not keep the memory of other texts', () => {
    const state = deltaState();
    take(state, 1);
    expect(state.layerSums[0]?.buffer.byteLength).toBe(4 * size);
    expect(state.layerSums[0]).toEqual(new Float32Array(size).fill(1));
  });

  it('leaves that of forks as it was', () => {
    const state = deltaState();
    take(state, 1);
    const fork = state.fork();
    take(state, 2);
    take(state, 3);
    const second = fork.fork();
    take(second, 4);
    expect([state, fork, second].map(({ layerSums }) => layerSums[0]?.[0])).toEqual([3, 1, 4]);
  });

  it('is taken as it is where it is one text’s', () => {
    const state = deltaState();
    const numbers = new Float32Array(size).fill(1);
    state.takeSums(new Map([[0, numbers]]));
    expect(state.layerSums[0]).toBe(numbers);
  });

  it('frees the S before it, unless forks or readers keep that', () => {
    const state = deltaState();
    const taken = [1, 2, 3, 4].map((value) => new Float32Array(size).fill(value));
    const next = (): void => state.takeSums(new Map([[0, taken[state.folds]]]));
    next();
    next();
    state.fork();
    next();
    state.keepSums();
    next();
    expect(taken.map(({ length }) => length)).toEqual([0, size, size, size]);
  });

  it('between folds is read by steps alone, until the next fold', () => {
    const state = deltaState();
    take(state, 1);
    state.readAhead(4, new Map([[0, new Float32Array(size).fill(2)]]));
    const seen = (each: SequenceState): (number | undefined)[] => [each.ahead, each.sums(0)[0], each.layerSums[0]?.[0]];
    expect([seen(state), seen(state.fork())]).toEqual([
      [4, 2, 1],
      [0, 1, 1],
    ]);
    take(state, 3);
    expect(seen(state)).toEqual([0, 3, 3]);
    state.readAhead(12, new Map([[0, new Float32Array(2 * size).fill(4).subarray(size)]]));
    state.takeFolded(0, new Float32Array(size).fill(5));
    expect(seen(state)).toEqual([0, 5, 5]);
    state.readAhead(20, new Map([[0, new Float32Array(size).fill(6)]]));
    const { folds } = state;
    state.dropAhead();
    expect([...seen(state), state.folds]).toEqual([0, 5, 5, folds + 1]);
  });
});
