/**
 * Whether a model may be trusted: that no output depends on a later token (the leak that an unmasked convolution
 * brings, paper, section 4.2 and Figure 4), and that decoding computes the trained function (parallel, step and tree forms
 * agree with the formula).
 */
import { LinnetError } from '../../errors.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { CausalModel, EncoderModel } from '../../models/model.ts';
import { Random } from '../../random.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import { layerNames, sharedMixers } from './checked-layers.ts';
import { cutPositions, checkedLength } from './checked-lengths.ts';
import { type CheckRow, checkTests, comparedRow, isLeakTest, limits } from './rows.ts';
import { encoderRows } from './encoder-rows.ts';
import { FutureMovement, type Movement } from './future-movement.ts';
import { mixerProbe, randomMixerParameters, randomProbe } from './mixer-probe.ts';
import { mixerParity, type ParityOptions } from './mixer-parity.ts';
import { modelParity } from './model-parity.ts';

export type { CheckRow } from './rows.ts';

export interface CheckOptions {
  /** Of the random tokens, rows and parameters. Default 1. */
  readonly seed?: number;
  /**
   * Longest sequence, for models with large groups: edges beyond it go unchecked. Default 1024. Without that limit,
   * sequences cover three groups and twice the reach of the convolution. Never more than the positions a model has.
   */
  readonly maximumLength?: number;
  /** Threads and device. Default: all cores of the CPU. */
  readonly compile?: CompileOptions;
  /** Called with every row as it is finished. */
  readonly onRow?: (row: CheckRow) => void;
  /** Stops the work, with an error `ABORTED`. */
  readonly signal?: AbortSignal;
}

export interface CheckReport {
  /** Whether any output moved when a later token changed; of an encoder, next to padding. */
  readonly leak: boolean;
  /** Whether every row is ok. */
  readonly ok: boolean;
  /** Largest relative error of the comparisons between forms. NaN if an output is not finite. */
  readonly maxError: number;
  readonly rows: readonly CheckRow[];
}

/** Input of every part of the check. */
interface Checked {
  readonly model: CausalModel;
  readonly parameters: ReadonlyMap<string, Tensor<'float32'>>;
  readonly options: ParityOptions;
}

type Part = (checked: Checked) => AsyncGenerator<CheckRow>;

/** In the order of the report: from one mixer to the whole model. */
const parts: readonly Part[] = [mixerLeaks, mixerForms, modelLeaks, modelForms];

/**
 * Checks a model; an encoder as `encoderRows` says. A model fails with rows that are not ok; errors are thrown only where it cannot be run at all.
 *
 * @throws LinnetError `INPUT` for a maximum length below 8, `ABORTED` when the signal fires between two rows
 * @example
 * ```ts
 * const { rows } = await checkModel(model, parameters);
 * ```
 */
export async function checkModel(
  model: CausalModel | EncoderModel,
  parameters: ReadonlyMap<string, Tensor<'float32'>>,
  options: CheckOptions = {},
): Promise<CheckReport> {
  const { seed = 1, maximumLength = 1024, compile, onRow, signal } = options;
  if (!Number.isInteger(maximumLength) || maximumLength < 8) {
    throw new LinnetError(
      'INPUT',
      `a check needs sequences of at least 8 tokens, the maximum given is ${maximumLength}`,
    );
  }
  const limit = model.kind === 'causal' ? model.positions.limit : model.sizes.trainedLength;
  const parity: ParityOptions = { seed, maximumLength: Math.min(maximumLength, limit), compile };
  const rows: CheckRow[] = [];
  const results =
    model.kind === 'causal'
      ? causalRows({ model, parameters, options: parity })
      : encoderRows(model, parameters, parity);
  for await (const row of results) {
    rows.push(row);
    onRow?.(row);
    if (signal?.aborted === true) throw new LinnetError('ABORTED', `the check stopped after ${rows.length} results`);
  }
  return {
    leak: rows.some(({ test, ok }) => isLeakTest(test) && !ok),
    ok: rows.every(({ ok }) => ok),
    maxError: Math.max(0, ...rows.flatMap(({ test, error }) => (isLeakTest(test) || error === null ? [] : [error]))),
    rows,
  };
}

async function* causalRows(checked: Checked): AsyncGenerator<CheckRow> {
  for (const part of parts) yield* part(checked);
}

/**
 * Every layer's mixer alone, on random rows: with the layer's own α, λ and filter weights, and, once for all layers that share
 * it, with random ones.
 */
async function* mixerLeaks({ model, parameters, options }: Checked): AsyncGenerator<CheckRow> {
  for (const { mixer, layers } of sharedMixers(model)) {
    const length = checkedLength([mixer], options.maximumLength);
    const probe = mixerProbe(mixer, { ...model.sizes, vocabulary: 2 * length });
    const program = await FutureMovement.create(probe, length, cutPositions([mixer], length), options.compile);
    try {
      const random = new Random(options.seed);
      const tables = randomProbe(probe, random);
      const { model: moved } = await program.run(tables, random);
      yield movementRow(layerNames(layers), checkTests.futurePositionsRandom, length, moved);
      for (const layer of layers) {
        const own = layerParameters(model, parameters, layer, probe);
        const { model: movedOwn } = await program.run(new Map([...tables, ...own]), random);
        yield movementRow(layerNames([layer]), checkTests.futurePositions, length, movedOwn);
      }
    } finally {
      await program.dispose();
    }
  }
}

async function* mixerForms({ model, options }: Checked): AsyncGenerator<CheckRow> {
  for (const { mixer, layers } of sharedMixers(model)) {
    yield* await mixerParity(layerNames(layers), mixer, model.sizes, options);
  }
}

/** The whole model on random tokens: the output of every layer's mixer, and the final hidden states. */
async function* modelLeaks({ model, parameters, options }: Checked): AsyncGenerator<CheckRow> {
  const length = checkedLength(model.mixers, options.maximumLength);
  const program = await FutureMovement.create(model, length, cutPositions(model.mixers, length), options.compile);
  try {
    const random = new Random(options.seed);
    const own = await program.run(parameters, random);
    for (const [layer, moved] of own.layers.entries()) {
      yield movementRow(layerNames([layer]), checkTests.futureTokens, length, moved);
    }
    yield movementRow('model', checkTests.futureTokens, length, own.model);
    const switchedOn = new Map([...parameters, ...randomMixerParameters(model, random)]);
    const { model: moved } = await program.run(switchedOn, random);
    yield movementRow('model', checkTests.futureTokensRandom, length, moved);
  } finally {
    await program.dispose();
  }
}

async function* modelForms({ model, parameters, options }: Checked): AsyncGenerator<CheckRow> {
  yield* await modelParity(model, parameters, options);
}

function movementRow(subject: string, test: CheckRow['test'], length: number, moved: Movement): CheckRow {
  const row = comparedRow({ subject, test, length, limit: limits.movement }, moved);
  return row.ok ? row : { ...row, note: `positions up to ${moved.cut} moved when later ones changed` };
}

/** A layer's own mixer parameters under the names they have in a probe. */
function layerParameters(
  model: CausalModel,
  parameters: ReadonlyMap<string, Tensor<'float32'>>,
  layer: number,
  probe: CausalModel,
): Map<string, Tensor<'float32'>> {
  const from = `${model.attentionPrefix(layer)}.`;
  const to = `${probe.attentionPrefix(0)}.`;
  return new Map(
    [...parameters].flatMap(([name, value]) => {
      const renamed = to + name.slice(from.length);
      return name.startsWith(from) && probe.parameters.has(renamed) ? [[renamed, value] as const] : [];
    }),
  );
}
