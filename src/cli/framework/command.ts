/** Definition of a command: arguments and options as zod schemas, which also give help and errors, and its function. */
import { resolve } from 'node:path';
import { type Command as Commander, Help, Option } from 'commander';
import { z } from 'zod';
import { ignoringFields } from '../../checkpoint/ignored-fields.ts';
import { internalError, LinnetError, OptionsError } from '../../errors.ts';
import type { CommandContext, CommandResult } from './context.ts';
import { failedWrite, UsageError } from './exit-codes.ts';
import { requireWritable } from '../../files/atomic.ts';
import { nearName } from '../../files/name-list.ts';
import { removeAbandoned } from '../../files/temporary-files.ts';
import { requireReplaceable } from '../../files/written-folder.ts';
import { formatBytes } from '../../report/quantities.ts';
import { imitatesGpu } from '../../runtime/imitated-gpu.ts';
import { flagName, inFlags, readSettings, type SetField } from './settings.ts';
import { called, choice, filePath, integer, text, type ValueKind } from './option-values.ts';
import { checkResultFile, writeResultFile } from './result-file.ts';
import type { JsonObject } from '../../files/json-object.ts';

/** Help for one argument or option; its name comes from its key. */
interface ParameterHelp {
  readonly description: string;
  /** Completes "expected …". */
  readonly expects: string;
  /** Name of the value in help; absent for flags. */
  readonly placeholder?: string;
  readonly required: boolean;
  /** `once`: a later value replaces an earlier one. `each`: the option is repeated. `list`: several values follow it. */
  readonly values: 'none' | 'once' | 'each' | 'list';
  readonly defaultText?: string;
  /** Whether only `--help-all` lists it. */
  readonly isRare?: boolean;
}

const parameterHelp = z.registry<ParameterHelp>();

type ParameterShape = Readonly<Record<string, z.ZodType>>;

/** Registers the description and placeholder of a value for help. */
function registered<T, In>(
  schema: z.ZodType<T, In>,
  { expects, placeholder }: ValueKind<unknown>,
  help: Omit<ParameterHelp, 'expects' | 'placeholder'>,
): z.ZodType<T, In> {
  return schema.register(parameterHelp, { expects, placeholder, ...help });
}

/** A value that must be given: every positional argument, and options without which nothing can be done. */
export function required<T>(kind: ValueKind<T>, description: string): z.ZodType<T, string> {
  return registered(kind.schema.clone(), kind, { description, required: true, values: 'once' });
}

export function optional<T>(kind: ValueKind<T>, description: string): z.ZodType<T | undefined, string | undefined> {
  return registered(kind.schema.optional(), kind, { description, required: false, values: 'once' });
}

/** A value with a default, which help shows. @param text the default as one would type it, if it differs from its text */
export function withDefault<T extends string | number>(
  kind: ValueKind<T>,
  value: T,
  description: string,
  text = String(value),
): z.ZodType<T, string | undefined> {
  return registered(kind.schema.default(value), kind, {
    description,
    required: false,
    values: 'once',
    defaultText: text,
  });
}

/** An option that may be given several times; all its values, in order. */
export function repeated<T>(kind: ValueKind<T>, description: string): z.ZodType<T[], string[] | undefined> {
  return registered(z.array(kind.schema).default([]), kind, { description, required: false, values: 'each' });
}

/** An option that takes one value or more, as a shell pattern gives them; it must be given. */
export function requiredList<T>(kind: ValueKind<T>, description: string): z.ZodType<T[], string[]> {
  return registered(z.array(kind.schema).min(1), kind, { description, required: true, values: 'list' });
}

/** As `requiredList`, but it may be left out; then undefined. */
export function optionalList<T>(
  kind: ValueKind<T>,
  description: string,
): z.ZodType<T[] | undefined, string[] | undefined> {
  return registered(z.array(kind.schema).min(1).optional(), kind, { description, required: false, values: 'list' });
}

