/**
 * What is published: the package (built first, if dist/ is older than its sources) is packed and installed into an empty
 * project, where the programs of the documentation must type-check as its users have it, those of README.md run, and the page
 * of docs/browsers.md writes its text under Vite. Takes a minute or two; needs the npm registry, or its cache, as `npm ci` does.
 */
import { execFile } from 'node:child_process';
import { cp, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { build as bundle } from 'esbuild';
import { build, createServer, preview } from 'vite';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { projectRoot } from '../../scripts/entries.ts';
import { commandTable } from '../../src/cli/command-table.ts';
import { launchChromium, noChromium } from '../browser/chromium.ts';
import { openQuietPage } from '../browser/quiet-page.ts';
import { augmentedTinyLlama, writeExportedModel } from '../export/exported-model.ts';
import { suiteFolder } from '../scratch-folder.ts';

const run = promisify(execFile);
const place = suiteFolder();
const project = join(place, 'project');
const tsc = join(projectRoot, 'node_modules/typescript/bin/tsc');
const linnet = join(project, 'node_modules/linnet/dist/cli/main.js');

/** Blocks of a page in a language. */
async function blocksOf(page: string, language: 'js' | 'ts'): Promise<string[]> {
  const markdown = await readFile(join(projectRoot, page), 'utf8');
  return [...markdown.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'gms'))].map(([, text]) => text);
}

/** TypeScript programs of a page that import the package. */
async function programsOf(page: string): Promise<string[]> {
  return (await blocksOf(page, 'ts')).filter((program) => program.includes("from 'linnet"));
}

/** Options as an empty project has them: declarations of packages are checked, too. */
function compilerOptions(module: string, moduleResolution: string) {
  return {
    ...{ module, moduleResolution, target: 'ES2022', lib: ['ES2022', 'DOM'], strict: true },
    types: ['node'],
    typeRoots: [join(projectRoot, 'node_modules/@types')],
    outDir: 'out',
    rootDir: '.',
  };
}

/** Whether dist/ was built after the last change of what it is built from, as it was by `npm ci` in a fresh clone. */
async function isBuilt(): Promise<boolean> {
  const time = async (path: string) => (await stat(join(projectRoot, path)).catch(() => undefined))?.mtimeMs;
  const built = await Promise.all(['dist/index.js', 'dist/web/chat/index.html'].map(time));
  const names = ['src', 'web'].map(async (folder) => {
    const found = await readdir(join(projectRoot, folder), { recursive: true });
    return [folder, ...found.map((name) => join(folder, name))];
  });
  const sources = ['package.json', 'tsconfig.json', 'tsconfig.build.json', ...(await Promise.all(names)).flat()];
  const changed = Math.max(...(await Promise.all(sources.map(time))).map((found) => found ?? Infinity));
  return built.every((found) => found !== undefined && found > changed);
}

const install = (name: string) =>
  run('npm', ['install', '--prefer-offline', '--ignore-scripts', '--no-audit', '--no-fund', name], { cwd: project });

beforeAll(async () => {
  const copy = join(place, 'package');
  await mkdir(copy, { recursive: true });
  if (!(await isBuilt())) await run('npm', ['run', 'build'], { cwd: projectRoot });
  await cp(join(projectRoot, 'dist'), join(copy, 'dist'), { recursive: true });
  for (const name of ['package.json', 'README.md', 'LICENSE', 'assets', 'docs']) {
    await cp(join(projectRoot, name), join(copy, name), { recursive: true });
  }
  const packed = await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', place], { cwd: copy });
  const [{ filename }] = z.array(z.object({ filename: z.string() })).parse(JSON.parse(packed.stdout));
  await mkdir(project);
  await writeFile(join(project, 'package.json'), '{ "name": "empty", "private": true, "type": "module" }');
  await install(join(place, filename));
  await symlink(join(project, 'node_modules/linnet/assets'), join(project, 'assets'));
}, 400_000);

