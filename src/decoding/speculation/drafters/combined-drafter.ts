/** Several drafters at once: the union of their trees, verified in one step. */
import { LinnetError } from '../../../errors.ts';
import { requireCount } from '../../../files/arguments.ts';
import { mergeDrafts } from './draft-trie.ts';
import type { Draft, DraftContext, Drafter, ReadDraft } from './drafter.ts';

/** How two drafters' trees become one. */
export interface CombinedOptions {
  /** Most nodes in the union, including the root. Default 64. */
  readonly maxNodes?: number;
}

/** Asks each drafter in turn and merges their drafts. */
export class CombinedDrafter implements Drafter {
  readonly name: string;
  readonly #drafters: readonly Drafter[];
  readonly #maxNodes: number;

  /** @throws LinnetError `CONFIG` for no drafters, or a bound that is not a whole number of at least 1 */
  constructor(drafters: readonly Drafter[], { maxNodes = 64 }: CombinedOptions = {}) {
    if (drafters.length === 0) throw new LinnetError('CONFIG', 'a combination needs at least one drafter');
    requireCount(maxNodes, 'maxNodes', 1, 'CONFIG');
    this.name = drafters.map(({ name }) => name).join('+');
    this.#drafters = drafters;
    this.#maxNodes = maxNodes;
  }

  get reads(): number {
    return Math.max(...this.#drafters.map(({ reads = 0 }) => reads));
  }

  read(tokens: readonly number[], before: readonly Float32Array[]): void {
    for (const drafter of this.#drafters) drafter.read?.(tokens, before);
  }

  async propose(context: DraftContext): Promise<Draft> {
    const drafts: Draft[] = [];
    for (const drafter of this.#drafters)
      drafts.push({ source: () => drafter.name, ...(await drafter.propose(context)) });
    return mergeDrafts(drafts, this.#maxNodes);
  }

  async accepted(tokens: readonly number[], read: ReadDraft): Promise<void> {
    for (const drafter of this.#drafters) await drafter.accepted?.(tokens, read);
  }

  ended(): void {
    for (const drafter of this.#drafters) drafter.ended?.();
  }
}
