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
    'Lists the half-written files and folders that killed commands left in a folder and its subfolders, ' +
    "under Linnet's temporary names, with the process that wrote them. --yes removes those whose process is " +
    'gone, and nothing else. A command removes by itself what an earlier run left at its --out.',
  examples: ['linnet clean runs', 'linnet clean runs --yes'],
  arguments: { folder: required(folderPath, 'folder to search') },
  options: { yes: flag('remove files whose process is gone') },
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
