/**
 * Fetches models and data sets from the Hugging Face hub: files of one commit, into a folder that appears only when
 * everything has arrived and been verified. An interrupted download continues where it stopped.
 */
import { makeFolder } from '../../files/atomic.ts';
import { constants } from 'node:fs';
import { copyFile, lstat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, dirname, resolve } from 'node:path';
import { z } from 'zod';
import { ifFound, LinnetError, type Stoppable } from '../../errors.ts';
import { moveFolder, recoverFolder, syncTree } from '../../files/written-folder.ts';
import { SOURCE_FILE } from '../folder-files.ts';
import type { RemoteFile } from './download.ts';
import {
  type DatasetParts,
  type FileSelection,
  fileSelection,
  partsSelection,
  planDataset,
  planModelFiles,
  sameSelection,
} from './chosen-files.ts';
import { checkPlainFileName, quoteName } from '../../files/name-list.ts';
import { fileError, systemErrorCode } from '../../files/regular-file.ts';
import {
  asHubError,
  type Connection,
  connectionTo,
  type Hub,
  kindNames,
  type RepositoryKind,
  type Wanted,
} from './connection.ts';
import { requireOptions, requireText } from '../../files/arguments.ts';
import { type RunFile, RunFolder } from '../../files/run-folder.ts';

/** Download progress, in bytes. */
export interface FetchProgress {
  readonly file: string;
  readonly fileReceived: number;
  readonly fileSize: number;
  /** Sum over all files. */
  readonly received: number;
  readonly size: number;
}

/** Files a download fetches. */
export interface FetchPlan {
  /** A hub repository's name and the hub's address, or a URL. */
  readonly from: string;
  /** Its destination. */
  readonly folder: string;
  readonly files: number;
  readonly bytes: number;
}

/** Watches and stops a download. */
export interface TransferOptions extends Stoppable {
  /** Called before files are fetched; not if they are already here. */
  readonly onPlan?: (plan: FetchPlan) => void;
  /** Called after every piece that arrives; throttle slow drawing. */
  readonly onProgress?: (progress: FetchProgress) => void;
}

/** Options for downloading a model. */
export interface FetchOptions extends TransferOptions {
  /** Patterns of additional files to fetch, such as `*.md`; see `FileSelection`. */
  readonly include?: readonly string[];
  /** Patterns of files to leave out. */
  readonly exclude?: readonly string[];
}

/** Options for downloading a data set. */
export interface FetchDatasetOptions extends TransferOptions, Partial<DatasetParts> {}

/** Where models come from. */
export interface ModelSource {
  /**
   * Ensures that `targetDir` holds a model at a revision, downloading missing files.
   * @param id `owner/name` or `name`
   * @param revision branch, tag or commit; default 'main'. A commit already downloaded needs no network.
   * @param targetDir default `defaultModelFolder(id)`; replaced if it holds another revision of the same model
   */
  fetchFolder(id: string, revision?: string, targetDir?: string, options?: FetchOptions): Promise<DownloadRecord>;
}

/** Where data sets come from. */
export interface DatasetSource {
  /**
   * Ensures that `targetDir` holds a data set's rows, keeping the files of earlier downloads.
   * @param id, revision as for models
   * @param targetDir default `defaultDatasetFolder(id)`
   */
  fetchDataset(
    id: string,
    revision?: string,
    targetDir?: string,
    options?: FetchDatasetOptions,
  ): Promise<DownloadRecord>;
}

/** How to reach a hub. */
export interface HubOptions {
  /** Default 'https://huggingface.co'. */
  readonly endpoint?: string;
  /** An access token, `hf_…`, for private and gated models. Sent only to the endpoint, never to redirect targets. */
  readonly token?: string;
  /** Consecutive failures without progress to tolerate per file. Default 4. */
  readonly retries?: number;
  /** Pause before the first retry in milliseconds, doubling. Default 500. */
  readonly retryDelay?: number;
}

/**
 * A model's default folder: `~/.cache/linnet/<owner>--<name>`.
 * @param file the only file fetched; it then gets its own folder
 * @example
 * ```ts
 * const folder = defaultModelFolder('owner/name');
 * ```
 */
export function defaultModelFolder(id: string, file?: string): string {
  const name = [checkId(id, 'model'), ...(file === undefined ? [] : [file])].join('--').replaceAll('/', '--');
  return resolve(homedir(), '.cache/linnet', checkPlainFileName(name, id));
}

