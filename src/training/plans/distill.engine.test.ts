/** `distill` of models that do not fit together is the one of whole graphs, and goes on to the same bytes after a stop. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { suiteFolder } from '../../../test/scratch-folder.ts';
import { mixerPreset } from '../../attention/presets.ts';
import { loadCausalModel, saveModel } from '../../checkpoint/load-model.ts';
import { tokenizerFileContents } from '../../tokenizer/byte-level.ts';
import { byteTokenizerFiles } from '../../tokenizer/bytes.ts';
import { describeCausalModel } from '../../models/families/index.ts';
import { initializeParameters } from '../../models/initialize.ts';
import { linearize } from '../../models/linearization/linearize.ts';
import { Random } from '../../random.ts';
import { distill, planDistill } from './distill.ts';

const folder = suiteFolder();
const at = (name: string): string => join(folder, name);

beforeAll(async () => {
  const model = describeCausalModel({
    model_type: 'llama',
    vocab_size: 259,
    hidden_size: 160,
    intermediate_size: 640,
    num_hidden_layers: 8,
    num_attention_heads: 4,
    max_position_embeddings: 64,
  });
  const parameters = initializeParameters(model, new Random(1), 0.1);
  const tokenizerFiles = tokenizerFileContents(byteTokenizerFiles());
  await saveModel(at('original'), { model, parameters }, { tokenizerFiles });
  const student = linearize(model, parameters, mixerPreset('window', { group: 4 }), [6, 7]);
  await saveModel(at('student'), student, { tokenizerFiles });
  await writeFile(at('song.txt'), 'The linnet on the wire sings what the wind round the house has sung. '.repeat(40));
});

it.each(['attention', 'logits'] as const)('learns %s layer by layer', async (stage) => {
  const options = {
    stage,
    data: [at('song.txt')],
    length: 16,
    batch: 2,
    microBatch: 1,
    steps: 4,
    learningRate: 1e-2,
    teacherTop: 0,
    snapshotEvery: 2,
    threads: 1,
    seed: 3,
  };
  const run = async (name: string, more: { readonly memory?: string; readonly resume?: boolean }, stopAt?: number) => {
    const stop = new AbortController();
    const onUpdate = ({ update }: { readonly update: number }) => {
      if (update === stopAt) stop.abort();
    };
    const result = await distill(
      at('original'),
      at('student'),
      { ...options, ...more, out: at(`${name} ${stage}`) },
      { signal: stop.signal, onUpdate },
    );
    return result.loss;
  };
  const { stages } = await planDistill(at('original'), at('student'), { ...options, out: at('never') });
  const memory = `${Math.floor(stages[0].memoryBytes / 2 ** 20) - 1}MiB`;
  const planned = await planDistill(at('original'), at('student'), { ...options, memory, out: at('never') });
  expect([stages[0].form, planned.stages[0].form]).toEqual(['whole', 'layers']);
  expect(await run('in layers', { memory })).toBeCloseTo((await run('whole', {})) ?? Number.NaN, 5);
  const [whole, layers] = [
    await loadCausalModel(at(`whole ${stage}`)),
    await loadCausalModel(at(`in layers ${stage}`)),
  ];
  for (const [name, { data }] of whole.parameters) {
    const other = layers.parameters.get(name)?.data ?? new Float32Array(0);
    data.forEach((x, i) => {
      if (Math.abs(x - other[i]) > 1e-4) expect(other[i], name).toBe(x);
    });
  }
  await expect(run('stopped', { memory }, 2)).rejects.toMatchObject({ code: 'ABORTED' });
  await run('stopped', { memory, resume: true });
  const bytesOf = (name: string) => readFile(join(at(`${name} ${stage}`), 'model.safetensors'));
  expect((await bytesOf('stopped')).equals(await bytesOf('in layers'))).toBe(true);
});

it('learns logits by low-rank updates where gradients of matrices do not fit', async () => {
  await writeFile(at('line.txt'), 'The linnet on the wire sings what the wind sang.');
  // The student begins close to its teacher: other rows differ more than what a step learns.
  const options = {
    stage: 'logits' as const,
    data: [at('line.txt')],
    length: 48,
    batch: 1,
    steps: 12,
    learningRate: 3e-4,
    teacherTop: 0,
    threads: 1,
  };
  const planIn = async (memory?: string) => {
    const { stages } = await planDistill(at('original'), at('student'), { ...options, memory, out: at('never') });
    return { ...stages[0], below: `${Math.floor(stages[0].memoryBytes / 2 ** 20) - 1}MiB` };
  };
  const { below: memory } = await planIn((await planIn()).below);
  expect((await planIn(memory)).form).toBe('layers');
  const measured: number[] = [];
  const onUpdate = ({ loss }: { readonly loss: number }) => void measured.push(loss);
  await distill(at('original'), at('student'), { ...options, memory, out: at('by updates') }, { onUpdate });
  expect(measured.at(-1)).toBeLessThan(0.9 * measured[0]);
  const [student, learned] = [await loadCausalModel(at('student')), await loadCausalModel(at('by updates'))];
  expect([...learned.parameters.keys()]).toEqual([...student.parameters.keys()]);
  const isChanged = (name: string) => {
    const [one, other] = [student, learned].map(({ parameters }) => parameters.get(name)?.data ?? []);
    return one.some((x, i) => x !== other[i]);
  };
  const changed = [...student.parameters.keys()].filter(isChanged);
  expect(changed.filter((name) => name.endsWith('q_proj.weight'))).toHaveLength(2);
  expect(changed.every((name) => /layers\.[67]\.self_attn/.test(name))).toBe(true);
});
