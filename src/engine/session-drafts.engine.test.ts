/** What drafters have learned comes back with a session: a text that goes on is drafted as if it had not been interrupted. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { errorCode } from '../../test/error-code.ts';
import { randomParameters, randomTokens, tinyLlama } from '../../test/models/tiny-llama.ts';
import { suiteFolder } from '../../test/scratch-folder.ts';
import { mixerPreset } from '../attention/presets.ts';
import { DecodingEngine } from '../decoding/engine.ts';
import { drafterMakers, LearnedTexts, type SavedLearning } from '../decoding/speculation/drafters/registry.ts';
import { speculative, type VerifiedTree } from '../decoding/speculation/speculative.ts';
import type { Snapshot } from '../decoding/state/session-format.ts';
import { restoreSession, saveSession } from '../decoding/state/session-file.ts';
import { generateToEnd } from '../../test/decoding/generated.ts';

const model = tinyLlama([mixerPreset('augmented', { group: 8, kernel: 9 }), { kind: 'softmax' }]);
const fingerprint = 'f'.repeat(64);
const folder = suiteFolder();
let engine: DecodingEngine;
beforeAll(async () => {
  engine = await DecodingEngine.create(model, randomParameters(model, 1), { threads: 1 });
});
afterAll(async () => {
  await engine.dispose();
});

type Name = keyof typeof drafterMakers;

/** A session that goes on, and the trees that were verified. */
async function goOn(name: Name, learned: LearnedTexts, { state, tokens }: Snapshot, maxTokens = 50) {
  const trees: (Omit<VerifiedTree, 'source'> & { readonly sources: readonly string[] })[] = [];
  const onTree = ({ source, ...tree }: VerifiedTree): void => {
    trees.push({ ...tree, sources: Array.from(tree.tokens.keys(), source) });
  };
  const method = speculative(drafterMakers[name](learned), { onTree });
  const promptTokens = Array.from(tokens);
  const written = await generateToEnd(engine, {
    promptTokens,
    state: state.fork(),
    maxTokens,
    ignoreEos: true,
    method,
  });
  return { trees, session: { state: written.state, tokens: [...promptTokens, ...written.tokens] } };
}

/** A session that was written in two turns, with what was learned. */
async function written(name: Name): Promise<{ learned: LearnedTexts; session: Snapshot }> {
  const learned = new LearnedTexts();
  const prompt = { state: engine.newState(), tokens: randomTokens(model, 12, 3) };
  const first = await goOn(name, learned, prompt);
  return { learned, session: (await goOn(name, learned, first.session)).session };
}

async function reopened(session: Snapshot): Promise<Snapshot> {
  const path = join(folder, 'talk.session');
  await saveSession(path, { ...session, fingerprint });
  return restoreSession(path, engine, fingerprint);
}

describe('a session that is opened again', () => {
  it.each(['lookup', 'suffix', 'recycle', 'auto'] as const)('is drafted by %s as without a stop', async (name) => {
    const { learned, session } = await written(name);
    const restored = await reopened({ ...session, learned: learned.saved });
    const again = new LearnedTexts();
    if (restored.learned !== undefined) again.take(restored.learned);
    expect(again.saved).toEqual(learned.saved);
    const unbroken = await goOn(name, learned, session);
    const { trees, session: end } = await goOn(name, again, restored);
    expect(end.tokens).toEqual(unbroken.session.tokens);
    expect(trees).toEqual(unbroken.trees);
    expect(trees.reduce((nodes, { tokens }) => nodes + tokens.length, 0)).toBeGreaterThan(trees.length);
  });

  it('has recycled tokens from its file alone', async () => {
    const { learned, session } = await written('recycle');
    const first = async (so: LearnedTexts): Promise<number> =>
      (await goOn('recycle', so, session, 3)).trees[0].tokens.length;
    expect(await first(new LearnedTexts())).toBe(1);
    expect(await first(learned)).toBeGreaterThan(1);
  });

  it('has the same bytes as ever where nothing was learned', async () => {
    const { learned, session } = await written('lookup');
    expect(learned.saved).toBeUndefined();
    await reopened(session);
    expect((await readFile(join(folder, 'talk.session'))).toString('latin1')).toContain('"version":"1"');
  });
});

describe('what was learned', () => {
  const chances = Float32Array.from({ length: 30 }, (_, at) => (at % 2 === 0 ? 3 : 9));
  const row = (token: number): number[] => [token, 1, 2, 3, 4, 5, 6, 7, -1];
  const saved = (successors: readonly number[]): SavedLearning => ({
    successors: Int32Array.from(successors),
    chances,
  });

  it('gives way to what is newer', () => {
    const learned = new LearnedTexts();
    learned.take(saved([...row(3), ...row(8)]));
    learned.successors.learn(
      8,
      Float32Array.from({ length: 50 }, (_, token) => token),
    );
    const newer = learned.successors.rows(9);
    learned.take(saved([...row(3), ...row(8)]));
    expect(learned.successors.rows(9)).toEqual(newer);
    expect(learned.successors.after(3).guesses.map(({ token }) => token)).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(learned.successors.after(8).guesses[0].token).toBe(49);
    expect(learned.saved?.chances).toEqual(chances);
  });

  it('is of no more tokens than 8192', () => {
    const learned = new LearnedTexts();
    const logits = new Float32Array(9000);
    for (let token = 0; token < 9000; token++) learned.successors.learn(token, logits);
    expect(learned.saved?.successors).toHaveLength(9 * 8192);
  });

  it('is refused where it cannot be', async () => {
    const { session } = await written('lookup');
    const refusals = [
      [...row(3), ...row(3)],
      [...row(8), ...row(3)],
      row(-1),
      row(50),
      [3, 50, 2, 3, 4, 5, 6, 7, 8],
      [3, -2, 2, 3, 4, 5, 6, 7, 8],
    ].map((successors) => saved(successors));
    for (const [at, value] of [
      [0, -1],
      [0, 10],
      [1, 0],
      [5, Number.NaN],
      [5, Infinity],
    ]) {
      refusals.push({ ...saved(row(3)), chances: chances.with(at, value) });
    }
    expect((await reopened({ ...session, learned: saved(row(3)) })).learned).toEqual(saved(row(3)));
    for (const learned of refusals) expect(await errorCode(() => reopened({ ...session, learned }))).toBe('FORMAT');
  });
});
