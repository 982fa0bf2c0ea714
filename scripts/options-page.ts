/**
 * Writes the generated pages of docs/reference: options.md, every command with its arguments, options, defaults and examples, from its
 * help; endpoints.md, every endpoint with its body's fields, from the schemas that check requests; packages.md, every
 * package in package.json with its license, and its purpose from package-purposes.json.
 *
 *     npm run options              writes the pages
 *     npm run options -- --check   fails if a page is out of date
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { runCli } from '../src/cli/framework/program.ts';
import { encoderRoutes } from '../src/serving/encoders/encoder-server.ts';
import { describedRoutes, fieldsOf, spoken } from '../src/serving/http/api-document.ts';
import { defaultLimits } from '../src/serving/http/limits.ts';
import { textRoutes } from '../src/serving/http/text-api.ts';
import { projectRoot } from './entries.ts';
import { commandsPage } from './commands-page.ts';

/** A command line's output at the pages' width. */
async function printed(words: readonly string[]): Promise<string> {
  let text = '';
  const stream = { columns: 120, write: (part: string) => (text += part) };
  const interruption = (): AbortSignal => new AbortController().signal;
  await runCli(words, { stdout: stream, stderr: stream, environment: {}, interruption });
  return text.trimEnd();
}

const options = await commandsPage((name) => printed([...name.split(' '), '--help-all']));

const inTable = (text: string): string => text.replaceAll('|', '\\|');
const endpointsOf = (routes: Parameters<typeof describedRoutes>[1]['routes']): string =>
  describedRoutes(defaultLimits, { routes })
    .map(({ method, path, summary, body, takes, gives }) => {
      const fields = fieldsOf(body).map(
        ({ name, required, schema }) => `| \`${name}\` | ${inTable(spoken(schema))}${required ? ', required' : ''} |`,
      );
      const types = [takes && `Takes ${takes}.`, gives && `Gives ${gives}.`].filter((text) => text !== undefined);
      const table = fields.length === 0 ? [] : [['| field | value |', '|---|---|', ...fields].join('\n')];
      return [`### ${method.toUpperCase()} ${path}`, [`${summary}.`, ...types].join(' '), ...table].join('\n\n');
    })
    .join('\n\n');
const endpoints = `# Endpoints

Every endpoint of \`linnet serve\` and the fields of its body, with the default limits; [http.md](http.md) says what the fields do. Made by \`npm run options\` from the
schemas that check requests.

## Generating models

${endpointsOf(textRoutes)}

## Classifiers and encoders

${endpointsOf(encoderRoutes)}
`;

const texts = z.record(z.string(), z.string());
const readJson = (path: string): unknown => JSON.parse(readFileSync(join(projectRoot, path), 'utf8'));
const purposes = texts.parse(readJson('scripts/package-purposes.json'));
const manifest = z
  .object({ dependencies: texts, peerDependencies: texts, devDependencies: texts })
  .parse(readJson('package.json'));
const unknown = new Set(Object.keys(purposes));
const packageRow = (name: string): string => {
  const { license } = z.object({ license: z.string() }).parse(readJson(`node_modules/${name}/package.json`));
  if (!(name in purposes)) throw new Error(`add the purpose of ${name} to scripts/package-purposes.json`);
  unknown.delete(name);
  return `| \`${name}\` | ${license.replace(/^\((.*)\)$/, '$1')} | ${purposes[name]} |`;
};
const packageTable = (names: readonly string[]): string =>
  ['| package | licence | what it is for |', '|---|---|---|', ...names.map(packageRow)].join('\n');
const optional = Object.keys(manifest.peerDependencies);
const packages = `# Packages

Every package that Linnet depends on, its licence and its purpose; [dependencies.md](dependencies.md) covers rights in texts, install scripts and CUDA. Made by
\`npm run options\` from package.json.

## At run time

${packageTable(Object.keys(manifest.dependencies))}

## Optional

Install these if you need them; without them, commands say what to install. A checkout installs them for its tests.

${packageTable(optional)}

## For development

${packageTable(Object.keys(manifest.devDependencies).filter((name) => !optional.includes(name)))}
`;
if (unknown.size > 0)
  throw new Error(`scripts/package-purposes.json names removed packages: ${[...unknown].join(', ')}`);

for (const [name, page] of [
  ['options', options],
  ['endpoints', endpoints],
  ['packages', packages],
] as const) {
  const file = join(projectRoot, `docs/reference/${name}.md`);
  if (!process.argv.includes('--check')) writeFileSync(file, page);
  else if (readFileSync(file, 'utf8') !== page) {
    process.stderr.write(`${file} is out of date; run: npm run options\n`);
    process.exitCode = 1;
  }
}
