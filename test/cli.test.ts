/** The command line end to end: real models on disk, the contract of `--json`, exit codes, hostile input. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadCausalModel } from '../src/checkpoint/load-model.ts';
import { DecodingEngine } from '../src/decoding/engine.ts';
import { loadTokenizer } from '../src/tokenizer/tokenizer.ts';
import { type CapturedRun, lastJson, runCaptured } from './captured-cli.ts';
import { thirdParty } from './fixtures.ts';
import { suiteFolder } from './scratch-folder.ts';
import { saveTinyModel } from './tiny-model.ts';

const folder = suiteFolder();
const base = join(folder, 'base');
const augmented = join(folder, 'augmented');
const hybrid = join(folder, 'hybrid');
const leaking = join(folder, 'leaking');
const stories = join(folder, 'stories.jsonl');
const book = join(folder, 'book.txt');

const run = (...words: string[]): Promise<CapturedRun> => runCaptured(words);

/** The error that a failed command tells machines. */
function errorOf(result: CapturedRun): { code: unknown; message: string } {
  const { error } = lastJson(result);
  if (typeof error !== 'object' || error === null || !('code' in error) || !('message' in error)) {
    throw new Error(`no error in ${result.stdout}`);
  }
  return { code: error.code, message: String(error.message) };
}

/** The JSON of a command that must succeed. */
async function json(...words: string[]): Promise<Record<string, unknown>> {
  const result = await runCaptured([...words, '--json']);
  expect(result.stderr, 'a failed command').not.toMatch(/^linnet: /m);
  expect(result.exitCode).toBe(0);
  expect(result.stdout.trim().split('\n')).toHaveLength(1);
  return lastJson(result);
}

beforeAll(async () => {
  await saveTinyModel(base);
  const sizes = ['--group', '4', '--kernel', '5'];
  await json('linearize', base, '--mixer', 'augmented', ...sizes, '--out', augmented);
  await json('linearize', base, '--mixer', 'augmented', ...sizes, '--layers', '1', '--out', hybrid);
  await json('linearize', base, '--mixer', 'local+conv', ...sizes, '--unmasked', '--out', leaking);
  const texts = ['A first story.', 'Another one, which is longer.', '', 'The last.'];
  await writeFile(stories, texts.map((text) => `${JSON.stringify({ text })}\n`).join(''));
  await writeFile(book, 'It was a dark and stormy night. '.repeat(10));
});

describe('inspect', () => {
  it('tells sizes, mixers and memory', async () => {
    const softmax = await json('inspect', base);
    expect(softmax).toMatchObject({
      family: 'llama',
      mixerParameters: 0,
      stateBytes: 0,
      // 2 layers · keys and values · 1 head of width 8 · 4 bytes
      stateBytesPerToken: 128,
      kvCacheBytes: { '4096': 128 * 4096, '32768': 128 * 32768, '131072': 128 * 131072 },
      stateBytesAt: { '4096': 128 * 4096 },
      tokenizer: { vocabulary: 258, bos: 256, eos: 257 },
    });
    const { parameters } = await loadCausalModel(base);
    const numbers = [...parameters.values()].reduce((total, { data }) => total + data.length, 0);
    expect(softmax.parameters).toBe(numbers);
    expect(softmax.mixers).toMatchObject([{ layers: [0, 1], config: { kind: 'softmax' } }]);
  });

  it('tells the size that sessions really have', async () => {
    const { model, parameters } = await loadCausalModel(augmented);
    const engine = await DecodingEngine.create(model, parameters);
    try {
      const told = await json('inspect', augmented);
      const state = engine.newState();
      await engine.prefill(state, [1, 2, 3, 4, 5, 6, 7]);
      expect(told).toMatchObject({ stateBytes: state.bytes, stateBytesPerToken: 0 });
      expect(told.stateBytesAt).toEqual({ '4096': state.bytes, '32768': state.bytes, '131072': state.bytes });
    } finally {
      await engine.dispose();
    }
  });

  it('splits hybrids into runs, and tells a model without state', async () => {
    const told = await json('inspect', hybrid);
    expect(told.mixers).toMatchObject([{ layers: [0, 0] }, { layers: [1, 1], config: { kind: 'linear' } }]);
    expect(told.stateBytesPerToken).toBe(64);
    expect(await json('inspect', leaking)).toMatchObject({ stateBytes: null, kvCacheBytes: null });
    expect((await run('inspect', leaking)).stdout).toContain('cannot decode');
  });

  it('prints for people', async () => {
    const { stdout, exitCode } = await run('inspect', hybrid);
    expect(exitCode).toBe(0);
    for (const part of ['local relu² + α·global + convolution 5, G = 4', '128K', '8·M·C·D']) {
      expect(stdout).toContain(part);
    }
  });
});

