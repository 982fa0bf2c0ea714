/**
 * Checks whether a token has the same bits however it is read: alone, in a chain, in a tree among others, in a batch of
 * texts, and in a prompt of any chunks. Runs an engine on random tokens, and also compares the states.
 */
import { range } from 'd3-array';
import { chain, TokenTree } from '../../attention/tree.ts';
import type { StepEngine, StepOutput } from '../../decoding/step-engine.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import { requireCount } from '../../files/arguments.ts';
import type { Model } from '../../models/model.ts';
import { Random } from '../../random.ts';

/** By way of reading: whether all logits and states had the bits of one token per step. */
export type SameBits = Awaited<ReturnType<typeof bitsByReading>>;

/** Default length of the text in tokens. */
const usualLength = 160;
/**
 * Texts whose logits are in memory at once: single tokens', trees' and chunks', and those waiting to be collected (0.3B,
 * 0.5B).
 */
const textsHeld = 12;

/** Bytes of logits during the comparison. */
export function comparedBytes({ kind, sizes }: Pick<Model, 'kind' | 'sizes'>): number {
  return kind === 'encoder' ? 0 : 4 * textsHeld * usualLength * sizes.vocabulary;
}

interface SameBitsOptions {
  /** Length of the text in tokens; at most the model's positions. Default 160. */
  readonly length?: number;
  /** Default 1. */
  readonly seed?: number;
}

/** `source`: an encoder-decoder model's text, shorter than another in the batch. */
const sizes = { chain: 5, tree: 16, batch: 16, chunks: [7, 64, 128, 512], source: 5 } as const;
/** States are kept at every third token. */
const every = 3;

/** @throws LinnetError `INPUT` for a length below 2 */
export async function bitsByReading(engine: StepEngine, { length = usualLength, seed = 1 }: SameBitsOptions = {}) {
  requireCount(length, 'the length', 2);
  const random = new Random(seed);
  const { vocabulary } = engine.model.sizes;
  const count = Math.min(length, engine.model.positions.limit);
  const draw = (length: number): number[] => Array.from({ length }, () => random.integer(vocabulary));
  const tokens = draw(count);
  const kept = new Map<number, SequenceState>();
  const encoded = engine.model.cross && (await engine.encode(draw(sizes.source)));
  const others = engine.model.cross === undefined ? [] : [engine.newState(await engine.encode(draw(6 * sizes.source)))];
  const state = engine.newState(encoded);
  const logits: Float32Array[] = [];
  for (const [at, token] of tokens.entries()) {
    if (at % every === 1) kept.set(at, state.fork());
    logits.push((await engine.advance(state, token)).logits);
  }
  const isRead = (output: StepOutput, from: number): boolean =>
    output.logits.every((row, i) => isEqual(row, logits[from + i]));
  // `alone`: one token per step again, alongside other work.
  const result = { alone: true, chain: true, tree: true, batch: true, chunks: true };
  for (const [at, beginning] of kept) {
    const room = Math.min(engine.room(beginning), count - at);
    const size = Math.min(sizes.chain, room);
    const nodes = range(size);
    const inChain = { state: beginning, tree: chain(size), tokens: tokens.slice(at, at + size), wanted: nodes };
    const inTree = treeAround(tokens.slice(at, at + room), random, vocabulary);
    const [[ofChain], [ofTree], [ofOne]] = [
      await engine.step([inChain]),
      await engine.step([{ state: beginning, ...inTree }]),
      await engine.step([{ state: beginning, tree: chain(1), tokens: [tokens[at]], wanted: [0] }]),
    ];
    result.chain &&= isRead(ofChain, at);
    result.tree &&= isRead(ofTree, at);
    result.alone &&= isRead(ofOne, at);
  }
  const places = [...kept];
  for (let first = 0; first < places.length; first += sizes.batch) {
    const together = places.slice(first, first + sizes.batch);
    const outputs = await engine.step([
      ...together.map(([at, each]) => ({ state: each, tree: chain(1), tokens: [tokens[at]], wanted: [0] })),
      ...others.map((other) => ({ state: other, tree: chain(1), tokens: [0], wanted: [] })),
    ]);
    result.batch &&= together.every(([at], i) => isRead(outputs[i], at));
  }
  for (const chunk of sizes.chunks) {
    const read = engine.newState(encoded);
    for await (const { output, start } of engine.read(read, tokens, { chunk, weights: 'step' }, true)) {
      result.chunks &&= isRead(output, start);
    }
    result.chunks &&= isSameState(read, state);
  }
  return result;
}

/** A tree of the text's next tokens among random ones. */
function treeAround(path: readonly number[], random: Random, vocabulary: number) {
  const parents = [-1];
  const depths = [0];
  const tokens = [path[0]];
  const wanted = [0];
  while (parents.length < sizes.tree) {
    const depth = wanted.length;
    const continues = random.integer(2) === 0 && depth < path.length;
    const parent = continues ? wanted[depth - 1] : random.integer(parents.length);
    if (depths[parent] + 1 >= path.length) {
      if (path.length === 1) break;
      continue;
    }
    if (continues) wanted.push(parents.length);
    parents.push(parent);
    depths.push(depths[parent] + 1);
    tokens.push(continues ? path[depth] : random.integer(vocabulary));
  }
  return { tree: new TokenTree(parents), tokens, wanted };
}

/** Whether two states of an engine have the same bits. */
export function isSameState(a: SequenceState, b: SequenceState): boolean {
  const numbers = ({ layers, layerSums, groupRows }: SequenceState): Float32Array[] => [
    ...layers.flatMap(({ keys, values, previous }) => [keys, values, previous]),
    ...layerSums.filter((sums) => sums !== undefined),
    ...groupRows.flatMap((rows) => (rows === undefined ? [] : [rows.keys, rows.values])),
  ];
  const others = numbers(b);
  return numbers(a).every((row, i) => isEqual(row, others[i]));
}

function isEqual(a: Float32Array, b: Float32Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (!Object.is(a[i], b[i])) return false;
  return true;
}
