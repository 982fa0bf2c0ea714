/**
 * Fetching models and data sets from the Hugging Face hub: files of one commit, into a folder that appears only when
 * everything has arrived and was verified. An interrupted download goes on where it stopped.
 */
import { constants } from 'node:fs';
import { copyFile, mkdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, dirname, resolve } from 'node:path';
import { datasetInfo, downloadFile, listFiles, modelInfo } from '@huggingface/hub';
import { LinnetError, type Stoppable } from '../../errors.ts';
import { moveFolder, recoverFolder, syncTree } from '../../files/written-folder.ts';
import type { DownloadRecord } from './download-record.ts';
import { examineDownload, writeDownloadRecord } from './download-record.ts';
import type { ExpectedDigest, RemoteFile } from './download.ts';
import { receiveFile } from './download.ts';
import { type DatasetParts, partsSelection, planDataset } from './dataset-files.ts';
import { planModel, type RemoteRepository } from './model-files.ts';
import { type FileSelection, sameSelection } from './selection.ts';
import { quoteName } from '../../files/name-list.ts';
import { systemErrorCode } from '../../files/regular-file.ts';
import { asHubError, isTransient, kindNames, type RepositoryKind, type Wanted } from './wanted.ts';
import { requireOptions, requireText } from '../../files/arguments.ts';

/** More files than any model has in its top folder, or data set in all of them. */
const MAX_LISTED_FILES = 20_000;

/** How far a download is; bytes. */
export interface FetchProgress {
  readonly file: string;
  readonly fileReceived: number;
  readonly fileSize: number;
  /** Over all files. */
  readonly received: number;
  readonly size: number;
}

/** Files that a download fetches. */
export interface FetchPlan {
  /** Of a model or data set of the hub: its name and the address of the hub; else a URL. */
  readonly from: string;
  /** Its destination. */
  readonly folder: string;
  readonly files: number;
  readonly bytes: number;
}

/** Watching and stopping a download. */
export interface TransferOptions extends Stoppable {
  /** Called before files are fetched; not if they are here. */
  readonly onPlan?: (plan: FetchPlan) => void;
  /** Called after every piece that arrives; throttle it where drawing is slow. */
  readonly onProgress?: (progress: FetchProgress) => void;
}

/** Options of the download of a model. */
export interface FetchOptions extends TransferOptions {
  /** Patterns of files to fetch in addition, such as `*.md`; see `FileSelection`. */
  readonly include?: readonly string[];
  /** Patterns of files to leave out. */
  readonly exclude?: readonly string[];
}

/** Options of the download of a data set. */
export interface FetchDatasetOptions extends TransferOptions, Partial<DatasetParts> {}

/** A place that models come from. */
export interface ModelSource {
  /**
   * Makes sure that `targetDir` holds a model at a revision, downloading missing files.
   * @param id `owner/name` or `name`
   * @param revision branch, tag or commit; default 'main'. A commit that is already there needs no network.
   * @param targetDir default `defaultModelFolder(id)`; replaced if it holds another revision of the same model
   * @returns the record of the folder's files
   */
  fetchFolder(id: string, revision?: string, targetDir?: string, options?: FetchOptions): Promise<DownloadRecord>;
}

/** A place that data sets come from. */
export interface DatasetSource {
  /**
   * Makes sure that `targetDir` holds the rows of a data set, besides the files of earlier downloads.
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
  /** An access token, `hf_…`, for private and gated models. Sent to the endpoint only, never to where it redirects. */
  readonly token?: string;
  /** Failures in a row without progress that are overcome per file. Default 4. */
  readonly retries?: number;
  /** Pause before the first new try in milliseconds, doubling. Default 500. */
  readonly retryDelay?: number;
}

/**
 * Where a model is kept unless told otherwise: `~/.cache/linnet/<owner>--<name>`.
 * @example
 * ```ts
 * const folder = defaultModelFolder('owner/name');
 * ```
 */
export function defaultModelFolder(id: string): string {
  return resolve(homedir(), '.cache/linnet', checkId(id, 'model').replace('/', '--'));
}

/**
 * Where a data set is kept unless told otherwise: `data/<owner>__<name>`, where `eval tasks --data data` finds it.
 * @example
 * ```ts
 * const folder = defaultDatasetFolder('owner/name');
 * ```
 */
export function defaultDatasetFolder(id: string): string {
  return resolve('data', checkId(id, 'dataset').replace('/', '__'));
}

