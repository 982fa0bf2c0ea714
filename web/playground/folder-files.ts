/** Dropped or chosen folders: their files by name, without subfolders. */
import type { ChosenModel } from './protocol.ts';

type Folder = Extract<ChosenModel, { kind: 'files' }>;

/**
 * The dropped folder, or else the dropped files.
 * @returns undefined if no file was dropped (text, for example)
 */
export async function droppedFolder(items: DataTransferItemList): Promise<Folder | undefined> {
  // Read at once: the list is empty after the event.
  const entries = [...items].flatMap((item) => item.webkitGetAsEntry() ?? []);
  const directory = entries.find(isDirectory);
  const found = directory === undefined ? entries : await entriesOf(directory);
  const files = await Promise.all(found.filter(isFile).map(fileOf));
  if (files.length === 0) return undefined;
  return { kind: 'files', name: directory?.name ?? 'dropped files', files: byName(files) };
}

/** Asks for a folder; undefined if the reader picks none. */
export function chooseFolder(): Promise<Folder | undefined> {
  const input = document.createElement('input');
  input.type = 'file';
  input.webkitdirectory = true;
  return new Promise((resolve) => {
    input.addEventListener('change', () => {
      const files = [...(input.files ?? [])].filter(
        ({ webkitRelativePath }) => webkitRelativePath.split('/').length === 2,
      );
      const name = files[0]?.webkitRelativePath.split('/')[0];
      resolve(name === undefined ? undefined : { kind: 'files', name, files: byName(files) });
    });
    input.addEventListener('cancel', () => resolve(undefined));
    input.click();
  });
}

function isDirectory(entry: FileSystemEntry): entry is FileSystemDirectoryEntry {
  return entry.isDirectory;
}

function isFile(entry: FileSystemEntry): entry is FileSystemFileEntry {
  return entry.isFile;
}

function byName(files: readonly File[]): ReadonlyMap<string, File> {
  return new Map(files.map((file) => [file.name, file]));
}

function fileOf(entry: FileSystemFileEntry): Promise<File> {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}

/** All entries; the browser returns them in parts, ending with an empty one. */
async function entriesOf(directory: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = directory.createReader();
  const found: FileSystemEntry[] = [];
  for (;;) {
    const part = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (part.length === 0) return found;
    found.push(...part);
  }
}
