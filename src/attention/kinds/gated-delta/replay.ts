/**
 * The gated delta rule over token trees by the runtime's operator, which reads position by position: from the state at the last
 * multiple of the group on, every path of a tree is read with the committed rows since then before it. So a node has the same bits
 * whatever stands beside it, and however the text before it was read. A row is [k̂, v, g, β].
 */
import { internalError } from '../../../errors.ts';
import type { Value } from '../../../graph/graph.ts';
import { gather } from '../../../graph/ops/indexing.ts';
import { concat, reshape, split } from '../../../graph/ops/layout.ts';
import { deltaRecurrence } from '../../../graph/ops/recurrence.ts';
import { type Dim, multiplyDims } from '../../../graph/shape.ts';
import { int32, tensor } from '../../../graph/tensor.ts';
import { windowStart } from '../../masks.ts';
import type { FoldInput, LayoutInputs, MixerConfig, StepInput } from '../../mixer.ts';
import type { TokenTree } from '../../tree.ts';
import type { DeltaRows } from './parallel.ts';

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

type ReplayInputs = LayoutInputs<{ readonly group: number; readonly heads: number } & MixerConfig>;

export const replayInputs: ReplayInputs = {
  declare({ heads: M }, _, named) {
    const types: ReturnType<ReplayInputs['declare']> = {
      [heldName]: { dtype: 'int32', shape: ['B', named('R'), M] },
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
    const R = Math.max(...steps.map(({ committed }, b) => committed - starts[b]));
    const held = new Int32Array(B * R * M);
    const places = new Int32Array(B * T);
    const paths: Record<(typeof sets)[number], Path[]> = { main: [], others: [] };
    for (const [b, { tree, committed }] of steps.entries()) {
      for (let at = starts[b]; at < committed; at++) {
        const row = (b * R + at - starts[b]) * M;
        for (let m = 0; m < M; m++) held[row + m] = (b * M + m) * slots + (at % slots);
      }
      const [main, ...others] = pathsOf(tree, b);
      paths.main.push(main);
      paths.others.push(...others);
    }
    const feeds: ReturnType<ReplayInputs['feeds']> = {
      [heldName]: tensor('int32', [B, R, M], held),
      [sequencesName]: int32(
        [paths.others.length],
        paths.others.map(({ sequence }) => sequence),
      ),
      [placesName]: tensor('int32', [B, T], places),
    };
    let first = 0;
    for (const set of sets) {
      const n = R + Math.max(1, ...paths[set].map(({ nodes }) => nodes.length));
      const X = paths[set].length;
      const rows = new Int32Array(X * n);
      const nodes = new Int32Array(X * n);
      for (const [x, path] of paths[set].entries()) {
        const b = path.sequence;
        const count = steps[b].committed - starts[b];
        for (let i = 0; i < count; i++) rows[x * n + i] = b * (R + T) + i;
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

/** Rows for the ring: [...,D+E+2]. */
export function replayedRows({ keys, values, logs, gates }: Omit<DeltaRows, 'queries'>): Value {
  return concat([keys, values, logs, gates], keys.rank - 1);
}

/**
 * The rule over the nodes of trees.
 * @param queries [B,T,H,D]
 * @param own rows of the nodes [B,T,M,D+E+2]
 * @returns the outputs [B,T,H,E], and S after the main path of each tree
 */
export function replayDelta(
  { ring, sums, inputs }: StepInput,
  queries: Value,
  own: Value,
): { readonly mixed: Value; readonly sums: Value } {
  if (sums === undefined) throw internalError('a delta rule without its state');
  const [B, T, H, D] = queries.shape;
  const [, M, , E] = sums.shape;
  const [, , C, W] = ring.keys.shape;
  const held = gather(reshape(ring.keys, [multiplyDims(B, M, C), W]), inputs[heldName]); // [B,R,M,W]
  const joined = concat([held, own], 1);
  const rows = reshape(joined, [multiplyDims(B, joined.shape[1]), M, W]);
  const asked = reshape(queries, [multiplyDims(B, T), multiplyDims(H, D)]);
  const along = (set: (typeof sets)[number], state: Value): { readonly mixed: Value; readonly state: Value } => {
    const ofPaths = gather(rows, inputs[`${rowsName}.${set}`]);
    const [keys, values, logs, gates] = split(ofPaths, 3, [Number(D), Number(E), 1, 1]);
    const read = deltaRecurrence(
      { queries: gather(asked, inputs[`${nodesName}.${set}`]), keys, values, logs, gates },
      state,
    );
    const [X, n, width] = read.mixed.shape;
    return { mixed: reshape(read.mixed, [multiplyDims(X, n), width]), state: read.state };
  };
  const main = along('main', sums);
  const others = along('others', gather(sums, inputs[sequencesName]));
  const mixed = gather(concat([main.mixed, others.mixed], 0), inputs[placesName]); // [B,T,H·E]
  return { mixed: reshape(mixed, [B, T, H, E]), sums: main.state };
}

/** S with rows [k̂, v, g, β]. */
export function foldReplayed({ keys: rows, sums }: FoldInput): Value {
  const [X, D, E] = sums.shape;
  const n = rows.shape[1];
  const heads = reshape(rows, [X, n, 1, rows.shape[2]]);
  const [keys, values, logs, gates] = split(heads, 3, [Number(D), Number(E), 1, 1]);
  const queries = reshape(keys, [X, n, D]);
  const { state } = deltaRecurrence({ queries, keys, values, logs, gates }, reshape(sums, [X, 1, D, E]));
  return reshape(state, [X, D, E]);
}
