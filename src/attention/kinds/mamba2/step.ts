/**
 * Mamba-2 over token trees. A row of the ring is [B, g, B and C before their filters] and [dt·x, x before its filter]; S
 * [Γ,J,RP,N/J] is the decayed Σ (dt·x)ᵀB at the end of the last closed chunk, in J stretches of B: a product sums at most
 * 128 numbers in order. S is the left operand: the runtime copies the right one, which takes longer than multiplying it by
 * two rows.
 */
import type { Value } from '../../../graph/graph.ts';
import { matmul, sum } from '../../../graph/ops/contraction.ts';
import { add, exp, mul } from '../../../graph/ops/elementwise.ts';
import { gather } from '../../../graph/ops/indexing.ts';
import { concat, pad, reshape, slice, transpose } from '../../../graph/ops/layout.ts';
import { cumulativeSum } from '../../../graph/ops/recurrence.ts';
import { int32, multiplyDims, tensor } from '../../../graph/tensor.ts';
import { emptySlot, openBlock, openCount } from '../../masks.ts';
import type {
  Fold,
  LayoutInputs,
  MixerStepOutput,
  OpenRows,
  RecurrentForm,
  StateShape,
  StepInput,
} from '../../mixer.ts';
import { nodeRows } from '../../step-blocks.ts';
import { ageInputs, openDecays, pathInputs, stepDecays } from '../gated/decay.ts';
import { headColumns, lanes, softplusOfRuntime } from '../gated/step.ts';
import { convolvedNodes, lastRows, lastRowsInputs } from '../short-conv/forms.ts';
import { groupedFilters, joinedRows, type Mamba2Mixer, mamba2Rows, type Mamba2Rows, skipped } from './config.ts';

/** Numbers a product sums in order, whatever its other sizes. */
const stretch = 128;

/** J: the fewest equal parts. */
function stretchesOf({ state: N }: Mamba2Mixer): number {
  let J = Math.ceil(N / stretch);
  while (N % J > 0) J++;
  return J;
}

/** Rows [...,n,N] in J stretches: [...,J,n,N/J]; unchanged if J is 1. */
function stretched(config: Mamba2Mixer, rows: Value): Value {
  const J = stretchesOf(config);
  if (J === 1) return rows;
  const outer = rows.shape.slice(0, -1);
  const axes = outer.map((_, axis) => axis);
  const n = axes.pop() ?? 0;
  return transpose(reshape(rows, [...outer, J, config.state / J]), [...axes, n + 1, n, n + 2]);
}

/** S by stretches, like `stretched` rows. @param S [B,Γ,J·RP,N/J] */
function stretchedState(config: Mamba2Mixer, S: Value): Value {
  const [B, groups, rows, width] = S.shape;
  const J = stretchesOf(config);
  return J === 1 ? S : reshape(S, [B, groups, J, Number(rows) / J, width]);
}

/** Sums products [B,Γ,J,any,any] over the stretches. */
function overStretches(products: Value): Value {
  return products.rank === 4 ? products : sum(products, [2]);
}

function slotsOf({ kernel, group }: Mamba2Mixer): number {
  return Math.max(group, kernel - 1);
}

function stateOf(config: Mamba2Mixer): StateShape {
  const { heads, headWidth, state, groups } = config;
  const repeat = heads / groups;
  const J = stretchesOf(config);
  return {
    slots: slotsOf(config),
    keyWidth: Math.ceil((3 * state + repeat) / lanes) * lanes,
    valueWidth: 2 * repeat * headWidth,
    folded: { kind: 'sums', rows: J * repeat * headWidth, columns: state / J },
  };
}

/** Splits rows of keys into B and g. */
function splitKeys({ heads, groups, state: N }: Mamba2Mixer, keys: Value): readonly Value[] {
  const axis = keys.rank - 1;
  return [slice(keys, axis, 0, N), slice(keys, axis, N, N + heads / groups)];
}

