/** T5 through the commands: reported, linearized, and written with. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadModel } from '../../src/checkpoint/load-model.ts';
import { huggingFaceTokenizer } from '../../src/tokenizer/hugging-face.ts';
import { runCaptured, runJson } from './captured-cli.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { saveTinyModel } from '../models/tiny-model.ts';

const folder = suiteFolder();
const place = (name: string): string => join(folder, name);

beforeAll(async () => {
  await saveTinyModel(place('base'), 1, 't5');
  await writeFile(place('words.txt'), 'It was the best of times, it was the worst of times. '.repeat(5));
});

describe('t5', () => {
  it('is linearized in the attentions that are named, the encoder and the decoder by default', async () => {
    await runJson('linearize', place('base'), '--mixer', 'augmented', '--group', '4', '--out', place('two'));
    const { model } = await loadModel(place('two'));
    expect(model.toJson().linnet).toMatchObject({
      encoder: [{ kind: 'linear', group: 4, convolution: { kernel: 9 } }, { kind: 'linear' }],
      decoder: [{ kind: 'linear' }, { kind: 'linear' }],
    });
    expect(model.toJson().linnet).not.toHaveProperty('cross');
    const all = ['--attention', 'cross,decoder', '--layers', '1', '--kernel', '5'];
    await runJson('linearize', place('base'), '--mixer', 'augmented', ...all, '--out', place('some'));
    const some = await loadModel(place('some'));
    expect(some.model.toJson().linnet).toMatchObject({
      decoder: [{ kind: 'softmax' }, { kind: 'linear', convolution: { kernel: 5 } }],
      cross: [{ kind: 'softmax' }, { kind: 'linear', local: null, global: { scale: 'one' }, convolution: null }],
    });
    const bidirectional = ['--mixer', 'linformer-bidirectional', '--out', place('no')];
    const refused = await runCaptured(['linearize', place('base'), ...bidirectional]);
    expect(refused.stderr).toMatch(/linnet\.decoder\[0\] reads later tokens/);
    const everywhere = ['--attention', 'encoder,decoder,cross', '--rows', '2', '--block', '4'];
    await runJson('linearize', place('base'), '--mixer', 'linformer', ...everywhere, '--out', place('linformer'));
    expect((await loadModel(place('linformer'))).model.toJson().linnet).toMatchObject({
      encoder: [{ kind: 'linformer' }, { kind: 'linformer' }],
      decoder: [{ kind: 'block-linformer' }, { kind: 'block-linformer' }],
      cross: [{ kind: 'linformer' }, { kind: 'linformer' }],
    });
    const unknown = await runCaptured([
      'linearize',
      place('base'),
      '--mixer',
      'relu',
      '--attention',
      'self',
      '--out',
      place('no'),
    ]);
    expect(unknown.stderr).toMatch(/encoder, decoder, cross/);
  });

  it.each(['base', 'two', 'some', 'linformer'])('writes about a prompt, greedily and by beams: %s', async (name) => {
    const words = ['generate', place(name), '--prompt', 'It was', '--max-tokens', '6', '--ignore-eos'];
    const greedy = await runJson(...words);
    expect(greedy.tokens).toHaveLength(6);
    expect(greedy).toMatchObject({ finish: 'length', promptTokens: 7 });
    expect(await runJson(...words)).toMatchObject({ tokens: greedy.tokens, text: greedy.text });
    const { beams, tokens } = await runJson(...words, '--beams', '3');
    expect(beams).toHaveLength(3);
    expect(tokens).toHaveLength(6);
  });

  it('counts what it reads, and refuses texts that do not fit into memory', async () => {
    const words = ['generate', place('base'), '--max-tokens', '2', '--ignore-eos', '--prompt'];
    // Two layers of 7 tokens: keys and values of two heads of width 8, and whether to read them.
    expect(await runJson(...words, 'It was')).toMatchObject({ sourceBytes: 4 * 2 * 7 * (2 * 2 * 8 + 1) });
    const long = 'It was '.repeat(2000);
    const { exitCode, stderr } = await runCaptured([...words, long, '--memory', '300MiB']);
    expect(exitCode).toBe(3);
    expect(stderr).toMatch(
      /a text of 14001 tokens is longer than the 1024 that the encoder reads; cut it, or allow more/,
    );
  });

  it.each([
    ['--tool-format', 'hermes'],
    ['--sessions', 'sessions'],
    ['--prompt-chunk', '4'],
  ])('is served without %s', async (option, value) => {
    const { exitCode, stderr } = await runCaptured(['serve', place('base'), '--port', '0', option, value]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain(`${option} needs a model that continues its prompt`);
  });

  it('is served without a web page', async () => {
    const served = new AbortController();
    const options = { signal: served.signal, onOutput: () => setImmediate(() => served.abort()) };
    const { stdout, stderr } = await runCaptured(['serve', place('base'), '--port', '0'], options);
    expect(stdout).toMatch(/at http.*\/v1/);
    expect(stdout + stderr).not.toContain('web page');
  });

  it.each(['base', 'two', 'some', 'linformer'])('goes on from a session, and drafts by look-up: %s', async (name) => {
    const words = ['generate', place(name), '--ignore-eos'];
    const prompt = ['--prompt', 'It was'];
    const whole = await runJson(...words, ...prompt, '--max-tokens', '30');
    const session = ['--session', place(`${name}.session`)];
    const first = await runJson(...words, ...prompt, '--max-tokens', '13', ...session);
    const second = await runJson(...words, '--max-tokens', '17', ...session);
    expect([first.tokens, second.tokens].flat()).toEqual(whole.tokens);
    const again = await runCaptured([...words, ...prompt, ...session]);
    expect(again).toMatchObject({ exitCode: 2 });
    expect(again.stderr).toMatch(/the session already has its input text/);
    const drafted = await runJson(...words, ...prompt, '--max-tokens', '30', '--speculate', 'lookup');
    expect(drafted).toMatchObject({ tokens: whole.tokens, text: whole.text });
    expect(drafted).toHaveProperty('speculation.steps');
  });

  it('stops before a string', async () => {
    const sampled = ['--temperature', '2', '--seed', '3', '--max-tokens', '30'];
    const words = ['generate', place('base'), '--ignore-eos', '--prompt', 'It was', ...sampled];
    const whole = await runJson(...words);
    const text = String(whole.text);
    expect(text.length).toBeGreaterThan(8);
    const string = text.slice(4, 7);
    const stopped = await runJson(...words, '--stop', string);
    expect(stopped).toMatchObject({ finish: 'stop', text: text.slice(0, text.indexOf(string)) });
  });

  it.each(['base', 'some'])('has the same bits however it is read: %s', async (name) => {
    const { stdout } = await runCaptured(['check', place(name)]);
    expect(stdout).toMatch(/the same bits however it is read[^]*Encoder-decoders: only the bits are checked/);
    const refused = await runCaptured(['check', place(name), '--memory', '20MiB']);
    expect([refused.exitCode, refused.stderr]).toEqual([3, expect.stringMatching(/the limit is 20 MiB/)]);
  });

  it.each(['f32', 'w8a8', 'int4', 'mixed'])('is exported as %s, and generates from the export', async (dtype) => {
    const out = place(`two-${dtype}`);
    await runJson(
      'linearize',
      place('base'),
      '--mixer',
      'augmented',
      '--group',
      '4',
      '--out',
      place('two'),
      '--replace',
    );
    const reported = await runJson('export', place('two'), '--dtype', dtype, '--out', out, '--replace');
    expect(reported).toMatchObject({ dtype, encoder: { lengths: [32, 64] } });
    const bits = { alone: true, chain: true, tree: true, batch: true, chunks: true };
    expect(await runJson('check', out)).toMatchObject({ ok: true, sameBits: bits });
    expect(await runJson('inspect', out)).toMatchObject({ sameBits: true });

    const words = ['generate', out, '--prompt', 'It was', '--max-tokens', '12', '--ignore-eos'];
    const greedy = await runJson(...words);
    expect(greedy.tokens).toHaveLength(12);
    if (dtype === 'f32') {
      const [, , ...rest] = words;
      expect(await runJson('generate', place('two'), ...rest)).toMatchObject({ tokens: greedy.tokens });
    }
    expect(await runJson(...words, '--speculate', 'lookup')).toMatchObject({ tokens: greedy.tokens });
    expect((await runJson(...words, '--beams', '3')).beams).toHaveLength(3);
    const long = await runCaptured([...words.slice(0, 2), '--prompt', 'It was '.repeat(10)]);
    expect(long).toMatchObject({ exitCode: 3 });
    expect(long.stderr).toMatch(/longer than the 64 that the encoder reads/);
    const inspected = await runJson('inspect', out);
    expect(inspected).toMatchObject({ family: 't5', export: { dtype, encoder: { lengths: [32, 64] } } });
  });

  it('is exported for the lengths that are named', async () => {
    const out = place('lengths');
    const options = ['--dtype', 'f32', '--source-lengths', '80,20', '--out', out];
    expect(await runJson('export', place('base'), ...options)).toMatchObject({ encoder: { lengths: [20, 80] } });
    const long = await runJson('generate', out, '--prompt', 'It was '.repeat(10), '--max-tokens', '3', '--ignore-eos');
    expect(long).toMatchObject({ promptTokens: 71 });
    const wrong = await runCaptured([
      'export',
      place('base'),
      ...options.slice(0, 3),
      '--source-lengths',
      '0',
      '--out',
      out,
    ]);
    expect(wrong.exitCode).toBe(2);
  });

  it('is inspected', async () => {
    expect(await runJson('inspect', place('two'))).toMatchObject({ family: 't5', kind: 'encoder-decoder' });
  });
});

it('reads a Unigram tokenizer.json, as T5 has it', () => {
  const pieces: [string, number][] = [
    ['<pad>', 0],
    ['</s>', 0],
    ['<unk>', 0],
    ['▁', -2],
    ['▁dark', -3],
    ['▁night', -3],
    ['s', -4],
  ];
  const tokenizer = huggingFaceTokenizer({
    tokenizerJson: {
      added_tokens: ['<pad>', '</s>', '<unk>'].map((content, id) => ({ id, content, special: true })),
      pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', add_prefix_space: true },
      decoder: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', add_prefix_space: true },
      model: { type: 'Unigram', unk_id: 2, vocab: pieces },
    },
    tokenizerConfigJson: { eos_token: '</s>', pad_token: '<pad>', unk_token: '<unk>' },
  });
  expect(Array.from(tokenizer.encode('dark nights'))).toEqual([4, 5, 6]);
  expect(tokenizer.decode([4, 5, 6, 1, 0])).toBe('dark nights');
  expect(tokenizer).toMatchObject({ eosId: 1, padId: 0 });
});