describe('linearize', () => {
  it('keeps weights and tokenizer, adds neutral parameters', async () => {
    const before = await loadCausalModel(base);
    const after = await loadCausalModel(augmented);
    for (const [name, { data }] of before.parameters) expect(after.parameters.get(name)?.data).toEqual(data);
    const added = [...after.parameters].filter(([name]) => !before.parameters.has(name));
    expect(added.map(([name]) => name.replace(/.*self_attn\./, '')).sort()).toEqual([
      'dwconv.weight',
      'dwconv.weight',
      'global_factor',
      'global_factor',
    ]);
    for (const [, { data }] of added) expect(data.every((value) => value === 0)).toBe(true);
    const tokenizer = await loadTokenizer(augmented);
    expect(tokenizer.decode(tokenizer.encode('café'))).toBe('café');
  });

  it('gives first layers softmax inside blocks, as TransNormer has it', async () => {
    const out = join(folder, 'transnormer');
    const words = ['--mixer', 'transnormer', '--softmax-layers', '1', '--group', '16', '--conv', '--kernel', '7'];
    await json('linearize', base, ...words, '--out', out);
    const { model } = await loadCausalModel(out);
    const convolution = { kernel: 7, masked: true };
    expect(model.mixers).toMatchObject([
      { kind: 'linear', group: 16, local: { kernel: 'softmax' }, global: null, convolution },
      { kind: 'features', group: 16, map: { name: 'elu' }, output: 'rms', convolution },
    ]);
  });

  it('passes every refinement on to the configuration', async () => {
    const refined = ['--local-kernel', 'softmax', '--lambda', '--castling', '--normalize', 'together'];
    const out = join(folder, 'refined');
    const told = await json('linearize', base, '--mixer', 'augmented', '--kernel', '7', ...refined, '--out', out);
    expect(told).toMatchObject({
      changedLayers: [0, 1],
      mixers: [
        {
          config: {
            group: 64,
            local: { kernel: 'softmax', scale: 'learned' },
            convolution: { kernel: 7, masked: true },
            castling: true,
            normalize: 'together',
          },
        },
      ],
    });
    const { model } = await loadCausalModel(out);
    expect(told.mixers).toMatchObject([{ config: model.mixers[1] }]);
  });

  it.each([
    [
      'performer',
      ['--features', '24', '--seed', '7'],
      { kind: 'features', map: { name: 'performer', features: 24, seed: 7 } },
    ],
    ['hedgehog', [], { kind: 'features', map: { name: 'hedgehog' }, output: 'ratio' }],
    ['yoso', ['--bits', '4'], { kind: 'yoso', bits: 4 }],
    [
      'yoso-hashed',
      ['--bits', '3', '--hashes', '4'],
      { kind: 'features', map: { name: 'hashes', hashes: 4, bits: 3 } },
    ],
    ['linformer', ['--rows', '4', '--block', '16'], { kind: 'block-linformer', rows: 4, block: 16 }],
    ['linformer-bidirectional', ['--rows', '16', '--length', '128'], { kind: 'linformer', rows: 16, length: 128 }],
  ])('sizes %s and gives it a convolution', async (mixer, sizes, config) => {
    const out = join(folder, mixer);
    const told = await json('linearize', base, '--mixer', mixer, ...sizes, '--conv', '--kernel', '7', '--out', out);
    expect(told.mixers).toMatchObject([{ config: { ...config, convolution: { kernel: 7, masked: true } } }]);
    const { model } = await loadCausalModel(out);
    expect(told.mixers).toMatchObject([{ config: model.mixers[1] }]);
    const generated = await run('generate', out, '--prompt', 'once', '--max-tokens', '3');
    expect(generated.exitCode).toBe(mixer === 'linformer-bidirectional' ? 3 : 0);
  });

  it('saves in the type asked for and replaces only on request', async () => {
    const out = join(folder, 'halves');
    const words = ['linearize', base, '--mixer', 'local', '--out', out];
    await json(...words, '--dtype', 'BF16');
    expect(await json('inspect', out)).toMatchObject({ weights: { types: ['BF16'] } });
    const refused = await run(...words);
    expect(refused.exitCode).toBe(3);
    expect(refused.stderr).toContain(out);
    await json(...words, '--replace');
    expect(await json('inspect', out)).toMatchObject({ weights: { types: ['F32'] } });
  });

  it.each([
    [['--mixer', 'linear'], 2, 'expected one of softmax, local, global'],
    [['--mixer', 'augmented', '--kernel', '4'], 2, 'odd'],
    [['--mixer', 'augmented', '--group', '0'], 2, '--group is "0"; expected a whole number from 1'],
    [['--mixer', 'augmented', '--layers', '0-9'], 3, 'there is no layer 2'],
    [['--mixer', 'augmented', '--layers', 'all'], 2, 'such as 0-3,5'],
    [['--mixer', 'softmax', '--conv'], 2, '--mixer softmax has none'],
    [['--mixer', 'relu', '--conv', '--castling'], 2, '--castling rescales local and global branches'],
    [['--mixer', 'local', '--castling'], 2, '--castling refines the convolution branch'],
    [['--mixer', 'global', '--lambda'], 2, '--lambda refines the local branch'],
    [['--mixer', 'local', '--normalize', 'global'], 2, '--normalize global refines the global branch'],
    [['--mixer', 'softmax', '--normalize', 'together'], 2, 'needs a local or global branch'],
  ])('refuses %j', async (words, exitCode, message) => {
    const result = await run('linearize', base, ...words, '--out', join(folder, 'refused'), '--json');
    expect(result.exitCode).toBe(exitCode);
    expect(errorOf(result).message).toContain(message);
    expect((await run('inspect', join(folder, 'refused'))).exitCode).toBe(3);
  });
});

