/**
 * Checks whether a model can be trusted: no output depends on a later token (the leak of an unmasked convolution, paper,
 * section 4.2 and Figure 4), and decoding computes the trained function (parallel, step and tree forms agree with the
 * formula).
 */
import { mixerDims } from '../../attention/mixers.ts';
import { layeredWeights, loadTensors } from '../../checkpoint/stored-parameter.ts';
import type { StepEngine } from '../../decoding/step-engine.ts';
import { LinnetError, requireRunning, type Stoppable } from '../../errors.ts';
import type { WeightMap } from '../../graph/tensor.ts';
import { byKind, type CausalModel, type EncoderModel } from '../../models/model.ts';
import { Random } from '../../random.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import type { SegmentWeights } from '../../runtime/segmented-program.ts';
import { segmentedBytes } from '../../runtime/weighted-program.ts';
import { processBytes } from '../../training/step-cost.ts';
import { checkedLength, cutPositions, layerNames, sharedMixers } from './checked-extent.ts';
import { type CheckRow, checkTests, comparedRow, isLeakTest, limits } from './rows.ts';
import { encoderRows, paddedGraph } from './encoder-rows.ts';
import { mixerParity, modelParity, type ParameterValues, type ParityOptions } from './forms.ts';
import { compileMovement, type Movement, movementGraph } from './future-movement.ts';
import { mixerProbe, randomMixerParameters, randomProbe } from './mixer-probe.ts';

export type { CheckRow } from './rows.ts';

/** Scope and reporting of `checkModel`. */
export interface CheckOptions extends Stoppable {
  /** Seed for the random tokens, rows and parameters. Default 1. */
  readonly seed?: number;
  /**
   * Longest sequence, for models with large groups: edges beyond it go unchecked. Default 1024. Without this limit, sequences
   * cover three groups and twice the convolution's reach. Never more than the model's positions.
   */
  readonly maximumLength?: number;
  /** Threads and device. Default: all CPU cores. */
  readonly compile?: CompileOptions;
  /**
   * The engine whose steps are compared with a causal model, `none` if the weights do not all fit. Default: one made from the
   * parameters.
   */
  readonly engine?: StepEngine | 'none';
  /** Called with every finished row. */
  readonly onRow?: (row: CheckRow) => void;
}

/** All of a check's comparisons. */
export type CheckReport = Awaited<ReturnType<typeof checkModel>>;

/**
 * Checks a model, layer by layer if parameters are in files; an encoder by `encoderRows`. A model fails with rows that are
 * not ok; errors are thrown only if it cannot run at all.
 *
 * @throws LinnetError `INPUT` for a maximum length below 8, `ABORTED` when the signal fires between two rows
 * @example
 * ```ts
 * const { rows } = await checkModel(model, parameters);
 * ```
 */
export async function checkModel(
  model: CausalModel | EncoderModel,
  parameters: ParameterValues,
  options: CheckOptions = {},
) {
  const { seed = 1, maximumLength = 1024, compile, engine, onRow, signal } = options;
  if (!Number.isInteger(maximumLength) || maximumLength < 8) {
    throw new LinnetError(
      'INPUT',
      `a check needs sequences of at least 8 tokens, the maximum given is ${maximumLength}`,
    );
  }
  const parity = (limit: number): ParityOptions => ({
    seed,
    compile,
    engine: engine === 'none' ? undefined : engine,
    maximumLength: Math.min(maximumLength, limit),
  });
  const rows: CheckRow[] = [];
  const results = byKind(model, {
    causal: (own) => causalRows(own, parameters, parity(own.positions.limit), engine !== 'none'),
    encoder: (own) => encoderRows(own, parameters, parity(own.sizes.trainedLength)),
  });
  for await (const row of results) {
    rows.push(row);
    onRow?.(row);
    requireRunning(signal, `after ${rows.length} results of the check`);
  }
  return {
    /** Whether any output moved when a later token changed or, for an encoder, next to padding. */
    leak: rows.some(({ test, ok }) => isLeakTest(test) && !ok),
    ok: rows.every(({ ok }) => ok),
    /** Largest relative error between forms. NaN if an output is not finite. */
    maxError: Math.max(0, ...rows.flatMap(({ test, error }) => (isLeakTest(test) || error === null ? [] : [error]))),
    rows,
    /** A causal model's tests that were skipped, since it had no engine. */
    unchecked: engine === 'none' && model.kind === 'causal' ? [checkTests.modelSteps, checkTests.modelTree] : [],
  };
}