export function flag(description: string): z.ZodType<boolean, boolean | undefined> {
  return z
    .boolean()
    .default(false)
    .register(parameterHelp, { description, expects: 'no value', required: false, values: 'none' });
}

/** Options that few runs need: `--help-all` lists them. */
export function settings<Shape extends ParameterShape>(shape: Shape): Shape;
export function settings(shape: ParameterShape): ParameterShape {
  const marked = (schema: z.ZodType): z.ZodType =>
    schema.clone().register(parameterHelp, { ...helpOf(schema), isRare: true });
  return Object.fromEntries(Object.entries(shape).map(([key, schema]) => [key, marked(schema)]));
}

/** A rare option of every command with a model. */
const ignoring = settings({
  ignore: repeated(
    called('field', text),
    'ignore this refused field of config.json, if you know that it does not change the results',
  ),
});

/** Options of every command that runs a model; their values are `CompileOptions`. */
export const engineOptions = {
  ...settings({
    device: withDefault(
      choice(['cpu', 'cuda', 'webgpu']),
      'cpu',
      'cpu, cuda (see docs/reference/dependencies.md) or webgpu',
    ),
  }),
  threads: optional(integer(1, 1024), 'engine threads (default: one per core)'),
};

interface CommandDefinition<A extends ParameterShape, O extends ParameterShape> {
  /** Below the usage line of help: the command's effect and its outputs. */
  readonly description: string;
  /** Complete command lines; the first is the most usual one. */
  readonly examples: readonly [string, ...string[]];
  readonly arguments: A;
  /** Options by key: `maxTokens` is `--max-tokens`. At most 15 are in --help. */
  readonly options: O;
  /** Plan fields that `--set` sets with JSON or text; `run` gets the ones that were set. */
  readonly fields?: Readonly<Record<string, z.ZodType>>;
  /** Flags that other command lines know, and the flag that does the same here. */
  readonly replaced?: Readonly<Record<string, string>>;
  /** Flags of library options whose names differ here. */
  readonly flags?: Readonly<Record<string, string>>;
  /** The command measures: `--out FILE` writes its machine-readable result. */
  readonly writesResults?: boolean;
  /** Keys of options for files written at the end; whether they are writable is checked first. */
  readonly writes?: readonly (keyof O & string)[];
  /** Prints for people through the context and returns the machine-readable result. */
  run(
    context: CommandContext,
    values: z.output<z.ZodObject<A>> & z.output<z.ZodObject<O>>,
    set: readonly SetField[],
  ): Promise<CommandResult>;
}

/** A command, its parameter types forgotten. */
export interface CliCommand {
  readonly examples: readonly string[];
  /** Declares the command to the parser. @param everything whether help lists the settings */
  declare(target: Commander, everything: boolean): void;
  /** The flag to write instead of an unknown one; undefined if nothing is similar. */
  insteadOf(flag: string): string | undefined;
  /** @throws UsageError naming the argument or option, the value given and the expected one */
  run(context: CommandContext, given: readonly string[], options: JsonObject): Promise<CommandResult>;
}

