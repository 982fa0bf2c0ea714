/** Chat templates as they were published, by the texts that Python's Jinja makes of conversations. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { JinjaTemplate } from '../../src/tokenizer/jinja-template.ts';
import { thirdParty } from '../fixtures.ts';

const folder = thirdParty('published');
const values = z.record(z.string(), z.unknown());
const testSchema = z.looseObject({
  name: z.string(),
  /** Of huggingface.js. */
  chat_template: z.string().optional(),
  data: values.optional(),
  target: z.string().optional(),
  /** Of llama.cpp. */
  template: z.string().optional(),
  expected_jinja: z.string().optional(),
  /** Of Ollama, whose renderers agree with a template of the folder. */
  messages: z.array(values).nullish(),
  msgs: z.array(values).nullish(),
  tools: z.array(values).nullish(),
  expected: z.string().nullish(),
  want: z.string().nullish(),
  published_template_agrees: z.looseObject({ template: z.string(), agrees: z.boolean() }).nullish(),
});
const fileSchema = z.looseObject({ tests: z.array(testSchema) });

interface Conversation {
  readonly title: string;
  readonly source: string;
  readonly values: Readonly<Record<string, unknown>>;
  readonly text: string;
}

/** Conversations whose texts equal Python's; the INDEX of the folder says which. */
function conversations(root: string): Conversation[] {
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).sort();
  return files.flatMap((file) => {
    const isRendered = /(rendered|default-templates)[^/]*\.json$/.test(file);
    if (!isRendered) return [];
    const { tests } = fileSchema.parse(JSON.parse(readFileSync(join(root, file), 'utf8')));
    return tests.flatMap((test): Conversation[] => {
      const title = `${file}: ${test.name}`;
      const agrees = test.published_template_agrees;
      if (test.chat_template !== undefined && test.data !== undefined && test.target !== undefined) {
        return [{ title, source: test.chat_template, values: test.data, text: test.target }];
      }
      if (agrees?.agrees !== true) return [];
      const messages = test.messages ?? test.msgs;
      if (test.template !== undefined && test.expected_jinja !== undefined) {
        const { bos_token, eos_token, add_generation_prompt } = test;
        const given = { messages, bos_token, eos_token, add_generation_prompt };
        return [{ title, source: test.template.replaceAll('\r\n', '\n'), values: given, text: test.expected_jinja }];
      }
      const text = test.expected ?? test.want;
      // Calls and thoughts are in the form of Ollama's types, and a list of types is written as Python writes lists.
      const isPlain =
        test.think === undefined && !/"tool_calls"|"type":\[/.test(JSON.stringify([messages, test.tools]));
      if (typeof text !== 'string' || !Array.isArray(messages) || !isPlain) return [];
      const source = readFileSync(join(root, agrees.template), 'utf8');
      const bos = /^<(bos|\|startoftext\|)>/.exec(text)?.[0] ?? '';
      const given = {
        messages,
        tools: test.tools ?? undefined,
        bos_token: bos,
        eos_token: '',
        add_generation_prompt: true,
      };
      return [{ title, source, values: given, text }];
    });
  });
}

describe.skipIf(folder === undefined)('published templates (skipped without LINNET_FIXTURES/published)', () => {
  const all = folder === undefined ? [] : conversations(folder);
  /** The library for templates writes such a date where the test was made. */
  const now = (): Date => new Date(2024, 11, 10);

  it('are those of three collections', () => {
    expect(all.filter(({ title }) => title.includes('huggingface.js')).length).toBe(15);
    expect(all.filter(({ title }) => title.includes('llama.cpp')).length).toBe(6);
    expect(all.length).toBeGreaterThan(50);
  });

  it.each(all)('$title', ({ source, values: given, text }) => {
    expect(new JinjaTemplate(source, {}, now).render(given)).toBe(text);
  });

  it('go over text parts of messages where they know parts, as Granite 4 does', () => {
    const file = join(folder ?? '', 'granitemoehybrid/llama.cpp-templates/ibm-granite-granite-4.0.jinja');
    const parts = ['one', 'two'].map((text) => ({ type: 'text', text }));
    const template = new JinjaTemplate(readFileSync(file, 'utf8'));
    expect(template.render({ messages: [{ role: 'user', content: parts }] })).toContain('<|end_of_role|>one\ntwo<');
  });
});
