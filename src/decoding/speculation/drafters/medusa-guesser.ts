/** Guesses of Medusa heads for trees that grow: every rank of every head is as likely as it has come true so far. */
import { Chance, type DraftPlace, growingDrafter, type Guesser } from './growing-drafter.ts';
import type { Drafter } from './drafter.ts';
import type { HeadPredictions } from './medusa-drafter.ts';

/** Guesses of a head that may become nodes. */
const ranks = 10;
/** Most nodes of a tree. */
const maxNodes = 64;

/** How often the ranks of heads came true: [heads][ranks]. Trained heads are right about half the time at first, less from head to head. */
export function headChances(heads: number): Chance[][] {
  return Array.from({ length: heads }, (_, head) =>
    Array.from({ length: ranks }, (_unused, rank) => new Chance((0.85 ** head * 0.5) / 3 ** Math.min(rank, 3))),
  );
}

function medusaGuesser(heads: HeadPredictions, chances: readonly (readonly Chance[])[]): Guesser {
  return {
    async begin({ hidden }) {
      const guesses = (await heads.topK(hidden, ranks)).map((tokens, head) =>
        Array.from(tokens, (token, rank) => ({ token, share: 1, chance: chances[head][rank], source: 'medusa' })),
      );
      const place = (depth: number): DraftPlace => ({ guesses: guesses[depth] ?? [], after: () => place(depth + 1) });
      return place(0);
    },
  };
}

/** A drafter of one text. @param chances of the heads, which several texts may share */
export function growingMedusa(heads: HeadPredictions, chances = headChances(heads.count)): Drafter {
  return growingDrafter('medusa', [medusaGuesser(heads, chances)], maxNodes);
}
