import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { present, thirdParty } from '../../../test/fixtures.ts';
import { saveTinyModel } from '../../../test/models/tiny-model.ts';
import { suiteFolder } from '../../../test/scratch-folder.ts';
import type { MixerConfig } from '../../attention/mixer.ts';
import { isCausal, parseMixer } from '../../attention/mixers.ts';
import { mixerPreset, mixerPresetNames, takenOptions } from '../../attention/presets.ts';
import { loadCausalModel, openModelWeights, readParameters, saveModel } from '../../checkpoint/load-model.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { describeCausalModel } from '../../models/families/index.ts';
import { initializeParameters } from '../../models/initialize.ts';
import { linearize } from '../../models/linearization/linearize.ts';
import type { CausalModel } from '../../models/model.ts';
import { Random } from '../../random.ts';
import { type CheckReport, type CheckRow, checkModel } from './check.ts';
import { layerNames } from './checked-extent.ts';
import { checkTests, isLeakTest } from './rows.ts';

const folder = suiteFolder();
const layers = 3;
const plain = describeCausalModel({
  model_type: 'llama',
  vocab_size: 41,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: layers,
  num_attention_heads: 4,
  num_key_value_heads: 2,
});
const groups = { group: 8, kernel: 9 };
const sizes = { ...groups, block: 6, rows: 3, hashes: 4, bits: 3 };
const unmasked = parseMixer({
  kind: 'linear',
  group: 8,
  local: {},
  convolution: { kernel: 9, masked: false },
});

/** A freshly linearized model: α and filter weights are zero, as after `linnet linearize`. */
function fresh(mixers: readonly MixerConfig[]): { model: CausalModel; parameters: Map<string, Tensor<'float32'>> } {
  const model = plain.withMixers(mixers);
  return { model, parameters: initializeParameters(model, new Random(3), 0.2) };
}

function all(mixer: MixerConfig): MixerConfig[] {
  return new Array<MixerConfig>(layers).fill(mixer);
}

function failures(report: CheckReport): string[] {
  return report.rows
    .filter(({ ok }) => !ok)
    .map(({ subject, test, error, limit }) => `${subject}: ${test}: ${error} > ${limit}`);
}

function leaks(report: CheckReport): CheckRow[] {
  return report.rows.filter(({ test, ok }) => isLeakTest(test) && !ok);
}

