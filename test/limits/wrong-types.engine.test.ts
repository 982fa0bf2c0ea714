/**
 * The public functions as JavaScript may call them: any value in place of any argument or option gives a typed error, or an
 * answer, within its time.
 */
import { generate, generateToEnd } from '../decoding/generated.ts';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as library from '../../src/index.ts';
import * as training from '../../src/training/index.ts';
import { LinnetError } from '../../src/errors.ts';
import { refusal } from '../error-code.ts';
import { startClassifier } from '../../src/checkpoint/load-classifier.ts';
import { saveModel } from '../../src/checkpoint/load-model.ts';
import { saveTinyModel } from '../models/tiny-model.ts';
import { suiteFolder } from '../scratch-folder.ts';

const folder = suiteFolder();
const model = join(folder, 'model');
const hostile: readonly unknown[] = [
  // The string that is not empty is a path of the scratch folder: where a function writes a folder, it writes there.
  ...[
    undefined,
    null,
    true,
    0,
    -1,
    0.5,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    2 ** 33,
    10n,
    '',
    join(folder, 'x'),
    '\0',
  ],
  ...[Symbol('x'), () => 1, [], [null], ['a', 1], {}, { length: 1e9 }, new Date(0), new Map(), /x/],
  Object.create(null),
];

let opened: library.LanguageModel;
let classifier: library.Classifier;
let engine: library.StepEngine;
beforeAll(async () => {
  await saveTinyModel(model);
  opened = await library.open(model, { threads: 1 });
  const classes = join(folder, 'classes');
  await saveModel(classes, await startClassifier(model, ['good', 'bad'], 3), { tokenizerFiles: { from: model } });
  classifier = await library.open(classes, { kind: 'classifier', threads: 1 });
  engine = await opened.engine();
});
afterAll(async () => {
  await opened.dispose();
  await classifier.dispose();
});

interface Call {
  readonly name: string;
  readonly self?: () => unknown;
  readonly call: (...values: readonly unknown[]) => unknown;
  /** Arguments that are right; each is replaced in turn, and so is each option of an object. */
  readonly right: () => readonly unknown[];
}

/** Calls without the types: `Reflect.apply` takes any arguments. */
const plain = (name: string, call: unknown, right: () => readonly unknown[], self?: () => unknown): Call => {
  if (typeof call !== 'function') throw new Error(`${name} is not a function`);
  return { name, call: (...values) => Reflect.apply(call, self?.(), values) as unknown, right, self };
};
const method = (name: string, self: () => object, right: () => readonly unknown[]): Call => ({
  name,
  call: (...values) => Reflect.apply(Reflect.get(self(), name) as () => unknown, self(), values) as unknown,
  right,
});
const made = (name: string, type: new (...values: never[]) => unknown, right: () => readonly unknown[]): Call => ({
  name: `new ${name}`,
  call: (...values) => Reflect.construct(type, values) as unknown,
  right,
});

const text = { maxTokens: 2, temperature: 0.5, topK: 5, seed: 1, stop: ['x'], stopIds: [3], ignoreEos: true };
const trainingOptions = { data: ['none.txt'], out: join(folder, 'never'), steps: 1, batch: 1, length: 8 };

