/** Readers of what makes a model: configurations, weights, tokenizers, adapters, heads, exported folders. */
import { copyFile, cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { mixerPreset } from '../../src/attention/presets.ts';
import { loadAdapter, saveAdapter } from '../../src/checkpoint/adapter-files.ts';
import { loadModel, openModelWeights } from '../../src/checkpoint/load-model.ts';
import { loadMedusaHeads, saveMedusaHeads } from '../../src/checkpoint/medusa-files.ts';
import { parseTreeFile } from '../../src/checkpoint/medusa-trees.ts';
import { generationConfigOf } from '../../src/checkpoint/generation-config.ts';
import { modelOf } from '../../src/checkpoint/gguf/model.ts';
import { readGgufHeader } from '../../src/checkpoint/gguf/header.ts';
import { tokenizerParts } from '../../src/checkpoint/gguf/tokenizers.ts';
import { assertTensors } from '../../src/checkpoint/huggingface.ts';
import { parseSafetensors } from '../../src/checkpoint/safetensors/directory.ts';
import { parseShardIndex } from '../../src/checkpoint/shard-index.ts';
import { exportFolder } from '../../src/export/export-model.ts';
import { readManifest } from '../../src/export/assemble.ts';
import { readExportedFolder } from '../../src/open/folder-files.ts';
import { parseJsonObject } from '../../src/files/json-object.ts';
import { describeModel, requireCausal, supportedFamilies } from '../../src/models/families/index.ts';
import { initializeMedusa } from '../../src/models/medusa/medusa.ts';
import { initializeLora } from '../../src/nn/lora.ts';
import { Random } from '../../src/random.ts';
import { ChatTemplate } from '../../src/tokenizer/chat-template.ts';
import { byteTokenizer } from '../../src/tokenizer/bytes.ts';
import { huggingFaceTokenizer } from '../../src/tokenizer/hugging-face.ts';
import { timeLimit } from '../../src/tokenizer/time-limit.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { trainBpe } from '../../src/tokenizer/train-bpe.ts';
import { loraOf, parseLoraChoice } from '../../src/training/lora.ts';
import { writeTinyGguf } from '../../bench/peers/tiny-gguf.ts';
import { golden } from '../fixtures.ts';
import { quantizedModel, safetensorsOf, saveQuantized } from '../checkpoint/quantized-folder.ts';
import { saveTinyModel, tinyConfig } from '../models/tiny-model.ts';
import { asFile, type FuzzReader } from './reader.ts';

/** Header and weights of a file in memory, and its tokenizer: names and shapes of the weights. */
async function readGguf(bytes: Buffer): Promise<string> {
  const read = async (offset: number, length: number, room = new Uint8Array(length)) => {
    room.set(bytes.subarray(offset, offset + length));
    return room;
  };
  const source = { name: 'model.gguf', size: bytes.length, read };
  const header = await readGgufHeader(source);
  tokenizerParts(header.metadata, 'model.gguf');
  const file = { source, version: '', close: () => Promise.resolve() };
  const { config, weights } = await modelOf(header, [file], 'model.gguf');
  const { parameters: own, optionalParameters } = describeModel(config);
  const tensors = new Map(weights.names().map((name) => [name, weights.info(name)]));
  const parameters = new Map([...own, ...[...(optionalParameters ?? [])].filter(([name]) => tensors.has(name))]);
  assertTensors({ path: 'model.gguf', tensors }, parameters);
  for (const name of weights.names()) await weights.readFloat32(name);
  return JSON.stringify([...parameters].map(([name, { shape }]) => [name, shape]));
}

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

/** @param folder to write into */
export async function modelReaders(folder: string): Promise<FuzzReader[]> {
  const model = join(folder, 'llama');
  await saveTinyModel(model);
  const weights = await readFile(join(model, 'model.safetensors'));
  const loaded = await loadModel(model);
  const linearized = ['augmented', 'local', 'yoso', 'gated-delta', 'window'].map((name) => {
    const mixer = mixerPreset(name, {});
    return json({ ...tinyConfig('llama'), linnet: { version: 1, mixers: [mixer, mixer] } });
  });
  const goldenFile = (name: string): string => join(golden('gguf'), name, 'model.gguf');
  const drafting = join(folder, 'mtp.gguf');
  await writeTinyGguf(drafting, goldenFile('qwen35-q8_0'), 'Q8_0', undefined, { mtp: true });
  const names = ['tokenizer-gpt2', 'tokenizer-llama', 'qwen2-q8_0', 'qwen2-q4_k', 'granitehybrid-q8_0'];
  const ggufs = await Promise.all([...names.map(goldenFile), drafting].map((file) => readFile(file)));
  const ggufShapes = new Set<unknown>(await Promise.all(ggufs.map(readGguf)));
  const configs = [...supportedFamilies.map((family) => json(tinyConfig(family))), ...linearized];
  return [
    {
      name: 'safetensors bytes',
      kind: 'binary',
      samples: [smallSafetensors(), smallSafetensors('{"format":"pt"}')],
      cost: 1,
      read: (bytes) => parseSafetensors(bytes),
    },
    {
      name: 'GGUF',
      kind: 'binary',
      samples: ggufs,
      cost: 60,
      read: readGguf,
      isOriginal: (shapes) => ggufShapes.has(shapes),
    },
    {
      name: 'config.json',
      kind: 'json',
      samples: configs,
      cost: 4,
      read: (bytes) => describeModel(parseJsonObject(bytes, 'config.json')).parameters.size,
    },
    {
      name: 'generation_config.json',
      kind: 'json',
      samples: [json({ do_sample: true, temperature: 0.6, top_k: 20, top_p: 0.95, eos_token_id: [2, 3] }), json({})],
      cost: 1,
      read: (bytes) => generationConfigOf(bytes, 'generation_config.json'),
    },
    {
      name: 'shard index',
      kind: 'json',
      samples: [json({ metadata: { total_size: 9 }, weight_map: { a: 'x-1.safetensors', b: 'x-2.safetensors' } })],
      cost: 1,
      read: (bytes) => parseShardIndex(bytes, 'index'),
    },
    await weightsReader(folder, model, weights),
    ...(await Promise.all(
      [
        'compressed-tensors int4, groups of 64 with zero points',
        'gptq_v2, groups of 32, inputs apart',
        'fp8, blocks',
      ].map((kind) => quantizedReader(folder, kind)),
    )),
    ...(await tokenizerReaders(folder)),
    ...(await headReaders(folder, model, loaded)),
    await adapterReader(folder, loaded),
    ...(await exportReaders(folder, model)),
    {
      name: 'tree of rank paths',
      kind: 'json',
      samples: [json([[0], [1], [0, 0], [0, 0, 1]]), json({ paths: [[0], [0, 0]] })],
      cost: 1,
      read: (bytes) => parseTreeFile(bytes.toString('utf8'), 'tree.json'),
    },
  ];
}

function smallSafetensors(metadata?: string): Buffer {
  const meta = metadata === undefined ? '' : `"__metadata__":${metadata},`;
  const header = `{${meta}"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"b":{"dtype":"I64","shape":[],"data_offsets":[16,24]}}`;
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, Buffer.from(header), Buffer.alloc(24, 1)]);
}

