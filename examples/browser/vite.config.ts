/** Serves or bundles the page, with the headers that threads need; `runs/` of the project is at `/runs/`. */
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';

const headers = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' };
const project = fileURLToPath(new URL('../..', import.meta.url));

export default defineConfig({
  // The page imports `linnet/web` as a user would; here that is the source beside it.
  resolve: { alias: { 'linnet/web': fileURLToPath(new URL('../../src/web.ts', import.meta.url)) } },
  // The engine finds its other files by their place beside its own.
  optimizeDeps: { exclude: ['onnxruntime-web'] },
  server: { headers, fs: { allow: [project] } },
  preview: { headers },
  build: { target: 'esnext', assetsInlineLimit: 0 },
});
