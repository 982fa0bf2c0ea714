/**
 * Writes docs/reference/options.md: every command with its arguments, options, defaults and examples, as its help has them.
 *
 *     npm run options              writes the page
 *     npm run options -- --check   fails if the page is not what the commands say
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { commandTable } from '../src/cli/command-table.ts';
import { runCli } from '../src/cli/framework/program.ts';
import { projectRoot } from './entries.ts';

const file = join(projectRoot, 'docs/reference/options.md');

/** What a command line prints, of the width that pages have. */
async function printed(words: readonly string[]): Promise<string> {
  let text = '';
  const stream = { columns: 120, write: (part: string) => (text += part) };
  const interruption = (): AbortSignal => new AbortController().signal;
  await runCli(words, { stdout: stream, stderr: stream, environment: {}, interruption });
  return text.trimEnd();
}

const names = commandTable.map(({ words }) => words.join(' '));
const rows = commandTable.map(({ words, summary }) => {
  const name = words.join(' ');
  return `| [\`${name}\`](#linnet-${name.replaceAll(' ', '-')}) | ${summary.replaceAll('|', '\\|')} |`;
});
const sections: string[] = [];
for (const name of names) {
  sections.push(`## linnet ${name}\n\n\`\`\`text\n${await printed([...name.split(' '), '--help-all'])}\n\`\`\``);
}
const page = `# Commands and options

Made by \`npm run options\` from the definitions of the commands. What all have in common is in [cli.md](cli.md).

| command | |
|---|---|
${rows.join('\n')}

${sections.join('\n\n')}
`;
if (!process.argv.includes('--check')) writeFileSync(file, page);
else if (readFileSync(file, 'utf8') !== page) {
  process.stderr.write('docs/reference/options.md is not what the commands say; run: npm run options\n');
  process.exitCode = 1;
}
