/**
 * The gated delta rule over token trees by the runtime's operator, which reads position by position. From S at the
 * last multiple of G, or later (`SequenceState.ahead`), it reads the committed rows since then and each path of the tree.
 * So a node has the same bits, whatever stands beside it and however the text before it was read. A row is [k̂, v, g, β],
 * each of all heads.
 */
import { internalError } from '../../../errors.ts';
import type { Value } from '../../../graph/graph.ts';
import { gather } from '../../../graph/ops/indexing.ts';
import { concat, reshape, split } from '../../../graph/ops/layout.ts';
import { deltaRecurrence, type RecurrenceRows } from '../../../graph/ops/recurrence.ts';
import { int32, multiplyDims, tensor } from '../../../graph/tensor.ts';
import { endingSteps, foldStart, openCount, type SequenceStep } from '../../masks.ts';
import type { LayoutInputs, MixerConfig, StepInput } from '../../mixer.ts';

/** Row of each position along each path, among B·(R + T) rows and a row of zeros behind them, which pads paths: int32 [X,n]. */
const rowsName = 'rows';
/** Node of each position, among B·T; any for committed rows and padding: int32 [X,n]. */
const nodesName = 'nodes';
/** Each node's output, as an index into the paths' positions: int32 [B,T]. */
const placesName = 'places.tree';
/** The paths after which S is an output: int32 [any]. */
const endsName = 'ends';

/** A path through one sequence's tree. */
interface Path {
  readonly sequence: number;
  readonly nodes: readonly number[];
}

/** Each tree's longest path, in tree order, then all others. */
function pathsOf(steps: readonly Pick<SequenceStep, 'tree'>[]): readonly Path[] {
  const main: Path[] = [];
  const others: Path[] = [];
  for (const [sequence, { tree }] of steps.entries()) {
    const paths = tree.leaves().map((leaf) => ({ sequence, nodes: tree.pathTo(leaf) }));
    const [longest, ...rest] = paths.sort((a, b) => b.nodes.length - a.nodes.length);
    main.push(longest);
    others.push(...rest);
  }
  return [...main, ...others];
}

type ReplayInputs = LayoutInputs<{ readonly group: number } & MixerConfig>;

/** Committed rows are the open ones, or all of a ring's slots in one piece if none are open. */
export const replayInputs: ReplayInputs = {
  declare: (_, __, named) => ({
    [rowsName]: { dtype: 'int32', shape: [named('X'), named('n')] },
    [nodesName]: { dtype: 'int32', shape: [named('X'), named('n')] },
    [placesName]: { dtype: 'int32', shape: ['B', 'T'] },
    [endsName]: { dtype: 'int32', shape: [named('ends')] },
  }),
  sumsOf: (steps) => pathsOf(steps).map(({ sequence }) => sequence),
  feeds(config, steps, T, slots) {
    const B = steps.length;
    const R = openCount(steps) || slots;
    const paths = pathsOf(steps);
    const starts = steps.map(({ committed, ahead = 0 }) => Math.max(foldStart(committed, config), ahead));
    const longest = paths.map(({ sequence: b, nodes }) => steps[b].committed - starts[b] + nodes.length);
    const [X, n] = [paths.length, Math.max(...longest)];
    const rows = new Int32Array(X * n).fill(B * (R + T));
    const nodes = new Int32Array(X * n);
    const places = new Int32Array(B * T);
    for (const [x, path] of paths.entries()) {
      const b = path.sequence;
      const { committed, open } = steps[b];
      const first = open?.positions.indexOf(starts[b]) ?? starts[b];
      let at = x * n;
      for (let i = 0; i < committed - starts[b]; i++) rows[at++] = b * R + ((first + i) % R);
      for (const node of path.nodes) {
        rows[at] = B * R + b * T + node;
        nodes[at] = b * T + node;
        places[b * T + node] = at++;
      }
    }
    const ends = endingSteps(steps, config.group).map((step) => steps.indexOf(step));
    return {
      [rowsName]: tensor('int32', [X, n], rows),
      [nodesName]: tensor('int32', [X, n], nodes),
      [placesName]: tensor('int32', [B, T], places),
      [endsName]: int32([ends.length], ends),
    };
  },
};

/** Puts the heads of rows [...,M,X] side by side: [...,M·X]. */
export function sideBySide(rows: Value): Value {
  const [X, M] = [...rows.shape].reverse();
  return reshape(rows, [...rows.shape.slice(0, -2), multiplyDims(M, X)]);
}

/** The nodes' rows, heads side by side: [B,T,M·(D+E+2)]. */
export function replayedRows({ keys, values, logs, gates }: Omit<RecurrenceRows, 'queries'>): Value {
  return concat([keys, values, logs, gates], 2);
}

/** Splits rows [X,n,M·(D+E+2)] into their parts, and S into heads. @param sums [X,…,E] of M·D·E numbers each */
function partsOf(rows: Value, sums: Value): { readonly parts: Omit<RecurrenceRows, 'queries'>; readonly state: Value } {
  const [X, ...sizes] = sums.shape;
  const E = Number(sizes.at(-1));
  const keyNumbers = Number(multiplyDims(...sizes)) / E; // M·D
  const M = (Number(rows.shape[2]) - keyNumbers) / (E + 2);
  const [keys, values, logs, gates] = split(rows, 2, [keyNumbers, M * E, M, M]);
  return { parts: { keys, values, logs, gates }, state: reshape(sums, [X, M, keyNumbers / M, E]) };
}

/**
 * The rule over the nodes of trees.
 * @param queries [B,T,H·D]
 * @param own `replayedRows` of the nodes
 * @param held committed rows [B,R,W] or [B·R,W], in the inputs' numbering
 * @param scale multiplies the outputs. Default 1
 * @returns the outputs [B,T,H,E], and S after each path that ends a group
 */
export function replayDelta(
  { sums, inputs }: StepInput,
  queries: Value,
  own: Value,
  held: Value,
  scale = 1,
): { readonly mixed: Value; readonly sums: Value } {
  if (sums === undefined) throw internalError('a delta rule without its state');
  const [B, T, W] = own.shape;
  const listed = (rows: Value): Value => {
    const [width, ...outer] = [...rows.shape].reverse();
    return reshape(rows, [multiplyDims(...outer.reverse()), width]);
  };
  const zeros = own.graph.sharedNumbers(`a row of ${W} zeros`, [1, Number(W)], () => 0);
  const rows = concat([listed(held), listed(own), zeros], 0);
  const { parts, state } = partsOf(gather(rows, inputs[rowsName]), sums);
  const asked = gather(listed(queries), inputs[nodesName]);
  const after = deltaRecurrence({ queries: asked, ...parts }, state, scale);
  const mixed = gather(listed(after.mixed), inputs[placesName]); // [B,T,H·E]
  const E = Number(sums.shape[3]);
  return {
    mixed: reshape(mixed, [B, T, Number(mixed.shape[2]) / E, E]),
    sums: gather(reshape(after.state, sums.shape), inputs[endsName]),
  };
}

/** S [N,…] after rows [N,n,W]. @param repeat R, the steps': the operator rounds S differently for 1, 2, 4 or 8 than for 3 or 5 */
export function foldReplayed(rows: Value, sums: Value, repeat = 1): Value {
  const { parts, state } = partsOf(rows, sums);
  const queries = concat(new Array<Value>(repeat).fill(parts.keys), 2);
  return reshape(deltaRecurrence({ queries, ...parts }, state).state, sums.shape);
}
