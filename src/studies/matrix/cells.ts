/** A cell of the support matrix: a tiny model with random weights, run forwards, backwards and, if causal, decoding. */
import { z } from 'zod';
import type { MixerConfig } from '../../attention/mixer.ts';
import { isCausal, hasSurrogateGradient } from '../../attention/mixers.ts';
import { findPreset, mixerPreset, mixerPresetNames, takenOptions, wholeTextPreset } from '../../attention/presets.ts';
import { LinnetError } from '../../errors.ts';
import { tensor, type Weights } from '../../graph/tensor.ts';
import { DecodingEngine } from '../../decoding/engine.ts';
import type { Model } from '../../models/families/index.ts';
import { initializeParameters } from '../../models/initialize.ts';
import { byKind, type EncoderDecoderModel } from '../../models/model.ts';
import { consequencesOf, drawValues } from '../../nn/parameters.ts';
import { Random } from '../../random.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import { Discrepancy, limits, type CheckRow } from '../../evaluation/check/rows.ts';
import { randomMixerParameters } from '../../evaluation/check/mixer-probe.ts';
import { modelParity } from '../../evaluation/check/forms.ts';
import type { Direction, SupportProbe } from './probes.ts';
import { runBackward, runForward, type Texts } from './forward.ts';

const works = z.boolean().nullable();

/** Abilities of a cell: true, false, or null if impossible. */
export const cellResult = z.strictObject({
  /** Logits are finite, and a padded row has the logits of the row alone. */
  forward: works,
  /** Gradients of all parameters are finite, and agree with finite differences along a random direction. */
  backward: works,
  /** Steps and trees have the logits of the parallel form. */
  decode: works,
  /** Largest error of forward and decode, relative to the largest logit; null if nothing was compared. */
  maxError: z.number().nullable(),
  note: z.string().optional(),
});

export type CellResult = z.output<typeof cellResult>;

/** Where a cell is: a mixer, with the masked convolution or without, in an attention of a family. */
export type CellPlace = Readonly<{ family: string; direction: Direction; mixer: string; convolution: boolean }>;
export type SupportRow = CellPlace & CellResult;

/** Small enough that the tiny texts cross groups. */
const sizes = { group: 4, kernel: 5, features: 8, rows: 2, block: 4, hashes: 3, bits: 3 };

/** The matrix's mixers: all presets; a mixer with two names keeps the later one. */
export function supportMixers(): string[] {
  const byMixer = new Map(
    mixerPresetNames().map((name) => [JSON.stringify(mixerPreset(name, takenOptions(name, sizes))), name]),
  );
  return mixerPresetNames().filter((name) => [...byMixer.values()].includes(name));
}

interface CellOptions {
  readonly seed: number;
  readonly compile?: CompileOptions;
}

export async function supportCell(
  probe: SupportProbe,
  { mixer, convolution, direction }: Pick<SupportRow, 'mixer' | 'convolution' | 'direction'>,
  options: CellOptions,
): Promise<CellResult> {
  try {
    return await measured(probe.model(configure(mixer, convolution, direction)), options);
  } catch (error) {
    // Groups of two texts correspond only if the texts are equally long, and these are not.
    const cannotExist: readonly string[] = direction === 'cross' ? ['CONFIG', 'SHAPE'] : ['CONFIG'];
    if (!(error instanceof LinnetError) || !cannotExist.includes(error.code)) throw error;
    return { forward: null, backward: null, decode: null, maxError: null, note: error.message };
  }
}

interface RunCell extends CellOptions {
  readonly model: Model;
  readonly parameters: Weights;
  readonly texts: Texts;
  readonly random: Random;
}

/** @throws LinnetError `CONFIG` for a mixer that the model cannot have */
async function measured(model: Model, options: CellOptions): Promise<CellResult> {
  const random = new Random(options.seed);
  const parameters = randomParameters(model, random);
  const cell: RunCell = { ...options, model, parameters, texts: randomTexts(model, random), random };
  const forward = await checkedForward(cell);
  const backward = await checkedBackward(cell);
  const decode = await checkedDecode(cell).catch(whereItCannotExist);
  const notes = [forward, backward, decode].flatMap(({ note }) => note ?? []);
  return {
    forward: forward.ok,
    backward: backward.ok,
    decode: decode.ok,
    maxError: Math.max(...[forward, decode].flatMap(({ error }) => error ?? [])),
    ...(notes.length > 0 && { note: notes.join('; ') }),
  };
}

