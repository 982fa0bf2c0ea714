/** From a command line to an exit code: finds and loads the command, runs it, reports errors. */
import { readFileSync } from 'node:fs';
import { Command as Commander, CommanderError } from 'commander';
import { isJsonObject } from '../../files/json-object.ts';
import type { CliCommand } from './command.ts';
import { commandGroups, type CommandTable, commandTable, movedCommands } from '../command-table.ts';
import { errorStacks, exitCodes, type Outcome, reportError, UsageError } from './exit-codes.ts';
import type { CliIo, CommandResult } from './context.ts';

/**
 * Runs a command line.
 *
 * With `--json` the last line of stdout is one JSON object, of the result or `{"error":{"code","message"}}`, and
 * nothing else is written there; help and version are text all the same.
 *
 * @param words the arguments, without the program's name
 * @param table the commands there are; default all
 */
export async function runCli(
  words: readonly string[],
  io: CliIo,
  table: CommandTable = commandTable,
): Promise<Outcome> {
  const asked = words.slice(0, words.includes('--') ? words.indexOf('--') : undefined);
  const json = asked.includes('--json');
  try {
    const result = await execute(words, io, table);
    if (result === undefined) return 'success'; // help or version
    if (json) io.stdout.write(`${JSON.stringify(result.json)}\n`);
    return result.negative === true ? 'negative' : 'success';
  } catch (error) {
    const { outcome, code, message } = reportError(error);
    io.stderr.write(`linnet: ${message}\n`);
    if (asked.includes('--debug') || ![undefined, '', '0'].includes(io.environment.LINNET_DEBUG))
      io.stderr.write(`${errorStacks(error)}\n`);
    else if (outcome === 'internal') io.stderr.write('This is a bug; please report it with the output of --debug.\n');
    if (json) io.stdout.write(`${JSON.stringify({ error: { code, message } })}\n`);
    return outcome;
  }
}

/** Parses and runs. Undefined if the parser has answered by itself. */
async function execute(words: readonly string[], io: CliIo, table: CommandTable): Promise<CommandResult | undefined> {
  // `help eval perplexity` is `eval perplexity --help`: the parser's own help command knows no groups.
  const whole = words[0] === 'help' ? [...words.slice(1), '--help'] : words;
  const everything = whole.includes('--help-all');
  const asked = whole.map((word) => (word === '--help-all' ? '--help' : word));
  const [first, second] = asked.filter((word) => !word.startsWith('-'));
  const moved = movedCommands[`${first} ${second}`] ?? movedCommands[first];
  if (moved !== undefined) throw new UsageError(`this command has moved: ${moved}`);
  const named = namedCommand(asked, table);
  const command = named === undefined ? undefined : await table[named].load();
  let result: CommandResult | undefined;
  const program = emptyProgram(io);
  for (const [name, { summary }] of Object.entries(table)) {
    const [group, single] = name.split(' ');
    const parent = single === undefined ? program : groupOf(program, group);
    const target = parent.command(single ?? group).summary(summary);
    if (name !== named || command === undefined) continue;
    command.declare(target, everything);
    // Written into every command by the program itself.
    target
      .option('--json', 'print one JSON object as the last line of stdout; all else goes to stderr')
      .option('--quiet', 'print no progress or notices on stderr')
      .option('--debug', 'print stack traces of errors (also LINNET_DEBUG=1)');
    target.action(async () => {
      const { makeContext } = await import('./context.ts');
      const options = target.opts<Record<string, unknown>>();
      const output = { json: options.json === true, quiet: options.quiet === true };
      const context = makeContext(io, output, ['linnet', ...asked], async (others) => {
        const inherited = Object.entries(output).flatMap(([flag, isAsked]) => (isAsked ? `--${flag}` : []));
        const inner = await execute([...others, ...inherited], io, table);
        if (inner === undefined) throw new UsageError(`${others.join(' ')} only shows help`);
        return inner;
      });
      result = await command.run(context, target.args, options);
    });
  }
  // A misspelt command with --help is refused by name.
  const isUnknown =
    named === undefined && asked[0] === first && (second !== undefined || commandGroups[first] === undefined);
  try {
    await program.parseAsync(isUnknown ? asked.filter((word) => !word.startsWith('-')) : asked, {
      from: 'user',
    });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (['commander.helpDisplayed', 'commander.version'].includes(error.code)) return undefined;
    throw new UsageError(usageMessage(error, command), { cause: error });
  }
  return result;
}

function usageMessage({ code, message }: CommanderError, command: CliCommand | undefined): string {
  // Without a command the parser has printed help on stderr already; it goes by this code.
  if (code === 'commander.help') return 'name a command';
  const [, unknown] = /unknown option '(--[^'=]*)/.exec(message) ?? [];
  const instead = unknown === undefined ? undefined : command?.insteadOf(unknown);
  if (instead !== undefined) return `unknown option ${unknown}; write ${instead}`;
  return message.replace(/^error: /, '').replace(/\n\(Did you mean/, ' (did you mean');
}

function namedCommand(words: readonly string[], table: CommandTable): string | undefined {
  const plain = words.filter((word) => !word.startsWith('-'));
  return [plain.slice(0, 1), plain.slice(0, 2)]
    .map((begin) => begin.join(' '))
    .find((name) => Object.hasOwn(table, name));
}

function emptyProgram(io: CliIo): Commander {
  return new Commander('linnet')
    .description(
      'Linearizes autoregressive language models, fine-tunes and measures them, and runs them with a constant-size state.',
    )
    .version(packageVersion(), '-V, --version', 'show the version')
    .helpOption('-h, --help', 'show this help')
    .helpCommand('help [command...]', 'show help for a command')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      outputError: () => undefined,
      getOutHelpWidth: () => Math.min(io.stdout.columns ?? 100, 120),
      getErrHelpWidth: () => Math.min(io.stderr.columns ?? 100, 120),
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .addHelpText('after', afterHelp);
}

function groupOf(program: Commander, name: string): Commander {
  const known = program.commands.find((group) => group.name() === name);
  if (known !== undefined) return known;
  return program
    .command(name)
    .description(commandGroups[name] ?? '')
    .helpCommand(false)
    .addHelpText('after', `\nlinnet ${name} COMMAND --help shows examples.`);
}

const afterHelp = `
Every command has --help with examples, and --help-all where it has rare options. A model is a Hugging Face folder, a .gguf file or an exported folder.

Exit codes:
${Object.values(exitCodes)
  .map(({ code, meaning }) => `  ${String(code).padStart(3)}  ${meaning}`)
  .join('\n')}`;

/** The version in package.json, two folders up from src/cli and from dist/cli alike. */
function packageVersion(): string {
  const parsed: unknown = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'));
  return isJsonObject(parsed) && typeof parsed.version === 'string' ? parsed.version : 'unknown';
}
