/** The CUDA device: what is said where it is absent, and where it is there, that it computes what the CPU does. */
import { describe, expect, it } from 'vitest';
import { relativeToPeak } from '../parity/golden.ts';
import { randomParameters, randomTokens, tinyLlama } from '../models/tiny-llama.ts';
import { errorOf, linnet } from '../cli/captured-cli.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import { Graph } from '../../src/graph/graph.ts';
import { float32 } from '../../src/graph/tensor.ts';
import { isDeviceAvailable } from '../../src/runtime/availability.ts';
import { compile } from '../../src/runtime/compile.ts';

const present = await isDeviceAvailable('cuda');

describe.skipIf(present)(`without CUDA${present ? ' (skipped: it is here)' : ''}`, () => {
  it('says what to install', async () => {
    const graph = new Graph('nothing');
    graph.output('y', graph.input('x', 'float32', [2]));
    const opening = compile(graph, { device: 'cuda' });
    await expect(opening).rejects.toThrow(
      /(needs libonnxruntime_providers_\w+\.so.*--onnxruntime-node-install=cuda12|needs an NVIDIA GPU and driver|needs Linux x64)/s,
    );
    const words = ['generate', 'assets/tiny-llama', '--prompt', 'a', '--device', 'cuda', '--json'];
    const command = await linnet(...words);
    expect([3, 4]).toContain(command.exitCode);
    expect(errorOf(command).message).toContain('device "cuda"');
  });
});

describe.skipIf(!present)(`with CUDA${present ? '' : ' (skipped: no GPU, or no libraries of the provider)'}`, () => {
  it.each(['softmax', 'augmented'])('a %s model decodes what it decodes on the CPU', async (name) => {
    const augmented = { kind: 'linear', group: 8, local: {}, global: {}, convolution: { kernel: 9 } } as const;
    const model = tinyLlama([name === 'softmax' ? { kind: 'softmax' } : augmented]);
    const parameters = new Map(
      [...randomParameters(model, 5)].map(([key, { shape, data }]) => [
        key,
        float32(shape, Float32Array.from(data, Number)),
      ]),
    );
    const logits = async (device: 'cpu' | 'cuda'): Promise<Float32Array[]> => {
      await using engine = await DecodingEngine.create(model, parameters, { device });
      const state = engine.newState();
      const tokens = randomTokens(model, 30, 3);
      const found = [(await engine.prefill(state, tokens.subarray(0, 20))).logits.slice()];
      for (const token of tokens.subarray(20)) found.push((await engine.prefill(state, [token])).logits.slice());
      return found;
    };
    const [expected, found] = [await logits('cpu'), await logits('cuda')];
    found.forEach((row, index) => expect(relativeToPeak(row, expected[index])).toBeLessThan(2e-3)); // TF32 products
  });
});
