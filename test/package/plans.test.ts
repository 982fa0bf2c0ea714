/** The plans in assets/sweeps name nothing outside assets: installed, they lie in node_modules. */
import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

const folder = new URL('../../assets/sweeps/', import.meta.url);

it.each(readdirSync(folder).filter((name) => name.endsWith('.json')))('%s stays in assets', (name) => {
  const outside = readFileSync(new URL(name, folder), 'utf8').match(/"\.\.\/(?!tiny-llama")[^"]*"/g);
  expect(outside).toBeNull();
});
