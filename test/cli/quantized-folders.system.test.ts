/** Folders in four and eight bits in commands: they chat, and become constant states. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { loadModel } from '../../src/checkpoint/load-model.ts';
import { describeModel } from '../../src/models/families/index.ts';
import { quantizedModel, type RawTensors, saveQuantized } from '../checkpoint/quantized-folder.ts';
import { mlxModel } from '../checkpoint/mlx-folder.ts';
import { scratchFolder } from '../scratch-folder.ts';
import { jsonOf, runCaptured } from './captured-cli.ts';

it.each(['gptq, groups of 32', 'awq, groups of 64', 'compressed-tensors int4, groups of 32', 'fp8, blocks'])(
  '%s',
  async (kind) => {
    const scratch = await scratchFolder();
    const [folder, text, out] = ['model', 'text.txt', 'converted'].map((name) => join(scratch, name));
    await saveQuantized(folder, quantizedModel(kind));
    const words = ['generate', folder, '--prompt', 'ab', '--max-tokens', '4', '--json'];
    expect(jsonOf(await runCaptured(words)).tokens).toHaveLength(4);
    await writeFile(text, 'The quick brown fox jumps over the lazy dog. '.repeat(200));
    const lora = ['--lora', 'r=2,alpha=4,targets=q,v', '--steps', '1', '--batch', '2', '--length', '32'];
    const tuned = await runCaptured(['finetune', folder, '--data', text, ...lora, '--out', join(scratch, 'tuned')]);
    const coded = !kind.startsWith('fp8');
    expect(tuned.stderr).toMatch(coded ? /matrices, saved as an adapter/ : /matrices, saved merged, as a model in F32/);
    const settings = ['--steps', '1,1,0', '--length', '32', '--batch', '2', '--contexts', '32'];
    const made = await runCaptured(['convert', folder, '--data', text, ...settings, '--out', out, '--json']);
    expect({ ...made, stdout: '' }).toMatchObject({ exitCode: 0 });
    const { model } = await loadModel(out);
    expect(model.mixers.map((mixer) => mixer.kind)).toEqual(['window']);
  },
  60_000,
);

it.each(['LFM2', 'Qwen3.5', 'Granite 4 H'])("%s in MLX's order writes what the original writes", async (name) => {
  const scratch = await scratchFolder();
  const [folder, original] = ['mlx', 'original'].map((one) => join(scratch, one));
  const { config, stored, tensors, original: others, weights } = mlxModel(name);
  await saveQuantized(folder, { config: stored, tensors });
  const decoded: RawTensors = {};
  for (const [parameter, { shape }] of describeModel(config).parameters) {
    decoded[parameter] = { dtype: 'F32', shape, data: weights.get(parameter) ?? others[parameter].data };
  }
  await saveQuantized(original, { config: { ...config, quantization_config: undefined }, tensors: decoded });
  const words = ['--prompt', 'ab', '--max-tokens', '40', '--ignore-eos', '--json'];
  const textOf = async (model: string, ...more: readonly string[]): Promise<unknown> =>
    jsonOf(await runCaptured(['generate', model, ...words, ...more])).tokens;
  const expected = await textOf(original);
  expect(expected).toHaveLength(40);
  expect(await textOf(folder, '--dtype', 'f32')).toEqual(expected);
  expect(await textOf(folder)).toHaveLength(40);
  expect(await runCaptured(['check', folder])).toMatchObject({ exitCode: 0 });
});
