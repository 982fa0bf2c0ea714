/** LoRA against PEFT on a LLaMA (test/golden/lora_llama): logits, gradients, merged matrices, adapter files. */
import { cp, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { loadAdapter, saveAdapter } from '../../src/checkpoint/adapter-files.ts';
import { gradients } from '../../src/graph/gradients.ts';
import { Graph } from '../../src/graph/graph.ts';
import { mul } from '../../src/graph/ops/elementwise.ts';
import { float32, int32, type Tensor } from '../../src/graph/tensor.ts';
import { describeCausalModel } from '../../src/models/families/index.ts';
import { parallelHidden } from '../../src/models/graphs/parallel-graph.ts';
import { weightMatrices } from '../../src/models/graphs/weight-matrices.ts';
import { type Lora, loraParameters, mergeLora, selectMatrices, withLora } from '../../src/nn/lora.ts';
import { InputParameters, WeightParameters } from '../../src/nn/parameters.ts';
import { tokenLoss } from '../../src/training/objectives/next-token.ts';
import { golden } from '../fixtures.ts';
import { goldenConfig, goldenNumbers, goldenTensor, readGolden, relativeToPeak } from './golden.ts';
import { expectGolden, expectGoldenGradients, goldenWeights, runGraph } from './golden-model.ts';
import { suiteFolder } from '../scratch-folder.ts';

const name = 'lora_llama';
const io = readGolden(name);
const config = goldenConfig(name, z.looseObject({ lora: z.object({ r: z.number(), lora_alpha: z.number() }) }));
const { lora: described, ...json } = config;
const model = describeCausalModel(json);
const weights = new Map<string, Tensor<'float32'>>();
for (const [key, { shape, data }] of goldenWeights(name, model.parameterName)) {
  weights.set(key, float32(shape, Float32Array.from(data, Number)));
}
const adapter = new Map(
  [...readGolden(name, 'adapter.safetensors')].map(([key, { shape, data }]) => [
    key.replace('base_model.model.', ''),
    float32(shape, Float32Array.from(data)),
  ]),
);
const lora: Lora = {
  rank: described.r,
  alpha: described.lora_alpha,
  matrices: selectMatrices(weightMatrices(model), ['q', 'k', 'v', 'o']),
};
const ids = goldenTensor(io, 'input_ids');
const [B, n] = ids.shape;
const tokens = Int32Array.from(ids.data);

/** Logits, loss and the gradients of the trained parameters, the others frozen as weights. */
async function run(
  frozen: ReadonlyMap<string, Tensor>,
  trained: ReadonlyMap<string, Tensor> = new Map<string, Tensor>(),
): Promise<Record<string, Float64Array>> {
  const graph = new Graph('lora');
  const inputs = new InputParameters(graph);
  const constants = new WeightParameters(graph, frozen);
  const split = {
    graph,
    parameter: (key: string, shape: readonly number[]) => (trained.has(key) ? inputs : constants).parameter(key, shape),
  };
  const source = trained.size > 0 ? withLora(split, lora) : split;
  const hidden = parallelHidden(model, source, graph.constant(int32([B, n], tokens)));
  const isLast = (i: number): boolean => (i + 1) % n === 0;
  const labels = graph.constant(
    int32(
      [B, n],
      tokens.map((_, i) => (isLast(i) ? 0 : tokens[i + 1])),
    ),
  );
  const mask = graph.constant(
    float32(
      [B, n],
      Float32Array.from(tokens, (_, i) => (isLast(i) ? 0 : 1)),
    ),
  );
  const loss = mul(tokenLoss(model, source, hidden, { labels, weights: mask }), 1 / (B * (n - 1)));
  graph.output('logits', model.head(source, hidden));
  graph.output('loss', loss);
  const found = gradients(loss, [...inputs.values.values()]);
  [...inputs.values.keys()].forEach((key, i) => {
    graph.output(`grad.${key}`, found[i]);
  });
  return runGraph(graph, Object.fromEntries(trained));
}

describe('lora_llama', () => {
  it('names the parameters that PEFT has', () => {
    expect(new Set(loraParameters(lora).keys())).toEqual(new Set(adapter.keys()));
  });

  it('has the logits, the loss and the gradients of PEFT, unmerged', async () => {
    const results = await run(weights, adapter);
    expectGolden(results, io, { logits: 'logits64', loss: 'loss64' });
    expectGolden(results, io, { logits: 'logits_unmerged' });
    expectGoldenGradients(results, io, adapter.keys(), (key) => `grad.base_model.model.${key}`);
  });

  it('has its merged matrices and their logits, which are those of the unmerged model', async () => {
    const merged = mergeLora(lora, new Map([...weights, ...adapter]));
    expect([...merged.keys()].sort()).toEqual([...weights.keys()].sort());
    for (const key of ['model.layers.0.self_attn.q_proj.weight', 'model.layers.1.self_attn.v_proj.weight']) {
      const found = Float64Array.from(merged.get(key)?.data ?? []);
      expect(relativeToPeak(found, goldenNumbers(io, `merged.${key}`)), key).toBeLessThan(1e-6);
    }
    const { logits } = await run(merged);
    expect(relativeToPeak(logits, goldenNumbers(io, 'logits_merged'))).toBeLessThan(2e-5);
    expect(relativeToPeak(logits, (await run(weights, adapter)).logits)).toBeLessThan(2e-5);
    expect(relativeToPeak((await run(weights)).logits, goldenNumbers(io, 'base_logits'))).toBeLessThan(2e-5);
  });
});

describe('adapter folders', () => {
  const folder = suiteFolder();
  const base = { model, parameters: model.parameters, fingerprint: 'a'.repeat(64) };
  const peftConfig = { peft_type: 'LORA', r: 4, lora_alpha: 8, target_modules: ['q_proj'], bias: 'none' };

  async function peftFolder(at: string, changed: Record<string, unknown> = {}): Promise<string> {
    const dir = await mkdtemp(join(folder, at));
    await cp(join(golden(name), 'adapter.safetensors'), join(dir, 'adapter_model.safetensors'));
    await writeFile(join(dir, 'adapter_config.json'), JSON.stringify({ ...peftConfig, ...changed }));
    return dir;
  }

  it('of PEFT are read, and ours are the same again', async () => {
    const read = await loadAdapter(await peftFolder('peft'), base);
    expect(read.parameters).toEqual(adapter);
    expect([...read.lora.matrices]).toEqual([...lora.matrices]);
    const whole = new Map([
      ['model.norm.weight', float32([32], new Float32Array(32).fill(2))],
      ['model.embed_tokens.weight', float32([64, 32], new Float32Array(64 * 32).fill(3))],
    ]);
    const parameters = new Map([...adapter, ...whole]);
    const out = join(folder, 'ours');
    await saveAdapter(out, base, { lora, parameters }, { basePath: 'base', task: 'CAUSAL_LM' });
    const written: unknown = JSON.parse(await readFile(join(out, 'adapter_config.json'), 'utf8'));
    expect(written).toMatchObject({
      r: 4,
      lora_alpha: 8,
      target_modules: ['q_proj', 'k_proj', 'v_proj', 'o_proj'],
      modules_to_save: ['model.norm', 'model.embed_tokens'],
      fan_in_fan_out: false,
    });
    const again = await loadAdapter(out, base);
    expect(again.parameters).toEqual(parameters);
    await expect(loadAdapter(out, { ...base, fingerprint: 'b'.repeat(64) })).rejects.toMatchObject({
      code: 'MISMATCH',
    });
  });

  it.each([
    [{ r: 3 }, 'TENSOR'],
    [{ use_dora: true }, 'FORMAT'],
    [{ bias: 'all' }, 'FORMAT'],
    [{ rank_pattern: { q_proj: 2 } }, 'FORMAT'],
    [{ peft_type: 'IA3' }, 'FORMAT'],
    [{ r: 0 }, 'FORMAT'],
  ])('with %j are refused', async (changed, code) => {
    await expect(loadAdapter(await peftFolder('bad', changed), base)).rejects.toMatchObject({ code });
  });
});
