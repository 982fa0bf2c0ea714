/**
 * The part of `@huggingface/tokenizers` that is used here. The package's own declarations import each other without
 * file extensions, which TypeScript does not resolve for ES modules in Node, so that all of it would be untyped.
 */
declare module '@huggingface/tokenizers' {
  export class Tokenizer {
    /** @throws Error if a component is of unknown type, or anything at all if the object is malformed. */
    constructor(tokenizerJson: object, tokenizerConfigJson: object);
    /** An id is undefined where the vocabulary has neither the token nor an unknown token. */
    encode(text: string, options: { add_special_tokens: boolean }): { ids: (number | undefined)[] };
    /** @throws Error if `ids` is empty. */
    decode(ids: number[], options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean }): string;
    id_to_token(id: number): string | undefined;
  }
}
