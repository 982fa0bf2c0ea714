/** Function calls by one model: its format, grammars for texts that may call, valid by construction, and their readers. */
import { Grammars } from '../../decoding/constraints/grammar-constraint.ts';
import {
  type Grammar,
  anyOf,
  character,
  exactText,
  jsonRules,
  optionalPart,
  repeat,
  rule,
  sequence,
  spans,
  textUntil,
} from '../../decoding/constraints/pattern.ts';
import { schemaPattern } from '../../decoding/constraints/json-schema.ts';
import { LinnetError } from '../../errors.ts';
import { isJsonObject, type JsonObject } from '../../files/json-object.ts';
import type { AutoregressiveModel } from '../../models/model.ts';
import { showingTokens } from '../../tokenizer/shown-tokens.ts';
import { endOfTurn } from '../../tokenizer/text-ends.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import type { PromptReader } from '../prompt.ts';
import type { TextJob } from '../text-job.ts';
import { thinkingFormatOf } from '../thinking/thinking-format.ts';
import { CallReader } from './call-reader.ts';
import {
  functionName,
  openingOf,
  type ToolFormat,
  toolFormatNamed,
  toolFormatOf,
  type ToolFunction,
} from './tool-formats.ts';

/** A model's properties that calls depend on. */
export interface CallingModel extends Pick<PromptReader, 'template'> {
  readonly tokenizer: Tokenizer;
  readonly decoder: Pick<AutoregressiveModel, 'eosIds' | 'sizes'>;
}

export class ToolCalls {
  readonly format: ToolFormat;
  /** Decodes the format's control tokens as part of a text. */
  readonly #tokenizer: Tokenizer;
  readonly #grammars: Grammars;
  readonly #ends: readonly number[];

  /**
   * @param name of the format. Default: from the model's chat template
   * @throws LinnetError `CONFIG` for an unknown name
   */
  constructor({ tokenizer, template, decoder }: CallingModel, name?: string) {
    this.format = name === undefined ? toolFormatOf(template ?? { has: () => false }) : toolFormatNamed(name);
    const thinking = thinkingFormatOf(template);
    const marks = thinking === undefined ? [] : [thinking.open, thinking.close];
    this.#tokenizer = showingTokens(tokenizer, [...this.format.control, ...marks]);
    this.#grammars = new Grammars(this.#tokenizer, decoder.sizes.vocabulary);
    this.#ends = [...new Set([...decoder.eosIds, ...endOfTurn(tokenizer)])];
  }

  /** The job options that hold its texts to calls. @throws LinnetError like `toolGrammar` and `GrammarConstraint` */
  held(rules: Omit<ToolRules, 'format'>): Pick<TextJob, 'constraint' | 'tokenizer'> {
    const { format } = this;
    const grammar = () => toolGrammar({ ...rules, format });
    return {
      constraint: this.#grammars.constraint(JSON.stringify(rules), grammar, this.#ends),
      tokenizer: this.#tokenizer,
    };
  }

  /** A reader for one answer. */
  reader({ tools, schema }: Pick<ToolRules, 'tools' | 'schema'>): CallReader {
    return new CallReader(this.format, tools, this.format.isWhole === true || schema !== undefined);
  }
}

/** An id in the model's own format for a call. */
const writtenId = repeat(character(...spans('09', 'AZ', 'az')), 9, 9);

/** Most calls per text. */
const mostCalls = 16;

export interface ToolRules {
  readonly format: ToolFormat;
  /** At least one; names are distinct. */
  readonly tools: readonly ToolFunction[];
  /** Whether the text must call: it is then held to calls from its first token. */
  readonly required: boolean;
  /** Whether the text may call several times, if its format can. */
  readonly parallel: boolean;
  /** JSON schema for a text without calls. Default: any text. */
  readonly schema?: unknown;
}

/**
 * The grammar for texts that call functions, or may call them. Calls may follow free text; nothing follows calls.
 * @throws LinnetError `INPUT` naming a function whose name or parameters no grammar can express
 */
export function toolGrammar({ format, tools, required, parallel, schema }: ToolRules): Grammar {
  const { call, between, close, isWhole, callId, style } = format;
  const [before, middle, after] = call;
  const rules = jsonRules();
  // Arguments are for programs: without newlines and indents, which a small model would add.
  rules.set('blanks', optionalPart(exactText(' ')));
  const named = tools.map((tool) => {
    const parameters = parametersOf(tool);
    try {
      const written = style.pattern(parameters, rules, `function ${tool.name} `);
      const head =
        callId === undefined
          ? exactText(tool.name + middle)
          : sequence(exactText(tool.name + callId), writtenId, exactText(middle));
      return sequence(head, written, exactText(after));
    } catch (cause) {
      if (!(cause instanceof LinnetError) || cause.code === 'INTERNAL') throw cause;
      throw new LinnetError('INPUT', `the function "${tool.name}": ${cause.message}`, { cause });
    }
  });
  rules.set('call', anyOf(...named));
  const most = between === undefined || !parallel ? 0 : mostCalls - 1;
  const others = repeat(sequence(exactText(`${between ?? ''}${before}`), rule('call')), 0, most);
  const { opening, rest } = openingOf(format);
  const calls = sequence(exactText(rest), rule('call'), others, exactText(close));
  const called = sequence(exactText(opening), calls);
  if (required) return { root: called, rules };
  if (schema !== undefined) return { root: anyOf(called, schemaPattern(schema, rules, 'answer ')), rules };
  return { root: textUntil(opening, { after: calls, rules, name: 'text', mayStop: true, atStart: isWhole }), rules };
}

/** @throws LinnetError `INPUT` for a name that no format can write, and for a schema other than objects with named properties */
function parametersOf({ name, parameters = {} }: ToolFunction): JsonObject {
  if (!functionName.test(name)) {
    const expected = 'expected up to 64 letters, digits, "_", "-" and "."';
    throw new LinnetError('INPUT', `a function is called ${JSON.stringify(name).slice(0, 80)}; ${expected}`);
  }
  const { type = 'object', properties = {} } = parameters;
  const combined = ['$ref', 'const', 'enum', 'anyOf', 'oneOf', 'allOf'].find((key) => Object.hasOwn(parameters, key));
  if (type === 'object' && combined === undefined) {
    // A function without parameters takes none; the schema of an object without properties would allow any.
    const isEmpty = isJsonObject(properties) && Object.keys(properties).length === 0;
    return { ...(isEmpty && { additionalProperties: false }), ...parameters, type };
  }
  const what = combined === undefined ? `the type ${JSON.stringify(type).slice(0, 60)}` : `"${combined}"`;
  throw new LinnetError('INPUT', `the parameters of the function "${name}" have ${what}; expected an object's schema`);
}
