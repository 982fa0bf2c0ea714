/** GGUF files in commands: described, generated from, copied into folders, fetched. */
import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { openingMemory } from '../../src/cli/options/opening-memory.ts';
import { loadModel } from '../../src/checkpoint/load-model.ts';
import { golden } from '../fixtures.ts';
import { hubWithModel, id } from '../imitated-hub.ts';
import { scratchFolder } from '../scratch-folder.ts';
import { errorOf, jsonOf, runCaptured } from './captured-cli.ts';

const folder = join(golden('gguf'), 'tokenizer-gpt2');
const file = join(folder, 'model.gguf');

describe('a GGUF file', () => {
  it('is described', async () => {
    expect(jsonOf(await runCaptured(['inspect', file, '--json']))).toMatchObject({
      ...{ family: 'llama', architecture: 'llama', types: { F16: 8, F32: 3 }, contextLength: 64 },
      tokenizer: { vocabulary: 340, bos: 0, eos: 1, model: 'gpt2' },
    });
    const whole = jsonOf(await runCaptured(['inspect', folder, '--json']));
    expect(whole).toMatchObject({ architecture: 'llama' });
  });

  it('is recognized by its first bytes: a blob of Ollama has no ending', async () => {
    const blob = join(await scratchFolder(), `sha256-${'0'.repeat(64)}`);
    await cp(file, blob);
    expect(jsonOf(await runCaptured(['inspect', blob, '--json']))).toMatchObject({ architecture: 'llama' });
    const words = ['--prompt', 'The quick', '--max-tokens', '4', '--json'];
    const [own, copied] = [
      await runCaptured(['generate', file, ...words]),
      await runCaptured(['generate', blob, ...words]),
    ];
    expect(jsonOf(copied).text).toBe(jsonOf(own).text);
  });

  it('generates as the folder into which it was copied', async () => {
    const out = join(await scratchFolder(), 'copy');
    const made = await runCaptured(['linearize', file, '--mixer', 'softmax', '--out', out]);
    expect(made.stderr).toBe('');
    expect((await readdir(out)).filter((name) => !name.startsWith('.')).sort()).toEqual(
      ['chat_template.jinja', 'config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'].sort(),
    );
    const words = ['--prompt', 'The quick', '--max-tokens', '8', '--json'];
    const [own, copied] = [
      jsonOf(await runCaptured(['generate', file, ...words])),
      jsonOf(await runCaptured(['generate', out, ...words])),
    ];
    expect(own.text).toBe(copied.text);
    expect(await readFile(join(out, 'chat_template.jinja'), 'utf8')).toContain('im_start');
    const [first, second] = [await loadModel(file), await loadModel(out)];
    expect([...second.parameters]).toEqual([...first.parameters].map(([name, tensor]) => [name, tensor]));
  });

  it('is converted', async () => {
    const scratch = await scratchFolder();
    const [text, out] = [join(scratch, 'text.txt'), join(scratch, 'converted')];
    await writeFile(text, 'The quick brown fox jumps over the lazy dog. '.repeat(200));
    const words = ['convert', file, '--data', text, '--steps', '2,2,0', '--length', '32', '--batch', '2', '--out', out];
    expect(jsonOf(await runCaptured([...words, '--plan', '--json']))).toHaveProperty('plan.stages.2.form', 'layers');
    expect((await runCaptured([...words, '--memory', '20MiB', '--json'])).exitCode).toBe(3);
    const made = await runCaptured([...words, '--contexts', '32', '--json']);
    expect({ ...made, stdout: '' }).toMatchObject({ exitCode: 0 });
    const { model } = await loadModel(out);
    expect(new Set(model.mixers.map(({ kind }) => kind))).toEqual(new Set(['window']));
  }, 60_000);

  it('is planned in its codes, and in float32 where the type is named', async () => {
    const coded = join(golden('gguf'), 'llama-q4_0', 'model.gguf');
    const [stored, full] = [await openingMemory(coded), await openingMemory(coded, 'f32')];
    expect(stored).toBeLessThan(full);
  });

  it('is one of several in a folder only by its name', async () => {
    const several = join(await scratchFolder(), 'several');
    await mkdir(several);
    for (const name of ['a.gguf', 'b.gguf']) await cp(file, join(several, name));
    expect(errorOf(await runCaptured(['inspect', several, '--json'])).message).toContain(
      'holds 2 models ("a.gguf", "b.gguf")',
    );
    expect((await runCaptured(['inspect', join(several, 'b.gguf')])).exitCode).toBe(0);
  });
});

