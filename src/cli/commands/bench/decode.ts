/** `linnet bench decode`: time per token and memory per session against the context. */
import { growsWithText } from '../../../attention/mixers.ts';
import { mixerPreset } from '../../../attention/presets.ts';
import { loadCausalModel } from '../../../checkpoint/load-model.ts';
import { DecodingEngine } from '../../../decoding/engine.ts';
import { engineDecodingSpeed, fillState, positionsBeyondContext } from '../../../evaluation/speed/decoding-speed.ts';
import { readBandwidth, type StepProfile, stepProfile } from '../../../evaluation/speed/memory-traffic.ts';
import { byFolderFormat } from '../../../open/folder-format.ts';
import { linearize } from '../../../models/linearization/linearize.ts';
import { Random } from '../../../random.ts';
import { fixed, formatBytes, formatCount, formatFixed, formatTokens } from '../../../report/quantities.ts';
import type { CompileOptions, ProgramStatistics } from '../../../runtime/compile.ts';
import { peakMemoryBytes, storedBytesPerToken } from '../../output/bandwidth.ts';
import type { CommandContext } from '../../framework/context.ts';
import { defineCommand, engineOptions, flag, optional, withDefault } from '../../framework/command.ts';
import { contextsWithin } from '../../options/default-contexts.ts';
import { folderOf } from '../../options/folder-parameters.ts';
import { countList, integer } from '../../framework/option-values.ts';
import { openCausal, type RunningModel } from '../../../open/running-model.ts';

const defaultContexts = [64, 1024, 4096, 16384, 32768];
/** Steps of the profile, at the longest context. */
const profiledSteps = 16;

export const benchDecode = defineCommand({
  description:
    'Times single-token steps of a model or an exported folder; of a model with softmax layers also linearized to the ' +
    'augmented mixer. States are filled with random numbers as if the context had been read. Contexts take turns, so ' +
    'that a machine whose speed drifts treats all alike. The bandwidth share is the bytes of the weights that one token ' +
    'reads, times tokens per second, over the bandwidth of reading memory in order, measured in the same run.',
  examples: [
    'linnet bench decode assets/tiny-llama',
    'linnet bench decode runs/1.1b-int4 --context 64,1024,131072 --json',
    'linnet bench decode runs/1.1b-int4 --context 1024 --profile',
  ],
  arguments: { model: folderOf('the model') },
  options: {
    context: optional(
      countList,
      `tokens read before (default: ${defaultContexts.join(',')}, or as far as learned positions reach)`,
    ),
    steps: withDefault(integer(4, 100_000), 128, 'timed steps per context'),
    profile: flag('tell where the time of a step goes, at the longest context, in a run of its own'),
    ...engineOptions,
  },
  async run(context, { model: folder, context: asked, steps, profile, device, threads }) {
    const compile = { device, threads };
    const timings: Timed[] = [];
    const graphs: ({ subject: string } & ProgramStatistics)[] = [];
    const profiles: ({ subject: string; context: number } & StepProfile)[] = [];
    let contexts: readonly number[] = [];
    for (const { name, open } of await subjectsOf(folder, compile)) {
      {
        await using subject = await open(false);
        contexts = asked ?? contextsWithin(defaultContexts, subject.model, positionsBeyondContext({ steps }));
        graphs.push({ subject: name, ...subject.engine.program.statistics });
        timings.push(...(await timed(context, name, subject, contexts, steps)));
      }
      if (!profile) continue;
      await using subject = await open(true);
      const longest = Math.max(...contexts);
      profiles.push({ subject: name, context: longest, ...(await profiled(subject, longest)) });
    }
    const peak = peakMemoryBytes();
    const readBytesPerSecond = await readBandwidth({ threads });
    const rows = timings.map((row) => ({
      ...row,
      bandwidthShare: (row.weightBytesPerToken * row.tokensPerSecond) / readBytesPerSecond,
    }));
    printRows(context, rows);
    for (const { subject, nodes, creationMs } of graphs) {
      context.print(
        `step graph, ${subject}: ${nodes === undefined ? '' : `${formatCount(nodes)} nodes, `}session created in ${formatFixed(creationMs, 0)} ms`,
      );
    }
    for (const found of profiles) printProfile(context, found);
    return {
      json: {
        rows,
        graphs,
        ...(profile && { profiles }),
        readBytesPerSecond,
        peakMemoryBytes: peak,
      },
    };
  },
});