/** A data set's default folder: `data/<owner>__<name>`, where `eval tasks --data data` finds it. */
export function defaultDatasetFolder(id: string): string {
  return resolve('data', checkId(id, 'dataset').replace('/', '__'));
}

/**
 * The Hugging Face hub, or a server that speaks its protocol. `fetchFolder` throws LinnetError `NOT_FOUND` if the model, the
 * revision or safetensors weights do not exist or the server cannot be reached, `INPUT` for unusable arguments or a refused token,
 * `PATH` if the target is not one of our downloads, `FORMAT` for malformed or damaged data, `ABORTED`.
 * @throws LinnetError `INPUT` if the endpoint is not an http(s) address or the token is malformed
 * @example
 * ```ts
 * await hubSource({ token: process.env.HF_TOKEN }).fetchFolder('owner/name', 'main', 'models/name');
 * ```
 */
export function hubSource(options: HubOptions = {}): ModelSource & DatasetSource {
  requireOptions(options, 'the options of hubSource');
  const { endpoint = 'https://huggingface.co', token, retries = 4, retryDelay = 500 } = options;
  requireText(endpoint, 'the endpoint');
  if (token !== undefined) requireText(token, 'the token');
  if (!/^https?:\/\/[^/]/.test(endpoint))
    throw new LinnetError('INPUT', `the endpoint ${quoteName(endpoint)} is not an http(s) URL`);
  if (token !== undefined && !token.startsWith('hf_')) {
    throw new LinnetError('INPUT', 'a Hugging Face access token starts with "hf_"; the one given does not');
  }
  const hub: Hub = { endpoint: endpoint.replace(/\/+$/, ''), token, retries, retryDelay };
  return {
    fetchFolder: (id, revision = 'main', targetDir = defaultModelFolder(id), fetchOptions = {}) => {
      const { include = [], exclude = [] } = fetchOptions;
      const selection: FileSelection = { include: [...include], exclude: [...exclude] };
      const plan: Plan = (connection, commit, staging) => planModelFiles(connection, commit, staging, selection);
      return fetchFolder(hub, { kind: 'model', id, revision }, targetDir, selection, plan, fetchOptions);
    },
    fetchDataset: (id, revision = 'main', targetDir = defaultDatasetFolder(id), fetchOptions = {}) => {
      const parts: DatasetParts = { configs: fetchOptions.configs ?? [], splits: fetchOptions.splits ?? [] };
      const plan: Plan = (connection, commit, _, earlier) => planDataset(connection, commit, parts, earlier);
      return fetchFolder(hub, { kind: 'dataset', id, revision }, targetDir, partsSelection(parts), plan, fetchOptions);
    },
  };
}

/** Chooses the files to fetch. @param earlier file names of an earlier download */
type Plan = (
  connection: Connection,
  commit: string,
  staging: string,
  earlier: readonly string[],
) => Promise<RemoteFile[]>;

async function fetchFolder(
  hub: Hub,
  wanted: Wanted,
  folder: string,
  selection: FileSelection,
  plan: Plan,
  options: TransferOptions,
): Promise<DownloadRecord> {
  checkId(wanted.id, wanted.kind);
  checkRevision(wanted.revision);
  const target = resolve(folder);
  try {
    await recoverFolder(target);
    const present = await examineDownload(target, wanted.id);
    const complete = present?.intact === true && sameSelection(present.record.selection, selection);
    if (complete && present.record.commit === wanted.revision) return present.record;
    const connection = connectionTo(hub, wanted, options.signal);
    const commit = await connection.resolveCommit(wanted.revision);
    if (complete && present.record.commit === commit) {
      const record = { ...present.record, revision: wanted.revision };
      // An unwritable folder is fine: the hub is asked again next time.
      if (record.revision !== present.record.revision) await writeDownloadRecord(target, record).catch(() => undefined);
      return record;
    }

    // The name depends only on the commit, so that the next run finds an interrupted download.
    const staging = resolve(dirname(target), `.${basename(target)}.${commit}.partial`);
    await makeFolder(staging);
    const files = await plan(connection, commit, staging, Object.keys(present?.record.files ?? {}));
    // The plan has checked names: they stay inside the folder.
    for (const { name } of files) await makeFolder(dirname(resolve(staging, name)));
    if (present?.record.commit === commit) await takeOver(files, present.record, target, staging);
    const bytes = files.reduce((sum, { size }) => sum + size, 0);
    options.onPlan?.({ from: `${wanted.id} of ${hub.endpoint}`, folder: target, files: files.length, bytes });
    const received = await receiveAll(connection, commit, files, bytes, staging, options);
    const record: DownloadRecord = { id: wanted.id, revision: wanted.revision, commit, selection, files: received };
    await writeDownloadRecord(staging, record);
    await syncTree(staging);
    await moveFolder(staging, target, present !== undefined);
    return record;
  } catch (error) {
    throw asHubError(error, hub.endpoint, wanted, options.signal);
  }
}

