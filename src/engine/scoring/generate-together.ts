/** Several texts generated in the same steps of an engine. */
import { eventLoopTurn } from '../../decoding/event-loop.ts';
import { decodeRound } from '../round.ts';
import type { StepEngine } from '../../decoding/step-engine.ts';
import { type Generation, TextGeneration, type TextGenerationOptions } from '../text-generation.ts';
import { LinnetError } from '../../errors.ts';

/**
 * Reads all prompts, then lets the texts that have not ended take their rounds together, so that the weights are read once a
 * round and not once a text.
 * @param onEnd called when a text has ended, with how many have
 * @returns in the order of the texts
 * @throws LinnetError `ABORTED` when the signal fires between two rounds, and as `generate`
 */
export async function generateTogether(
  engine: StepEngine,
  requests: readonly TextGenerationOptions[],
  { signal, onEnd }: { readonly signal?: AbortSignal; readonly onEnd?: (ended: number) => void } = {},
): Promise<Generation[]> {
  const pause = async (): Promise<void> => {
    await eventLoopTurn();
    if (signal?.aborted === true) throw new LinnetError('ABORTED', 'stopped while generating an answer');
  };
  const texts = requests.map((request) => new TextGeneration(engine, request));
  for (const text of texts) {
    while (!text.promptRead && text.finish === undefined) {
      await pause();
      await text.readPrompt();
    }
  }
  let active = texts.filter((text) => text.finish === undefined);
  while (active.length > 0) {
    await pause();
    for (const round of await decodeRound(engine, active)) if (round.status === 'rejected') throw round.reason;
    const going = active.filter((text) => text.finish === undefined);
    if (going.length < active.length) onEnd?.(texts.length - going.length);
    active = going;
  }
  for (const text of texts) await text.settle();
  return texts.map((text) => text.result());
}
