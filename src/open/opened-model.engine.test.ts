/** Disposal of opened models: nothing of the engine stays, whatever was asked for before, and however it went. */
import { join } from 'node:path';
import { beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { suiteFolder } from '../../test/scratch-folder.ts';
import { saveTinyModel, tinyConfig } from '../../test/models/tiny-model.ts';
import { StepEngine } from '../decoding/step-engine.ts';
import { exportFolder } from '../export/export-model.ts';
import { describeModel } from '../models/families/index.ts';
import { initializeParameters } from '../models/initialize.ts';
import { readerOf } from '../quantization/weight-reader.ts';
import { Random } from '../random.ts';
import { open } from './index.ts';
import { TextReader } from './text-reader.ts';

const place = suiteFolder();
const at = (name: string): string => join(place, name);

describe('an exported model', () => {
  beforeAll(async () => {
    await saveTinyModel(at('llama'));
    await exportFolder(at('llama'), at('exported'), { dtype: 'f32' });
  });

  it.each([true, false])('frees its engine (asked for: %s)', async (asked) => {
    const disposed = vi.spyOn(StepEngine.prototype, 'dispose');
    onTestFinished(() => disposed.mockRestore());
    const model = await open(at('exported'), { threads: 1 });
    if (asked) await model.engine();
    await model.dispose();
    expect(disposed).toHaveBeenCalledTimes(1);
    await expect(model.engine()).rejects.toMatchObject({ code: 'RUNTIME' });
  });
});

describe('a reader of texts', () => {
  const text = { tokens: Int32Array.of(1, 2, 3), pairStart: 3 };

  function newReader(compile: { threads: number }): TextReader {
    const model = describeModel(tinyConfig('bert'));
    if (model.kind !== 'encoder') throw new Error('BERT is an encoder');
    return new TextReader(model, {
      tokenizer: undefined,
      compile,
      weights: readerOf(initializeParameters(model, new Random(1))),
    });
  }

  it('compiles again what it could not compile', async () => {
    const compile = { threads: 0 };
    await using reader = newReader(compile);
    await expect(reader.embedding(text)).rejects.toMatchObject({ code: 'CONFIG' });
    compile.threads = 1;
    expect(await reader.embedding(text)).toHaveLength(16);
  });

  it('is disposed of while a compilation fails, and refuses texts then', async () => {
    const reader = newReader({ threads: 0 });
    const failing = expect(reader.embedding(text)).rejects.toMatchObject({ code: 'CONFIG' });
    await expect(reader[Symbol.asyncDispose]()).resolves.toBeUndefined();
    await failing;
    await expect(reader.embedding(text)).rejects.toMatchObject({ code: 'RUNTIME' });
  });
});
