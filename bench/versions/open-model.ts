/** A process that opens a model in a checkout, reads a prompt and decodes: `open-model.ts CHECKOUT MODEL`. */
import { openCheckout, openEngine } from './checkout.ts';

const [folder, model] = process.argv.slice(2);
const checkout = await openCheckout(folder);
const started = performance.now();
const engine = await openEngine(checkout, model);
const openMs = performance.now() - started;
const state = engine.newState();
await engine.prefill(
  state,
  Int32Array.from({ length: 256 }, (_, i) => i % engine.model.sizes.vocabulary),
);
for (let token = 0; token < 16; token++) await engine.advance(state, token);
process.stdout.write(JSON.stringify({ openMs, peakMiB: process.resourceUsage().maxRSS / 1024 }));
await engine.dispose();
