/** The scorer of `linnet eval tasks`, opened where the questions are asked: here, or by a worker. */
import { lookupDrafter } from '../../decoding/speculation/drafters/registry.ts';
import { speculative } from '../../decoding/speculation/speculative.ts';
import { EngineScorer } from '../../engine/scoring/engine-scorer.ts';
import type { ScorerDescription } from '../../evaluation/tasks/queued.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import { open } from '../../open/index.ts';
import { writerKinds } from '../../open/opened-model.ts';
import { sha256 } from '../../files/digest.ts';

/** Opens a model for questions. Dispose of it. @throws LinnetError as `open`, and without a tokenizer */
export async function openTaskScorer(
  { model, maxLength, context, sharing, bos, speculate }: ScorerDescription,
  compile: CompileOptions,
) {
  const loaded = await open(model, { ...compile, kind: writerKinds });
  try {
    const { tokenizer } = loaded;
    const engine = await loaded.engine();
    const newMethod = speculate === 'off' ? undefined : () => speculative(lookupDrafter());
    const scorer = new EngineScorer({ engine, tokenizer, maxLength, rollingContext: context, sharing, bos, newMethod });
    /** The model and all that decides its answers. */
    const identity = sha256(JSON.stringify([loaded.fingerprint, scorer.maxLength, scorer.bos, context]));
    return { loaded, scorer, identity, [Symbol.asyncDispose]: () => loaded[Symbol.asyncDispose]() };
  } catch (error) {
    await loaded[Symbol.asyncDispose]();
    throw error;
  }
}
