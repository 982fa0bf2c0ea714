/** How texts of a server are decoded: by the server's default, unless a request says otherwise. */
import { type DecodingMethod, sequential } from '../../decoding/method.ts';
import type { Pacing } from '../../decoding/speculation/adaptive-speculation.ts';
import { LookupDrafter } from '../../decoding/speculation/drafters/lookup-drafter.ts';
import { speculative, type VerifiedTree } from '../../decoding/speculation/speculative.ts';

/** Drafters that a request may ask for. The text is the same with each of them. */
export const drafters = ['off', 'lookup'] as const;
export type DrafterName = (typeof drafters)[number];

/** The method that a text asks for. */
export interface MethodRequest {
  /** Default: the server's. */
  readonly drafter?: DrafterName;
  /** Is shown every verified tree. */
  readonly onTree?: (verified: VerifiedTree) => void;
  /** Gives a text that drafts its pace. Default: every round is drafted. */
  readonly pacing?: () => Pacing;
}

/** Makes the method of one text. */
export type MethodMaker = (request: MethodRequest) => DecodingMethod;

const makers: Readonly<Record<DrafterName, MethodMaker>> = {
  off: () => sequential,
  lookup: ({ onTree, pacing }) => speculative(new LookupDrafter(), { onTree, adaptive: pacing?.() }),
};

/**
 * Makes methods by the names of drafters.
 * @param usual drafter of requests that name none
 */
export function methodsByName(usual: DrafterName): MethodMaker {
  return (request) => makers[request.drafter ?? usual](request);
}
