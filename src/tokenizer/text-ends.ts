/**
 * Control tokens that a tokenizer's files put around a text, as transformers does: from the post-processor of
 * tokenizer.json; without one, `add_bos_token` and `add_eos_token` of tokenizer_config.json; where these are absent, the
 * defaults of the tokenizer's class.
 */
import { isJsonObject, type JsonObject } from '../files/json-object.ts';
import { partsOf } from './components.ts';
import type { Tokenizer } from './text-tokens.ts';

/** Ids around a text. */
type TextEnds = Required<Pick<Tokenizer, 'before' | 'after'>>;

/** Ids of control tokens by their roles. */
type Roles = Pick<Tokenizer, 'bosId' | 'eosId' | 'clsId' | 'sepId'>;

type Role = keyof Roles;

/** Classes of transformers that put tokens around texts by default, without the suffix of their fast variants. */
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

/** The class that transformers chooses for a model where no file names one. */
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
 * @param ids of the vocabulary, by name
 * @param roles names that have no id are left out
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
  // BERT's and RoBERTa's own processors name a pair of token and id each.
  if (Array.isArray(cls) && Array.isArray(sep)) return [[cls[0]], [sep[0]]];
  if (!Array.isArray(single)) return [[], []];
  const items: unknown[] = single;
  const text = items.findIndex((item) => isJsonObject(item) && isJsonObject(item.Sequence));
  const names = (part: readonly unknown[]): unknown[] =>
    part.flatMap((item) => (isJsonObject(item) && isJsonObject(item.SpecialToken) ? [item.SpecialToken.id] : []));
  return [names(items.slice(0, Math.max(text, 0))), names(items.slice(text + 1))];
}

/** Tokens that end a turn: the tokenizer's EOS, which is not always the end of a text in the model's configuration. */
export function endOfTurn(tokenizer: Tokenizer | undefined): readonly number[] {
  return tokenizer?.eosId === undefined ? [] : [tokenizer.eosId];
}