/**
 * The Hugging Face hub, or a server that speaks its protocol. `fetchFolder` throws LinnetError `NOT_FOUND` if the model, the
 * revision or safetensors weights do not exist or the server cannot be reached, `INPUT` for unusable arguments or a refused token,
 * `PATH` if the target is not one of our downloads, `FORMAT` if the received data is malformed or damaged, `ABORTED`.
 * @throws LinnetError `INPUT` if the endpoint is not an http(s) address or the token is none
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
      const plan: Plan = (connection, commit, staging) => planModel(connection, commit, staging, selection);
      const wanted: Wanted = { kind: 'model', id: checkId(id, 'model'), revision: checkRevision(revision) };
      return fetchFolder(hub, wanted, resolve(targetDir), { selection, plan, options: fetchOptions });
    },
    fetchDataset: (id, revision = 'main', targetDir = defaultDatasetFolder(id), fetchOptions = {}) => {
      const parts: DatasetParts = { configs: fetchOptions.configs ?? [], splits: fetchOptions.splits ?? [] };
      const plan: Plan = (connection, commit, _, earlier) => planDataset(connection, commit, parts, earlier);
      const wanted: Wanted = { kind: 'dataset', id: checkId(id, 'dataset'), revision: checkRevision(revision) };
      return fetchFolder(hub, wanted, resolve(targetDir), {
        selection: partsSelection(parts),
        plan,
        options: fetchOptions,
      });
    },
  };
}

/** Chooses the files to fetch. @param earlier names of the files of an earlier download */
type Plan = (
  connection: Connection,
  commit: string,
  staging: string,
  earlier: readonly string[],
) => Promise<RemoteFile[]>;

interface Planned {
  readonly selection: FileSelection;
  readonly plan: Plan;
  readonly options: TransferOptions;
}

interface Hub {
  readonly endpoint: string;
  readonly token: string | undefined;
  readonly retries: number;
  readonly retryDelay: number;
}

async function fetchFolder(
  hub: Hub,
  wanted: Wanted,
  target: string,
  { selection, plan, options }: Planned,
): Promise<DownloadRecord> {
  try {
    await recoverFolder(target);
    const present = await examineDownload(target, wanted.id);
    const complete = present?.intact === true && sameSelection(present.record.selection, selection);
    if (complete && present.record.commit === wanted.revision) return present.record;
    const connection = new Connection(hub, wanted, options.signal);
    const commit = await connection.resolveCommit(wanted.revision);
    if (complete && present.record.commit === commit) return present.record;

    // The name depends on the commit alone, so that the next run finds the partial download of an interrupted one.
    const staging = resolve(dirname(target), `.${basename(target)}.${commit}.partial`);
    await mkdir(staging, { recursive: true });
    const files = await plan(connection, commit, staging, Object.keys(present?.record.files ?? {}));
    // Names are checked by the plan: they lead into the folder.
    for (const { name } of files) await mkdir(dirname(resolve(staging, name)), { recursive: true });
    if (present?.record.commit === commit) await takeOver(files, present.record, target, staging);
    const bytes = files.reduce((sum, { size }) => sum + size, 0);
    options.onPlan?.({ from: `${wanted.id} of ${hub.endpoint}`, folder: target, files: files.length, bytes });
    const record: DownloadRecord = {
      id: wanted.id,
      commit,
      selection,
      files: await receiveAll(connection, commit, files, staging, options),
    };
    await writeDownloadRecord(staging, record);
    await syncTree(staging);
    await moveFolder(staging, target, present !== undefined);
    return record;
  } catch (error) {
    throw asHubError(error, hub.endpoint, wanted, options.signal);
  }
}

/** Copies the files of an earlier download of the same commit instead of fetching them; they are verified like fetched ones. */
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
      // Deleted since, or already present from an interrupted download, whose file is used then.
      if (!['ENOENT', 'EEXIST'].includes(systemErrorCode(error) ?? '')) throw error;
    }
  }
}

async function receiveAll(
  connection: Connection,
  commit: string,
  files: readonly RemoteFile[],
  staging: string,
  { onProgress }: TransferOptions,
): Promise<DownloadRecord['files']> {
  const size = files.reduce((sum, file) => sum + file.size, 0);
  let finished = 0;
  const digests: [string, { size: number; sha256: string }][] = [];
  for (const file of files) {
    const sha256 = await connection.receive(file, commit, staging, (received) => {
      onProgress?.({
        file: file.name,
        fileReceived: received,
        fileSize: file.size,
        received: finished + received,
        size,
      });
    });
    finished += file.size;
    digests.push([file.name, { size: file.size, sha256 }]);
  }
  return Object.fromEntries(digests);
}

/** Requests about one repository. */
class Connection implements RemoteRepository {
  readonly #hub: Hub;
  readonly #id: string;
  readonly #kind: RepositoryKind;
  readonly #signal: AbortSignal | undefined;

  constructor(hub: Hub, { id, kind }: Wanted, signal: AbortSignal | undefined) {
    this.#hub = hub;
    this.#id = id;
    this.#kind = kind;
    this.#signal = signal;
  }

