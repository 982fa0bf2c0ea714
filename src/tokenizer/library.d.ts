/**
 * The parts of `@huggingface/tokenizers` and `@huggingface/jinja` used here. The packages' own declarations import each other
 * without file extensions, which TypeScript does not resolve for ES modules in Node: everything would be untyped.
 */
declare module '@huggingface/tokenizers' {
  export class Tokenizer {
    /** @throws Error if a component's type is unknown, or anything at all if the object is malformed. */
    constructor(tokenizerJson: object, tokenizerConfigJson: object);
    /** An id is undefined if the vocabulary has neither the token nor an unknown token. */
    encode(text: string, options: { add_special_tokens: boolean }): { ids: (number | undefined)[] };
    /** @throws Error if `ids` is empty. */
    decode(ids: number[], options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean }): string;
    id_to_token(id: number): string | undefined;
    readonly model: {
      /** The words' tokens. */
      encode(words: readonly string[]): string[];
      /** One word's tokens; only unigram models have it. */
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
  /** The names and values a template finds. */
  export class Environment {
    /** @returns the value in its template form. @throws Error if the name already has a value */
    set(name: string, value: unknown): RuntimeValue;
  }
  /** A template's value: a text, a number, a list of such values, … */
  export interface RuntimeValue {
    /** Its class's name, used to print it. */
    type: string;
    readonly value: unknown;
    /** Methods by name. */
    readonly builtins: Map<string, RuntimeValue>;
  }
  export class Interpreter {
    constructor(environment: Environment);
    run(program: object): RuntimeValue;
    /** Called for every part of a program, also by the interpreter itself. */
    evaluate(part: object | undefined, environment: Environment): RuntimeValue;
  }
}
