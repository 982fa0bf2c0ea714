/** What is done with a hybrid: sessions of processes, forks, linearizing, distillation, low-rank training, exports. */
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { loadCausalModel } from '../../src/checkpoint/load-model.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import { jsonOf, runJson } from '../cli/captured-cli.ts';
import { startCli } from '../cli/cli-process.ts';
import { writeBook } from '../cli/text-data.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { saveTinyModel } from './tiny-model.ts';

/** A hybrid: the kind of its first layer, and matrices of both layers that low-rank training changes. */
export interface Hybrid {
  readonly family: string;
  readonly ownKind: string;
  readonly trained: readonly string[];
}

export function testHybridUses({ family, ownKind, trained }: Hybrid): void {
  const folder = suiteFolder();
  const at = (name: string): string => join(folder, name);

  beforeAll(async () => {
    await saveTinyModel(at('base'), 1, family);
    await writeBook(at('book.txt'));
    await runJson('export', at('base'), '--dtype', 'int4', '--out', at('int4'));
  }, 60_000);

  /** `linnet generate` in a process of its own. */
  async function written(model: string, ...words: string[]): Promise<Record<string, unknown>> {
    const { run } = await startCli(['generate', at(model), '--ignore-eos', ...words, '--json']).ended;
    return jsonOf(run);
  }

  it.each(['base', 'int4'])('a session goes on in another process as if unbroken: %s', async (model) => {
    const session = ['--session', at(`${model}.session`)];
    const whole = await written(model, '--prompt', 'It was', '--max-tokens', '24');
    const first = await written(model, '--prompt', 'It was', '--max-tokens', '11', ...session);
    const second = await written(model, '--max-tokens', '13', ...session);
    expect([first.tokens, second.tokens].flat()).toEqual(whole.tokens);
  });

  it('a fork goes on from any length with the bits of the text that it left', async () => {
    const { model, parameters } = await loadCausalModel(at('base'));
    await using engine = await DecodingEngine.create(model, parameters);
    const state = engine.newState();
    for (let token = 3; token < 20; token++) {
      const fork = state.fork();
      const [own, other] = [await engine.advance(state, token), await engine.advance(fork, token)];
      expect(other.logits).toEqual(own.logits);
      expect(fork.layers).toEqual(state.layers);
    }
  });

  it('its attention is linearized, transferred from the original, and trained in low rank', async () => {
    await runJson('linearize', at('base'), '--mixer', 'hedgehog', '--out', at('student'));
    const settings = ['--data', at('book.txt'), '--steps', '12', '--lr', '2e-2', '--batch', '2', '--length', '20'];
    const distilled = await runJson('distill', at('base'), at('student'), ...settings, '--out', at('distilled'));
    expect(distilled.layers).toEqual([1]);
    const { model } = await loadCausalModel(at('distilled'));
    expect(model.mixers.map(({ kind }) => kind)).toEqual([ownKind, 'features']);
    const low = ['--lora', 'r=2,alpha=4', ...settings, '--out', at('low')];
    await runJson('finetune', at('distilled'), ...low);
    const { parameters } = await loadCausalModel(at('low'));
    const before = (await loadCausalModel(at('distilled'))).parameters;
    const changed = [...parameters.keys()].filter(
      (name) => String(parameters.get(name)?.data) !== String(before.get(name)?.data),
    );
    for (const name of trained) expect(changed).toContain(`${name}.weight`);
  });

  it('is inspected with the layers that are constant', async () => {
    const layers = [
      { kind: ownKind, constant: true },
      { kind: 'softmax', constant: false },
    ];
    expect(await runJson('inspect', at('int4'))).toMatchObject({ family, layers });
  });
}
