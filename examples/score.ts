/**
 * How probable continuations of a text are, before and after a conversion.
 *
 *     npx tsx examples/score.ts [MODEL]
 */
import { open } from 'linnet';

const original = await open(process.argv[2] ?? 'linnet:tiny-llama');
const window = await original.linearize('window');
const context = 'The state of the';
const continuations = [' union', ' Union', ' onion'];

for (const [name, model] of Object.entries({ original, window })) {
  const scores = await model.score(context, continuations);
  const shown = scores.map(({ logLikelihood }, at) => `${continuations[at].trim()} ${logLikelihood.toFixed(2)}`);
  console.log(`${name}: log p of ${shown.join(', ')}`);
}
await window.dispose();
await original.dispose();
