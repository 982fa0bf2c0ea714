/** Tokens and texts without a run of the model: /tokenize, /detokenize, /apply-template, /tokenizer_info. */
import { z } from 'zod';
import { textTokens } from '../../tokenizer/encode-text.ts';
import { whenEncoded } from '../../tokenizer/later-encoding.ts';
import { chatMessages, messageSchema, templateOf } from './chat-messages.ts';
import { refuse } from './api-error.ts';
import type { NamedModel } from '../../engine/text-model.ts';
import { perLimits } from './limits.ts';
import type { TokenServing } from './request-context.ts';
import type { ApiRequest, Route } from './route.ts';
import { checkBody, checkToken, maybe, tokenId } from './request-fields.ts';

const tokenizeSchema = perLimits((limits) => {
  return z.object({
    content: maybe(z.string()),
    prompt: maybe(z.string()),
    messages: maybe(z.array(messageSchema).min(1).max(limits.messages)),
    add_special: maybe(z.boolean()),
    add_special_tokens: maybe(z.boolean()),
    parse_special: maybe(z.boolean()),
    with_pieces: maybe(z.boolean()),
    return_token_strs: maybe(z.boolean()),
  });
});

/** Both the shape of llama.cpp (`content`, `with_pieces`) and that of vLLM (`prompt` or `messages`, `count`). */
async function tokenize(serving: TokenServing, { body, abort }: ApiRequest): Promise<Response> {
  const { model, limits } = serving;
  const fields = checkBody(tokenizeSchema(limits), body);
  const { content, prompt, messages } = fields;
  if ([content, prompt, messages].filter((given) => given !== undefined).length !== 1) {
    refuse('give one of "content", "prompt" and "messages"', 'content');
  }
  // Each shape has its own default.
  const special = fields.add_special ?? fields.add_special_tokens ?? prompt !== undefined;
  const encoding = { bos: special ? 'auto' : false, whole: special, special: fields.parse_special } as const;
  const encode = () =>
    messages === undefined
      ? textTokens(model.tokenizer, content ?? prompt ?? '', encoding)
      : templateOf(serving).encode(chatMessages(messages));
  const ids = await whenEncoded(encode, abort.signal);
  return Response.json({
    tokens: fields.with_pieces === true ? ids.map((id) => ({ id, piece: pieceOf(model, id) })) : ids,
    count: ids.length,
    max_model_len: limits.promptTokens,
    ...(fields.return_token_strs === true && { token_strs: ids.map((id) => model.pieces.of(id)) }),
  });
}

/** The text of a token, or its bytes where they are only part of a character. */
function pieceOf({ pieces }: NamedModel, id: number): string | number[] {
  const text = pieces.of(id);
  return text === `token_id:${id}` ? (pieces.bytesOf(id) ?? text) : text;
}

const detokenizeSchema = perLimits((limits) => {
  return z.object({ tokens: z.array(tokenId).max(limits.promptTokens) });
});

function detokenize({ model, limits }: TokenServing, { body }: ApiRequest): Response {
  const { tokens } = checkBody(detokenizeSchema(limits), body);
  for (const id of tokens) checkToken(id, model.vocabulary, 'tokens');
  const text = model.tokenizer.decode(tokens);
  return Response.json({ content: text, prompt: text });
}

const applyTemplateSchema = perLimits((limits) => {
  return z.object({
    messages: z.array(messageSchema).min(1).max(limits.messages),
    add_generation_prompt: maybe(z.boolean()),
  });
});

function applyTemplate(serving: TokenServing, { body }: ApiRequest): Response {
  const { messages, add_generation_prompt: addGenerationPrompt } = checkBody(applyTemplateSchema(serving.limits), body);
  return Response.json({ prompt: templateOf(serving).render(chatMessages(messages), { addGenerationPrompt }) });
}

/** Special tokens, template and vocabulary size, for clients that tokenize by themselves. */
export function tokenizerInfo({ model }: TokenServing): Response {
  const { tokenizer, pieces, template } = model;
  const name = (id: number | undefined): string | null => (id === undefined ? null : pieces.of(id));
  return Response.json({
    bos_token: name(tokenizer.bosId),
    eos_token: name(tokenizer.eosId),
    pad_token: name(tokenizer.padId),
    chat_template: template?.source ?? null,
    vocabulary_size: tokenizer.vocabularySize,
  });
}

export const tokenRoutes: readonly Route<TokenServing>[] = [
  {
    method: 'post',
    path: '/tokenize',
    summary: 'Tokens of a text or of messages',
    body: tokenizeSchema,
    answer: tokenize,
  },
  { method: 'post', path: '/detokenize', summary: 'Text of tokens', body: detokenizeSchema, answer: detokenize },
];

export const templateRoutes: readonly Route<TokenServing>[] = [
  {
    ...{ method: 'post', path: '/apply-template', body: applyTemplateSchema },
    summary: 'The text that the chat template makes of messages',
    answer: applyTemplate,
  },
];
