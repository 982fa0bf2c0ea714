/**
 * The gated delta rule over token trees by the runtime's operator, which reads position by position: from the state at the last
 * multiple of the group on, every path of a tree is read with the committed rows since then before it. So a node has the same bits
 * whatever stands beside it, and however the text before it was read. A row is [k̂, v, g, β], each of all heads.
 */
import { internalError } from '../../../errors.ts';
import type { Value } from '../../../graph/graph.ts';
import { gather } from '../../../graph/ops/indexing.ts';
import { concat, reshape, split } from '../../../graph/ops/layout.ts';
import { deltaRecurrence, type RecurrenceRows } from '../../../graph/ops/recurrence.ts';
import { type Dim, int32, multiplyDims, type Tensor, tensor } from '../../../graph/tensor.ts';
import { openCount, type SequenceStep, windowStart } from '../../masks.ts';
import type { LayoutInputs, MixerConfig, StepInput } from '../../mixer.ts';
import type { TokenTree } from '../../tree.ts';

/** Rows of the ring since the last fold, by sequence and head: int32 [B,R,M], of B·M·C rows. */
const heldName = 'held.ring';
/** Each position of the paths, by path: its row, of B·(R + T), int32 [X,n]; any for padding, which is behind all that is read. */
const rowsName = 'rows';
/** Its node, of B·T; any for committed rows and padding: int32 [X,n]. */
const nodesName = 'nodes';
/** The sequence of each path but the main ones: int32 [X]. */
const sequencesName = 'sequences.others';
/** Where the output of each node is, of the positions of the main paths and then of the others: int32 [B,T]. */
const placesName = 'places.tree';

/** The longest path of each tree, which reads its state in place, and all others, which each need a copy. */
const sets = ['main', 'others'] as const;

/** A path of a tree, of one sequence. */
interface Path {
  readonly sequence: number;
  readonly nodes: readonly number[];
}

/** Paths to all leaves, the longest first. */
function pathsOf(tree: TokenTree, sequence: number): Path[] {
  const paths = tree.leaves().map((leaf) => ({ sequence, nodes: tree.pathTo(leaf) }));
  return paths.sort((a, b) => b.nodes.length - a.nodes.length);
}

type ReplayInputs = LayoutInputs<{ readonly group: number; readonly heads?: number } & MixerConfig>;

/** Committed rows are open, or, where a mixer says how many heads it has, gathered from the ring. */
export const replayInputs: ReplayInputs = {
  tag: () => 'r',
  declare({ heads: M }, _, named) {
    const types: ReturnType<ReplayInputs['declare']> = {
      ...(M !== undefined && { [heldName]: { dtype: 'int32', shape: ['B', named('R'), M] } }),
      [sequencesName]: { dtype: 'int32', shape: [named('X')] },
      [placesName]: { dtype: 'int32', shape: ['B', 'T'] },
    };
    for (const set of sets) {
      const shape: Dim[] = [set === 'main' ? 'B' : named('X'), named(`n.${set}`)];
      types[`${rowsName}.${set}`] = { dtype: 'int32', shape };
      types[`${nodesName}.${set}`] = { dtype: 'int32', shape };
    }
    return types;
  },
  feeds(config, steps, T, slots) {
    const { heads: M } = config;
    const B = steps.length;
    const starts = steps.map(({ committed }) => windowStart(committed, config));
    const most = Math.max(...steps.map(({ committed }, b) => committed - starts[b]));
    const R = M === undefined ? openCount(steps) : most;
    const places = new Int32Array(B * T);
    const paths: Record<(typeof sets)[number], Path[]> = { main: [], others: [] };
    for (const [b, { tree }] of steps.entries()) {
      const [main, ...others] = pathsOf(tree, b);
      paths.main.push(main);
      paths.others.push(...others);
    }
    const feeds: ReturnType<ReplayInputs['feeds']> = {
      ...(M !== undefined && { [heldName]: heldRows(steps, starts, { R, M, slots }) }),
      [sequencesName]: int32(
        [paths.others.length],
        paths.others.map(({ sequence }) => sequence),
      ),
      [placesName]: tensor('int32', [B, T], places),
    };
    let first = 0;
    for (const set of sets) {
      const n = most + Math.max(1, ...paths[set].map(({ nodes }) => nodes.length));
      const X = paths[set].length;
      const rows = new Int32Array(X * n);
      const nodes = new Int32Array(X * n);
      for (const [x, path] of paths[set].entries()) {
        const b = path.sequence;
        const { committed, open } = steps[b];
        const count = committed - starts[b];
        const start = open?.positions.indexOf(starts[b]) ?? 0;
        for (let i = 0; i < count; i++) rows[x * n + i] = b * (R + T) + start + i;
        for (const [i, node] of path.nodes.entries()) {
          const at = x * n + count + i;
          rows[at] = b * (R + T) + R + node;
          nodes[at] = b * T + node;
          places[b * T + node] = first + at;
        }
      }
      first += X * n;
      feeds[`${rowsName}.${set}`] = tensor('int32', [X, n], rows);
      feeds[`${nodesName}.${set}`] = tensor('int32', [X, n], nodes);
    }
    return feeds;
  },
};

