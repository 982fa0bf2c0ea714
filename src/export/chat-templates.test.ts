import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { suiteFolder } from '../../test/scratch-folder.ts';
import { loadModel, saveModel } from '../checkpoint/load-model.ts';
import { loadTokenizer, readChatTemplate } from '../tokenizer/tokenizer.ts';
import { exportFolder } from './export-model.ts';

const templates = { default: 'plain: {{ messages[0].content }}', tool_use: 'tools: {{ messages[0].content }}' };

describe.each(['chat_template.jinja', 'chat_template.json'])('additional chat templates beside %s', (file) => {
  const scratch = suiteFolder();
  const from = join(scratch, 'model');

  beforeAll(async () => {
    await cp('assets/tiny-llama', from, { recursive: true });
    const content = file.endsWith('.json') ? JSON.stringify({ chat_template: templates.default }) : templates.default;
    await writeFile(join(from, file), content);
    await mkdir(join(from, 'additional_chat_templates'));
    await writeFile(join(from, 'additional_chat_templates/tool_use.jinja'), templates.tool_use);
    await writeFile(join(from, 'additional_chat_templates/notes.txt'), 'no template');
  });

  async function expectBoth(folder: string): Promise<void> {
    const template = await readChatTemplate(folder, await loadTokenizer(folder));
    const messages = [{ role: 'user', content: 'Hello' }];
    expect(template?.render(messages)).toBe('plain: Hello');
    expect(template?.render(messages, { tools: [{}] })).toBe('tools: Hello');
  }

  it('are copied with a model that is saved', async () => {
    const to = join(scratch, 'saved');
    await saveModel(to, await loadModel(from), { tokenizerFiles: { from } });
    await expectBoth(to);
    expect(await readdir(join(to, 'additional_chat_templates'))).toEqual(['tool_use.jinja']);
    expect(await readFile(join(to, file), 'utf8')).toBe(await readFile(join(from, file), 'utf8'));
  });

  it('are in the one file of an exported model', async () => {
    const to = join(scratch, 'exported');
    const { files } = await exportFolder(from, to, { dtype: 'f32' });
    await expectBoth(to);
    expect(Object.keys(files).filter((name) => name.startsWith('chat_template'))).toEqual(['chat_template.json']);
  });
});
