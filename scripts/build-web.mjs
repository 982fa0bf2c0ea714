// Builds the pages in web/ to static files in dist/web/. `npm run build` runs it after building the library.
//
//   node scripts/build-web.mjs [PAGE [FOLDER]]
//
// Vite is a development dependency: an installation without it (`npm ci --omit=dev`) has no pages, and says so.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const root = fileURLToPath(new URL('..', import.meta.url));
const [, , only, folder] = process.argv;

/**
 * The playground includes ONNX Runtime and a model, which the package must not carry; `npm run playground` builds it, with
 * the explained pages inside.
 */
const apart = ['playground', 'explained'];

/** Folders of web/ with an index.html. */
const pages = readdirSync(join(root, 'web'), { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && readdirSync(join(root, 'web', entry.name)).includes('index.html'))
  .map(({ name }) => name)
  .filter((name) => !apart.includes(name));

/** In a folder with a frame.html, each page is a title and a text that replace the frame's. */
const frameFile = 'frame.html';
const framed = {
  name: 'framed pages',
  transformIndexHtml: {
    order: 'pre',
    handler(html, { filename }) {
      const file = join(filename, '..', frameFile);
      if (!existsSync(file)) return html;
      const [title] = /<title>.*<\/title>/.exec(html);
      return readFileSync(file, 'utf8')
        .replace(/<title>.*<\/title>/, () => title)
        .replace('<main></main>', () => `<main>${html.replace(title, '')}</main>`)
        .replace(`href="${basename(filename)}"`, (link) => `${link} aria-current="page"`);
    },
  },
};

const vite = await import('vite').catch((error) => {
  if (error.code === 'ERR_MODULE_NOT_FOUND') return undefined;
  throw error;
});

if (vite === undefined) {
  console.log(
    `web pages not built (${pages.join(', ')}): vite is missing, since development dependencies are not installed`,
  );
} else {
  for (const page of only === undefined ? pages : [only]) {
    const outDir = folder === undefined ? join(root, 'dist/web', page) : resolve(folder);
    await vite.build({
      root: join(root, 'web', page),
      // Works at any path of any host.
      base: './',
      configFile: false,
      logLevel: 'warn',
      // Page workers import their engine on demand, which only modules can do.
      worker: { format: 'es' },
      plugins: [framed],
      build: {
        outDir,
        emptyOutDir: true,
        target: 'es2022',
        // Nothing inline: the pages have a strict Content-Security-Policy.
        assetsInlineLimit: 0,
        modulePreload: { polyfill: false },
        rolldownOptions: {
          // All pages in the folder.
          input: readdirSync(join(root, 'web', page))
            .filter((name) => name.endsWith('.html') && name !== frameFile)
            .map((name) => join(root, 'web', page, name)),
        },
      },
    });
    const scripts = readdirSync(outDir, { recursive: true }).filter((name) => name.endsWith('.js'));
    const bytes = scripts.reduce((sum, name) => sum + gzipSync(readFileSync(join(outDir, name))).length, 0);
    console.log(`web page ${page}: ${(bytes / 1024).toFixed(1)} KiB of scripts, compressed`);
  }
}
