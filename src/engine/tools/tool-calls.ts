/** Calls of functions by one model: its format, the grammars that answers are held to, and their readers. */
import { Grammars } from '../../decoding/constraints/grammar-constraint.ts';
import { endOfTurn } from '../../tokenizer/text-ends.ts';
import { showingTokens } from '../../tokenizer/shown-tokens.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import type { TextJob } from '../text-job.ts';
import type { TextModel } from '../text-model.ts';
import { CallReader } from './call-reader.ts';
import { toolFormatNamed, toolFormatOf } from './tool-formats.ts';
import type { ToolFormat } from './tool-format.ts';
import { toolGrammar, type ToolRules } from './tool-grammar.ts';

export class ToolCalls {
  readonly format: ToolFormat;
  /** Decodes the control tokens of the format as part of a text. */
  readonly #tokenizer: Tokenizer;
  readonly #grammars: Grammars;
  readonly #ends: readonly number[];

  /**
   * @param name of the format. Default: by the model's chat template
   * @throws LinnetError `CONFIG` for a name that is not known
   */
  constructor({ tokenizer, template, engine }: Pick<TextModel, 'tokenizer' | 'template' | 'engine'>, name?: string) {
    this.format = name === undefined ? toolFormatOf(template ?? { has: () => false }) : toolFormatNamed(name);
    this.#tokenizer = showingTokens(tokenizer, this.format.control);
    this.#grammars = new Grammars(this.#tokenizer, engine.model.sizes.vocabulary);
    this.#ends = [...new Set([...engine.model.eosIds, ...endOfTurn(tokenizer)])];
  }

  /** The parts of a job that hold its texts to calls. @throws LinnetError as `toolGrammar` and `GrammarConstraint` */
  held(rules: Omit<ToolRules, 'format'>): Pick<TextJob, 'constraint' | 'tokenizer'> {
    const { format } = this;
    const grammar = () => toolGrammar({ ...rules, format });
    return {
      constraint: this.#grammars.constraint(JSON.stringify(rules), grammar, this.#ends),
      tokenizer: this.#tokenizer,
    };
  }

  /** The parts of a job that hold its texts to JSON of a schema. @throws LinnetError as `JsonConstraint` */
  json(schema: unknown): Pick<TextJob, 'constraint' | 'tokenizer'> {
    return { constraint: this.#grammars.json(schema, this.#ends), tokenizer: this.#tokenizer };
  }

  /** A reader of one answer. */
  reader({ tools, schema }: Pick<ToolRules, 'tools' | 'schema'>): CallReader {
    return new CallReader(this.format, tools, this.format.isWhole === true || schema !== undefined);
  }
}