describe('the packed package, installed into an empty project', () => {
  it('names no source that it does not have: no maps', async () => {
    const files = await readdir(join(project, 'node_modules/linnet/dist'), { recursive: true });
    expect(files.length).toBeGreaterThan(100);
    expect(files.filter((name) => name.endsWith('.map'))).toEqual([]);
    const main = await readFile(join(project, 'node_modules/linnet/dist/index.js'), 'utf8');
    expect(main).not.toContain('sourceMappingURL');
  });

  it('comes without packages of books', async () => {
    expect(await readdir(join(project, 'node_modules'))).not.toContain('@stdlib');
  });

  it('has no script that npm asks its users about', async () => {
    const { scripts } = z
      .object({ scripts: z.record(z.string(), z.string()) })
      .parse(JSON.parse(await readFile(join(project, 'node_modules/linnet/package.json'), 'utf8')));
    const asked = ['preinstall', 'install', 'postinstall', 'prepare'];
    expect(Object.keys(scripts).filter((name) => asked.includes(name))).toEqual([]);
  });

  it('takes the room that README.md says', async () => {
    const entries = await readdir(join(project, 'node_modules'), { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => stat(join(parentPath, name)));
    const megabytes = (await Promise.all(files)).reduce((sum, { size }) => sum + size / 1e6, 0);
    const readme = await readFile(join(projectRoot, 'README.md'), 'utf8');
    const promised = Number(/It takes (\d+) MB on disk/.exec(readme)?.[1]);
    expect(Math.abs(megabytes / promised - 1), `${megabytes} MB`).toBeLessThan(0.03);
  });

  it('runs in a bundle with the setting of README.md, and says what a bundle without it lacks', async () => {
    const readme = await readFile(join(projectRoot, 'README.md'), 'utf8');
    const setting = z
      .array(z.string())
      .parse(JSON.parse(/`external: (\[.*?\])` of esbuild/.exec(readme)?.[1].replaceAll("'", '"') ?? '[]'));
    const lines = [
      "import { open } from 'linnet';",
      "const model = await open('linnet:tiny-llama').catch(({ message }) => console.log(message));",
      "console.log(await model?.generate('The state of the', { maxTokens: 4 }).text());",
      'await model?.dispose();',
    ];
    await writeFile(join(project, 'server.mjs'), lines.join('\n'));
    const printed = async (folder: string, external: readonly string[]) => {
      const outfile = join(project, folder, 'server.mjs');
      const form = { bundle: true, platform: 'node', format: 'esm', logLevel: 'silent' } as const;
      await bundle({ ...form, entryPoints: [join(project, 'server.mjs')], outfile, external: [...external] });
      return (await run(process.execPath, [outfile], { cwd: project })).stdout;
    };
    expect(await printed('external', setting)).toMatch(/^ union/i);
    expect(await printed('inside', ['onnxruntime-node', 'onnxruntime-web'])).toContain(
      'if you bundle linnet, keep it external',
    );
  });

  it('says which package the device wasm needs in Node', async () => {
    const lines = [
      "import { compile, Graph, ops } from 'linnet/graph';",
      "const graph = new Graph('sum');",
      "const x = graph.input('x', 'float32', ['T']);",
      "graph.output('y', ops.add(x, x));",
      "const refused = await compile(graph, { device: 'wasm' }).catch((error) => error);",
      'console.log(refused.code, refused.message);',
    ];
    await writeFile(join(project, 'wasm.mjs'), lines.join('\n'));
    const { stdout } = await run(process.execPath, ['wasm.mjs'], { cwd: project });
    expect(stdout).toMatch(/^NOT_FOUND .*npm install onnxruntime-web\n$/);
  });

  it('has no link and no example of a command that names a file of a checkout', async () => {
    const home = join(project, 'node_modules/linnet');
    const names = (await readdir(home, { recursive: true })).filter((name) => name.endsWith('.md'));
    const dead: string[] = [];
    for (const page of names.filter((name) => !name.includes('node_modules'))) {
      const text = await readFile(join(home, page), 'utf8');
      for (const [, target] of text.matchAll(/\]\((?!https?:|#|mailto:)([^)\s#]+)(?:#[^)]*)?\)/g)) {
        if ((await stat(join(home, dirname(page), target)).catch(() => undefined)) === undefined)
          dead.push(`${page}: ${target}`);
      }
      for (const [line] of text.matchAll(/linnet [^\n`]*(?<![\w/])(?:assets|examples|bench|test)\/[^\n]*/g))
        dead.push(`${page}: ${line}`);
    }
    for (const [name, { load }] of Object.entries(commandTable)) {
      for (const line of (await load()).examples)
        if (/ (?:assets|examples|bench|test)\//.test(line)) dead.push(`${name}: ${line}`);
    }
    expect(dead).toEqual([]);
  });

  const pages = [
    'README.md',
    'docs/library.md',
    'docs/browsers.md',
    'docs/reference/three-forms.md',
    'docs/reference/graph.md',
  ];

  beforeAll(async () => {
    for (const page of pages) {
      const programs = await programsOf(page);
      expect(programs.length, page).toBeGreaterThan(0);
      for (const [index, program] of programs.entries()) {
        await writeFile(join(project, `${page.replace(/\W/g, '-')}-${index + 1}.ts`), program);
      }
    }
  });

  it.each([
    ['NodeNext', 'NodeNext'],
    ['ESNext', 'bundler'],
  ])('type-checks with module %s and resolution %s', { timeout: 240_000 }, async (module, resolution) => {
    // Declarations of packages are checked once, where they are resolved most strictly.
    const options = { ...compilerOptions(module, resolution), skipLibCheck: resolution === 'bundler' };
    const config = join(project, `tsconfig.${resolution}.json`);
    await writeFile(config, JSON.stringify({ compilerOptions: options, include: ['*.ts'] }));
    const { stdout } = await run(process.execPath, [tsc, '-p', config], { cwd: project }).catch((error: unknown) =>
      z.object({ stdout: z.string() }).parse(error),
    );
    expect(stdout).toBe('');
  });

  it('type-checks for Node alone, without the types of browsers and without skipLibCheck', {
    timeout: 240_000,
  }, async () => {
    const paths = ['', '/attention', '/checkpoint', '/decoding', '/evaluation', '/report', '/training'];
    const program = paths.map((path, index) => `export * as part${index} from 'linnet${path}';\n`).join('');
    await mkdir(join(project, 'node-alone'));
    await writeFile(join(project, 'node-alone/program.ts'), program);
    const exact = { exactOptionalPropertyTypes: true, noEmit: true };
    const options = { ...compilerOptions('NodeNext', 'NodeNext'), lib: ['ES2022'], ...exact };
    const config = join(project, 'node-alone/tsconfig.json');
    await writeFile(config, JSON.stringify({ compilerOptions: options, include: ['program.ts'] }));
    const { stdout } = await run(process.execPath, [tsc, '-p', config], { cwd: project }).catch((error: unknown) =>
      z.object({ stdout: z.string() }).parse(error),
    );
    expect(stdout).toBe('');
  });

  it('type-checks for browsers alone, without the types of Node and without skipLibCheck', {
    timeout: 240_000,
  }, async () => {
    const folder = join(project, 'browser-alone');
    await mkdir(folder);
    const paths = ['web', 'web/training'];
    await writeFile(
      join(folder, 'program.ts'),
      paths.map((path, index) => `export * as part${index} from 'linnet/${path}';\n`).join(''),
    );
    const exact = { exactOptionalPropertyTypes: true, noEmit: true };
    const options = { ...compilerOptions('ESNext', 'bundler'), types: [], ...exact };
    const config = join(folder, 'tsconfig.json');
    await writeFile(config, JSON.stringify({ compilerOptions: options, include: ['program.ts'] }));
    const { stdout } = await run(process.execPath, [tsc, '-p', config], { cwd: project }).catch((error: unknown) =>
      z.object({ stdout: z.string() }).parse(error),
    );
    expect(stdout).toBe('');
  });

  it('tells that too many files are open, also where it fails to load, and not with the code of an answer', async () => {
    const limited = ['-c', 'ulimit -n 24; exec "$0" "$@"', process.execPath, linnet, 'check', 'linnet:tiny-llama'];
    const ended = await run('/bin/bash', limited, { cwd: project }).catch((error: unknown) => error);
    expect(ended).toMatchObject({ code: 3, stderr: expect.stringMatching(/^linnet: .*EMFILE.*ulimit -n/m) as unknown });
  });

  it('runs the programs of README.md, and its commands', async () => {
    const words = ['linearize', 'linnet:tiny-llama', '--mixer', 'window', '--out', 'runs/converted'];
    await run(process.execPath, [linnet, ...words], { cwd: project });
    const [first, second] = await Promise.all(
      [1, 2].map((index) => run(process.execPath, [join('out', `README-md-${index}.js`)], { cwd: project })),
    );
    expect(first).toMatchObject({ stderr: '' });
    expect(first.stdout.length).toBeGreaterThan(100);
    expect(second.stdout).toMatch(/^[0-9.]+ causal\n$/);
  });
});

describe.skipIf(noChromium !== undefined)(
  `the page of docs/browsers.md${noChromium === undefined ? '' : ` (skipped: ${noChromium})`}`,
  () => {
    /** The text that the page writes. */
    async function written({ resolvedUrls }: { readonly resolvedUrls: { readonly local: string[] } | null }) {
      const browser = await launchChromium();
      try {
        await using opened = await openQuietPage(browser, resolvedUrls?.local[0] ?? '', { patience: 60_000 });
        await opened.page.waitForSelector('[data-done]');
        expect(opened.faults).toEqual([]);
        expect(await opened.page.evaluate('crossOriginIsolated')).toBe(true);
        return await opened.page.innerText('body');
      } finally {
        await browser.close();
      }
    }

    beforeAll(() => install('onnxruntime-web'), 120_000);

    it("writes the same text from Vite's development server and from its build", async () => {
      const page = 'docs/browsers.md';
      const program = (await blocksOf(page, 'ts')).find((block) => block.includes('model.generate('));
      const setting = (await blocksOf(page, 'js')).find((block) => block.includes('vite.config.js'));
      const root = join(project, 'browser');
      await writeExportedModel(join(root, 'public/model'), await augmentedTinyLlama(), { dtype: 'f32' });
      await writeFile(join(root, 'page.ts'), `${program ?? ''}document.body.dataset.done = 'yes';\n`);
      await writeFile(join(root, 'vite.config.js'), setting ?? '');
      const head = '<head><title>Page</title><link rel="icon" href="data:," /></head>';
      const body = '<body><script type="module" src="/page.ts"></script></body>';
      await writeFile(join(root, 'index.html'), `<!doctype html><html lang="en">${head}${body}</html>`);

      const options = { root, logLevel: 'silent' } as const;
      const developing = await createServer({ ...options, server: { port: 0, host: 'localhost' } });
      await developing.listen();
      const text = await written(developing).finally(() => developing.close());
      await build(options);
      const built = await preview({ ...options, preview: { port: 0, host: 'localhost' } });
      expect(await written(built).finally(() => built.close())).toBe(text);
      expect(text.length).toBeGreaterThan(100);
    }, 120_000);
  },
);