describe('checkModel', () => {
  it.each(mixerPresetNames().filter((name) => isCausal(mixerPreset(name))))(
    'passes a model with %s mixers',
    async (name) => {
      const { model, parameters } = fresh(all(mixerPreset(name, takenOptions(name, sizes))));
      const report = await checkModel(model, parameters);
      expect(failures(report)).toEqual([]);
      expect(report).toMatchObject({ leak: false, ok: true });
      expect(report.maxError).toBeGreaterThan(0);
      expect(report.maxError).toBeLessThan(5e-5);
      for (const { test, error } of report.rows) if (isLeakTest(test)) expect(error).toBe(0);
    },
  );

  it.each<[string, MixerConfig]>([
    ['castling', parseMixer({ kind: 'linear', group: 8, local: {}, global: {}, convolution: {}, castling: true })],
    ['normalised branches', parseMixer({ kind: 'linear', group: 5, local: {}, global: {}, normalize: 'together' })],
    ['a softmax kernel', parseMixer({ kind: 'linear', group: 6, local: { kernel: 'softmax' }, global: {} })],
    ['no groups', parseMixer({ kind: 'linear', group: 1, local: {}, global: {}, convolution: { kernel: 63 } })],
    ['a convolution alone', parseMixer({ kind: 'linear', convolution: { kernel: 9 } })],
  ])('passes a model with %s', async (_, mixer) => {
    const { model, parameters } = fresh(all(mixer));
    expect(failures(await checkModel(model, parameters))).toEqual([]);
  });

  it('passes hybrids and names the layers that share a mixer', async () => {
    const augmented = mixerPreset('augmented', groups);
    const { model, parameters } = fresh([augmented, { kind: 'softmax' }, augmented]);
    const report = await checkModel(model, parameters);
    expect(failures(report)).toEqual([]);
    const subjects = report.rows.filter(({ test }) => test === checkTests.tree).map(({ subject }) => subject);
    expect(subjects).toEqual(['layers 0, 2', 'layer 1']);
  });

  it('reports an unmasked convolution although its filter weights are still zero', async () => {
    const { model, parameters } = fresh([mixerPreset('local+conv', groups), unmasked, { kind: 'softmax' }]);
    const report = await checkModel(model, parameters);
    expect(report).toMatchObject({ leak: true, ok: false });
    expect(leaks(report).map(({ subject, test }) => [subject, test])).toEqual([
      ['layer 1', checkTests.futurePositionsRandom],
      ['model', checkTests.futureTokensRandom],
    ]);
    expect(leaks(report)[0].note).toMatch(/^positions up to \d+ moved/);
    const inapplicable = report.rows.filter(({ error }) => error === null);
    expect(inapplicable.map(({ subject, test }) => [subject, test])).toEqual([
      ['layer 1', checkTests.stepByStep],
      ['layer 1', checkTests.stepInChunks],
      ['layer 1', checkTests.tree],
      ['model', checkTests.modelSteps],
      ['model', checkTests.modelTree],
    ]);
    for (const { ok, note } of inapplicable) expect([ok, note]).toEqual([false, expect.stringMatching(/the future/)]);
    // The parallel form still is what the formula says; only the formula reads the future.
    expect(report.rows.filter(({ test }) => test === checkTests.parallel).every(({ ok }) => ok)).toBe(true);
  });

  it.each(['relu', 'performer', 'transnormer', 'rfa', 'hedgehog', 'yoso', 'yoso-hashed'])(
    'passes %s with a convolution',
    async (name) => {
      const { model, parameters } = fresh(all(mixerPreset(name, { ...takenOptions(name, sizes), convolution: true })));
      const report = await checkModel(model, parameters);
      expect(failures(report)).toEqual([]);
      expect(report.maxError).toBeLessThan(5e-5);
    },
  );

  it('passes exact yoso with heads of two numbers, whose cosines are often 1', async () => {
    const narrow = describeCausalModel({ ...plain.toJson(), linnet: undefined, head_dim: 2 });
    const model = narrow.withMixers(all(mixerPreset('yoso', { bits: 16 })));
    for (const seed of [1, 2]) {
      const parameters = initializeParameters(model, new Random(seed), 0.2);
      const report = await checkModel(model, parameters, { seed, maximumLength: 200 });
      expect(failures(report)).toEqual([]);
      // It is what float32 does to an arc cosine, far from what a mistake does.
      expect(report.maxError).toBeLessThan(3e-3);
    }
  });

  it('reports Linformer as published as leaking, with its initial projections and with random ones', async () => {
    const linformer = mixerPreset('linformer-bidirectional', { rows: 8, length: 128 });
    const { model, parameters } = fresh([mixerPreset('local', groups), linformer, mixerPreset('local', groups)]);
    const report = await checkModel(model, parameters);
    expect(report).toMatchObject({ leak: true, ok: false });
    expect(leaks(report).map(({ subject, test }) => [subject, test])).toEqual([
      ['layer 1', checkTests.futurePositionsRandom],
      ['layer 1', checkTests.futurePositions],
      ['layer 1', checkTests.futureTokens],
      ['layer 2', checkTests.futureTokens],
      ['model', checkTests.futureTokens],
      ['model', checkTests.futureTokensRandom],
    ]);
    // What it computes is what it is defined to compute; it only is not causal.
    const forms = report.rows.filter(({ test }) => test === checkTests.parallel);
    expect(forms.map(({ ok }) => ok)).toEqual([true, true]);
  });

  it('finds the layer whose own filter weights leak, and the layers that it infects', async () => {
    const { model, parameters } = fresh([mixerPreset('local+conv', groups), unmasked, mixerPreset('local', groups)]);
    const name = 'model.layers.1.self_attn.dwconv.weight';
    const taps = parameters.get(name);
    if (taps === undefined) throw new Error(`no ${name}`);
    // One future tap of one head, of the size that a few updates give it.
    const data = taps.data.slice();
    data[5] = 1e-3;
    parameters.set(name, { ...taps, data });
    const report = await checkModel(model, parameters);
    const moved = leaks(report).filter(({ test }) => test !== checkTests.futurePositionsRandom);
    expect(moved.map(({ subject, test }) => [subject, test])).toEqual([
      ['layer 1', checkTests.futurePositions],
      ['layer 1', checkTests.futureTokens],
      ['layer 2', checkTests.futureTokens],
      ['model', checkTests.futureTokens],
      ['model', checkTests.futureTokensRandom],
    ]);
  });

  it('does not pass a model whose output is not finite', async () => {
    const { model, parameters } = fresh(all(mixerPreset('augmented', groups)));
    const norm = parameters.get('model.norm.weight');
    if (norm === undefined) throw new Error('no norm');
    parameters.set('model.norm.weight', { ...norm, data: norm.data.map(() => Number.NaN) });
    const report = await checkModel(model, parameters);
    expect(report.ok).toBe(false);
    expect(report.maxError).toBeNaN();
  });

  it('stops on request and refuses sequences without room for an edge', async () => {
    const { model, parameters } = fresh(all(mixerPreset('local', groups)));
    const controller = new AbortController();
    const running = checkModel(model, parameters, { signal: controller.signal, onRow: () => controller.abort() });
    await expect(running).rejects.toMatchObject({ code: 'ABORTED' });
    await expect(checkModel(model, parameters, { maximumLength: 4 })).rejects.toMatchObject({ code: 'INPUT' });
  });
});

