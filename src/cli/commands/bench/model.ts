/** `linnet bench decode`, `prefill` and `verify`: speed and memory of a model or an exported folder. */
import { growsWithText } from '../../../attention/mixers.ts';
import {
  type ContextSpeed,
  contextsWithin,
  decodingSpeed,
  positionsBeyondContext,
  prefillSpeed,
} from '../../../evaluation/speed/decoding-speed.ts';
import { readBandwidth, stepProfile, weightBytesPerToken } from '../../../evaluation/speed/memory-traffic.ts';
import { peakMemoryBytes } from '../../../report/provenance.ts';
import { draftTime, verificationPositions, verificationSpeed } from '../../../evaluation/speed/verification-speed.ts';
import { open } from '../../../open/index.ts';
import type { LanguageModel } from '../../../open/language-model.ts';
import { fixed, formatBytes, formatCount, formatFixed, formatTokens } from '../../../report/quantities.ts';
import type { Column } from '../../../report/table.ts';
import type { CompileOptions, ProgramStatistics } from '../../../runtime/compile.ts';
import { UsageError } from '../../framework/exit-codes.ts';
import type { Benchmark } from './benchmark.ts';

const decodeContexts = [64, 1024, 4096, 16384, 32768];

export const decode: Benchmark = {
  takes: ['context', 'steps', 'profile'],
  async run(context, { model: folder, context: asked, steps = 128, profile, device, threads }) {
    const timings: (MeasuredRow & { subject: string; stepMs: number; weightBytesPerToken: number })[] = [];
    const graphs: (ProgramStatistics & { subject: string })[] = [];
    const profiles: (Awaited<ReturnType<typeof stepProfile>> & { subject: string; context: number })[] = [];
    /** @returns whether the model has a linearized counterpart */
    const measure = async (subject: string, openModel: (compile: CompileOptions) => Promise<LanguageModel>) => {
      const compile = { device, threads };
      await using opened = await openModel(compile);
      const { description: model, manifest } = opened;
      const engine = await opened.engine();
      const contexts = asked ?? contextsWithin(decodeContexts, model, positionsBeyondContext({ steps }));
      graphs.push({ subject, ...engine.program.statistics });
      const speeds = await context.withProgress(subject, 'rounds', (hooks) =>
        decodingSpeed(engine, { contexts, steps, ...hooks }),
      );
      const weights = { weightBytesPerToken: weightBytesPerToken(engine.program.statistics, model, manifest) };
      timings.push(...speeds.map((speed) => ({ subject, ...rowOf(speed), stepMs: speed.timing.medianMs, ...weights })));
      if (profile) {
        await opened[Symbol.asyncDispose]();
        await using profiled = await openModel({ ...compile, profile });
        const longest = Math.max(...contexts);
        profiles.push({ subject, context: longest, ...(await stepProfile(await profiled.engine(), longest)) });
      }
      return manifest === undefined && model.mixers.some(growsWithText);
    };
    if (await measure('as it is', (compile) => open(folder, compile))) {
      await measure('augmented', (compile) => openLinearized(folder, compile));
    }
    // Before the bandwidth is measured, which takes 256 MB.
    const peak = peakMemoryBytes();
    const readBytesPerSecond = await readBandwidth({ threads });
    const rows = timings.map((row) => ({
      ...row,
      bandwidthShare: (row.weightBytesPerToken * row.tokensPerSecond) / readBytesPerSecond,
    }));
    context.table(rows, [
      { header: 'mixers', value: 'subject' },
      { header: 'context', unit: 'tokens', value: 'context', format: formatTokens },
      { header: 'step', unit: 'ms', value: 'stepMs', format: fixed(3) },
      ...speedColumns,
      { header: 'of bandwidth', value: 'bandwidthShare', format: fixed(2) },
    ]);
    for (const { subject, nodes, creationMs } of graphs) {
      const size = nodes === undefined ? '' : `${formatCount(nodes)} nodes, `;
      context.print(`step graph, ${subject}: ${size}session created in ${formatFixed(creationMs, 0)} ms`);
    }
    for (const { subject, context: tokens, kernelMs, ops } of profiles) {
      context.print(`profile, ${subject}, context ${formatTokens(tokens)}: ${formatFixed(kernelMs, 2)} ms in kernels`);
      context.table(ops, [
        { header: 'op', value: 'opType' },
        { header: 'times', value: 'count', format: fixed(0) },
        { header: 'ms', value: 'ms', format: fixed(3) },
        { header: 'share', value: ({ ms }) => ms / kernelMs, format: fixed(3) },
      ]);
    }
    return { json: { rows, graphs, ...(profile && { profiles }), readBytesPerSecond, peakMemoryBytes: peak } };
  },
};

