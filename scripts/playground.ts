/**
 * Builds the playground and serves it on this machine until Ctrl-C.
 *
 *     npm run playground [-- --out FOLDER] [--port N] [--build-only]
 */
import { once } from 'node:events';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { buildPlayground, servePlayground } from './playground-site.ts';

const { values } = parseArgs({
  options: {
    out: { type: 'string', default: 'runs/playground' },
    port: { type: 'string', default: '4174' },
    'build-only': { type: 'boolean', default: false },
  },
});
const port = Number(values.port);
if (!(Number.isInteger(port) && port >= 0 && port < 65536)) {
  throw new RangeError(`--port is ${values.port}, expected a whole number from 0 to 65535`);
}
const folder = resolve(values.out);
await buildPlayground(folder);
if (values['build-only']) {
  console.log(`the playground is in ${folder}`);
} else {
  await using site = await servePlayground(folder, { port });
  console.log(`the playground is at ${site.url} (Ctrl-C stops it)`);
  await once(process, 'SIGINT');
}
