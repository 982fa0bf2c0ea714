/** generation_config.json: sampling where a request is silent, ends of texts, and refused fields. */
import { readFileSync, readdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { present, thirdParty } from '../../test/fixtures.ts';
import { saveTinyModel, tinyConfig } from '../../test/models/tiny-model.ts';
import { scratchFolder } from '../../test/scratch-folder.ts';
import { describeModel } from '../models/families/index.ts';
import { generationConfigOf, parseGenerationConfig, withEnds } from './generation-config.ts';
import { loadModel, saveModel } from './load-model.ts';

const sampling = (json: Readonly<Record<string, unknown>>) => parseGenerationConfig(json, 'it').sampling;

describe('sampling', () => {
  it.each<[object, object]>([
    [{}, {}],
    [{ do_sample: false }, { temperature: 0 }],
    [
      { do_sample: false, temperature: 0.7, top_p: 0.9 },
      { temperature: 0, topP: 0.9 },
    ],
    [{ do_sample: true }, { temperature: 1 }],
    [
      { do_sample: true, top_k: 64, top_p: 0.95 },
      { temperature: 1, topK: 64, topP: 0.95 },
    ],
    [
      { temperature: 0.3, min_p: 0.15 },
      { temperature: 0.3, minP: 0.15 },
    ],
    [
      { top_k: 20, temperature: null },
      { temperature: 1, topK: 20 },
    ],
    [{ temperature: 0 }, {}],
    [{ repetition_penalty: 1.05, max_length: 2048, cache_implementation: 'hybrid' }, { repetitionPenalty: 1.05 }],
  ])('of %j is %j', (json, expected) => {
    expect(sampling({ ...json })).toEqual(expected);
  });

  it.each<[object, string]>([
    [{ temperature: 'warm' }, 'temperature'],
    [{ temperature: -1 }, 'temperature'],
    [{ top_p: 0 }, 'top_p'],
    [{ top_k: 0.5 }, 'top_k'],
    [{ repetition_penalty: 0 }, 'repetition_penalty'],
    [{ eos_token_id: [1, -1] }, 'eos_token_id'],
    [{ eos_token_id: Array.from({ length: 1001 }, () => 1) }, 'eos_token_id'],
  ])('is refused with %j', (json, field) => {
    const act = (): unknown => sampling({ ...json });
    expect(act).toThrow(expect.objectContaining({ code: 'CONFIG' }));
    expect(act).toThrow(new RegExp(`fix or remove the file[\\s\\S]*${field}`));
  });

  it('is read from bytes that are JSON', () => {
    expect(generationConfigOf(undefined, 'it')).toEqual({ sampling: {}, eosIds: [] });
    expect(() => generationConfigOf(Buffer.from('{'), 'it')).toThrow(expect.objectContaining({ code: 'FORMAT' }));
  });
});

describe('ends of texts', () => {
  it.each([
    [{ eos_token_id: 2 }, [2, 5], [2, 5]],
    [{ eos_token_id: [5, 2] }, [2], [5, 2]],
    [{}, [7], [7]],
    [{ text_config: { eos_token_id: 3 } }, [4, 3], [3, 4]],
  ])('%j and %j are %j', (config, eosIds, expected) => {
    expect(withEnds(config, { sampling: {}, eosIds }).eos_token_id).toEqual(expected);
  });

  it('are left alone where the file has no others', () => {
    const config = { text_config: { eos_token_id: 3 } };
    expect(withEnds(config, { sampling: {}, eosIds: [3] })).toBe(config);
  });

  it.each(['llama', 'qwen3_5'])(
    'of a %s are those of both files, also of a model that is saved again',
    async (family) => {
      const folder = await scratchFolder();
      const [from, to] = [join(folder, 'from'), join(folder, 'to')];
      await saveTinyModel(from, 1, family);
      await writeFile(
        join(from, 'generation_config.json'),
        JSON.stringify({ eos_token_id: [257, 9], do_sample: true }),
      );
      const loaded = await loadModel(from);
      const own = describeModel(tinyConfig(family)).eosIds;
      expect(loaded.model.eosIds).toEqual([...own, ...[257, 9].filter((id) => !own.includes(id))]);
      await saveModel(to, loaded, { tokenizerFiles: { from } });
      expect((await loadModel(to)).model.eosIds).toEqual(loaded.model.eosIds);
      expect(JSON.parse(readFileSync(join(to, 'generation_config.json'), 'utf8'))).toMatchObject({ do_sample: true });
    },
  );
});

const published = thirdParty('published');
const files =
  published === undefined
    ? []
    : readdirSync(published, { recursive: true, encoding: 'utf8' }).filter((path) =>
        path.endsWith('/generation_config.json'),
      );

describe.skipIf(published === undefined)('published files (../shared/fixtures/published)', () => {
  it('are read', () => {
    const read = files.map((path) => generationConfigOf(readFileSync(join(present(published), path)), path));
    expect(files.length).toBeGreaterThan(10);
    expect(read.every(({ eosIds }) => eosIds.length > 0)).toBe(true);
  });

  it.each([
    ['qwen3_5/Qwen3.8-27B', { temperature: 1, topK: 20, topP: 0.95 }, [248046, 248044]],
    ['gemma3/gemma-3-1b-it', { temperature: 1, topK: 64, topP: 0.95 }, [1, 106]],
    [
      'qwen2/Qwen2.5-0.5B-Instruct-Gensyn-Swarm',
      { temperature: 0.7, topK: 20, topP: 0.8, repetitionPenalty: 1.1 },
      [151645, 151643],
    ],
    ['smollm3/SmolLM3-3B', { temperature: 0.6, topP: 0.95 }, [128012]],
    ['lfm2/LFM2-1.2B', {}, [7]],
  ])('%s', (path, expected, eosIds) => {
    const file = join(present(published), path, 'generation_config.json');
    expect(generationConfigOf(readFileSync(file), path)).toEqual({ sampling: expected, eosIds });
  });
});
