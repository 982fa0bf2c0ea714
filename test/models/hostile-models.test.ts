/** Folders that are no models, given to every command that opens one. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { errorOf, linnet } from '../cli/captured-cli.ts';
import { suiteFolder } from '../scratch-folder.ts';
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
});