/** Copies an earlier download's files of the same commit instead of fetching them; they are verified like fetched ones. */
async function takeOver(
  files: readonly RemoteFile[],
  earlier: DownloadRecord,
  folder: string,
  staging: string,
): Promise<void> {
  for (const { name, size } of files) {
    if (earlier.files[name]?.size !== size) continue;
    try {
      await copyFile(
        resolve(folder, name),
        resolve(staging, name),
        constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE,
      );
    } catch (error) {
      // Deleted since, or already present from an interrupted download, whose file is then used.
      if (!['ENOENT', 'EEXIST'].includes(systemErrorCode(error) ?? '')) throw error;
    }
  }
}

async function receiveAll(
  connection: Connection,
  commit: string,
  files: readonly RemoteFile[],
  size: number,
  staging: string,
  { onProgress }: TransferOptions,
): Promise<DownloadRecord['files']> {
  let finished = 0;
  const received: Record<string, { size: number; sha256: string }> = {};
  for (const file of files) {
    const { name, size: fileSize } = file;
    const sha256 = await connection.receive(file, commit, staging, (bytes) => {
      onProgress?.({ file: name, fileReceived: bytes, fileSize, received: finished + bytes, size });
    });
    finished += fileSize;
    received[name] = { size: fileSize, sha256 };
  }
  return received;
}

function checkId(id: string, kind: RepositoryKind): string {
  const part = '[A-Za-z0-9_][A-Za-z0-9._-]{0,95}';
  if (new RegExp(`^(${part}/)?${part}$`).test(id) && !id.includes('..')) return id;
  throw new LinnetError('INPUT', `${quoteName(id)} is not a ${kindNames[kind]} name; expected "owner/name"`);
}

function checkRevision(revision: string): void {
  if (/^[\w.-][\w./-]{0,254}$/.test(revision) && !revision.includes('..')) return;
  throw new LinnetError('INPUT', `${quoteName(revision)} is not a branch, tag or commit`);
}

const recordSchema = z.object({
  id: z.string(),
  /** The last requested branch, tag or commit; records of earlier versions lack it. */
  revision: z.string().optional(),
  commit: z.string(),
  files: z.record(z.string(), z.object({ size: z.int().nonnegative(), sha256: z.string() })),
  /** The requested selection; records of earlier versions lack it: all files that Linnet reads, and no others. */
  selection: fileSelection.default({ include: [], exclude: [] }),
});

/** A downloaded model: its name and commit on the hub, each file's size in bytes and SHA-256, and how they were chosen. */
export type DownloadRecord = Readonly<z.infer<typeof recordSchema>>;

const recordFile: RunFile<DownloadRecord> = {
  file: SOURCE_FILE,
  schema: recordSchema,
  what: 'a valid record of a download',
  mostBytes: 10_000_000,
};

/** Writes the record into a folder. */
export async function writeDownloadRecord(folder: string, record: DownloadRecord): Promise<void> {
  await new RunFolder(folder).write(recordFile, record);
}

/**
 * Examines a folder that may hold an earlier download.
 * @returns undefined if there is none; otherwise its record, and whether every file is still there with its size (does not
 *   read contents)
 * @throws LinnetError `PATH` if the folder is something else, which must not be replaced
 */
export async function examineDownload(
  folder: string,
  id: string,
): Promise<{ record: DownloadRecord; intact: boolean } | undefined> {
  if ((await sizeOf(folder)) === undefined) return undefined;
  const record = await new RunFolder(folder).read(recordFile);
  if (record?.id !== id) {
    const found = record === undefined ? 'no downloaded model' : `the model ${record.id}`;
    throw new LinnetError('PATH', `${folder} holds ${found}; choose another folder for ${id}`);
  }
  const sizes = await Promise.all(Object.keys(record.files).map((name) => sizeOf(resolve(folder, name))));
  return { record, intact: Object.values(record.files).every(({ size }, i) => sizes[i] === size) };
}

async function sizeOf(path: string): Promise<number | undefined> {
  const examined = lstat(path).catch((error: unknown) => {
    throw fileError('examine', path, error);
  });
  return (await ifFound(examined))?.size;
}