export function defineCommand<A extends ParameterShape, O extends ParameterShape>(
  definition: CommandDefinition<A, O>,
): CliCommand {
  const argumentNames = Object.keys(definition.arguments);
  const argumentSchema = z.object(definition.arguments);
  const { writesResults = false, fields = {} } = definition;
  const optionSchema = z.object(definition.options);
  const shape: ParameterShape = { ...definition.options, ...('model' in definition.arguments && ignoring) };
  const keys = Object.keys(shape);
  const rare = keys.filter((key) => helpOf(shape[key]).isRare === true);
  const nameOf = (key: string): string | undefined =>
    definition.flags?.[key] ?? (keys.includes(key) ? flagName(key) : undefined);
  return {
    examples: definition.examples,
    declare(target, everything) {
      target.description(definition.description);
      for (const [name, schema] of Object.entries(definition.arguments)) {
        const { values, required: mandatory } = helpOf(schema);
        const shown = values === 'list' ? `${name}...` : name;
        target.argument(mandatory ? `<${shown}>` : `[${shown}]`, describedBy(schema));
      }
      for (const key of keys) {
        const option = parserOption(key, shape[key], nameOf);
        target.addOption(rare.includes(key) ? option.helpGroup('Rare options:').hideHelp(!everything) : option);
      }
      if (writesResults) target.addOption(parserOption('out', resultFile));
      // Without a plan, its error names the flag to write instead.
      target.addOption(parserOption('set', setOption).hideHelp(Object.keys(fields).length === 0));
      const rows = Object.entries(fields).map(([key, schema]) => fieldRow(`${key}=…`, fieldHelp(schema)));
      const terms = new Map(rows.map(({ option, term }) => [option, term]));
      const help = new Help();
      target.configureHelp({
        visibleOptions: (command) => [...help.visibleOptions(command), ...terms.keys()],
        optionTerm: (option) => terms.get(option) ?? option.flags,
      });
      if (rare.length > 0 && !everything) {
        target.addHelpText('after', `\n${rare.length} rare option${rare.length === 1 ? '' : 's'}: --help-all`);
      }
      target.addHelpText('after', `\nExamples:\n${definition.examples.map((line) => `  ${line}`).join('\n')}`);
    },
    insteadOf(flag) {
      const near = nearName(flag, rare);
      return definition.replaced?.[flag] ?? (near === undefined ? undefined : flagName(near));
    },
    async run(context, words, options) {
      const positional = Object.fromEntries(
        argumentNames.map((name, index) => {
          const isList = helpOf(definition.arguments[name]).values === 'list';
          return [name, isList ? words.slice(index) : words[index]];
        }),
      );
      const set = readSettings(z.array(z.string()).default([]).parse(options.set), fields, nameOf);
      const chosenText = Object.fromEntries(keys.map((key) => [key, options[key]]));
      const chosen = await checked(optionSchema, chosenText, flagName);
      const { ignore } = await checked(z.object(ignoring), chosenText, flagName);
      // Writing checks it again; a result of hours must not be refused at its end.
      const { out, replace } = replacement.parse(chosenText);
      if (replace === true && out !== undefined) await requireReplaceable(out);
      const values = { ...(await checked(argumentSchema, positional, (name) => `<${name}>`)), ...chosen };
      const file = writesResults
        ? (await checked(z.object({ out: resultFile }), { out: options.out }, flagName)).out
        : undefined;
      if (file !== undefined) await checkResultFile(file);
      if (out !== undefined) await tidyUp(context, out);
      for (const key of definition.writes ?? []) {
        const file = chosenText[key];
        if (typeof file !== 'string') continue;
        await requireWritable(file);
        const others = Object.entries({ ...positional, ...chosenText }).filter(([name]) => name !== key);
        if (others.flatMap(([, value]) => value).some((value) => isPath(value, file))) {
          throw new UsageError(`${flagName(key)} is ${file}, which is given elsewhere too; name another file`);
        }
        await tidyUp(context, file);
      }
      if (definition.options.device === engineOptions.device && chosenText.device === 'webgpu' && imitatesGpu()) {
        context.note('this machine has no GPU: the processor emulates one, which is slower than --device cpu');
      }
      try {
        const result = await ignoringFields(ignore, () => definition.run(context, values, set));
        if (file !== undefined) await writeResultFile(file, context.command, result.json);
        return result;
      } catch (error) {
        throw asFlags(error, nameOf);
      }
    },
  };
}

const setOption = repeated(called('key=value', text), 'sets a field of the plan; may be repeated');

function fieldRow(term: string, description: string): { readonly option: Option; readonly term: string } {
  return { term, option: new Option('--set', description).helpGroup('Fields of the plan (--set key=value):') };
}

