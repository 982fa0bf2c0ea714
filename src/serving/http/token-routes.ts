/** Tokens and texts without a run of the model: /tokenize, /detokenize, /apply-template, /tokenizer_info. */
import { z } from 'zod';
import { textTokens } from '../../tokenizer/encode-text.ts';
import { whenEncoded } from '../../tokenizer/later-encoding.ts';
import type { ToolFunction } from '../../engine/tools/tool-formats.ts';
import { chatInput, chatMessages, chatTool, messagesField, templateOf, templateVariables } from './chat-messages.ts';
import { mostTools } from './dialects/tool-fields.ts';
import type { ServerLimits } from './limits.ts';
import type { ServedModel, Serving, TokenServing } from './request-context.ts';
import { type ApiRequest, post, type Route } from './route.ts';
import { checkInVocabulary, maybe, optionalFlag, optionalText, refuse, tokenId } from './request-fields.ts';

const tokenizeSchema = (limits: ServerLimits) =>
  z.object({
    content: optionalText,
    prompt: optionalText,
    messages: maybe(messagesField(limits)),
    add_special: optionalFlag,
    add_special_tokens: optionalFlag,
    parse_special: optionalFlag,
    with_pieces: optionalFlag,
    return_token_strs: optionalFlag,
  });

type Tokenizing = z.output<ReturnType<typeof tokenizeSchema>>;

/** Accepts llama.cpp's fields (`content`, `with_pieces`) and vLLM's (`prompt` or `messages`, `count`). */
async function tokenize(serving: TokenServing, { abort }: ApiRequest, fields: Tokenizing): Promise<Response> {
  const { model, contextSize } = serving;
  const { content, prompt, messages } = fields;
  if ([content, prompt, messages].filter((field) => field !== undefined).length !== 1) {
    refuse('give one of "content", "prompt" and "messages"', 'content');
  }
  // Each format has its own default.
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
    max_model_len: contextSize,
    ...(fields.return_token_strs === true && { token_strs: ids.map((id) => model.pieces.of(id)) }),
  });
}

/** A token's text, or its bytes if they are only part of a character. */
function pieceOf({ pieces }: ServedModel, id: number): string | number[] {
  const text = pieces.of(id);
  return text === `token_id:${id}` ? (pieces.bytesOf(id) ?? text) : text;
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
  post('/tokenize', 'Tokenizes a text or messages', tokenizeSchema, tokenize),
  post(
    '/detokenize',
    'Turns tokens into text',
    (limits) => z.object({ tokens: z.array(tokenId).max(limits.promptTokens) }),
    ({ model }: TokenServing, _, { tokens }) => {
      checkInVocabulary(tokens, model.vocabulary, 'tokens');
      const text = model.tokenizer.decode(tokens);
      return Response.json({ content: text, prompt: text });
    },
  ),
];

export const templateRoutes: readonly Route<Serving>[] = [
  post(
    '/apply-template',
    'Applies the chat template to messages',
    (limits) =>
      z.object({
        messages: messagesField(limits),
        add_generation_prompt: optionalFlag,
        tools: maybe(z.array(chatTool).max(mostTools)),
        chat_template_kwargs: templateVariables,
      }),
    (serving: Serving, _, { messages, add_generation_prompt: addGenerationPrompt, tools = [], ...rest }) => {
      const variables = rest.chat_template_kwargs;
      const functions = tools.map((tool): ToolFunction => tool.function);
      const { messages: written, ...options } = chatInput(
        serving,
        { messages: chatMessages(messages), addGenerationPrompt, variables },
        functions,
      );
      return Response.json({ prompt: templateOf(serving).render(written, options) });
    },
  ),
];