const calls: readonly Call[] = [
  plain('open', library.open, () => ['nowhere/at all', { threads: 1, device: 'cpu' }]),
  method(
    'generate',
    () => opened,
    () => ['ab', text],
  ),
  method(
    'chat',
    () => opened,
    () => [[{ role: 'user', content: 'ab' }], text],
  ),
  method(
    'classify',
    () => classifier,
    () => ['ab', 'c'],
  ),
  method(
    'score',
    () => opened,
    () => ['ab', ['c', 'd']],
  ),
  method(
    'linearize',
    () => opened,
    () => ['local', { group: 8, layers: [0] }],
  ),
  method(
    'save',
    () => opened,
    () => [model, { dtype: 'F32', replace: false }],
  ),
  method(
    'continue',
    () => opened.session(),
    () => ['ab', text],
  ),
  method(
    'continueTokens',
    () => opened.session(),
    () => [[1, 2], text],
  ),
  {
    ...method(
      'save',
      () => opened.session(),
      () => [join(folder, 's')],
    ),
    name: 'session.save',
  },
  {
    ...method(
      'load',
      () => opened.session(),
      () => [join(folder, 'none')],
    ),
    name: 'session.load',
  },
  method(
    'encode',
    () => opened.tokenizer,
    () => ['ab', { bos: true }],
  ),
  method(
    'decode',
    () => opened.tokenizer,
    () => [[1, 2]],
  ),
  made('Sampler', library.Sampler, () => [{ temperature: 1, topK: 3, logitBias: { '3': 1 } }, [1, 2, 3, 4]]),
  method(
    'next',
    () => new library.Sampler(),
    () => [new Float32Array(4), [1]],
  ),
  plain('lookupDrafter', library.lookupDrafter, () => [{ maxNodes: 8 }]),
  plain('speculative', library.speculative, () => [library.lookupDrafter(), {}]),
  made('Random', library.Random, () => [1]),
  method(
    'integer',
    () => new library.Random(1),
    () => [5],
  ),
  method(
    'shuffle',
    () => new library.Random(1),
    () => [[1, 2, 3]],
  ),
  plain('Random.fromState', library.Random.fromState, () => [[1, 2, 3, 4]]),
  plain('mixerPreset', library.mixerPreset, () => ['local', { group: 8 }]),
  plain('describeModel', library.describeModel, () => [{ model_type: 'llama' }]),
  plain('loadModel', library.loadModel, () => [join(folder, 'none')]),
  plain('loadCausalModel', library.loadCausalModel, () => [join(folder, 'none')]),
  plain('loadTokenizer', library.loadTokenizer, () => [join(folder, 'none')]),
  plain('exportFolder', library.exportFolder, () => [join(folder, 'none'), join(folder, 'never'), { dtype: 'f32' }]),
  plain('linearize', library.linearize, () => [opened.description, new Map(), library.mixerPreset('local'), [0]]),
  plain('saveModel', library.saveModel, () => [model, { model: opened.description, parameters: new Map() }, {}]),
  plain('hubSource', library.hubSource, () => [{ token: 'x' }]),
  plain('finetune', training.finetune, () => [model, trainingOptions]),
  plain('distill', training.distill, () => [model, model, trainingOptions]),
  plain('pretrain', training.pretrain, () => ['flash-small', trainingOptions]),
  plain('trainHeads', training.trainHeads, () => [model, trainingOptions]),
];

/** What a call answers, generators and texts read to their end. */
async function answerOf(result: unknown): Promise<unknown> {
  const answer = await result;
  if (answer instanceof library.Random || typeof answer !== 'object' || answer === null) return answer;
  if (Symbol.asyncIterator in answer) for await (const _ of answer as AsyncIterable<unknown>);
  return answer;
}

/** The right arguments with one value in place of one of them, or of one of their options. */
function* variants(right: readonly unknown[]): Generator<{ place: string; values: unknown[] }> {
  for (const [index, argument] of right.entries()) {
    for (const value of hostile) {
      yield { place: `argument ${index}`, values: right.map((other, at) => (at === index ? value : other)) };
      const isOptions =
        typeof argument === 'object' &&
        argument !== null &&
        Object.getPrototypeOf(argument) === Object.prototype &&
        !('toJson' in argument);
      const entries = isOptions ? Object.entries(argument) : [];
      for (const [key] of entries) {
        const changed = Object.fromEntries([...entries, [key, value]]);
        const values = right.map((other, at) => (at === index ? changed : other));
        yield { place: `option ${key} of argument ${index}`, values };
      }
    }
  }
}

describe('wrong types', () => {
  it.each(calls)('$name answers or says what is wrong', { timeout: 60_000 }, async ({ call, right }) => {
    const failures = new Set<string>();
    let typed = 0;
    for (const { place, values } of variants(right())) {
      try {
        await answerOf(call(...values));
      } catch (error) {
        const isOfRandom = error instanceof RangeError && error.message.includes('random'); // says so in its documentation
        if (isOfRandom || (error instanceof LinnetError && error.code !== 'INTERNAL')) typed++;
        else failures.add(`${place}: ${String(error)}`);
      }
    }
    expect([...failures]).toEqual([]);
    expect(typed).toBeGreaterThan(0);
  });
});

describe('a state', () => {
  it('serves one text at a time, and another when that has ended', async () => {
    const state = engine.newState();
    const options = { promptTokens: [1, 2, 3], maxTokens: 3, ignoreEos: true, state };
    const first = generate(engine, options);
    await first.next();
    await expect(generateToEnd(engine, options)).rejects.toEqual(refusal('INPUT', 'in use by another text'));
    const rest: library.TextEvent[] = [];
    for await (const event of first) rest.push(event);
    const end = rest.at(-1);
    if (end?.type !== 'end') throw new Error('no end');
    const alone = await generateToEnd(engine, { ...options, state: engine.newState() });
    expect(end.generation.tokens).toEqual(alone.tokens);
    const tokens = [1, 2, 3, ...alone.tokens];
    expect((await generateToEnd(engine, { ...options, promptTokens: tokens })).tokens).toHaveLength(3);
  });

  it('is free again when the loop over its text is left', async () => {
    const state = engine.newState();
    const options = { promptTokens: [1, 2, 3], maxTokens: 8, ignoreEos: true, state };
    for await (const event of generate(engine, options)) if (event.type === 'tokens') break;
    expect(state.isInUse).toBe(false);
  });
});