async function weightsReader(folder: string, model: string, weights: Buffer): Promise<FuzzReader> {
  const place = join(folder, 'weights');
  await mkdir(place);
  await copyFile(join(model, 'config.json'), join(place, 'config.json'));
  const write = asFile(place, 'model.safetensors');
  return {
    name: 'model folder, its weights',
    kind: 'binary',
    samples: [weights],
    cost: 40,
    async read(bytes) {
      write(bytes);
      return (await loadModel(place)).parameters.size;
    },
  };
}

/** Weights in four or eight bits, decoded and in codes. */
async function quantizedReader(folder: string, kind: string): Promise<FuzzReader> {
  const place = join(folder, kind);
  const made = quantizedModel(kind);
  await saveQuantized(place, made);
  const write = asFile(place, 'model.safetensors');
  return {
    name: `quantized folder: ${kind}`,
    kind: 'binary',
    samples: [safetensorsOf(made.tensors)],
    cost: 300,
    async read(bytes) {
      write(bytes);
      await using opened = await openModelWeights(place);
      for (const name of opened.names) {
        await opened.read(name);
        for await (const _ of opened.codes(name)?.pieces() ?? []);
      }
      return opened.names.length;
    },
  };
}

async function tokenizerReaders(folder: string): Promise<FuzzReader[]> {
  const { tokenizerJson, tokenizerConfigJson } = trainBpe(['one two three four five', 'one two'], {
    vocabularySize: 270,
  });
  const vocab = Object.fromEntries(['[UNK]', 'a', 'b', '##b', '▁', 'one', '<0x61>'].map((token, id) => [token, id]));
  const plain = { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null, added_tokens: [] };
  const sequence = {
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '▁' },
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
        { type: 'NFKC' },
        { type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true, strip_accents: null, lowercase: true },
      ],
    },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: ' ?\\p{L}+|\\s+' }, behavior: 'Isolated', invert: false },
        { type: 'Digits', individual_digits: true },
        { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: false },
        { type: 'Punctuation', behavior: 'Isolated' },
      ],
    },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
  };
  const models = [
    { type: 'BPE', vocab, merges: [['a', 'b']], unk_token: '[UNK]', byte_fallback: true, ignore_merges: false },
    { type: 'WordPiece', vocab, unk_token: '[UNK]', continuing_subword_prefix: '##', max_input_chars_per_word: 100 },
    { type: 'Unigram', unk_id: 0, vocab: Object.keys(vocab).map((token) => [token, -1]) },
  ];
  const added = [{ id: 7, content: '<s>', special: true, lstrip: true }];
  const samples = [
    json(tokenizerJson),
    ...models.map((model) => json({ ...plain, model })),
    ...models.map((model) => json({ ...plain, ...sequence, added_tokens: added, model })),
  ];
  const limit = timeLimit();
  const use = (tokenizer: { encode(text: string): Int32Array; decode(ids: Int32Array): string }): number =>
    tokenizer.decode(tokenizer.encode('one ab <s> 12, a\u0301 日本')).length;
  const place = join(folder, 'tokenizer');
  await mkdir(place);
  await writeFile(join(place, 'config.json'), json({ model_type: 'bert' }));
  const write = asFile(place, 'vocab.txt');
  return [
    {
      name: 'tokenizer.json',
      kind: 'json',
      samples,
      cost: 30,
      // Its time is cut short here: a second is plenty for a text of 20 characters.
      read: (bytes) =>
        use(
          huggingFaceTokenizer({
            tokenizerJson: parseJsonObject(bytes, 'tokenizer.json'),
            timeLimit: (work) => limit(work, 3000),
          }),
        ),
    },
    {
      name: 'tokenizer_config.json',
      kind: 'json',
      samples: [
        json(tokenizerConfigJson),
        json({
          bos_token: { content: '<s>', lstrip: false },
          eos_token: 'a',
          add_bos_token: true,
          model_max_length: 1e30,
        }),
      ],
      cost: 20,
      read: (bytes) =>
        use(
          huggingFaceTokenizer({
            tokenizerJson: { ...plain, added_tokens: added, model: models[0] },
            tokenizerConfigJson: parseJsonObject(bytes, 'tokenizer_config.json'),
          }),
        ),
    },
    {
      name: 'vocab.txt',
      kind: 'text',
      samples: [Buffer.from('[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\none\ntwo\na\n##b\n,\n')],
      cost: 25,
      async read(bytes) {
        write(bytes);
        return use(await loadTokenizer(place));
      },
    },
    {
      name: 'chat template',
      kind: 'text',
      samples: [
        "{{ bos_token }}{% for message in messages %}{{ message.role + ': ' + message.content }}{% endfor %}",
        "{% if messages[0]['role'] == 'system' %}{{ messages[0].content | trim }}{% else %}{{ raise_exception('x') }}{% endif %}",
        '{% set ns = namespace(a=0) %}{% for m in messages[1:] %}{% set ns.a = ns.a + 1 %}{{ ns.a }}{{ m | tojson }}{% endfor %}',
      ].map((text) => Buffer.from(text)),
      cost: 15,
      read: (bytes) =>
        new ChatTemplate(bytes.toString('utf8'), byteTokenizer()).encode([
          { role: 'system', content: 'be kind' },
          { role: 'user', content: 'hello' },
        ]),
    },
  ];
}

