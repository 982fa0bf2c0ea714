/** Files that never end. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { suiteFolder } from '../scratch-folder.ts';
import { errorOf, linnet } from './captured-cli.ts';

const folder = suiteFolder();
const pipe = join(folder, 'pipe');
const places = [pipe, '/dev/zero'];
const commands = (file: string): string[][] => [
  ['study', 'sweep', '--plan', file, '--out', join(folder, 'sweep')],
  ['pretrain', file, '--data', 'none.txt', '--lr', '1e-3', '--steps', '1', '--out', join(folder, 'model')],
];

describe.skipIf(process.platform === 'win32')('a pipe or device', () => {
  beforeAll(() => {
    spawnSync('mkfifo', [pipe]);
  });

  it.each(places.flatMap(commands).map((words) => [words.slice(0, 2).join(' '), words] as const))(
    'is refused: %s',
    async (_, words) => {
      expect(places.filter((place) => words.includes(place)).map(existsSync)).toEqual([true]);
      const { code, message } = errorOf(await linnet(...words, '--json'));
      expect(message).toMatch(/is not a regular file/);
      expect(code).toBe('PATH');
    },
  );
});
