/** Serves or bundles the page, with the headers that threads need. What lies in `public/` is served as it is. */
import { realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';

const headers = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' };
const project = fileURLToPath(new URL('../..', import.meta.url));
/** May be a link to a folder elsewhere, which Vite would not serve. */
const packages = realpathSync(fileURLToPath(new URL('../../node_modules', import.meta.url)));

export default defineConfig({
  // The page imports `linnet/web` as a user would; here that is the source next to it.
  resolve: { alias: { 'linnet/web': fileURLToPath(new URL('../../src/web.ts', import.meta.url)) } },
  // The engine finds its other files by their place next to its own.
  optimizeDeps: { exclude: ['onnxruntime-web'] },
  server: { headers, fs: { allow: [project, packages] } },
  preview: { headers },
  build: { target: 'esnext', assetsInlineLimit: 0 },
});