describe('a file of the hub', () => {
  it('is fetched by its name after that of its repository, once', async () => {
    const { hub, endpoint } = await hubWithModel();
    hub.files.clear();
    hub.files.set('model.Q4_K_M.gguf', await readFile(file));
    hub.files.set('model.Q8_0.gguf', Buffer.from('not asked for'));
    vi.stubEnv('HOME', await scratchFolder());
    const environment = { HF_ENDPOINT: endpoint };
    const asked = [`${id}:model.Q4_K_M.gguf`, '--prompt', 'The quick', '--max-tokens', '4', '--json'];
    const fetched = jsonOf(await runCaptured(['generate', ...asked], { environment }));
    expect(fetched.text).toBe(jsonOf(await runCaptured(['generate', file, ...asked.slice(1)])).text);
    const requests = hub.log.length;
    expect(jsonOf(await runCaptured(['generate', ...asked], { environment })).text).toBe(fetched.text);
    expect(hub.log.slice(requests)).toEqual([]);
    expect(hub.log.filter((line) => line.includes('Q8_0'))).toEqual([]);
    vi.unstubAllEnvs();
  });

  it.each([
    ['its path', 'quants/model-Q4_K_M.gguf'],
    ['its type', 'q4_k_m'],
  ])('is fetched from a folder of its repository by %s', async (_, name) => {
    const { hub, endpoint } = await hubWithModel();
    hub.files.set('quants/model-Q4_K_M.gguf', await readFile(file));
    hub.files.set('quants/model-Q8_0.gguf', Buffer.from('not asked for'));
    hub.files.set('quants/model-IQ4_K_M.gguf', Buffer.from('another type, whose name ends so'));
    vi.stubEnv('HOME', await scratchFolder());
    const environment = { HF_ENDPOINT: endpoint };
    const fetched = await runCaptured(['download', `${id}:${name}`], { environment });
    expect(fetched.exitCode).toBe(0);
    expect(fetched.stdout).toMatch(/ 1 files, /);
    expect(jsonOf(await runCaptured(['inspect', `${id}:${name}`, '--json']))).toMatchObject({ architecture: 'llama' });
    const absent = errorOf(await runCaptured(['download', `${id}:model-Q2_K.gguf`, '--json'], { environment }));
    expect(absent.message).toMatch(/no such file in GGUF; it has "quants\/model-Q4_K_M.gguf", "quants\/model-Q8_0/);
    vi.unstubAllEnvs();
  });

  it('is fetched with all its parts, as commands advise that take only what is here', async () => {
    const { hub, endpoint } = await hubWithModel();
    hub.files.clear();
    const parts = join(golden('gguf'), 'llama-split');
    const names = (await readdir(parts)).filter((name) => name.endsWith('.gguf')).sort();
    for (const name of names) hub.files.set(name, await readFile(join(parts, name)));
    hub.files.set('model.Q8_0.gguf', Buffer.from('not asked for'));
    vi.stubEnv('HOME', await scratchFolder());
    const asked = `${id}:${names[0]}`;
    const advice = /"(linnet download [^"]+)" fetches it/.exec(
      errorOf(await runCaptured(['inspect', asked, '--json'])).message,
    );
    const words = advice?.[1].split(' ').slice(1) ?? [];
    expect(await runCaptured(words, { environment: { HF_ENDPOINT: endpoint } })).toMatchObject({ exitCode: 0 });
    expect(jsonOf(await runCaptured(['inspect', asked, '--json']))).toMatchObject({ architecture: 'llama' });
    expect(hub.log.filter((line) => line.includes('Q8_0'))).toEqual([]);
    vi.unstubAllEnvs();
  });
});

describe('download', () => {
  it('fetches one file of GGUF, without configuration or safetensors', async () => {
    const { hub, endpoint } = await hubWithModel();
    hub.files.clear();
    hub.files.set('model.Q4_K_M.gguf', await readFile(file));
    hub.files.set('model.Q8_0.gguf', Buffer.from('not asked for'));
    const out = join(await scratchFolder(), 'fetched');
    const words = ['download', id, '--endpoint', endpoint, '--out', out];
    expect(errorOf(await runCaptured([...words, '--json'])).message).toMatch(
      /weights in GGUF .*--include "model.Q4_K_M.gguf"/,
    );
    const fetched = await runCaptured([...words, '--include', '*.Q4_K_M.gguf']);
    expect(fetched).toMatchObject({ exitCode: 0 });
    expect((await readdir(out)).filter((name) => !name.startsWith('.') && name.endsWith('.gguf'))).toEqual([
      'model.Q4_K_M.gguf',
    ]);
    expect(jsonOf(await runCaptured(['inspect', out, '--json']))).toMatchObject({ architecture: 'llama' });
  });

  it('keeps the folders of files', async () => {
    const { hub, endpoint } = await hubWithModel();
    hub.files.set('quants/model-Q4_K_M.gguf', await readFile(file));
    const out = join(await scratchFolder(), 'fetched');
    const words = ['download', id, '--endpoint', endpoint, '--out', out, '--include', 'quants/*Q4_K_M*'];
    expect(await runCaptured(words)).toMatchObject({ exitCode: 0 });
    expect(jsonOf(await runCaptured(['inspect', out, '--json']))).toMatchObject({ architecture: 'llama' });
    expect(jsonOf(await runCaptured(['inspect', join(out, 'quants'), '--json']))).toMatchObject({
      architecture: 'llama',
    });
  });
});
