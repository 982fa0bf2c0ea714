/** Which form of calls and of thoughts the published templates have. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { thinkingFormatOf } from '../../src/engine/thinking/thinking-format.ts';
import { toolFormatOf } from '../../src/engine/tools/tool-formats.ts';
import { templateCall, toldThoughts } from '../../src/engine/tools/tool-messages.ts';
import { byteTokenizer } from '../../src/tokenizer/bytes.ts';
import { ChatTemplate } from '../../src/tokenizer/chat-template.ts';
import { thirdParty } from '../fixtures.ts';

const folder = thirdParty('published');

/** By the beginning of the path; the first that fits. */
const forms: readonly (readonly [path: RegExp, tools: string, thinking: string | undefined])[] = [
  [/gemma-4|gemma4/, 'gemma4', 'channel'],
  [/^gemma3/, 'plain-json', undefined],
  [/granite-(?:3\.1|docling)/, 'granite', undefined],
  [/granite-3/, 'granite', 'think'],
  [/granite-4/, 'hermes', undefined],
  [/LFM2\.5-8B|lfm2_2_5/, 'lfm2', 'think'],
  [/LFM2-1\.2B/, 'plain-json', undefined],
  [/^lfm2/, 'lfm2', undefined],
  [/Hermes/, 'hermes', undefined],
  [/TinyLlama|SmolLM2|llama3\.jinja|llama-3-instruct/, 'plain-json', undefined],
  [/^llama/, 'llama3', undefined],
  [/3\.2-24B/, 'mistral-id', undefined],
  [/Ministral/, 'mistral-args', 'mistral'],
  [/Devstral/, 'mistral-args', undefined],
  [/Nemo|nemo/, 'mistral-nemo', undefined],
  [/v0\.3/, 'mistral', undefined],
  [/QwQ/, 'hermes', 'think'],
  [/^qwen2/, 'hermes', undefined],
  [/Qwen3-Coder/, 'qwen3.5', undefined],
  [/2507/, 'hermes', undefined],
  [/^qwen3\//, 'hermes', 'think'],
  [/jvpflum/, 'plain-json', undefined],
  [/^qwen3_5/, 'qwen3.5', 'think'],
  [/llama\.cpp-templates\/HuggingFaceTB-SmolLM3/, 'plain-json', 'think'],
  [/^smollm3/, 'hermes', 'think'],
];

/** Templates that write no calls of their own, of families that have a form. */
const exceptions = 'granite-docling';

describe.skipIf(folder === undefined)('published templates', () => {
  const files = folder === undefined ? [] : readdirSync(folder, { recursive: true, encoding: 'utf8' });
  const paths = files.filter((path) => path.endsWith('.jinja') && !path.includes(exceptions));

  it.each(paths)('%s', (path) => {
    const source = readFileSync(join(folder ?? '', path), 'utf8');
    const template = { has: (text: string) => source.includes(text) };
    const [, tools, thinking] = forms.find(([part]) => part.test(path)) ?? [];
    expect([toolFormatOf(template).name, thinkingFormatOf(template)?.name]).toEqual([tools, thinking]);
  });

  // Others drop the thoughts of earlier turns, and of answers that call nothing.
  it.each(paths.filter((path) => /Ministral|qwen3_5\/|Qwen3-0|gemma-4/.test(path)))(
    '%s writes the thoughts of a call that is told again',
    (path) => {
      const template = new ChatTemplate(readFileSync(join(folder ?? '', path), 'utf8'), byteTokenizer());
      const call = templateCall({ id: 'abcdefghi', name: 'f', arguments: '{"a": 1}' });
      const text = template.render([
        { role: 'user', content: 'Why?' },
        { role: 'assistant', content: '', ...toldThoughts('I wonder.'), tool_calls: [call] },
        { role: 'tool', content: '2', name: 'f', tool_call_id: 'abcdefghi' },
      ]);
      const { open = '', label = '', close = '' } = thinkingFormatOf(template) ?? {};
      const blank = (part: string): string => part.replaceAll(/\s/g, '');
      expect(blank(text)).toContain(blank(`${open}${label}I wonder.${close}`));
    },
  );
});
