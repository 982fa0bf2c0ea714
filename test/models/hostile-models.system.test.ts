/** Folders that are no models, given to every command that opens one. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { errorOf, linnet } from '../cli/captured-cli.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { saveTinyModel } from './tiny-model.ts';
import { writeBook } from '../cli/text-data.ts';

const folder = suiteFolder();

describe('hostile models', () => {
  it('are refused by every command that opens one', async () => {
    const broken = join(folder, 'broken');
    await mkdir(broken);
    await writeFile(join(broken, 'config.json'), '{"model_type":"llama"}');
    await writeFile(join(broken, 'model.safetensors'), 'no safetensors');
    const book = join(folder, 'book.txt');
    await writeBook(book);
    const commands = [
      ['inspect'],
      ['check'],
      ['generate'],
      ['eval', 'perplexity', '--data', book],
      ['linearize', '--mixer', 'local', '--out', join(folder, 'never')],
    ];
    for (const words of commands) {
      for (const model of [broken, join(folder, 'missing'), book]) {
        const result = await linnet(...words, '--json', '--', model);
        expect(result.exitCode, `${words[0]} ${model}`).toBe(3);
        expect(errorOf(result).message).toContain(model);
      }
    }
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY])(
    'with a weight that is %s are refused by its name',
    async (weight) => {
      const broken = join(folder, `weights-${weight}`);
      await saveTinyModel(broken);
      const file = join(broken, 'model.safetensors');
      const bytes = await readFile(file);
      bytes.writeFloatLE(weight, bytes.length - 4);
      await writeFile(file, bytes);
      const book = join(folder, 'numbers.txt');
      await writeBook(book);
      for (const words of [
        ['check', broken],
        ['generate', broken],
        ['eval', 'perplexity', broken, '--data', book],
        ['linearize', broken, '--mixer', 'local', '--out', join(folder, 'never')],
        ...['f32', 'int4'].map((dtype) => ['export', broken, '--dtype', dtype, '--out', join(folder, 'never')]),
      ]) {
        const { code, message } = errorOf(await linnet(...words, '--json'));
        expect({ code, command: words[0] }).toEqual({ code: 'TENSOR', command: words[0] });
        expect(message).toMatch(new RegExp(`"model\\.[^"]+" holds ${weight} at index`));
      }
    },
  );
});