function step(config: Mamba2Mixer, input: StepInput): MixerStepOutput {
  const { heads: H, headWidth: P, state: N, groups: Γ } = config;
  const { ring, parameters, open } = input;
  const R = H / Γ;
  const raw = joinedRows(config, input); // [B,T,Γ,RP+2N]
  const [lastKeys, lastValues] = [ring.keys, ring.values].map((rows) => lastRows(rows, input.inputs));
  const held = concat([slice(lastValues, 3, R * P), slice(lastKeys, 3, N + R, 3 * N + R)], 3); // [B,L−1,Γ,RP+2N]
  const convolved = convolvedNodes(held, raw, groupedFilters(config, parameters), input.inputs);
  const rows = mamba2Rows(config, input, convolved, open && softplusOfRuntime);
  const [B, T] = raw.shape;
  const y = open === undefined ? readRing(config, input, rows) : readOpen(config, input, open, rows);
  const skip = nodeRows(reshape(skipped(rows.x, parameters), [B, T, Γ, R * P]));
  const keys = concat([rows.keys, reshape(rows.decays, [B, T, Γ, R]), slice(raw, 3, R * P)], 3);
  return {
    mixed: add(y, input.heads.join(reshape(skip, [B, Γ, 1, T, R * P]))),
    keys: nodeRows(pad(keys, 3, 0, Number(ring.keys.shape[ring.keys.rank - 1]) - 3 * N - R)),
    values: nodeRows(concat([reshape(rows.values, [B, T, Γ, R * P]), input.v], 3)),
  };
}

/** Sums the open rows, the tree's rows and S, in order of position: [B,Γ,T,RP], plus a spare row if the heads have one. */
function readOpen(config: Mamba2Mixer, input: StepInput, open: OpenRows, rows: Mamba2Rows): Value {
  const { heads: H, headWidth: P, groups: Γ } = config;
  const { heads, ring, inputs, sums } = input;
  const R = H / Γ;
  const [openKeys, openLogs] = splitKeys(config, open.keys);
  const [B, T] = rows.values.shape;
  const decays = openDecays(input, concat([headColumns(openLogs), reshape(rows.decays, [B, T, H])], 1));
  const queries = heads.of(rows.queries).joined; // [B,Γ,T,N]
  const keys = concat([openKeys, nodeRows(rows.keys)], 2); // [B,Γ,U+T,N]
  const pieces = reshape(ring.values, [multiplyDims(ring.values.shape[0], 2 * R), P]);
  const values = concat([gather(pieces, inputs[piecesName]), nodeRows(rows.values)], 2); // [B,H,U+T,P]
  const [asked, from] = [queries, keys].map((each) => stretched(config, each));
  const scores = overStretches(matmul(asked, from, { transposeB: true }));
  const nodes = scores.shape[2];
  const weights = mul(decays.rows, Γ === 1 ? scores : gather(scores, groupsOfHeads(scores, config), 1)); // [B,H,T,U+T]
  const ofRows = nodeRows(matmul(weights, values)); // [B,T,H,P]
  if (sums === undefined) return ofRows;
  const ofSums = overStretches(matmul(stretchedState(config, sums), asked, { transposeB: true })); // [B,Γ,RP,T]
  const ofState = reshape(ofSums, [B, H, P, nodes]);
  const all = add(ofRows, mul(transpose(ofState, [0, 3, 1, 2]), nodeRows(decays.sums)));
  return nodeRows(reshape(all, [B, nodes, Γ, R * P]));
}

/** Each head's group: [H]. */
function groupsOfHeads({ graph }: Value, { heads: H, groups: Γ }: Mamba2Mixer): Value {
  return graph.sharedConstant(`${Γ} groups of ${H} heads`, () =>
    int32(
      [H],
      Array.from({ length: H }, (_, head) => Math.floor((head * Γ) / H)),
    ),
  );
}

/** The same up to rounding, over the whole ring. */
function readRing(config: Mamba2Mixer, input: StepInput, rows: Mamba2Rows): Value {
  const { heads: H, headWidth: P, groups: Γ } = config;
  const { ring, sums } = input;
  const R = H / Γ;
  const [B, T] = rows.values.shape;
  const [heldKeys, heldLogs] = splitKeys(config, ring.keys);
  const queries = nodeRows(rows.queries); // [B,Γ,T,N]
  /** Splits R heads stored side by side: [B,Γ,any,R·X] → [B,Γ,R,any,X]. */
  const apart = (grouped: Value, X: number): Value =>
    transpose(reshape(grouped, [B, Γ, grouped.shape[2], R, X]), [0, 1, 3, 2, 4]);
  const ofHeads = (factors: Value): Value => reshape(factors, [B, Γ, R, ...factors.shape.slice(2)]);
  const perHead = (grouped: Value): Value => reshape(apart(grouped, 1), [B, H, grouped.shape[2], 1]);
  const decays = stepDecays(input, perHead(heldLogs), nodeRows(rows.decays));
  const read = (from: Value, own: Value, factors: Value): Value => {
    const scores = matmul(queries, from, { transposeB: true }); // [B,Γ,T,rows]
    const weights = mul(ofHeads(factors), reshape(scores, [B, Γ, 1, T, scores.shape[3]]));
    return matmul(weights, own); // [B,Γ,R,T,P]
  };
  const ofRing = read(heldKeys, apart(slice(ring.values, 3, 0, R * P), P), decays.ring);
  let mixed = add(ofRing, read(nodeRows(rows.keys), ofHeads(nodeRows(rows.values)), decays.tree));
  if (sums !== undefined) {
    const ofSums = matmul(stretchedState(config, sums), stretched(config, queries), { transposeB: true });
    const ofState = transpose(reshape(overStretches(ofSums), [B, Γ, R, P, T]), [0, 1, 2, 4, 3]);
    mixed = add(mixed, mul(ofState, ofHeads(decays.sums)));
  }
  return reshape(transpose(mixed, [0, 1, 3, 2, 4]), [B, Γ, T, R * P]);
}