function heldRows(
  steps: readonly SequenceStep[],
  starts: readonly number[],
  { R, M, slots }: Record<'R' | 'M' | 'slots', number>,
): Tensor {
  const held = new Int32Array(steps.length * R * M);
  for (const [b, { committed }] of steps.entries()) {
    for (let at = starts[b]; at < committed; at++) {
      const row = (b * R + at - starts[b]) * M;
      for (let m = 0; m < M; m++) held[row + m] = (b * M + m) * slots + (at % slots);
    }
  }
  return tensor('int32', [steps.length, R, M], held);
}

/** Committed rows of the ring since the last fold, of M pieces [B,M,C,W/M]: [B,R,W]. */
export function replayedRowsOfRing({ ring, inputs }: StepInput): Value {
  const [B, M, C, piece] = ring.keys.shape;
  const pieces = gather(reshape(ring.keys, [multiplyDims(B, M, C), piece]), inputs[heldName]); // [B,R,M,W/M]
  return reshape(pieces, [B, pieces.shape[1], multiplyDims(M, piece)]);
}

/** Rows [...,M,X] with their heads side by side: [...,M·X]. */
export function sideBySide(rows: Value): Value {
  const [X, M] = [...rows.shape].reverse();
  return reshape(rows, [...rows.shape.slice(0, -2), multiplyDims(M, X)]);
}

/** Rows of nodes, heads side by side: [B,T,M·(D+E+2)]. */
export function replayedRows({ keys, values, logs, gates }: Omit<RecurrenceRows, 'queries'>): Value {
  return concat([keys, values, logs, gates], 2);
}

/** The parts of rows. @param state S [any,M,D,E] */
function partsOf(rows: Value, state: Value): Omit<RecurrenceRows, 'queries'> {
  const [, M, D, E] = state.shape.map(Number);
  const [keys, values, logs, gates] = split(rows, 2, [M * D, M * E, M, M]);
  return { keys, values, logs, gates };
}

/**
 * The rule over the nodes of trees.
 * @param queries [B,T,H·D]
 * @param own `replayedRows` of the nodes
 * @param held those before the tree [B,R,W]: as the inputs number them
 * @returns the outputs [B,T,H,E], and S after the main path of each tree
 */
export function replayDelta(
  { sums, inputs }: StepInput,
  queries: Value,
  own: Value,
  held: Value,
): { readonly mixed: Value; readonly sums: Value } {
  if (sums === undefined) throw internalError('a delta rule without its state');
  const [B, T, W] = own.shape;
  const [, , D, E] = sums.shape;
  const joined = concat([held, own], 1);
  const rows = reshape(joined, [multiplyDims(B, joined.shape[1]), W]);
  const asked = reshape(queries, [multiplyDims(B, T), queries.shape[2]]);
  const along = (set: (typeof sets)[number], state: Value): { readonly mixed: Value; readonly state: Value } => {
    const ofPaths = partsOf(gather(rows, inputs[`${rowsName}.${set}`]), state);
    const read = deltaRecurrence({ queries: gather(asked, inputs[`${nodesName}.${set}`]), ...ofPaths }, state);
    const [X, n, width] = read.mixed.shape;
    return { mixed: reshape(read.mixed, [multiplyDims(X, n), width]), state: read.state };
  };
  const main = along('main', sums);
  const others = along('others', gather(sums, inputs[sequencesName]));
  const mixed = gather(concat([main.mixed, others.mixed], 0), inputs[placesName]); // [B,T,H·E]
  return { mixed: reshape(mixed, [B, T, Number(queries.shape[2]) / Number(D), E]), sums: main.state };
}

/** S [N,M,D,E] of N layers after rows [N,n,W]. */
export function foldReplayed(rows: Value, sums: Value): Value {
  const parts = partsOf(rows, sums);
  return deltaRecurrence({ queries: parts.keys, ...parts }, sums).state;
}