/** Memory of a check without the model's engine. @param weights parameters as they would be read */
export function checkMemory(
  model: CausalModel | EncoderModel,
  weights: SegmentWeights,
  { maximumLength = 1024 }: Pick<CheckOptions, 'maximumLength'> = {},
): number {
  const graph = byKind(model, {
    causal(own) {
      const length = checkedLength(own.mixers, Math.min(maximumLength, own.positions.limit));
      return movementGraph(own, length, cutPositions(own.mixers, length));
    },
    encoder: (own) => paddedGraph(own, Math.min(maximumLength, own.sizes.trainedLength)),
  });
  return processBytes + segmentedBytes(graph, weights, 1);
}

/** From single mixers to the whole model: leaks, then forms. */
async function* causalRows(
  model: CausalModel,
  parameters: ParameterValues,
  options: ParityOptions,
  decodes: boolean,
): AsyncGenerator<CheckRow> {
  const { maximumLength, seed, compile } = options;
  // Mixers alone, on random rows: with each layer's own α, λ and filter weights and, once for all layers that share it, with
  // random ones.
  for (const { mixer, layers } of sharedMixers(model)) {
    const length = checkedLength([mixer], maximumLength);
    const probe = mixerProbe(mixer, { ...mixerDims(mixer, model.sizes), vocabulary: 2 * length });
    await using program = await compileMovement(probe, length, cutPositions([mixer], length), compile);
    const random = new Random(seed);
    const tables = randomProbe(probe, random);
    const { model: moved } = await program.run(tables, random);
    yield movementRow(layerNames(layers), checkTests.futurePositionsRandom, length, moved);
    for (const layer of layers) {
      const own = await layerParameters(model, parameters, layer, probe);
      const { model: movedOwn } = await program.run(new Map([...tables, ...own]), random);
      yield movementRow(layerNames([layer]), checkTests.futurePositions, length, movedOwn);
    }
  }
  for (const { mixer, layers } of sharedMixers(model)) {
    yield* mixerParity(layerNames(layers), mixer, mixerDims(mixer, model.sizes), options);
  }
  yield* modelLeaks(model, parameters, options);
  if (decodes) yield* modelParity(model, parameters, options);
}

/** The whole model on random tokens: the output of every layer's mixer, and the final hidden states. */
async function* modelLeaks(
  model: CausalModel,
  parameters: ParameterValues,
  { maximumLength, seed, compile }: ParityOptions,
): AsyncGenerator<CheckRow> {
  const length = checkedLength(model.mixers, maximumLength);
  const random = new Random(seed);
  const move = async (values: ParameterValues) => {
    const cuts = cutPositions(model.mixers, length);
    await using program = await compileMovement(model, length, cuts, compile, layeredWeights(values));
    return await program.run(values, random);
  };
  const own = await move(parameters);
  for (const [layer, moved] of own.layers.entries()) {
    yield movementRow(layerNames([layer]), checkTests.futureTokens, length, moved);
  }
  yield movementRow('model', checkTests.futureTokens, length, own.model);
  const switchedOn = new Map([...parameters, ...randomMixerParameters(model, random)]);
  const { model: moved } = await move(switchedOn);
  yield movementRow('model', checkTests.futureTokensRandom, length, moved);
}

function movementRow(subject: string, test: CheckRow['test'], length: number, moved: Movement): CheckRow {
  const row = comparedRow({ subject, test, length, limit: limits.movement }, moved);
  return row.ok ? row : { ...row, note: `positions up to ${moved.cut} moved when later ones changed` };
}

/** A layer's own mixer parameters, under their names in a probe. */
async function layerParameters(
  model: CausalModel,
  parameters: ParameterValues,
  layer: number,
  probe: CausalModel,
): Promise<WeightMap> {
  const from = `${model.attentionPrefix(layer)}.`;
  const to = `${probe.attentionPrefix(0)}.`;
  const own = [...parameters].flatMap(([name, value]) => {
    const renamed = to + name.slice(from.length);
    return name.startsWith(from) && probe.parameters.has(renamed) ? [[renamed, value] as const] : [];
  });
  return await loadTensors(new Map(own));
}