/** @throws LinnetError `CONFIG` for a combination that does not exist */
function configure(name: string, convolution: boolean, direction: Direction): MixerConfig {
  const { shape } = findPreset(name);
  if (!convolution && 'kernel' in shape && !('convolution' in shape)) {
    throw new LinnetError('CONFIG', `${name} always has its convolution`);
  }
  const form = direction === 'causal' ? name : wholeTextPreset(name);
  const mixer = mixerPreset(form, { ...takenOptions(form, sizes), convolution });
  if (direction === 'causal' && !isCausal(mixer)) {
    throw new LinnetError('CONFIG', 'it reads the future, which `linnet check` reports in a causal model');
  }
  return mixer;
}

/** Weights that make predictions differ, with every branch switched on. */
function randomParameters(model: Model, random: Random): Weights {
  const deviation = 0.4;
  const drawn = initializeParameters(model, random, deviation);
  const biases = [...model.parameters].flatMap(([name, { shape, role }]) =>
    consequencesOf(role).fresh === 'zeros'
      ? [[name, tensor('float32', shape, drawValues({ normal: deviation }, shape, random))] as const]
      : [],
  );
  return new Map([...drawn, ...biases, ...randomMixerParameters(model, random)]);
}

/** Odd lengths over several groups; the second row is shorter and padded. */
function randomTexts({ sizes: { vocabulary } }: Model, random: Random): Texts {
  const text = (length: number): Int32Array => random.integers(length, vocabulary);
  return { first: [text(13), text(6)], second: [text(9), text(7)] };
}

/** The outcome of a form: whether it works, its largest relative error, and why it does not work or cannot exist. */
interface Outcome {
  readonly ok: boolean | null;
  readonly error?: number;
  readonly note?: string;
}

async function checkedForward({ model, parameters, texts, compile }: RunCell): Promise<Outcome> {
  const [, together] = await runForward(model, parameters, texts, compile);
  const alone = { first: [texts.first[1]], second: [texts.second[1]] };
  const [single] = await runForward(model, parameters, alone, compile);
  const found = new Discrepancy();
  found.add(together, single);
  const error = found.relative;
  const ok = single.every(Number.isFinite) && error <= limits.model;
  return { ok, error, ...(!ok && { note: "a padded row's logits differ from the row's alone" }) };
}

/** Finite differences in float32 have no more than two or three digits. */
const backwardLimit = 2e-2;

async function checkedBackward({ model, parameters, texts, random, compile }: RunCell): Promise<Outcome> {
  const { gradient, difference, magnitude, finite } = await runBackward(model, parameters, texts, random, compile);
  if (!finite) return { ok: false, note: 'a gradient is not finite' };
  if (model.mixers.some(hasSurrogateGradient)) {
    const note = "the authors' surrogate gradient is not the derivative; it is finite";
    return { ok: magnitude > 0, note };
  }
  const ok = magnitude > 0 && Math.abs(gradient - difference) <= backwardLimit * magnitude;
  return { ok, ...(!ok && { note: `gradient ${gradient}, finite difference ${difference}` }) };
}

/** A model that trains may be one that cannot generate. @throws any other error than a `CONFIG` */
function whereItCannotExist(error: unknown): Outcome {
  if (!(error instanceof LinnetError) || error.code !== 'CONFIG') throw error;
  return { ok: null, note: `cannot decode: ${error.message}` };
}

async function checkedDecode(cell: RunCell): Promise<Outcome> {
  return await byKind(cell.model, {
    encoder: () => ({ ok: null }),
    async 'encoder-decoder'(own) {
      const error = await decodingError(own, cell);
      return { ok: error <= limits.model, error };
    },
    async causal(own) {
      if (!own.mixers.every(isCausal)) return { ok: null, note: 'it reads the future' };
      const { parameters, seed, compile } = cell;
      const rows: CheckRow[] = [];
      for await (const row of modelParity(own, parameters, { maximumLength: 24, seed, compile })) rows.push(row);
      return { ok: rows.every(({ ok }) => ok), error: Math.max(...rows.map(({ error }) => error ?? Number.NaN)) };
    },
  });
}

/** The second texts read token by token after the first, against the parallel form. */
async function decodingError(model: EncoderDecoderModel, { parameters, texts, compile }: RunCell): Promise<number> {
  await using engine = await DecodingEngine.create(model, parameters, compile);
  const found = new Discrepancy();
  for (const [row, text] of texts.second.entries()) {
    const first = texts.first[row];
    const state = engine.newState(await engine.encode(first));
    const read: number[] = [];
    for (const token of text) read.push(...(await engine.advance(state, token)).logits);
    const [expected] = await runForward(model, parameters, { first: [first], second: [text] }, compile);
    found.add(read, expected);
  }
  return found.relative;
}
