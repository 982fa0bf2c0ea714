/** `linnet clean`: lists the partial output of killed commands, and removes it on request. */
import { findTemporaryFiles, removeThose, type TemporaryFile } from '../../files/temporary-files.ts';
import { formatBytes, formatCount } from '../../report/quantities.ts';
import type { Column } from '../../report/table.ts';
import { defineCommand, flag, required } from '../framework/command.ts';
import { folderPath } from '../framework/option-values.ts';

const writers: Readonly<Record<TemporaryFile['writer'], string>> = {
  gone: 'gone',
  alive: 'at work',
  elsewhere: 'on another host or in another container',
};

const columns: readonly Column<TemporaryFile>[] = [
  { header: 'path', value: 'path' },
  { header: 'size', value: 'bytes', format: formatBytes },
  { header: 'process', value: 'pid', format: String },
  { header: 'which is', value: ({ writer }) => writers[writer] },
];

export const clean = defineCommand({
  description:
    'Lists what commands that were killed left half written in a folder and below: files and folders under temporary names ' +
    'that Linnet gives, with the process that wrote them. With --yes those whose process is gone are removed; nothing else ' +
    'ever is. A command removes by itself what an earlier run of it left at its --out.',
  examples: ['linnet clean runs', 'linnet clean runs --yes'],
  arguments: { folder: required(folderPath, 'folder of runs') },
  options: { yes: flag('remove what is listed as gone') },
  async run(context, { folder, yes }) {
    const files = await findTemporaryFiles(folder);
    const gone = files.filter(({ writer }) => writer === 'gone');
    const bytes = gone.reduce((total, file) => total + file.bytes, 0);
    if (files.length > 0) context.table(files, columns);
    if (yes) await removeThose(gone);
    const count = `${formatCount(gone.length)} ${gone.length === 1 ? 'file' : 'files'} of ${formatBytes(bytes)}`;
    if (gone.length === 0) context.print('Nothing to remove.');
    else context.print(yes ? `Removed ${count}.` : `${count} can be removed: add --yes.`);
    return { json: { folder, files, bytes, removed: yes ? gone.length : 0 } };
  },
});
