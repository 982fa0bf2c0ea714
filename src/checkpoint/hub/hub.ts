/**
 * Fetching models from the Hugging Face hub: config, tokenizer and safetensors weights of one commit, into a folder that
 * appears only when everything has arrived and was verified. An interrupted download goes on where it stopped.
 */
import { constants } from 'node:fs';
import { copyFile, mkdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, dirname, resolve } from 'node:path';
import { downloadFile, HubApiError, listFiles, modelInfo } from '@huggingface/hub';
import { LinnetError } from '../../errors.ts';
import { moveFolder, recoverFolder, syncTree } from '../../files/atomic.ts';
import type { DownloadRecord } from './download-record.ts';
import { examineDownload, writeDownloadRecord } from './download-record.ts';
import type { ExpectedDigest, RemoteFile } from './download.ts';
import { receiveFile } from './download.ts';
import { type FileSelection, sameSelection, type SelectionRules, selectionRules } from './selection.ts';
import { COMPANION_FILES, CONFIG_FILE, INDEX_FILE, isPickleFile, WEIGHTS_FILE } from '../folder-files.ts';
import { listNames, quoteName } from '../../files/name-list.ts';
import { fileError, readInFolder, systemErrorCode } from '../../files/regular-file.ts';
import { MAX_INDEX_BYTES, parseShardIndex, shardNames } from '../shard-index.ts';
import { requireOptions, requireText } from '../../files/arguments.ts';

/** More files in the top folder of a model than any real one has. */
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

/** Options of one download. */
export interface FetchOptions {
  /** Patterns of files to fetch in addition, such as `*.md`; see `FileSelection`. */
  readonly include?: readonly string[];
  /** Patterns of files to leave out. */
  readonly exclude?: readonly string[];
  /** Called after every piece that arrives; throttle it where drawing is slow. */
  readonly onProgress?: (progress: FetchProgress) => void;
  readonly signal?: AbortSignal;
}

/** A place that models come from. */
export interface ModelSource {
  /**
   * Makes sure that `targetDir` holds a model at a revision, downloading what is missing.
   * @param id `owner/name` or `name`
   * @param revision branch, tag or commit; default 'main'. A commit that is already there needs no network.
   * @param targetDir default `defaultModelFolder(id)`; replaced if it holds another revision of the same model
   * @returns what the folder holds
   */
  fetchFolder(id: string, revision?: string, targetDir?: string, options?: FetchOptions): Promise<DownloadRecord>;
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
  return resolve(homedir(), '.cache/linnet', checkModelId(id).replace('/', '--'));
}

/**
 * The Hugging Face hub, or a server that speaks its protocol. `fetchFolder` throws LinnetError `NOT_FOUND` if the model, the
 * revision or safetensors weights do not exist or the server cannot be reached, `INPUT` for unusable arguments or a refused token,
 * `PATH` if the target is not one of our downloads, `FORMAT` if what arrives is malformed or damaged, `ABORTED`.
 * @throws LinnetError `INPUT` if the endpoint is no http(s) address or the token is none
 * @example
 * ```ts
 * await hubSource({ token: process.env.HF_TOKEN }).fetchFolder('owner/name', 'main', 'models/name');
 * ```
 */
export function hubSource(options: HubOptions = {}): ModelSource {
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
    fetchFolder: (id, revision = 'main', targetDir = defaultModelFolder(id), fetchOptions = {}) =>
      fetchFolder(hub, { id: checkModelId(id), revision: checkRevision(revision) }, resolve(targetDir), fetchOptions),
  };
}

interface Hub {
  readonly endpoint: string;
  readonly token: string | undefined;
  readonly retries: number;
  readonly retryDelay: number;
}

interface Wanted {
  readonly id: string;
  readonly revision: string;
}