interface Timed {
  readonly subject: string;
  readonly context: number;
  readonly tokensPerSecond: number;
  readonly stepMs: number;
  readonly minMs: number;
  readonly stateBytes: number;
  readonly peakMemoryBytes: number;
  readonly weightBytesPerToken: number;
}

interface Row extends Timed {
  readonly bandwidthShare: number;
}

type TimedModel = Pick<RunningModel, 'model' | 'engine'> & Partial<Pick<RunningModel, 'manifest'>>;

interface Subject {
  readonly name: string;
  readonly open: (profile: boolean) => Promise<TimedModel & AsyncDisposable>;
}

/** The model as it is and, if it is a checkpoint with softmax layers, linearized. */
function subjectsOf(folder: string, compile: CompileOptions): Promise<Subject[]> {
  return byFolderFormat<Subject[]>(folder, {
    exported: async () => [{ name: 'as it is', open: (profile) => openCausal(folder, { ...compile, profile }) }],
    checkpoint: () => checkpointSubjects(folder, compile),
  });
}

async function checkpointSubjects(folder: string, compile: CompileOptions): Promise<Subject[]> {
  const loaded = await loadCausalModel(folder);
  const subject = (name: string, { model, parameters }: Pick<typeof loaded, 'model' | 'parameters'>): Subject => ({
    name,
    async open(profile) {
      const engine = await DecodingEngine.create(model, parameters, { ...compile, profile });
      return { model, engine, [Symbol.asyncDispose]: () => engine.dispose() };
    },
  });
  const subjects = [subject('as it is', loaded)];
  if (loaded.model.mixers.some(growsWithText)) {
    const linear = linearize(loaded.model, loaded.parameters, mixerPreset('augmented'));
    subjects.push(subject('augmented', linear));
  }
  return subjects;
}

async function timed(
  context: CommandContext,
  name: string,
  subject: TimedModel,
  contexts: readonly number[],
  steps: number,
): Promise<Timed[]> {
  const speeds = await context.withProgress(name, 'rounds', (progress) =>
    engineDecodingSpeed(subject.engine, {
      contexts,
      steps,
      signal: context.signal,
      onProgress: (done, total) => progress.update(done, total),
    }),
  );
  const weightBytesPerToken = storedBytesPerToken(subject);
  return speeds.map(({ context: tokens, timing, tokensPerSecond, stateBytes }) => ({
    subject: name,
    context: tokens,
    tokensPerSecond,
    stepMs: timing.medianMs,
    minMs: timing.minMs,
    stateBytes,
    peakMemoryBytes: peakMemoryBytes(),
    weightBytesPerToken,
  }));
}

async function profiled({ engine }: Pick<RunningModel, 'engine'>, tokens: number): Promise<StepProfile> {
  const state = engine.newState();
  fillState(state, tokens, new Random(1));
  for (let step = 0; step < profiledSteps; step++) await engine.advance(state, step % engine.model.sizes.vocabulary);
  return stepProfile(engine, profiledSteps);
}

function printRows(context: CommandContext, rows: readonly Row[]): void {
  context.table(rows, [
    { header: 'mixers', value: ({ subject }) => subject },
    { header: 'context', unit: 'tokens', value: (row) => row.context, format: formatTokens },
    { header: 'step', unit: 'ms', value: ({ stepMs }) => stepMs, format: fixed(3) },
    { header: 'tokens/s', value: ({ tokensPerSecond }) => tokensPerSecond, format: fixed(1) },
    { header: 'state', value: ({ stateBytes }) => stateBytes, format: formatBytes },
    { header: 'peak memory', value: (row) => row.peakMemoryBytes, format: formatBytes },
    { header: 'of bandwidth', value: ({ bandwidthShare }) => bandwidthShare, format: fixed(2) },
  ]);
}

function printProfile(
  context: CommandContext,
  { subject, context: tokens, kernelMs, ops }: { subject: string; context: number } & StepProfile,
): void {
  context.print(`profile, ${subject}, context ${formatTokens(tokens)}: ${formatFixed(kernelMs, 2)} ms in kernels`);
  context.table(ops, [
    { header: 'op', value: ({ opType }) => opType },
    { header: 'times', value: ({ count }) => count, format: fixed(0) },
    { header: 'ms', value: ({ ms }) => ms, format: fixed(3) },
    { header: 'share', value: ({ ms }) => ms / kernelMs, format: fixed(3) },
  ]);
}
