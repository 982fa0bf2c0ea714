/** One conversation through every door of a model: the same prompt, and the same answer. */
import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { Conversation } from '../../src/engine/chat/conversation.ts';
import { preparePrompt } from '../../src/engine/prompt.ts';
import { open } from '../../src/open/index.ts';
import { findChatTemplate } from '../../src/tokenizer/chat-template-sources.ts';
import { runCaptured, runJson } from '../cli/captured-cli.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { chatTemplate, openTiny, serve, tinyLlamaFolder } from './served.ts';

const place = suiteFolder();
const system = { role: 'system' as const, content: 'Be brief.' };
const user = { role: 'user' as const, content: 'Is </s> a word?' };
const messages = [system, user];
const most = 8;

describe.each(['chat_template.json', 'chat_template.jinja', 'tokenizer_config.json'])('a template in %s', (file) => {
  const folder = join(place, file);
  let expected: readonly number[];
  beforeAll(async () => {
    await cp(tinyLlamaFolder, folder, { recursive: true });
    const path = join(folder, file);
    if (file.endsWith('.jinja')) await writeFile(path, chatTemplate);
    else {
      const before: unknown = file === 'chat_template.json' ? {} : JSON.parse(await readFile(path, 'utf8'));
      await writeFile(path, JSON.stringify(Object.assign({}, before, { chat_template: chatTemplate })));
    }
    await using model = await open(folder, { name: 'tiny', threads: 1 });
    const { tokenizer } = model;
    const [bos, eos] = [tokenizer.bosId ?? -1, tokenizer.eosId ?? -1];
    const said = [system, user].flatMap(({ role, content }) => [...tokenizer.encode(`${role}: ${content}`), eos]);
    expected = [bos, ...said, ...tokenizer.encode('assistant:')];
    expect(preparePrompt(model, { messages })).toMatchObject({ tokens: expected });
  });

  it('is the same for chat, serve, generate --chat, open and browsers', async () => {
    await using model = await open(folder, { name: 'tiny', threads: 1 });
    const { client } = await serve(model);
    const asked = { model: 'tiny', messages, max_tokens: most, temperature: 0, return_token_ids: true };
    const answered: unknown = await client.chat.completions.create(asked);
    expect(answered).toMatchObject({ prompt_token_ids: expected });
    const text = (answered as { choices: { message: { content: string } }[] }).choices[0].message.content;

    await using opened = await open(folder, { threads: 1 });
    const answer = opened.chat(messages, { maxTokens: most });
    expect([await answer.text(), answer.generation.promptTokens]).toEqual([text, expected.length]);

    const sampling = { temperature: 0 };
    const conversation = new Conversation(model, { maxTokens: most, sampling, system: system.content });
    const pieces: string[] = [];
    for await (const piece of conversation.say(user.content, new AbortController().signal)) pieces.push(piece.text);
    expect(pieces.join('')).toBe(text);

    const words = [folder, '--system', system.content, '--max-tokens', String(most), '--threads', '1'];
    const written = await runJson('generate', ...words, '--chat', '--prompt', user.content);
    expect([written.promptTokens, written.text]).toEqual([expected.length, text]);
    const said = await runCaptured(['chat', ...words], { lines: [user.content] });
    expect(said.stdout).toContain(text);

    const files = {
      read: async (name: string) => await readFile(join(folder, name)).catch(() => undefined),
      nameOf: String,
    };
    expect((await findChatTemplate(files, model.tokenizer))?.encode(messages)).toEqual(expected);
  });
});

it('ends chats and responses at the EOS of the tokenizer, also where the configuration has another', async () => {
  await using model = await openTiny(
    "{% for m in messages %}{{ m.role + ': ' + m.content + ' ' }}{% endfor %}assistant:",
  );
  const asked = { model: 'tiny', messages, max_tokens: most, temperature: 0, return_token_ids: true };
  const answersOf = async (eosId = model.tokenizer.eosId) => {
    Object.defineProperty(model.tokenizer, 'eosId', { value: eosId, configurable: true });
    const { client } = await serve(model);
    const chat: unknown = await client.chat.completions.create(asked);
    const response = await client.responses.create({ ...asked, input: messages, max_output_tokens: most });
    const prompt = [...preparePrompt(model, { messages }).tokens];
    const { choices } = await client.completions.create({ ...asked, prompt });
    const [answer] = (chat as { choices: { token_ids: number[]; finish_reason: string }[] }).choices;
    return { ids: answer.token_ids, finishes: [answer.finish_reason, response.status, choices[0].finish_reason] };
  };
  const { ids, finishes } = await answersOf();
  expect(finishes).toEqual(['length', 'incomplete', 'length']);
  const end = ids.findIndex((id, index) => index > 0 && ids.indexOf(id) === index);
  expect(await answersOf(ids[end])).toEqual({
    ids: ids.slice(0, end),
    finishes: ['stop', 'completed', 'length'],
  });
});
