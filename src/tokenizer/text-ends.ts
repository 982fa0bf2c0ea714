/**
 * Control tokens that a tokenizer's files put around a text, following transformers: from tokenizer.json's post-processor;
 * without one, from `add_bos_token` and `add_eos_token` in tokenizer_config.json; without these, the tokenizer class's
 * defaults.
 */
import { isJsonObject, type JsonObject } from '../files/json-object.ts';
import { partsOf } from './components.ts';
import type { Tokenizer } from './text-tokens.ts';

/** Ids around a text. */
type TextEnds = Required<Pick<Tokenizer, 'before' | 'after'>>;

/** Control token ids by role. */
type Roles = Pick<Tokenizer, 'bosId' | 'eosId' | 'clsId' | 'sepId'>;

type Role = keyof Roles;

/** Transformers classes that put tokens around texts by default, named without the fast variants' suffix. */
const classEnds: Readonly<Record<string, { readonly before?: Role; readonly after?: Role }>> = {
  LlamaTokenizer: { before: 'bosId' },
  CodeLlamaTokenizer: { before: 'bosId' },
  GemmaTokenizer: { before: 'bosId' },
  CohereTokenizer: { before: 'bosId' },
  T5Tokenizer: { after: 'eosId' },
  BertTokenizer: { before: 'clsId', after: 'sepId' },
  DistilBertTokenizer: { before: 'clsId', after: 'sepId' },
  RobertaTokenizer: { before: 'clsId', after: 'sepId' },
  XLMRobertaTokenizer: { before: 'clsId', after: 'sepId' },
};

/** The class that transformers picks for a model if no file names one. */
const classOfModel: Readonly<Record<string, string>> = {
  llama: 'LlamaTokenizer',
  mistral: 'LlamaTokenizer',
  gemma: 'GemmaTokenizer',
  gemma3: 'GemmaTokenizer',
  gemma3_text: 'GemmaTokenizer',
  cohere: 'CohereTokenizer',
  t5: 'T5Tokenizer',
  bert: 'BertTokenizer',
  distilbert: 'DistilBertTokenizer',
  roberta: 'RobertaTokenizer',
  'xlm-roberta': 'XLMRobertaTokenizer',
};

/**
 * @param ids the vocabulary's, by name
 * @param roles leaves out names without an id
 */
export function textEnds(
  files: { readonly tokenizer: JsonObject; readonly config: JsonObject; readonly model: JsonObject },
  ids: ReadonlyMap<string, number>,
  roles: Roles,
): TextEnds {
  const { post_processor: processor } = files.tokenizer;
  if (isJsonObject(processor)) return processedEnds(processor, ids);
  const { tokenizer_class: named, add_bos_token: bos, add_eos_token: eos } = files.config;
  const name =
    typeof named === 'string' ? named.replace(/Fast$/, '') : (classOfModel[String(files.model.model_type)] ?? '');
  const ends = Object.hasOwn(classEnds, name) ? classEnds[name] : {};
  const idsOf = (flag: unknown, role: Role, fallback: Role | undefined): number[] => {
    const chosen = flag === true ? role : flag === false ? undefined : fallback;
    const id = chosen && roles[chosen];
    return id === undefined ? [] : [id];
  };
  return { before: idsOf(bos, 'bosId', ends.before), after: idsOf(eos, 'eosId', ends.after) };
}

function processedEnds(processor: JsonObject, ids: ReadonlyMap<string, number>): TextEnds {
  const idsOf = (names: readonly unknown[]): number[] => names.flatMap((name) => ids.get(String(name)) ?? []);
  let ends: TextEnds = { before: [], after: [] };
  for (const part of partsOf(processor)) {
    const [before, after] = namesAround(part);
    ends = { before: [...idsOf(before), ...ends.before], after: [...ends.after, ...idsOf(after)] };
  }
  return ends;
}

/** Names of the control tokens before and after a single text. */
function namesAround({ single, cls, sep }: JsonObject): [before: unknown[], after: unknown[]] {
  // BERT's and RoBERTa's own processors store [token, id] pairs.
  if (Array.isArray(cls) && Array.isArray(sep)) return [[cls[0]], [sep[0]]];
  if (!Array.isArray(single)) return [[], []];
  const items: unknown[] = single;
  const text = items.findIndex((item) => isJsonObject(item) && isJsonObject(item.Sequence));
  const names = (part: readonly unknown[]): unknown[] =>
    part.flatMap((item) => (isJsonObject(item) && isJsonObject(item.SpecialToken) ? [item.SpecialToken.id] : []));
  return [names(items.slice(0, Math.max(text, 0))), names(items.slice(text + 1))];
}

/** Tokens that end a turn: the tokenizer's EOS, which may differ from the end of text in the model's configuration. */
export function endOfTurn(tokenizer: Tokenizer | undefined): readonly number[] {
  return tokenizer?.eosId === undefined ? [] : [tokenizer.eosId];
}
