/** A fixed tree in the description of Medusa heads, as a person or an earlier version put it there. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MEDUSA_FILE } from '../../src/checkpoint/medusa-files.ts';
import type { MedusaTree } from '../../src/checkpoint/medusa-trees.ts';
import { parseJsonObject } from '../../src/files/json-object.ts';

export async function storeMedusaTree(folder: string, tree: MedusaTree): Promise<void> {
  const file = join(folder, MEDUSA_FILE);
  await writeFile(file, JSON.stringify({ ...parseJsonObject(await readFile(file), file), tree }));
}