async function fetchFolder(hub: Hub, wanted: Wanted, target: string, options: FetchOptions): Promise<DownloadRecord> {
  try {
    const selection: FileSelection = { include: [...(options.include ?? [])], exclude: [...(options.exclude ?? [])] };
    const rules = selectionRules(selection);
    await recoverFolder(target);
    const present = await examineDownload(target, wanted.id);
    const complete = present?.intact === true && sameSelection(present.record.selection, selection);
    if (complete && present.record.commit === wanted.revision) return present.record;
    const connection = new Connection(hub, wanted.id, options.signal);
    const commit = await connection.resolveCommit(wanted.revision);
    if (complete && present.record.commit === commit) return present.record;

    // The name depends on the commit alone, so that the next run finds what this one leaves when interrupted.
    const staging = resolve(dirname(target), `.${basename(target)}.${commit}.partial`);
    await mkdir(staging, { recursive: true });
    const files = await planFiles(connection, commit, staging, rules);
    if (present?.record.commit === commit) await takeOver(files, present.record, target, staging);
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
    throw asHubError(error, hub, wanted, options.signal);
  }
}

/**
 * Chooses the files to fetch from the listing of the model. A sharded model's index is fetched at once, to know them.
 * Weights are required unless a pattern leaves them out.
 */
async function planFiles(
  connection: Connection,
  commit: string,
  staging: string,
  { isIncluded, isExcluded }: SelectionRules,
): Promise<RemoteFile[]> {
  const listing = await connection.listFiles(commit);
  const names = [...listing.keys()];
  const asked = new Set([
    CONFIG_FILE,
    ...COMPANION_FILES.filter((name) => listing.has(name)),
    ...names.filter(isIncluded),
  ]);
  const index = listing.get(INDEX_FILE);
  if (listing.has(WEIGHTS_FILE)) {
    asked.add(WEIGHTS_FILE);
  } else if (index !== undefined) {
    if (index.size > MAX_INDEX_BYTES) throw new LinnetError('FORMAT', `${INDEX_FILE} claims ${index.size} bytes`);
    await connection.receive(index, commit, staging);
    const shards = parseShardIndex(await readInFolder(staging, INDEX_FILE, MAX_INDEX_BYTES), INDEX_FILE);
    for (const name of [INDEX_FILE, ...shardNames(shards)]) asked.add(name);
  } else if (!isExcluded(WEIGHTS_FILE)) {
    const pickles = names.filter(isPickleFile);
    const found =
      pickles.length > 0 ? `only ${listNames(pickles)}, which may run code when loaded and are never fetched` : 'none';
    throw new LinnetError('NOT_FOUND', `the model has no safetensors weights (${found}); choose one that has`);
  }
  const wanted = [...asked].filter((name) => !isExcluded(name));
  if (wanted.length === 0) throw new LinnetError('INPUT', 'the patterns to exclude leave no file to fetch');
  return wanted.map((name) => {
    const file = listing.get(name);
    if (file === undefined) throw new LinnetError('NOT_FOUND', `the model has no file ${quoteName(name)}`);
    return file;
  });
}

/** Copies what an earlier download of the same commit has, so that it need not be fetched again; it is verified as if it had. */
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
      // Gone since, or there already from an interrupted download: then that is what counts.
      if (!['ENOENT', 'EEXIST'].includes(systemErrorCode(error) ?? '')) throw error;
    }
  }
}

