/** Models with sink logits: fresh logits change nothing, files without the option are as they were, exports and sessions. */
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import type { MixerConfig } from '../../src/attention/mixer.ts';
import { parseMixer } from '../../src/attention/mixers.ts';
import { mixerPreset } from '../../src/attention/presets.ts';
import { loadCausalModel, saveModel } from '../../src/checkpoint/load-model.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import { decodeSession, encodeSession } from '../../src/decoding/state/session-file.ts';
import type { StepEngine } from '../../src/decoding/step-engine.ts';
import { generateToEnd } from '../decoding/generated.ts';
import { exportFolder } from '../../src/export/export-model.ts';
import { initializeParameters } from '../../src/models/initialize.ts';
import { linearize } from '../../src/models/linearization/linearize.ts';
import { openReady } from '../open/ready-model.ts';
import { Random } from '../../src/random.ts';
import { relativeToPeak } from '../parity/golden.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { tinyLlama } from './tiny-llama.ts';
import { saveTinyModel } from './tiny-model.ts';

const place = suiteFolder();
const base = join(place, 'base');
const audible = join(place, 'audible');
const window = { group: 4, window: 2, sinks: 1 };
const softmax = mixerPreset('softmax');
const prompt = Int32Array.from([256, 79, 110, 99, 101, 32, 117, 112, 111, 110, 32, 97]);

beforeAll(async () => {
  await saveTinyModel(base);
  const loaded = await loadCausalModel(base);
  const first = linearize(loaded.model, loaded.parameters, mixerPreset('window', { ...window, sinkLogit: true }), [0]);
  const both = linearize(first.model, first.parameters, parseMixer({ kind: 'softmax', sinkLogit: true }), [1]);
  for (const [name, { data }] of both.parameters) if (name.endsWith('.sinks')) data.set([1, -0.5]);
  await saveModel(audible, both, { tokenizerFiles: { from: base } });
});

async function logitsOf(mixer: MixerConfig): Promise<Float32Array> {
  const { model, parameters } = await loadCausalModel(base);
  const made = linearize(model, parameters, mixer);
  await using engine = await DecodingEngine.create(made.model, made.parameters);
  return (await engine.prefill(engine.newState(), prompt)).logits;
}

it.each(['window', 'window+sinks', 'sliding-window'] as const)('fresh logits change nothing: %s', async (name) => {
  const [without, fresh] = [mixerPreset(name), mixerPreset(name, { sinkLogit: true })];
  expect(JSON.stringify(mixerPreset(name, { sinkLogit: false }))).toBe(JSON.stringify(without));
  expect(fresh).toEqual({ ...without, sinkLogit: true });
  expect(Object.keys(without)).not.toContain('sinkLogit');
  expect(relativeToPeak(await logitsOf(fresh), await logitsOf(without))).toBeLessThan(2e-5);
});

it('models that are made anew begin with logits around 0, as gpt-oss does', () => {
  const model = tinyLlama([{ kind: 'softmax', sinkLogit: true }]);
  const logits = [...(initializeParameters(model, new Random(1)).get('model.layers.0.self_attn.sinks')?.data ?? [])];
  expect(logits).toHaveLength(4);
  expect(Math.max(...logits.map(Math.abs))).toBeLessThan(0.1);
  expect(new Set(logits).size).toBe(4);
});

it('logits that were learned are read from the checkpoint by their name in gpt-oss', async () => {
  const { model, parameters } = await loadCausalModel(audible);
  const names = [0, 1].map((layer) => `model.layers.${layer}.self_attn.sinks`);
  expect(names.map((name) => [...(parameters.get(name)?.data ?? [])])).toEqual([
    [1, -0.5],
    [1, -0.5],
  ]);
  await using engine = await DecodingEngine.create(model, parameters);
  const { logits } = await engine.prefill(engine.newState(), prompt);
  expect(relativeToPeak(logits, await logitsOf(softmax))).toBeGreaterThan(1e-3);
});

async function greedy(engine: StepEngine): Promise<readonly number[]> {
  return (await generateToEnd(engine, { promptTokens: prompt, maxTokens: 24, ignoreEos: true })).tokens;
}

it.each(['f32', 'int4'] as const)('an export as %s writes as the model, and goes on from a session', async (dtype) => {
  const folder = join(place, dtype);
  await exportFolder(audible, folder, { dtype });
  await using opened = await openReady(folder);
  const { engine, fingerprint } = opened;
  const whole = await greedy(engine);
  if (dtype === 'f32') {
    const { model, parameters } = await loadCausalModel(audible);
    await using own = await DecodingEngine.create(model, parameters);
    expect(whole).toEqual(await greedy(own));
  }
  const state = engine.newState();
  await engine.prefill(state, [...prompt, ...whole.slice(0, 10)]);
  const session = encodeSession({ state, tokens: [...prompt, ...whole.slice(0, 10)], fingerprint });
  const restored = await decodeSession(session, engine, fingerprint);
  for (let i = 10; i < 23; i++) {
    const { logits } = await engine.advance(restored.state, whole[i]);
    expect(logits.indexOf(Math.max(...logits))).toBe(whole[i + 1]);
  }
});
