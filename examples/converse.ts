/**
 * A text that goes on from call to call, forked and saved: the session has the same size after any number of tokens.
 *
 *     npx tsx examples/converse.ts [MODEL]
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { open } from 'linnet';

const original = await open(process.argv[2] ?? 'linnet:tiny-llama');
const model = await original.linearize('window');
const folder = await mkdtemp(join(tmpdir(), 'linnet-example-'));
const writing = { maxTokens: 24, temperature: 0.7, seed: 1 };

const session = model.session();
console.log(await session.continue('The state of the union', writing).text());
console.log(`${session.bytes} bytes`);

const other = session.fork();
console.log('one way:    ', await session.continue(' And the people', writing).text());
console.log('another way:', await other.continue(' But the war', writing).text());

const file = join(folder, 'talk.session');
await session.save(file);
const later = model.session();
await later.load(file);
const [here, restored] = [session, later].map((each) => each.continue(' said that', writing).text());
console.log(`the same after a restart: ${String((await here) === (await restored))}, ${later.bytes} bytes`);

await rm(folder, { recursive: true });
await model.dispose();
await original.dispose();
