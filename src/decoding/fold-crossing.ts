/**
 * Trees that cross the end of a fold, for graphs that read no group closing within a tree: first runs the nodes before the
 * end, then each path's continuation, from a copy of the state that has read and folded the path.
 */
import { TokenTree } from '../attention/tree.ts';
import { LinnetError } from '../errors.ts';
import type { ModelLayout } from '../models/graphs/model-layout.ts';
import type { NewRows } from './state/commit.ts';
import type { SequenceState } from './state/sequence-state.ts';
import type { StepRequest } from './state/step-feeds.ts';

/** See `StepEngine`. */
interface Output {
  readonly logits: readonly Float32Array[];
  readonly hidden: readonly Float32Array[];
  readonly rows: NewRows;
}

/** Positions from a length to the next fold, which no step crosses. */
function positionsToFold({ folds }: Pick<ModelLayout, 'folds'>, length: number): number {
  let left = Number.POSITIVE_INFINITY;
  for (const { slots } of folds) {
    const { group, span = group } = slots.horizon;
    if (slots.withinFolds) left = Math.min(left, span - (length % span));
  }
  return left;
}

type Commit = (request: StepRequest, output: Output, nodes: readonly number[]) => Promise<void>;

/**
 * Steps requests together, except those whose trees cross a fold.
 * @param runTogether steps requests whose trees cross none
 * @throws LinnetError `INPUT` for a tree with a rule, which its parts cannot follow, and like a step
 */
export async function runAcrossFolds(
  layout: ModelLayout,
  asked: readonly StepRequest[],
  runTogether: (requests: readonly StepRequest[]) => Promise<Output[]>,
  commit: Commit,
): Promise<Output[]> {
  const crosses = asked.map(({ tree, state }) => tree.height >= positionsToFold(layout, state.length));
  const together = asked.filter((_, index) => !crosses[index]);
  const outputs: Output[] = together.length === 0 ? [] : await runTogether(together);
  const run = async (part: StepRequest): Promise<Output> =>
    (await runAcrossFolds(layout, [part], runTogether, commit))[0];
  for (const [index, request] of asked.entries()) {
    if (crosses[index]) outputs.splice(index, 0, await stepAcrossFold(request, run, commit));
  }
  return outputs;
}

async function stepAcrossFold(
  request: StepRequest,
  run: (part: StepRequest) => Promise<Output>,
  commit: Commit,
): Promise<Output> {
  const { state, tree, tokens, wanted } = request;
  const { layout, model } = state;
  const near = positionsToFold(layout, state.length);
  if (Object.keys(request.rule ?? {}).length > 0) {
    throw new LinnetError(
      'INPUT',
      `a rule for a tree that crosses position ${state.length + near}, where groups are folded, needs graphs that cross folds: ` +
        'open the checkpoint with `crossesFolds: true`',
    );
  }
  if (tokens.length !== tree.size || wanted.some((node) => !(node in tree.parents))) {
    throw new LinnetError(
      'INPUT',
      `a tree of ${tree.size} nodes needs as many tokens, and wanted nodes of its own; got ${tokens.length} tokens, nodes ${wanted.join(',')}`,
    );
  }
  const [logits, hidden] = [new Array<Float32Array>(wanted.length), new Array<Float32Array>(wanted.length)];
  const shiftWidth = model.mixers.length * (model.sizes.shiftWidth ?? 0);
  const matrices = [...layout.rows, { heads: 1, width: shiftWidth }].map(({ heads, width }) => ({
    heads,
    width,
    data: new Float32Array(heads * tree.size * width),
  }));
  const read = async (nodes: readonly number[], from: SequenceState) => {
    const part = partOf(request, nodes, from);
    const output = await run(part);
    const { rows } = output;
    for (const [i, { heads, width, data }] of matrices.entries()) {
      const source = rows.data[i] ?? rows.shifts;
      for (let head = 0; head < heads; head++) {
        for (const [index, node] of nodes.entries()) {
          const start = ((rows.sequence * heads + head) * rows.nodes + index) * width;
          data.set(source.subarray(start, start + width), (head * tree.size + node) * width);
        }
      }
    }
    for (const [index, node] of wanted.entries()) {
      const place = part.wanted.indexOf(nodes.indexOf(node));
      if (place >= 0) [logits[index], hidden[index]] = [output.logits[place], output.hidden[place]];
    }
    return { part, output };
  };
  const all = Array.from(tree.parents, (_, node) => node);
  const first = all.filter((node) => tree.depths[node] < near);
  const { part, output } = await read(first, state);
  for (const end of first) {
    const below = all.filter(
      (node) => node !== end && tree.depths[end] === near - 1 && tree.isAncestorOrSelf(node, end),
    );
    if (below.length === 0) continue;
    const fork = state.fork();
    const path = tree.pathTo(end).map((node) => first.indexOf(node));
    await commit({ ...part, state: fork }, output, path);
    await read(below, fork);
  }
  const shifts = matrices.pop()?.data ?? new Float32Array(0);
  const rows = {
    data: matrices.map(({ data }) => data),
    shifts,
    nodes: tree.size,
    sequence: 0,
    committed: state.length,
  };
  return { logits, hidden, rows };
}

/** The request for some of a tree's nodes. Wants at least one: the runtime refuses some products without rows. */
function partOf(
  { tree, tokens, wanted, before }: StepRequest,
  nodes: readonly number[],
  state: SequenceState,
): StepRequest {
  const own = nodes.flatMap((node, index) => (wanted.includes(node) ? [index] : []));
  return {
    state,
    tree: new TokenTree(nodes.map((node) => nodes.indexOf(tree.parents[node]))),
    tokens: nodes.map((node) => tokens[node]),
    wanted: own.length === 0 ? [0] : own,
    before: before && nodes.map((node) => before[node]),
  };
}
