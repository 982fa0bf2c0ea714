/**
 * The parts of `@huggingface/tokenizers` and `@huggingface/jinja` that are used here. The packages' own declarations import each
 * other without file extensions, which TypeScript does not resolve for ES modules in Node, so that all of it would be untyped.
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
    readonly model: {
      /** The tokens of words. */
      encode(words: readonly string[]): string[];
      /** The tokens of one word; models of unigrams alone have it. */
      tokenize?(word: string): string[];
    };
  }
}

declare module '@huggingface/jinja' {
  export class Template {
    /** @throws Error if the template cannot be parsed */
    constructor(source: string);
    readonly parsed: object;
  }
  /** Names and values that a template finds. */
  export class Environment {
    /** @returns the value as templates have it. @throws Error if the name has a value already */
    set(name: string, value: unknown): RuntimeValue;
  }
  /** A value of a template: a text, a number, a list of such values, … */
  export interface RuntimeValue {
    /** The name of its class, by which it is written. */
    type: string;
    readonly value: unknown;
    /** Methods by name. */
    readonly builtins: Map<string, RuntimeValue>;
  }
  export class Interpreter {
    constructor(environment: Environment);
    run(program: object): RuntimeValue;
    /** Called for every part of a program, by the interpreter itself too. */
    evaluate(part: object | undefined, environment: Environment): RuntimeValue;
  }
}