describe('eval perplexity', () => {
  it('predicts documents, all or some', async () => {
    const all = await json('eval', 'perplexity', base, '--data', stories, '--length', '16');
    // BOS + bytes cut to 16: 14, 15 and 9 predictions; the empty document has none.
    expect(all).toMatchObject({ tokens: 14 + 15 + 9, documents: 3 });
    expect(all.perplexity).toBeCloseTo(Math.exp(Number(all.nll)), 6);
    expect(await json('eval', 'perplexity', base, '--data', stories, '--documents', '1-2')).toMatchObject({
      tokens: 29,
      documents: 1,
    });
    expect(await json('eval', 'perplexity', base, '--data', stories, stories, '--limit-documents', '5')).toMatchObject({
      tokens: 14 + 29 + 9 + 14,
      documents: 4,
    });
  });

  it('slides over plain text', async () => {
    const told = await json('eval', 'perplexity', augmented, '--data', book, '--length', '32', '--stride', '8');
    expect(told).toMatchObject({ tokens: 320, documents: 1 });
  });

  it('does not change when softmax is replaced by itself', async () => {
    const out = join(folder, 'same');
    await json('linearize', augmented, '--mixer', 'softmax', '--out', out);
    const words = ['--data', book, '--length', '32'];
    expect(await json('eval', 'perplexity', out, ...words)).toEqual(await json('eval', 'perplexity', base, ...words));
  });

  it.each([
    [['--data', 'nowhere.jsonl'], 3, 'NOT_FOUND'],
    [['--data', 'npm:left-pad'], 3, 'INPUT'],
    [[], 2, 'USAGE'],
    [['--data', 'x.txt', '--length', '1'], 2, 'USAGE'],
    [['--data', 'x.txt', '--length', '8', '--stride', '9'], 2, 'USAGE'],
    [['--data', 'x.txt', '--documents', '3-1'], 2, 'USAGE'],
    [['--data', 'x.txt', '--documents', '0-1', '--limit-documents', '2'], 2, 'USAGE'],
  ])('refuses %j', async (words, exitCode, code) => {
    const result = await run('eval', 'perplexity', base, ...words, '--json');
    expect(result.exitCode).toBe(exitCode);
    expect(errorOf(result).code).toBe(code);
  });

  it('names the documents there are when asked for others', async () => {
    const result = await run('eval', 'perplexity', base, '--data', stories, '--documents', '4-9');
    expect(result.exitCode).toBe(3);
    expect(result.stderr).toContain('there are 4 documents');
  });
});

