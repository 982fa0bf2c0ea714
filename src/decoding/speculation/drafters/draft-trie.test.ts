import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TokenTree } from '../../../attention/tree.ts';
import { DraftTrie, mergeDrafts, pruneDraft, rootDraft } from './draft-trie.ts';
import type { Draft } from './drafter.ts';

/** Random drafts over four tokens, of root 0; siblings differ. */
const drafts = fc
  .array(fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 1, maxLength: 6 }), { maxLength: 8 })
  .map((paths) => {
    const trie = new DraftTrie(0);
    for (const path of paths) path.reduce((node, token) => trie.add(node, token), 0);
    return trie.toDraft();
  });

function pathSet({ tree, tokens }: Draft): Set<string> {
  return new Set(
    Array.from(tokens, (_, node) =>
      tree
        .pathTo(node)
        .map((each) => tokens[each])
        .join(','),
    ),
  );
}

describe('merging drafts', () => {
  it('gives the union of their paths, each once', () => {
    fc.assert(
      fc.property(fc.array(drafts, { minLength: 1, maxLength: 3 }), (parts) => {
        const merged = mergeDrafts(parts, 1000);
        const union = new Set(parts.flatMap((part) => [...pathSet(part)]));
        expect(pathSet(merged)).toEqual(union);
        expect(merged.tree.size).toBe(union.size);
      }),
      { seed: 1 },
    );
  });

  it('keeps the first nodes of each under a bound', () => {
    const chainOf = (...tokens: number[]): Draft => ({
      tree: new TokenTree(tokens.map((_, i) => i - 1)),
      tokens: Int32Array.from(tokens),
    });
    const merged = mergeDrafts([chainOf(0, 1, 2, 3, 4), chainOf(0, 5, 6, 7)], 5);
    expect(pathSet(merged)).toEqual(new Set(['0', '0,1', '0,5', '0,1,2', '0,5,6']));
    fc.assert(
      fc.property(fc.array(drafts, { minLength: 1, maxLength: 3 }), fc.integer({ min: 1, max: 20 }), (parts, bound) => {
        const all = pathSet(mergeDrafts(parts, 1000));
        const bounded = mergeDrafts(parts, bound);
        expect(bounded.tree.size).toBe(Math.min(bound, all.size));
        for (const path of pathSet(bounded)) expect(all.has(path)).toBe(true);
      }),
      { seed: 2 },
    );
  });

  it('refuses drafts of different roots', () => {
    expect(() => mergeDrafts([rootDraft(1), rootDraft(2)], 9)).toThrow(expect.objectContaining({ code: 'INPUT' }));
    expect(() => mergeDrafts([], 9)).toThrow(expect.objectContaining({ code: 'INPUT' }));
  });
});

describe('pruning drafts', () => {
  it('keeps exactly the paths that are short enough and hold no end', () => {
    fc.assert(
      fc.property(drafts, fc.integer({ min: 0, max: 6 }), fc.integer({ min: 0, max: 3 }), (draft, maxDepth, end) => {
        const source = (node: number): string => String(draft.tokens[node]);
        const pruned = pruneDraft({ ...draft, source }, maxDepth, new Set([end]));
        const wanted = [...pathSet(draft)].filter((path) => {
          const [, ...tokens] = path.split(',').map(Number);
          return tokens.length <= maxDepth && !tokens.includes(end);
        });
        expect(pathSet(pruned)).toEqual(new Set(wanted));
        pruned.tokens.forEach((token, node) => {
          expect(pruned.source?.(node)).toBe(String(token));
        });
      }),
      { seed: 3 },
    );
  });

  it('keeps the first nodes that make no more paths than a bound', () => {
    const draft = { tree: new TokenTree([-1, 0, 0, 0, 1, 1, 2, 4]), tokens: Int32Array.of(0, 1, 2, 3, 4, 5, 6, 7) };
    const within = (maxPaths: number): Set<string> => pathSet(pruneDraft(draft, 9, new Set(), 99, maxPaths));
    expect(within(1)).toEqual(new Set(['0', '0,1', '0,1,4', '0,1,4,7']));
    expect(within(2)).toEqual(new Set(['0', '0,1', '0,2', '0,1,4', '0,2,6', '0,1,4,7']));
    expect(pruneDraft(draft, 9, new Set(), 99, 4)).toBe(draft);
    fc.assert(
      fc.property(drafts, fc.integer({ min: 1, max: 6 }), (any, maxPaths) => {
        const { tree } = pruneDraft(any, 9, new Set(), 99, maxPaths);
        expect(tree.leaves()).toHaveLength(Math.min(maxPaths, any.tree.leaves().length));
      }),
      { seed: 4 },
    );
  });

  it('gives a draft back as it is where nothing is cut off', () => {
    const draft = { tree: new TokenTree([-1, 0, 1]), tokens: Int32Array.of(3, 4, 5) };
    expect(pruneDraft(draft, 2, new Set([3]))).toBe(draft); // the root is text already
  });
});
