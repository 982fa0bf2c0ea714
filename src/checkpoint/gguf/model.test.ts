/** Counts of hostile files are checked before memory is taken for them. */
import { expect, it } from 'vitest';
import { blockType } from './block-types.ts';
import { modelOf } from './model.ts';

it('refuses more factors of angles than any head has pairs', async () => {
  const type = blockType(0);
  if (type === undefined) throw new Error('F32 is a block type');
  const source = { name: 'hostile.gguf', size: 2 ** 40, read: () => Promise.reject(new Error('was read')) };
  const listed = { name: 'rope_freqs.weight', type, shape: [2 ** 37], source, offset: 0, byteLength: 2 ** 39 };
  const header = { metadata: new Map(), tensors: new Map([[listed.name, listed]]), found: [] };
  await expect(modelOf(header, [], source.name)).rejects.toThrow(expect.objectContaining({ code: 'TENSOR' }));
});