async function openLinearized(folder: string, compile: CompileOptions): Promise<LanguageModel> {
  await using original = await open(folder, compile);
  return await original.linearize('augmented');
}

const prefillContexts = [1024, 4096];

export const prefill: Benchmark = {
  takes: ['context', 'runs', 'chunk'],
  async run(context, { model: folder, context: asked, runs = 3, chunk: asChunk, device, threads }) {
    await using opened = await open(folder, { device, threads });
    const engine = await opened.engine();
    const chunk = asChunk ?? engine.promptChunk;
    const contexts = asked ?? contextsWithin(prefillContexts, opened.description);
    const speeds = await context.withProgress('reading', 'prompts', (hooks) =>
      prefillSpeed(engine, { contexts, runs, chunk, ...hooks }),
    );
    const rows = speeds.map((speed) => ({ ...rowOf(speed), promptMs: speed.timing.medianMs }));
    context.table(rows, [
      { header: 'prompt', unit: 'tokens', value: 'context', format: formatTokens },
      { header: 'time', unit: 'ms', value: 'promptMs', format: fixed(0) },
      ...speedColumns,
    ]);
    return { json: { rows, chunk } };
  },
};

type MeasuredRow = ReturnType<typeof rowOf>;

function rowOf({ timing: { minMs }, ...speed }: ContextSpeed) {
  return { ...speed, minMs, peakMemoryBytes: peakMemoryBytes() };
}

const speedColumns: readonly Column<MeasuredRow>[] = [
  { header: 'tokens/s', value: 'tokensPerSecond', format: fixed(1) },
  { header: 'state', value: 'stateBytes', format: formatBytes },
  { header: 'peak memory', value: 'peakMemoryBytes', format: formatBytes },
];

const defaultNodes = [1, 4, 16, 64];

export const verify: Benchmark = {
  takes: ['nodes', 'context', 'rounds', 'depth'],
  async run(context, { model: folder, nodes = defaultNodes, context: asked, depth = 4, rounds = 5, device, threads }) {
    if (asked !== undefined && asked.length > 1) throw new UsageError('bench verify takes one --context');
    await using opened = await open(folder, { device, threads });
    const { description: model } = opened;
    const engine = await opened.engine();
    const sizes = [...new Set([1, ...nodes])].sort((a, b) => a - b);
    const beyond = verificationPositions({ nodes: sizes, depth, rounds });
    const [committed] = asked ?? contextsWithin([1024], model, beyond);
    const times = await context.withProgress('verifying', 'rounds', (hooks) =>
      verificationSpeed(engine, { nodes: sizes, context: committed, depth, rounds, ...hooks }),
    );
    const [{ ms: single }] = times;
    const state = engine.newState();
    state.reserve(committed);
    const peak = peakMemoryBytes();
    // Each step reads the weights once, whatever its nodes.
    const limit =
      (await readBandwidth({ threads })) / weightBytesPerToken(engine.program.statistics, model, opened.manifest);
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
      { header: 'nodes', value: 'nodes' },
      { header: 'step', unit: 'ms', value: 'stepMs', format: fixed(2) },
      { header: 'of one node', value: 'ratio', format: fixed(2) },
      { header: 'nodes/s', value: 'tokensPerSecond', format: fixed(1) },
      { header: 'of bandwidth', value: 'bandwidthShare', format: fixed(2) },
    ]);
    if (!(await opened.hasHeads())) return { json: { context: committed, rows, draftMs: null } };
    await using medusa = await opened.heads();
    const draftMs = await draftTime(medusa.heads, model.sizes, draftedRanks, rounds);
    context.print(`a draft of the Medusa heads: ${formatFixed(draftMs, 2)} ms`);
    return { json: { context: committed, rows, draftMs } };
  },
};

/** Guesses per head when drafting is timed, as in the default tree. */
const draftedRanks = 10;