async function headReaders(
  folder: string,
  model: string,
  loaded: Awaited<ReturnType<typeof loadModel>>,
): Promise<FuzzReader[]> {
  const place = join(folder, 'heads');
  await cp(model, place, { recursive: true });
  const causal = requireCausal(loaded.model);
  const config = { heads: 2, layers: 1 };
  const parameters = initializeMedusa(config, causal, loaded.parameters);
  const tree = { paths: [[0], [1], [0, 0]], method: 'greedy' as const, expectedLength: 1.5 };
  await saveMedusaHeads(place, { config, parameters, base: loaded.fingerprint, tree, accuracy: [[0.5], [0.25]] });
  const base = { model: causal, fingerprint: loaded.fingerprint };
  const names = ['medusa.json', 'medusa.safetensors'];
  const files = await Promise.all(names.map((name) => readFile(join(place, name))));
  return names.map((name, index) => {
    const write = asFile(place, name);
    return {
      name,
      kind: index === 0 ? 'json' : 'binary',
      samples: [files[index]],
      cost: 40,
      async read(bytes) {
        try {
          write(bytes);
          return (await loadMedusaHeads(place, base)).parameters.size;
        } finally {
          write(files[index]);
        }
      },
    };
  });
}

async function adapterReader(folder: string, loaded: Awaited<ReturnType<typeof loadModel>>): Promise<FuzzReader> {
  const place = join(folder, 'adapter');
  const { model, fingerprint } = loaded;
  const lora = loraOf(model, parseLoraChoice('r=2,alpha=4'));
  const adapter = { lora, parameters: initializeLora(lora, new Random(1)) };
  await saveAdapter(place, { model, fingerprint }, adapter, { basePath: 'base', task: 'CAUSAL_LM' });
  const names = ['adapter_config.json', 'adapter_model.safetensors'];
  const files = await Promise.all(names.map((name) => readFile(join(place, name))));
  const writers = names.map((name) => asFile(place, name));
  return {
    name: 'adapter folder',
    kind: 'json',
    samples: files,
    cost: 40,
    async read(bytes) {
      const which = bytes.subarray(0, 64).includes('{') && bytes[0] === 0x7b ? 0 : 1;
      try {
        writers[which](bytes);
        return (await loadAdapter(place, { model, parameters: model.parameters, fingerprint })).lora.rank;
      } finally {
        writers[which](files[which]);
      }
    },
  };
}

async function exportReaders(folder: string, model: string): Promise<FuzzReader[]> {
  const place = join(folder, 'exported');
  await exportFolder(model, place, { dtype: 'f32' });
  const names = ['linnet.json', 'config.json', 'model.onnx'];
  const files = await Promise.all(names.map((name) => readFile(join(place, name))));
  const folders = names.map((name, index): FuzzReader => {
    const write = asFile(place, name);
    return {
      name: `exported folder, ${name}`,
      kind: index === 2 ? 'binary' : 'json',
      samples: [files[index]],
      cost: 60,
      async read(bytes) {
        try {
          write(bytes);
          return (await readExportedFolder(place)).fingerprint;
        } finally {
          write(files[index]);
        }
      },
    };
  });
  return [
    {
      name: 'linnet.json',
      kind: 'json',
      samples: [files[0]],
      cost: 6,
      read: (bytes) => readManifest(bytes, 'linnet.json').dtype,
    },
    ...folders,
  ];
}
