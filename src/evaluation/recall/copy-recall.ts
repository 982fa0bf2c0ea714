/**
 * Recall by distance: a passage appears once, other text follows, then the passage begins again. A model that remembers it
 * predicts how it continues. Memory's gain is the second time minus a first time with other text in the passage's place;
 * accuracy and −log p cover the tokens after the cue.
 */
import type { AnyParameter } from '../../checkpoint/stored-parameter.ts';
import { LinnetError, type Stoppable } from '../../errors.ts';
import type { CausalModel } from '../../models/model.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import { tokenLosses } from '../perplexity/losses.ts';
import type { ScoredWindow } from '../perplexity/scored-windows.ts';
import { average, groupedBy } from '../../report/statistics.ts';

/** One text in which a passage appears twice, scored after the cue. */
export interface RecallProbe extends ScoredWindow {
  /** Tokens between the end of the passage and its second beginning. */
  readonly distance: number;
}

interface ProbeOptions {
  readonly distances: readonly number[];
  /** Tokens per passage, cue included. Default 16. */
  readonly passage?: number;
  /** The passage's tokens given the second time. Default 4. */
  readonly cue?: number;
  /** Probes per distance. Default 16. */
  readonly count?: number;
}

/**
 * Probes from a stretch of text, deterministic.
 * @param first tokens at the start of every probe, such as BOS; none by default
 * @throws LinnetError `INPUT` for text too short for one probe
 */
export function recallProbes(
  text: Int32Array,
  { distances, passage = 16, cue = 4, count = 16 }: ProbeOptions,
  first: readonly number[] = [],
): RecallProbe[] {
  return distances.flatMap((distance) => {
    const needed = passage + distance;
    if (text.length < needed) {
      throw new LinnetError(
        'INPUT',
        `a probe of distance ${distance} needs ${needed} tokens, the text has ${text.length}`,
      );
    }
    const stride = Math.floor((text.length - needed) / count);
    return Array.from({ length: count }, (_, index) => {
      const part = text.subarray(index * stride, index * stride + needed);
      const tokens = Int32Array.from([...first, ...part, ...part.subarray(0, passage)]);
      return { distance, tokens, scoredFrom: first.length + needed + cue };
    });
  });
}

/**
 * Mean −log p in nats of the repeated passage's tokens after the cue, by distance.
 * @throws LinnetError like `tokenLosses`
 */
export async function copyRecall(
  model: CausalModel,
  parameters: ReadonlyMap<string, AnyParameter>,
  probes: readonly RecallProbe[],
  options: CompileOptions & Stoppable = {},
) {
  const losses = await tokenLosses(model, parameters, probes, options);
  const scored = probes.map(({ distance, scoredFrom }, i) => ({
    distance,
    losses: losses[i].subarray(scoredFrom - 1),
  }));
  return groupedBy(scored, ({ distance }) => distance).map((group) => ({
    distance: group[0].distance,
    nll: average(group.flatMap((probe) => [...probe.losses])),
    probes: group.length,
  }));
}
