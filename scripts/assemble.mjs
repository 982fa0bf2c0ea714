// Assembles the WebAssembly in src/quantization. `npm run build` runs it after building the library.
//
//   node scripts/assemble.mjs [FILE]   default: its place in dist/
//
// wabt is a development dependency: without it, Linnet encodes in JavaScript, to the same codes.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const wabt = await import('wabt').catch((error) => {
  if (error.code === 'ERR_MODULE_NOT_FOUND') return undefined;
  throw error;
});
const file = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
if (wabt === undefined) console.log('encoder of blocks not assembled: wabt is absent');
else {
  const text = readFileSync(file('src/quantization/block-codes.wat'));
  const { buffer } = (await wabt.default()).parseWat('block-codes.wat', text).toBinary({});
  writeFileSync(process.argv[2] ?? file('dist/quantization/block-codes.wasm'), buffer);
}
