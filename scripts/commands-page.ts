/** The page of all commands; options that several commands describe in the same words stand once, at the top. */
import { group as grouped } from 'd3-array';
import { commandTable } from '../src/cli/command-table.ts';

interface Row {
  readonly group: string;
  /** The option or argument with its value. */
  readonly term: string;
  readonly description: string;
}

interface CommandHelp {
  readonly name: string;
  /** Usage and description. */
  readonly head: string;
  readonly rows: readonly Row[];
  readonly examples: string;
}

const width = 120;

function parseHelp(name: string, help: string): CommandHelp {
  const [before, examples] = help.split(/^Examples:\n/m);
  const start = before.search(/^(?:Arguments|Options):$/m);
  const rows: Row[] = [];
  let group = '';
  for (const line of before.slice(start).split('\n')) {
    const [, term, description] = /^ {2}(\S.*?)(?: {2,}(.*))?$/.exec(line) ?? [];
    if (/^\S/.test(line)) group = line;
    else if (term !== undefined) rows.push({ group, term, description: description ?? '' });
    else if (line.trim() !== '' && rows.length > 0) {
      const last = rows[rows.length - 1];
      rows[rows.length - 1] = { ...last, description: `${last.description} ${line.trim()}` };
    }
  }
  return { name, head: before.slice(0, start).trim(), rows, examples: examples.trimEnd() };
}

/** Rows under their groups, in columns, with descriptions wrapped. */
function inColumns(rows: readonly Row[]): string {
  const indent = 4 + Math.max(...rows.map(({ term }) => term.length));
  const shown = ({ term, description }: Row): string => {
    const lines = [`  ${term}`.padEnd(indent)];
    for (const word of description.split(' ')) {
      const last = lines[lines.length - 1];
      if (last.length + 1 + word.length > width && last.trim() !== '') lines.push(`${' '.repeat(indent)}${word}`);
      else lines[lines.length - 1] = last.length === indent ? last + word : `${last} ${word}`;
    }
    return lines.map((line) => line.trimEnd()).join('\n');
  };
  const groups = grouped(rows, ({ group }) => group);
  return [...groups].map(([group, members]) => [group, ...members.map(shown)].join('\n')).join('\n\n');
}

const textBlock = (text: string): string => `\`\`\`text\n${text}\n\`\`\``;

/** @param help prints a command's `--help-all` */
export async function commandsPage(help: (name: string) => Promise<string>): Promise<string> {
  const names = Object.keys(commandTable);
  const commands = await Promise.all(names.map(async (name) => parseHelp(name, await help(name))));
  /** The commands with each row, by the row's words. */
  const owners = new Map<string, string[]>();
  const keyOf = (row: Row): string => JSON.stringify(row);
  for (const { name, rows } of commands) {
    for (const row of rows) owners.set(keyOf(row), [...(owners.get(keyOf(row)) ?? []), name]);
  }
  const ownersOf = (row: Row): readonly string[] => owners.get(keyOf(row)) ?? [];
  const isShared = (row: Row): boolean => ownersOf(row).length > 1 && !row.group.startsWith('Arguments');
  const rows = commands.flatMap((command) =>
    command.rows.filter((row) => isShared(row) && ownersOf(row)[0] === command.name),
  );
  const families = [...grouped(rows, (row) => ownersOf(row).join(', ')).values()].toSorted(
    (a, b) => ownersOf(b[0]).length - ownersOf(a[0]).length,
  );
  const titleOf = (members: readonly string[]): string =>
    members.length === names.length ? 'All commands' : members.map((name) => `\`${name}\``).join(', ');
  const index = names.map((name) => {
    return `| [\`${name}\`](#linnet-${name.replaceAll(' ', '-')}) | ${commandTable[name].summary.replaceAll('|', '\\|')} |`;
  });
  const sections = commands.map(({ name, head, rows: all, examples }) => {
    const special = all.filter((row) => !isShared(row));
    const elsewhere = all.filter((row) => isShared(row) && ownersOf(row).length < names.length);
    const terms = elsewhere.map(({ term }) => `\`${term.split(/[ =]/)[0]}\``);
    return [
      `## linnet ${name}`,
      textBlock([head, ...(special.length > 0 ? [inColumns(special)] : []), `Examples:\n${examples}`].join('\n\n')),
      ...(terms.length > 0 ? [`[Shared](#options-of-several-commands): ${terms.join(', ')}.`] : []),
    ].join('\n\n');
  });
  return `# Commands and options

Every command with its arguments, options, defaults and examples; [cli.md](cli.md) covers what all commands share. Made by \`npm run options\`.

| command | purpose |
|---|---|
${index.join('\n')}

## Options of several commands

${families.map((family) => `${titleOf(ownersOf(family[0]))}:\n\n${textBlock(inColumns(family))}`).join('\n\n')}

${sections.join('\n\n')}
`;
}
