/** Files that are not read say what to take in their place; counts of hostile ones are checked before memory is taken for them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { golden } from '../../../test/fixtures.ts';
import { describeModel } from '../../models/families/index.ts';
import { blockType } from './block-types.ts';
import { type GgufHeader, type MetadataValue, readGgufHeader } from './header.ts';
import { type GgufModel, modelOf } from './model.ts';
import { tokenizerParts } from './tokenizers.ts';

const bytes = readFileSync(join(golden('gguf'), 'tokenizer-gpt2', 'model.gguf'));

/** The header of a file with changes. @param change of its bytes */
function headerOf(change: (bytes: Buffer) => unknown = () => undefined): Promise<GgufHeader> {
  const changed = Buffer.from(bytes);
  change(changed);
  return readGgufHeader({
    name: 'model.gguf',
    size: changed.length,
    async read(offset, length, room = new Uint8Array(length)) {
      room.set(changed.subarray(offset, offset + length));
      return room;
    },
  });
}

/** Where the type of a tensor stands, behind its name, the number of its sizes, and the sizes. */
function typePlace(name: string): number {
  const end = bytes.indexOf(name) + name.length;
  return end + 4 + 8 * bytes.readUInt32LE(end);
}

/** The llama of the file with other metadata. */
async function modelWith(changes: Readonly<Record<string, MetadataValue>>): Promise<GgufModel> {
  const header = await headerOf();
  const metadata = new Map([...header.metadata, ...Object.entries(changes)]);
  tokenizerParts(metadata, 'model.gguf');
  return modelOf({ ...header, metadata }, [], 'model.gguf');
}

it('keeps a byte order mark that begins a token', async () => {
  const { metadata } = await headerOf((changed) => changed.write('\ufeff', changed.indexOf('<|im_start|>')));
  expect(metadata.get('tokenizer.ggml.tokens')).toContain('\ufeffm_start|>');
});

const scaling = { 'llama.rope.scaling.type': 'longrope', 'llama.rope.scaling.factor': 4 };
const yarn = {
  'llama.rope.scaling.type': 'yarn',
  'llama.rope.scaling.factor': 4,
  'llama.rope.scaling.original_context_length': 64,
};

it.each<[Readonly<Record<string, MetadataValue>>, object]>([
  [yarn, { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 64 }],
  [
    {
      ...yarn,
      'llama.rope.scaling.yarn_beta_fast': 16,
      'llama.rope.scaling.yarn_beta_slow': 2,
      'llama.rope.scaling.yarn_attn_factor': 1.5,
      'llama.rope.scaling.yarn_ext_factor': 1,
    },
    { factor: 4, beta_fast: 16, beta_slow: 2, attention_factor: 1.5 },
  ],
  // As llama.cpp reads factors without a type, also under their former name.
  [{ 'llama.rope.scaling.factor': 4 }, { rope_type: 'linear', factor: 4 }],
  [{ 'llama.rope.scale_linear': 2 }, { rope_type: 'linear', factor: 2 }],
])('reads the scaling of positions: %j', async (changes, expected) => {
  const { config } = await modelWith(changes);
  expect(config.rope_scaling).toMatchObject(expected);
  expect(describeModel(config).unknownFields).toEqual([]);
});

describe('is refused, with what to take instead:', () => {
  it.each([
    [10, 'Q2_K'],
    [11, 'Q3_K'],
    [18, 'IQ3_XXS'],
    [34, 'TQ1_0'],
    [99, 'number 99'],
  ])('a tensor of type %i', async (id, name) => {
    const header = headerOf((changed) => void changed.writeUInt32LE(id, typePlace('token_embd.weight')));
    const advice = /take a file of the same model in one of F32, .*Q4_K.*MXFP4 \(files called Q4_K_M, .*Q8_0 are\)/;
    await expect(header).rejects.toThrow(expect.objectContaining({ code: 'FORMAT' }));
    await expect(header).rejects.toThrow(`"token_embd.weight" as ${name}, which Linnet does not read`);
    await expect(header).rejects.toThrow(advice);
  });

  it.each([
    ['version 1', 1, /of version 1; take a file of version 2 or 3, little-endian/],
    ['the other byte order', 3 << 24, /other byte order; take a file of version 2 or 3, little-endian/],
  ])('a file of %s', async (_, version, advice) => {
    await expect(headerOf((changed) => void changed.writeUInt32LE(version, 4))).rejects.toThrow(advice);
  });

  it.each<[string, Readonly<Record<string, MetadataValue>>, RegExp]>([
    [
      'an architecture',
      { 'general.architecture': 'rwkv7' },
      /reads llama, .* from GGUF, and more families from safeten/,
    ],
    [
      'a key',
      { 'llama.expert_count': 8 },
      /may change the computation: "?llama.expert_count"?; take the model as safe/,
    ],
    ['a scaling', scaling, /scales positions by "longrope".*take the model as safetensors/],
    [
      'an extrapolation',
      { ...yarn, 'llama.rope.scaling.yarn_ext_factor': 0.5 },
      /extrapolates positions by 0.5; expected/,
    ],
    ['a rotation', { 'llama.rope.dimension_count': 6 }, /rotates 6 of 16 features.*take the model as safetensors/],
    [
      'values of another width',
      { 'llama.attention.value_length': 8 },
      /different widths.*take the model as safetensors/,
    ],
    [
      'a tokenizer',
      { 'tokenizer.ggml.model': 'rwkv' },
      /kind "rwkv"; expected one of .*; take the model as safetensors/,
    ],
    ['a rule of cutting', { 'tokenizer.ggml.pre': 'odd' }, /splits texts by "odd" .*; take the model as safetensors/],
  ])('%s that is not known', async (_, changes, advice) => {
    await expect(modelWith(changes)).rejects.toThrow(advice);
    await expect(modelWith(changes)).rejects.toThrow(expect.objectContaining({ code: 'CONFIG' }));
  });

  it('a tensor that its architecture does not have', async () => {
    const header = await headerOf();
    const [first] = header.tensors.values();
    const name = 'blk.0.ffn_gate_inp.weight';
    const tensors = new Map([...header.tensors, [name, { ...first, name }]]);
    const model = modelOf({ ...header, tensors }, [], 'model.gguf');
    await expect(model).rejects.toThrow(
      /tensors unknown to its architecture: "blk.0.ffn_gate_inp.weight"; take the model as safetens/,
    );
  });
});

it('refuses more factors of angles than any head has pairs', async () => {
  const type = blockType(0);
  if (type === undefined) throw new Error('F32 is a block type');
  const source = { name: 'hostile.gguf', size: 2 ** 40, read: () => Promise.reject(new Error('was read')) };
  const listed = { name: 'rope_freqs.weight', type, shape: [2 ** 37], source, offset: 0, byteLength: 2 ** 39 };
  const header = { metadata: new Map(), tensors: new Map([[listed.name, listed]]), found: [] };
  await expect(modelOf(header, [], source.name)).rejects.toThrow(expect.objectContaining({ code: 'TENSOR' }));
});