describe('check', () => {
  it('passes a model that reads no future', async () => {
    const told = await json('check', augmented);
    expect(told.leak).toBe(false);
    expect(told.maxError).toBeLessThan(1e-4);
    expect(Array.isArray(told.rows) && told.rows.length > 10).toBe(true);
  });

  it('fails one that does', async () => {
    const result = await run('check', leaking, '--json');
    expect(result.exitCode).toBe(1);
    expect(lastJson(result)).toMatchObject({ leak: true, ok: false });
    expect((await run('check', leaking)).stdout).toContain('The model reads the future');
  });
});

describe('generate', () => {
  const sampled = ['--temperature', '1', '--top-p', '0.95', '--repetition-penalty', '1.1', '--ignore-eos'];

  it('continues a text after BOS and token ids as they are', async () => {
    const byText = await json('generate', augmented, '--prompt', 'Hi', '--max-tokens', '6', '--ignore-eos');
    const ids = '256,72,105';
    const byIds = await json('generate', augmented, '--prompt-tokens', ids, '--max-tokens', '6', '--ignore-eos');
    expect(byIds.tokens).toEqual(byText.tokens);
    expect(byText).toMatchObject({ steps: 6, promptTokens: 3, finish: 'length' });
    expect(byText.tokensPerSecond).toBeGreaterThan(0);
    expect(await json('generate', augmented, '--prompt-tokens', '72,105', '--max-tokens', '1')).toMatchObject({
      promptTokens: 2,
    });
    expect(await json('generate', augmented, '--max-tokens', '1')).toMatchObject({ promptTokens: 1 });
  });

  it('reads the prompt from a file, and streams the same text that --json gives', async () => {
    const file = join(folder, 'prompt.txt');
    await writeFile(file, 'Hi');
    const words = ['generate', augmented, '--prompt-file', file, '--max-tokens', '20', '--ignore-eos'];
    const pieces: string[] = [];
    const streamed = await runCaptured(words, { onOutput: (text) => pieces.push(text) });
    expect(streamed.stdout).toBe(`${String((await json(...words)).text)}\n`);
    expect(pieces.length).toBeGreaterThan(3);
  });

  it('repeats with the seed and differs with another', async () => {
    const words = ['generate', augmented, '--prompt', 'Hi', '--max-tokens', '20', ...sampled];
    const first = await json(...words, '--seed', '3');
    expect((await json(...words, '--seed', '3')).tokens).toEqual(first.tokens);
    expect((await json(...words, '--seed', '4')).tokens).not.toEqual(first.tokens);
  });

  it.each([['augmented'], ['hybrid'], ['base']])('goes on from a session as if unbroken: %s', async (name) => {
    const model = join(folder, name);
    const file = join(folder, `${name}.session`);
    const words = ['generate', model, ...sampled, '--seed', '5'];
    const whole = await json(...words, '--prompt', 'Hi', '--max-tokens', '24');
    const first = await json(...words, '--prompt', 'Hi', '--max-tokens', '11', '--session', file);
    const second = await json(...words, '--max-tokens', '13', '--session', file);
    expect([first.tokens, second.tokens].flat()).toEqual(whole.tokens);
  });

  it('saves the session when interrupted, and says how to go on', async () => {
    const file = join(folder, 'interrupted.session');
    const controller = new AbortController();
    const words = ['generate', augmented, '--prompt', 'Hi', '--max-tokens', '100000', '--ignore-eos'];
    const stopped = await runCaptured([...words, '--session', file], {
      signal: controller.signal,
      onOutput: () => controller.abort(),
    });
    expect(stopped.exitCode).toBe(130);
    expect(stopped.stderr).toContain(`--session ${file}`);
    const more = await json('generate', augmented, '--session', file, '--max-tokens', '4', '--ignore-eos');
    expect(more.tokens).toHaveLength(4);
  });

  it('refuses the session of another model', async () => {
    const file = join(folder, 'other.session');
    await json('generate', augmented, '--prompt', 'Hi', '--max-tokens', '3', '--session', file);
    const result = await run('generate', hybrid, '--session', file, '--json');
    expect(result.exitCode).toBe(3);
    expect(errorOf(result).code).toBe('MISMATCH');
  });

  it.each([
    [['--prompt', 'a', '--prompt-tokens', '1'], 2],
    [['--max-tokens', '0'], 2],
    [['--temperature', '-1'], 2],
    [['--top-p', '0'], 2],
    [['--prompt-tokens', '1,,2'], 2],
    [['--prompt-tokens', '258'], 3],
    [['--prompt-file', 'nowhere.txt'], 3],
    [['--device', 'tpu'], 2],
  ])('refuses %j', async (words, exitCode) => {
    const result = await run('generate', augmented, ...words, '--json');
    expect(result.exitCode).toBe(exitCode);
    expect(errorOf(result).message).not.toBe('');
  });

  it('refuses a model that cannot decode', async () => {
    expect((await run('generate', leaking, '--prompt', 'Hi')).exitCode).toBe(3);
  });
});

