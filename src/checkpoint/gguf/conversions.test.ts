/** Metadata that conversions write besides what the golden files hold: it opens, and changes nothing or what it says. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { golden } from '../../../test/fixtures.ts';
import type { JsonObject } from '../../files/json-object.ts';
import { describeModel } from '../../models/families/index.ts';
import { type GgufHeader, type MetadataValue, readGgufHeader } from './header.ts';
import { modelOf } from './model.ts';
import { tokenizerParts } from './tokenizers.ts';

type Changes = Readonly<Record<string, MetadataValue | null>>;

function headerOf(folder: string): Promise<GgufHeader> {
  const bytes = readFileSync(join(golden('gguf'), folder, 'model.gguf'));
  return readGgufHeader({
    name: folder,
    size: bytes.length,
    async read(offset, length, room = new Uint8Array(length)) {
      room.set(bytes.subarray(offset, offset + length));
      return room;
    },
  });
}

/** The configuration of a golden file with changes. @param changes null removes. @param more names of tensors that are added */
async function configOf(folder: string, changes: Changes, more: readonly string[] = []): Promise<JsonObject> {
  const header = await headerOf(folder);
  const metadata = new Map(header.metadata);
  for (const [key, value] of Object.entries(changes)) {
    if (value === null) metadata.delete(key);
    else metadata.set(key, value);
  }
  const [first] = header.tensors.values();
  const tensors = new Map([...header.tensors, ...more.map((name) => [name, { ...first, name }] as const)]);
  const { config } = await modelOf({ ...header, metadata, tensors }, [], folder);
  expect(describeModel(config).unknownFields).toEqual([]);
  return config;
}

const hybrid = ['conv_kernel', 'state_size', 'group_count', 'inner_size', 'time_step_rank'];

it.each<[what: string, folder: string, changes: Changes, expected: JsonObject]>([
  [
    'Granite 4 with recurrent layers: a width of experts that it has not',
    'granitehybrid-q8_0',
    { 'granitehybrid.expert_shared_feed_forward_length': 48, 'granitehybrid.expert_count': 0 },
    { shared_intermediate_size: 48 },
  ],
  [
    'Granite 4 without: sizes of recurrent layers that it has not',
    'granite-q8_0',
    Object.fromEntries(hybrid.map((name) => [`granite.ssm.${name}`, 4])),
    {},
  ],
  [
    "Ollama's Gemma 3 of one billion",
    'gemma3-q8_0',
    {
      'gemma3.rope.freq_base': null,
      'gemma3.rope.freq_base_swa': null,
      'gemma3.rope.global.freq_base': 2e6,
      'gemma3.rope.local.freq_base': 3e4,
      'gemma3.attention.sliding_window_pattern': Array.from({ length: 12 }, (_, layer) => layer % 2 === 0),
    },
    { rope_theta: 2e6, rope_local_base_freq: 3e4 },
  ],
])('reads %s', async (_, folder, changes, expected) => {
  const config = await configOf(folder, changes);
  const { layer_types: types } = config;
  const own = await configOf(folder, {});
  if (folder.startsWith('gemma3')) {
    expect(types).toEqual(
      Array.from({ length: Number(own.num_hidden_layers) }, (__, layer) =>
        layer % 2 === 0 ? 'sliding_attention' : 'full_attention',
      ),
    );
  }
  expect({ ...config, layer_types: own.layer_types }).toEqual({ ...own, ...expected, layer_types: own.layer_types });
});

it("reads the text model of Ollama's Gemma 3 with pictures, which leaves out what its code knows", async () => {
  const pictures = { 'gemma3.mm.tokens_per_image': 256, 'gemma3.vision.block_count': 27 };
  const missing = ['attention.layer_norm_rms_epsilon', 'rope.freq_base', 'rope.freq_base_swa'];
  const left = Object.fromEntries(missing.map((name) => [`gemma3.${name}`, null]));
  const changes = { ...pictures, ...left, 'gemma3.context_length': 131_072 };
  const config = await configOf('gemma3-q8_0', changes, ['v.blk.0.attn_q.weight', 'mm.mm_input_projection.weight']);
  expect(config).toMatchObject({
    rms_norm_eps: 1e-6,
    rope_theta: 1e6,
    rope_local_base_freq: 1e4,
    rope_scaling: { rope_type: 'linear', factor: 8 },
  });
});

it('reads the first of several layers of multi-token prediction', async () => {
  const own = await configOf('qwen35-q8_0', {});
  const layers = Number(own.num_hidden_layers);
  const changes = { 'qwen35.block_count': layers + 2, 'qwen35.nextn_predict_layers': 2 };
  const drafts = [layers, layers + 1].map((layer) => `blk.${layer}.attn_norm.weight`);
  expect(await configOf('qwen35-q8_0', changes, [...drafts, `blk.${layers}.nextn.eh_proj.weight`])).toEqual(own);
  const another = configOf('qwen35-q8_0', { ...changes, 'qwen35.block_count': layers + 3 }, ['blk.0.other.weight']);
  await expect(another).rejects.toThrow(/blk.0.other.weight/);
});

it('leaves out tokens behind the rows of the table', async () => {
  const { metadata } = await headerOf('tokenizer-gpt2');
  const { json } = tokenizerParts(metadata, 'file', 300);
  const { model } = z
    .object({ model: z.object({ vocab: z.record(z.string(), z.int()) }) })
    .parse(json.get('tokenizer.json'));
  expect(Object.keys(model.vocab)).toHaveLength(300);
});

it('refuses a decoder that reads both sides', async () => {
  await expect(configOf('llama-q4_0', { 'llama.attention.causal': false })).rejects.toThrow(/reads later tokens/);
});
