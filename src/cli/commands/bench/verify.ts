/** `linnet bench verify`: steps over token trees of several sizes, against one token. */
import { readBandwidth } from '../../../evaluation/speed/memory-traffic.ts';
import { verificationPositions, verificationSpeed } from '../../../evaluation/speed/verification-speed.ts';
import { time } from '../../../evaluation/speed/timing.ts';
import { fixed, formatFixed } from '../../../report/quantities.ts';
import { peakMemoryBytes, storedBytesPerToken } from '../../output/bandwidth.ts';
import { defineCommand, engineOptions, optional, withDefault } from '../../framework/command.ts';
import { folderOf } from '../../options/folder-parameters.ts';
import { countList, integer } from '../../framework/option-values.ts';
import { openCausal, type RunningModel } from '../../../open/running-model.ts';

const defaultNodes = [1, 4, 16, 64];

export const benchVerify = defineCommand({
  description:
    'Times steps over random token trees with the logits of all nodes wanted, as verification of drafts needs them, by ' +
    'a model or an exported folder. Sizes take turns; times never fall with size. Where the folder has Medusa heads, what ' +
    'a draft of theirs takes is timed as well.',
  examples: ['linnet bench verify runs/1.1b-w8a8', 'linnet bench verify runs/1.1b-w8a8 --nodes 1,8,16 --json'],
  arguments: { model: folderOf('the model') },
  options: {
    nodes: optional(countList, `nodes of a tree (default: ${defaultNodes.join(',')})`),
    context: optional(
      integer(1, 1 << 24, 'tokens'),
      'tokens read before (default: 1024, or what the positions of the model leave)',
    ),
    depth: withDefault(integer(1, 64, 'nodes'), 4, 'deepest node of a tree'),
    rounds: withDefault(integer(1, 1000), 5, 'turns of each size'),
    ...engineOptions,
  },
  async run(context, { model: folder, nodes = defaultNodes, context: asked, depth, rounds, device, threads }) {
    await using opened = await openCausal(folder, { device, threads });
    const sizes = [...new Set([1, ...nodes])].sort((a, b) => a - b);
    const left = opened.engine.model.positions.limit - verificationPositions({ nodes: sizes, depth, rounds });
    const committed = asked ?? Math.max(1, Math.min(1024, left));
    const times = await context.withProgress('verifying', 'rounds', (progress) =>
      verificationSpeed(opened.engine, {
        nodes: sizes,
        context: committed,
        depth,
        rounds,
        signal: context.signal,
        onProgress: (done, total) => progress.update(done, total),
      }),
    );
    const [{ ms: single }] = times;
    const state = opened.engine.newState();
    state.reserve(committed);
    const peak = peakMemoryBytes();
    // Each step reads the weights once, whatever its nodes.
    const limit = (await readBandwidth({ threads })) / storedBytesPerToken(opened);
    const rows = times
      .filter(({ nodes: size }) => nodes.includes(size))
      .map(({ nodes: size, ms }) => ({
        nodes: size,
        // Nodes per second: the upper bound of accepted tokens.
        tokensPerSecond: (1000 * size) / ms,
        stepMs: ms,
        ratio: ms / single,
        stateBytes: state.bytes,
        peakMemoryBytes: peak,
        bandwidthShare: 1000 / ms / limit,
      }));
    context.table(rows, [
      { header: 'nodes', value: (row) => row.nodes },
      { header: 'step', unit: 'ms', value: (row) => row.stepMs, format: fixed(2) },
      { header: 'of one node', value: (row) => row.ratio, format: fixed(2) },
      { header: 'nodes/s', value: (row) => row.tokensPerSecond, format: fixed(1) },
      { header: 'of bandwidth', value: (row) => row.bandwidthShare, format: fixed(2) },
    ]);
    const draftMs = await draftTime(opened, rounds);
    if (draftMs !== undefined) context.print(`a draft of the Medusa heads: ${formatFixed(draftMs, 2)} ms`);
    return { json: { context: committed, rows, draftMs: draftMs ?? null } };
  },
});

/** Guesses per head when drafting is timed, as in the default tree. */
const draftedRanks = 10;

/** Median time of a draft, in milliseconds; undefined without heads. */
async function draftTime(opened: RunningModel, rounds: number): Promise<number | undefined> {
  if (!(await opened.hasHeads())) return undefined;
  await using medusa = await opened.heads();
  const { width, vocabulary } = opened.model.sizes;
  const hidden = Float32Array.from({ length: width }, (_, i) => Math.sin(i));
  const { medianMs } = await time(() => medusa.heads.topK(hidden, Math.min(draftedRanks, vocabulary)), {
    runs: 2 * rounds + 1,
  });
  return medianMs;
}