describe('tokenizer train', () => {
  it('writes a tokenizer that Hugging Face libraries read', async () => {
    const out = join(folder, 'tokenizer');
    const words = ['tokenizer', 'train', '--data', book, stories, '--vocabulary', '270', '--out', out];
    expect(await json(...words)).toMatchObject({ vocabulary: 270, documents: 5, out });
    const tokenizer = await loadTokenizer(out);
    expect(tokenizer.vocabularySize).toBe(270);
    expect(tokenizer.encode('stormy night').length).toBeLessThan('stormy night'.length);
    const first = await readFile(join(out, 'tokenizer.json'), 'utf8');
    await json(...words, '--replace');
    expect(await readFile(join(out, 'tokenizer.json'), 'utf8')).toBe(first);
  });

  it('refuses a vocabulary smaller than the bytes, and an existing folder', async () => {
    const words = ['tokenizer', 'train', '--data', book, '--out', folder];
    expect((await run(...words, '--vocabulary', '257')).exitCode).toBe(2);
    expect((await run(...words)).exitCode).toBe(3);
  });
});

describe('hostile models', () => {
  it('are refused by every command that opens one', async () => {
    const broken = join(folder, 'broken');
    await mkdir(broken);
    await writeFile(join(broken, 'config.json'), '{"model_type":"llama"}');
    await writeFile(join(broken, 'model.safetensors'), 'no safetensors');
    const data = ['--data', stories];
    const commands = [
      ['inspect'],
      ['check'],
      ['generate'],
      ['eval', 'perplexity', ...data],
      ['linearize', '--mixer', 'local', '--out', join(folder, 'never')],
    ];
    for (const words of commands) {
      for (const model of [broken, join(folder, 'missing'), book]) {
        const result = await run(...words, '--json', '--', model);
        expect(result.exitCode, `${words[0]} ${model}`).toBe(3);
        expect(errorOf(result).message).toContain(model);
      }
    }
  });
});

const realModel = thirdParty('stories260k');
const realText = thirdParty('text/tinystories.jsonl');

describe.skipIf(realModel === undefined || realText === undefined)('stories260k (third-party fixtures)', () => {
  it('has the perplexity that PyTorch computes', async () => {
    const words = ['eval', 'perplexity', realModel ?? '', '--data', realText ?? '', '--documents', '110-129'];
    const told = await json(...words);
    expect(told.perplexity).toBeCloseTo(7.038, 2);
  });
});