/** "required" or the default of a field, and its description. */
function fieldHelp(schema: z.ZodType): string {
  const absent = schema.safeParse(undefined);
  const value = absent.success ? JSON.stringify(absent.data) : undefined;
  const need = !absent.success ? '(required)' : value === undefined || value === '{}' ? '' : `(default: ${value})`;
  return [schema.description ?? '', need].filter((part) => part !== '').join(' ');
}

const resultFile = optional(filePath, 'write the results to this file, as JSON with command, versions and machine');
/** Removes and names partial output of killed earlier runs at `out`. */
async function tidyUp(context: CommandContext, out: string): Promise<void> {
  for (const { path, bytes, pid } of await removeAbandoned(out)) {
    context.note(`removed ${path} (${formatBytes(bytes)}), left half written by killed process ${pid}`);
  }
}

const replacement = z.object({ out: z.string().optional(), replace: z.boolean().optional() });

/**
 * An error of the library in the words of the command line; options that exclude each other are a mistake of usage, and
 * work that was stopped, also by a full disk, says how it goes on.
 */
function asFlags(error: unknown, nameOf: (key: string) => string | undefined): unknown {
  if (!(error instanceof LinnetError)) return error;
  const isStopped = ['ABORTED', 'ENOSPC', 'EDQUOT'].includes(failedWrite(error)?.code ?? error.code);
  const isSilent = isStopped && nameOf('resume') !== undefined && !error.message.includes('resume');
  const toContinue = isSilent ? '. To continue, run the same again with `resume`' : '';
  const message = inFlags(error.message + toContinue, nameOf);
  if (error instanceof OptionsError) return new UsageError(message, { cause: error });
  return message === error.message ? error : new LinnetError(error.code, message, { cause: error });
}

function helpOf(schema: z.ZodType): ParameterHelp {
  const help = parameterHelp.get(schema);
  if (help === undefined) throw internalError('a parameter was not made by required, optional, … of command.ts');
  return help;
}

function describedBy(schema: z.ZodType): string {
  const { description, defaultText } = helpOf(schema);
  return defaultText === undefined ? description : `${description} (default: ${defaultText})`;
}

/** Values stay text here: they are checked all together, by `checked`. */
function parserOption(
  key: string,
  schema: z.ZodType,
  nameOf: (key: string) => string | undefined = () => undefined,
): Option {
  const { placeholder = 'value', required: mandatory, values } = helpOf(schema);
  const forms: Record<ParameterHelp['values'], string> = {
    none: '',
    once: ` <${placeholder}>`,
    each: ` <${placeholder}>`,
    list: ` <${placeholder}...>`,
  };
  const option = new Option(`${flagName(key)}${forms[values]}`, inFlags(describedBy(schema), nameOf));
  // The parser treats --no-x as the opposite of --x; here a switch has its own key, like every option.
  option.negate = false;
  if (values === 'each') {
    option.argParser((value: string, previous: readonly string[] | undefined) => [...(previous ?? []), value]);
  }
  return option.makeOptionMandatory(mandatory);
}

async function checked<S extends ParameterShape>(
  schema: z.ZodObject<S>,
  given: JsonObject,
  nameOf: (key: string) => string,
): Promise<z.output<z.ZodObject<S>>> {
  const result = await schema.safeParseAsync(given);
  if (result.success) return result.data;
  const complaints = new Map<string, string>();
  for (const issue of result.error.issues) {
    const [key, index] = issue.path.map(String);
    const value = given[key];
    const shown: unknown = Array.isArray(value) && index !== undefined ? value[Number(index)] : value;
    complaints.set(
      key,
      shown === undefined
        ? `${nameOf(key)} is missing; expected ${helpOf(schema.shape[key]).expects}`
        : `${nameOf(key)} is ${JSON.stringify(shown)}; expected ${helpOf(schema.shape[key]).expects}`,
    );
  }
  throw new UsageError([...complaints.values()].join('\n'), { cause: result.error });
}

function isPath(value: unknown, path: string): boolean {
  return typeof value === 'string' && resolve(value) === resolve(path);
}