describe('layerNames', () => {
  it('joins neighbours', () => {
    expect([[3], [0, 1, 2], [0, 2, 3, 5]].map(layerNames)).toEqual(['layer 3', 'layers 0–2', 'layers 0, 2–3, 5']);
  });
});

const pretrained = thirdParty('stories260k');

describe.skipIf(pretrained === undefined)(
  `a real checkpoint${pretrained === undefined ? ' (skipped: third-party fixtures are absent)' : ''}`,
  () => {
    it('passes as it is and linearized', async () => {
      const { model, parameters } = await loadCausalModel(present(pretrained));
      expect(failures(await checkModel(model, parameters))).toEqual([]);
      const linear = linearize(model, parameters, mixerPreset('augmented'), [0, 2, 3, 4]);
      expect(failures(await checkModel(linear.model, linear.parameters))).toEqual([]);
    });
  },
);

describe('a check layer by layer', () => {
  it.each(['llama', 'granitemoehybrid', 'bert'])(
    'has the rows of the whole model but for its engine: %s',
    async (family) => {
      const dir = join(folder, family);
      await saveTinyModel(dir, 1, family);
      await using weights = await openModelWeights(dir);
      const { model, parameters } = weights;
      if (model.kind === 'encoder-decoder') throw new Error('not of this kind');
      const whole = await checkModel(model, await readParameters(weights), { maximumLength: 40 });
      const layered = await checkModel(model, parameters, { maximumLength: 40, engine: 'none' });
      expect([...layered.rows.map(({ test }) => test), ...layered.unchecked]).toEqual(
        whole.rows.map(({ test }) => test),
      );
      expect(whole.unchecked).toEqual([]);
      expect(layered.unchecked).toHaveLength(model.kind === 'causal' ? 2 : 0);
      layered.rows.forEach(({ ok, error, subject, length }, i) => {
        const expected = whole.rows[i];
        expect({ ok, subject, length }).toEqual({ ok: true, subject: expected.subject, length: expected.length });
        expect(Math.abs(Number(error) - Number(expected.error))).toBeLessThanOrEqual(1e-6);
      });
    },
  );

  it('finds a leak of one layer', async () => {
    const { model, parameters } = fresh([{ kind: 'softmax' }, unmasked, { kind: 'softmax' }]);
    const dir = join(folder, 'leaking');
    await saveModel(dir, { model, parameters }, { dtype: 'F16' });
    await using weights = await openModelWeights(dir);
    const report = await checkModel(model, weights.parameters, { engine: 'none' });
    expect(report.leak).toBe(true);
    expect(leaks(report).map(({ subject }) => subject)).toContain('layer 1');
  });
});
