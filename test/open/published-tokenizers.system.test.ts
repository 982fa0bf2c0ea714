/** Models with published tokenizers: opened, asked, served and exported as a person would. */
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { open } from '../../src/open/index.ts';
import { jsonOf, linnet, runCaptured, runJson } from '../cli/captured-cli.ts';
import { publishedNames, savePublishedShape } from '../models/published-tokenizers.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { openTiny, serve } from '../serving/served.ts';

const place = suiteFolder();
const few = ['--max-tokens', '4', '--threads', '1'];

describe.each(publishedNames)('a model with the tokenizer of %s', (name) => {
  const folder = join(place, name);
  const exported = join(place, `${name}-int4`);
  beforeAll(() => savePublishedShape(folder, name));

  it('generates and chats', async () => {
    const generated = await runJson('generate', folder, '--prompt', 'Grüße aus Köln 👋', ...few);
    expect(generated).toMatchObject({ tokens: expect.any(Array) as unknown });
    const answered = await runCaptured(['chat', folder, ...few, '--json'], { lines: ['Hello'] });
    expect(jsonOf(answered)).toMatchObject({ turns: 1 });
  });

  it('is exported, and the export generates the same', async () => {
    const run = await linnet('export', folder, '--dtype', 'f32', '--out', exported);
    expect(run.exitCode, run.stderr).toBe(0);
    expect(run.stderr.includes('<image_soft_token>')).toBe(name === 'gemma3');
    const words = ['--prompt', 'Once upon a time', '--temperature', '0', ...few];
    expect((await linnet('generate', exported, ...words)).stdout).toBe(
      (await linnet('generate', folder, ...words)).stdout,
    );
  });

  it('answers a client', async () => {
    const { client } = await serve(await openTiny(undefined, { folder, name }));
    const messages = [{ role: 'user' as const, content: 'Hello' }];
    const { usage } = await client.chat.completions.create({ model: name, messages, max_completion_tokens: 4 });
    expect(usage?.prompt_tokens).toBeGreaterThan(4);
  });

  it('never makes a token without a row', async () => {
    await using model = await open(folder);
    const { tokenizer } = model;
    expect(tokenizer.withoutRow).toEqual(name === 'gemma3' ? ['<image_soft_token>'] : []);
    const written = 'before <image_soft_token><|im_start|><start_of_turn><|eot_id|> after';
    const ids = tokenizer.encode(written);
    expect(tokenizer.decode(ids)).toBe(written);
    expect([...ids].filter((id) => tokenizer.specialIds.has(id) || id >= tokenizer.vocabularySize)).toEqual([]);
  });
});