  /** The commit a branch or tag points to now: every later request names it, so all files belong together. */
  async resolveCommit(revision: string): Promise<string> {
    const request = { name: this.#id, revision, ...this.#access() };
    const { sha } =
      this.#kind === 'model'
        ? await modelInfo({ ...request, additionalFields: ['sha'] })
        : await datasetInfo({ ...request, additionalFields: ['sha'] });
    if (!isCommit(sha))
      throw new LinnetError('FORMAT', `the server named ${quoteName(String(sha))} as commit of ${this.#id}`);
    return sha;
  }

  /** The files by name: the top folder's for a model, all for a data set. */
  async listFiles(commit: string): Promise<ReadonlyMap<string, RemoteFile>> {
    const files = new Map<string, RemoteFile>();
    const request = { repo: this.#repo, revision: commit, recursive: this.#kind === 'dataset', ...this.#access() };
    for await (const { type, path, size, oid, lfs } of listFiles(request)) {
      if (type !== 'file') continue;
      const bytes = lfs?.size ?? size;
      if (!Number.isSafeInteger(bytes) || bytes < 0) {
        throw new LinnetError('FORMAT', `the server lists ${quoteName(path)} with a size of ${bytes}`);
      }
      files.set(path, { name: path, size: bytes, digest: expectedDigest(oid, lfs?.oid) });
      if (files.size > MAX_LISTED_FILES) {
        throw new LinnetError('FORMAT', `the server lists more than ${MAX_LISTED_FILES} files`);
      }
    }
    return files;
  }

  /** Receives a file into a folder; returns its SHA-256. */
  receive(file: RemoteFile, commit: string, folder: string, onBytes?: (received: number) => void): Promise<string> {
    const { retries, retryDelay } = this.#hub;
    const connect = (start: number) => this.#open(file, commit, start);
    return receiveFile(folder, file, { connect, retries, retryDelay, isTransient, onBytes, signal: this.#signal });
  }

  async #open({ name, size }: RemoteFile, commit: string, start: number): Promise<AsyncIterable<Uint8Array>> {
    // xet: false — plain HTTP ranges, which every mirror serves. The digest covers the content whichever way it came.
    const blob = await downloadFile({ repo: this.#repo, path: name, revision: commit, xet: false, ...this.#access() });
    if (blob === null) throw new LinnetError('NOT_FOUND', `the server lists ${quoteName(name)} but does not have it`);
    if (blob.size !== size) {
      throw new LinnetError('FORMAT', `${quoteName(name)} has ${blob.size} bytes, the server's listing says ${size}`);
    }
    return (start === 0 ? blob : blob.slice(start)).stream();
  }

  get #repo(): { readonly type: RepositoryKind; readonly name: string } {
    return { type: this.#kind, name: this.#id };
  }

  #access(): { hubUrl: string; accessToken: string | undefined; fetch: typeof fetch } & Partial<{
    accessToken: string;
  }> {
    return { hubUrl: this.#hub.endpoint, accessToken: this.#hub.token, fetch: this.#fetch };
  }

  /** Keeps the token from other servers, makes requests abortable, and insists on the range that was asked for. */
  readonly #fetch: typeof fetch = async (input, init) => {
    const { endpoint, token } = this.#hub;
    const headers = new Headers(init?.headers);
    const url = input instanceof Request ? input.url : String(input);
    const leavesHub = new URL(url).origin !== new URL(endpoint).origin;
    if (leavesHub && headers.get('authorization') === `Bearer ${token}`) headers.delete('authorization');
    const response = await fetch(input, { ...init, headers, signal: this.#signal });
    const start = Number(/^bytes=(\d+)-/.exec(headers.get('range') ?? '')?.[1] ?? 0);
    if (start > 0 && response.status === 200) {
      await response.body?.cancel();
      throw new Error(`${url} answers with the whole file instead of the part from byte ${start}`);
    }
    return response;
  };
}

/** Large files carry a SHA-256, files stored in git the hash of their blob. Mirrors may give neither. */
function expectedDigest(oid: unknown, lfsOid: unknown): ExpectedDigest | undefined {
  if (typeof lfsOid === 'string') {
    const hex = lfsOid.replace(/^sha256:/, '');
    return /^[0-9a-f]{64}$/.test(hex) ? { algorithm: 'sha256', hex } : undefined;
  }
  return isCommit(oid) ? { algorithm: 'git-sha1', hex: oid } : undefined;
}

function isCommit(hash: unknown): hash is string {
  return typeof hash === 'string' && /^[0-9a-f]{40}$/.test(hash);
}

function checkId(id: string, kind: RepositoryKind): string {
  const part = '[A-Za-z0-9_][A-Za-z0-9._-]{0,95}';
  if (new RegExp(`^(${part}/)?${part}$`).test(id) && !id.includes('..')) return id;
  throw new LinnetError('INPUT', `${quoteName(id)} is not a ${kindNames[kind]} name; expected "owner/name"`);
}

function checkRevision(revision: string): string {
  if (/^[\w.-][\w./-]{0,254}$/.test(revision) && !revision.includes('..')) return revision;
  throw new LinnetError('INPUT', `${quoteName(revision)} is not a branch, tag or commit`);
}