async function receiveAll(
  connection: Connection,
  commit: string,
  files: readonly RemoteFile[],
  staging: string,
  { onProgress }: FetchOptions,
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

/** Requests about one model. */
class Connection {
  readonly #hub: Hub;
  readonly #id: string;
  readonly #signal: AbortSignal | undefined;

  constructor(hub: Hub, id: string, signal: AbortSignal | undefined) {
    this.#hub = hub;
    this.#id = id;
    this.#signal = signal;
  }

  /** The commit a branch or tag points to now: every later request names it, so all files belong together. */
  async resolveCommit(revision: string): Promise<string> {
    const { sha } = await modelInfo({ name: this.#id, revision, additionalFields: ['sha'], ...this.#access() });
    if (!isCommit(sha))
      throw new LinnetError('FORMAT', `the server named ${quoteName(String(sha))} as commit of ${this.#id}`);
    return sha;
  }

  /** The files of the top folder by name. */
  async listFiles(commit: string): Promise<ReadonlyMap<string, RemoteFile>> {
    const files = new Map<string, RemoteFile>();
    const repo = { type: 'model', name: this.#id } as const;
    for await (const { type, path, size, oid, lfs } of listFiles({ repo, revision: commit, ...this.#access() })) {
      if (type !== 'file') continue;
      const bytes = lfs?.size ?? size;
      if (!Number.isSafeInteger(bytes) || bytes < 0) {
        throw new LinnetError('FORMAT', `the server lists ${quoteName(path)} with a size of ${bytes}`);
      }
      files.set(path, { name: path, size: bytes, digest: expectedDigest(oid, lfs?.oid) });
      if (files.size > MAX_LISTED_FILES) {
        throw new LinnetError('FORMAT', `the server lists more than ${MAX_LISTED_FILES} files in one folder`);
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
    const repo = { type: 'model', name: this.#id } as const;
    // xet: false — plain HTTP ranges, which every mirror serves. The digest covers the content whichever way it came.
    const blob = await downloadFile({ repo, path: name, revision: commit, xet: false, ...this.#access() });
    if (blob === null) throw new LinnetError('NOT_FOUND', `the server lists ${quoteName(name)} but does not have it`);
    if (blob.size !== size) {
      throw new LinnetError('FORMAT', `${quoteName(name)} has ${blob.size} bytes, the server's listing says ${size}`);
    }
    return (start === 0 ? blob : blob.slice(start)).stream();
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

function checkModelId(id: string): string {
  const part = '[A-Za-z0-9_][A-Za-z0-9._-]{0,95}';
  if (new RegExp(`^(${part}/)?${part}$`).test(id) && !id.includes('..')) return id;
  throw new LinnetError('INPUT', `${quoteName(id)} is not a model name; expected "owner/name"`);
}

function checkRevision(revision: string): string {
  if (/^[\w.-][\w./-]{0,254}$/.test(revision) && !revision.includes('..')) return revision;
  throw new LinnetError('INPUT', `${quoteName(revision)} is not a branch, tag or commit`);
}

/** Refusals stay refusals; broken connections and overloaded servers may recover. */
function isTransient(error: unknown): boolean {
  if (error instanceof LinnetError || systemErrorCode(error) !== undefined) return false;
  return !(error instanceof HubApiError) || error.statusCode >= 500 || [408, 429].includes(error.statusCode);
}

function asHubError(
  error: unknown,
  { endpoint }: Hub,
  { id, revision }: Wanted,
  signal: AbortSignal | undefined,
): LinnetError {
  if (signal?.aborted)
    return new LinnetError('ABORTED', `the download of ${id} was stopped; the next one goes on from there`, {
      cause: error,
    });
  if (error instanceof LinnetError)
    return new LinnetError(error.code, `${id} (${revision}): ${error.message}`, { cause: error });
  if (systemErrorCode(error) !== undefined) return fileError('store', id, error);
  if (error instanceof HubApiError && [401, 403].includes(error.statusCode)) {
    const advice =
      'it is private, gated or does not exist; check the name, accept its terms on the hub, and give a token with access';
    return new LinnetError('INPUT', `${endpoint} refuses access to ${id}: ${advice}`, { cause: error });
  }
  if (error instanceof HubApiError && error.statusCode === 404) {
    return new LinnetError('NOT_FOUND', `${endpoint} has no model ${id} at revision ${quoteName(revision)}`, {
      cause: error,
    });
  }
  const reason = error instanceof Error ? error.message : String(error);
  return new LinnetError('NOT_FOUND', `cannot fetch ${id} from ${endpoint}: ${reason}`, { cause: error });
}