const fold: Fold<Mamba2Mixer> = {
  shareAs: ({ heads, headWidth, groups, state }) => `mamba2 ${heads / groups} ${headWidth} ${state}`,
  reads: ({ heads, headWidth, state, groups }) => ({
    keys: state + heads / groups,
    values: (heads / groups) * headWidth,
  }),
  fold(config, { keys, values, sums }) {
    const { headWidth: P, state: N } = config;
    const [rows, logs] = splitKeys(config, keys);
    const [X, n, R] = logs.shape;
    const J = stretchesOf(config);
    const behind = exp(cumulativeSum(logs, 1, { exclusive: true, reverse: true })); // [X,n,R]
    const weighted = mul(reshape(values, [X, n, R, P]), reshape(behind, [X, n, R, 1]));
    const added = reshape(weighted, J === 1 ? values.shape : [X, 1, n, values.shape[2]]);
    const terms = matmul(added, stretched(config, rows), { transposeA: true }); // [X,RP,N] or [X,J,RP,N/J]
    const faded = mul(reshape(sums, [X, J, R, (P * N) / J]), reshape(exp(sum(logs, [1])), [X, 1, R, 1]));
    return add(reshape(faded, sums.shape), reshape(terms, sums.shape));
  },
};

/** Each head's dt·x in the open rows: int32 [B,H,U], indices into the ring's values, B·Γ·C·2R pieces of P numbers. */
const piecesName = 'pieces.ring';

const openInputs: LayoutInputs<Mamba2Mixer> = {
  ...pathInputs,
  declare: (config, dims, named) => ({
    ...pathInputs.declare(config, dims, named),
    ...(dims.opens && { [piecesName]: { dtype: 'int32', shape: ['B', config.heads, dims.openRows] } }),
  }),
  feeds(config, steps, T, slots) {
    const { heads: H, groups: Γ } = config;
    const [R, U] = [H / Γ, openCount(steps)];
    const pieces = new Int32Array(steps.length * H * U);
    for (const [b, { open }] of steps.entries()) {
      for (let head = 0; head < H; head++) {
        const ring = (b * Γ + Math.floor(head / R)) * slots;
        const own = pieces.subarray((b * H + head) * U, (b * H + head + 1) * U);
        open?.positions.forEach((position, i) => {
          if (position !== emptySlot) own[i] = (ring + (position % slots)) * 2 * R + (head % R);
        });
      }
    }
    return {
      ...pathInputs.feeds(config, steps, T, slots),
      [piecesName]: tensor('int32', [steps.length, H, U], pieces),
    };
  },
};

/** `lastRowsInputs` for rings that feed no slots. */
function withRing(rule: LayoutInputs<Mamba2Mixer>): LayoutInputs<Mamba2Mixer> {
  const inputs = lastRowsInputs<Mamba2Mixer>('m', ({ groups }) => groups, rule);
  return { ...inputs, feeds: (config, steps, T) => inputs.feeds(config, steps, T, slotsOf(config)) };
}

const byRing: RecurrentForm<Mamba2Mixer> = {
  state: stateOf,
  step,
  fold,
  inputs: withRing(ageInputs),
  scoreWidth: (config) => config.state / stretchesOf(config),
};

export const mamba2Recurrent: RecurrentForm<Mamba2Mixer> = {
  ...byRing,
  inputs: withRing(openInputs),
  sameBits: () => 'open rows',
  stepConfig: (config) => ({ ...config, group: openBlock }),
  byProducts: byRing,
};
