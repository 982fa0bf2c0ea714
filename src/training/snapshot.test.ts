/** Snapshots on disk: a damaged one is noticed wherever it is damaged. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { scratchFolder } from '../../test/scratch-folder.ts';
import { float32 } from '../graph/tensor.ts';
import { Random } from '../random.ts';
import { parameterBlocks } from './parameter-blocks.ts';
import { readSnapshot, writeSnapshot } from './snapshot.ts';

const blocks = parameterBlocks(new Map([['weight', { shape: [2, 3] }]]));
const values = (first: number) => new Map([['weight', float32([2, 3], [first, 1, 2, 3, 4, 5])]]);
const state = { parameters: values(0.5), first: values(-1), second: values(2) };
const position = {
  update: 3,
  cursor: { epoch: 1, index: 2, seed: 7 },
  tokens: 96,
  losses: [4.5, 1 / 3, 2],
  evaluations: [{ update: 2, loss: 0.25 }],
};

describe('a snapshot', () => {
  it('comes back as it was written', async () => {
    const folder = await scratchFolder();
    expect(await readSnapshot(folder, blocks, 'run')).toBeUndefined();
    await writeSnapshot(folder, position, state, 'run');
    expect(await readSnapshot(folder, blocks, 'run')).toEqual({ position, state });
    await expect(readSnapshot(folder, blocks, 'another run')).rejects.toMatchObject({ code: 'MISMATCH' });
  });

  it('with one bit changed anywhere is passed over for the one before it', async () => {
    const folder = await scratchFolder();
    await writeSnapshot(folder, position, state, 'run');
    const later = { ...position, update: 4, losses: [...position.losses, 1] };
    await writeSnapshot(folder, later, { ...state, parameters: values(9) }, 'run');
    const file = join(folder, 'update-000000004.safetensors');
    const whole = await readFile(file);
    const random = new Random(5);
    for (let trial = 0; trial < 400; trial++) {
      const changed = Buffer.from(whole);
      const at = random.integer(changed.length);
      changed[at] ^= 1 << random.integer(8);
      await writeFile(file, changed);
      const read = await readSnapshot(folder, blocks, 'run');
      // White space that pads the header, or stands for itself, is no content; anything else is noticed.
      if (read?.position.update === 4)
        expect(read, `byte ${at}`).toEqual({ position: later, state: { ...state, parameters: values(9) } });
      else expect(read, `byte ${at}`).toEqual({ position, state });
    }
  });

  it('alone and damaged ends the run', async () => {
    const folder = await scratchFolder();
    await writeSnapshot(folder, position, state, 'run');
    const file = join(folder, 'update-000000003.safetensors');
    const bytes = await readFile(file);
    bytes[bytes.length - 2] ^= 64;
    await writeFile(file, bytes);
    await expect(readSnapshot(folder, blocks, 'run')).rejects.toMatchObject({ code: 'FORMAT' });
  });
});
