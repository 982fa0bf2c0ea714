/** Hub requests about one repository, and their errors. */
import { setTimeout as delay } from 'node:timers/promises';
import { datasetInfo, downloadFile, HubApiError, listFiles, modelInfo } from '@huggingface/hub';
import { type ErrorCode, LinnetError, reasonOf } from '../../errors.ts';
import { boundedBody } from '../../files/bounded-body.ts';
import { quoteName } from '../../files/name-list.ts';
import { fileError, systemErrorCode } from '../../files/regular-file.ts';
import { type ExpectedDigest, isBusy, receiveFile, type RemoteFile } from './download.ts';

/** Names of repository kinds, in messages. */
export const kindNames = { model: 'model', dataset: 'data set' } as const;
export type RepositoryKind = keyof typeof kindNames;

/** A repository at a revision. */
export interface Wanted {
  readonly kind: RepositoryKind;
  readonly id: string;
  readonly revision: string;
}

export function asHubError(
  error: unknown,
  endpoint: string,
  { kind, id, revision }: Wanted,
  signal: AbortSignal | undefined,
): LinnetError {
  const because = (code: ErrorCode, message: string): LinnetError => new LinnetError(code, message, { cause: error });
  if (signal?.aborted) return because('ABORTED', `the download of ${id} was stopped; the next one continues it`);
  if (error instanceof LinnetError) return because(error.code, `${id} (${revision}): ${error.message}`);
  if (systemErrorCode(error) !== undefined) return fileError('store', id, error);
  const status = error instanceof HubApiError ? error.statusCode : undefined;
  if (status === 401 || status === 403) {
    const advice =
      'it is private, gated or does not exist; check the name, accept its terms on the hub, and give a token with access';
    return because('INPUT', `${endpoint} refuses access to ${id}: ${advice}`);
  }
  if (status === 404) {
    return because('NOT_FOUND', `${endpoint} has no ${kindNames[kind]} ${id} at revision ${quoteName(revision)}`);
  }
  const advice = `without a network, give a folder that "linnet download ${id} --out FOLDER" made on another machine`;
  return because('NOT_FOUND', `cannot fetch ${id} from ${endpoint}: ${reasonOf(error)}; ${advice}`);
}

/** More files than any model or data set has. */
const MAX_LISTED_FILES = 20_000;

/** Most bytes of all answers except contents, and the least that one counts, so that empty pages also end. */
const [MAX_ANSWER_BYTES, MIN_ANSWER_BYTES] = [1 << 26, 1 << 16];

/** How to reach a hub. */
export interface Hub {
  readonly endpoint: string;
  readonly token: string | undefined;
  readonly retries: number;
  readonly retryDelay: number;
}

/** Requests about one repository. */
export type Connection = ReturnType<typeof connectionTo>;

export function connectionTo({ endpoint, token, ...patience }: Hub, { id, kind }: Wanted, signal?: AbortSignal) {
  let answerBytes = MAX_ANSWER_BYTES;

  /** Keeps the token from other servers, makes requests abortable, and insists on the requested range. */
  const request: typeof fetch = async (input, init) => {
    const headers = new Headers(init?.headers);
    const url = input instanceof Request ? input.url : String(input);
    const leavesHub = new URL(url).origin !== new URL(endpoint).origin;
    if (leavesHub && headers.get('authorization') === `Bearer ${token}`) headers.delete('authorization');
    const response = await fetch(input, { ...init, headers, signal });
    const start = Number(/^bytes=(\d+)-/.exec(headers.get('range') ?? '')?.[1] ?? 0);
    if (start > 0 && response.status === 200) {
      await response.body?.cancel();
      throw new Error(`${url} answers with the whole file instead of the part from byte ${start}`);
    }
    return response;
  };

  /** Asks for facts, within the byte limit of all such answers; again if the server is too busy. */
  const ask: typeof fetch = async (input, init) => {
    for (let failures = 0; ; ) {
      const response = await request(input, init);
      const body = await boundedBody(response, answerBytes, `what ${endpoint} tells`);
      answerBytes -= Math.max(body.length, MIN_ANSWER_BYTES);
      if (++failures > patience.retries || !isBusy(response.status))
        return new Response(new Uint8Array(body), response);
      await delay(patience.retryDelay * 2 ** (failures - 1), undefined, { signal });
    }
  };

  const hub = { hubUrl: endpoint, accessToken: token };
  const repo = { type: kind, name: id };

  async function open({ name, size }: RemoteFile, revision: string, start: number): Promise<AsyncIterable<Uint8Array>> {
    // xet: false — plain HTTP ranges, which every mirror serves. The digest covers the content whichever way it came.
    const blob = await downloadFile({ ...hub, repo, path: name, revision, xet: false, fetch: request });
    if (blob === null) throw new LinnetError('NOT_FOUND', `the server lists ${quoteName(name)} but does not have it`);
    if (blob.size !== size) {
      throw new LinnetError('FORMAT', `${quoteName(name)} has ${blob.size} bytes, the server's listing says ${size}`);
    }
    return (start === 0 ? blob : blob.slice(start)).stream();
  }

  return {
    /** The commit that a branch or tag points to now: every later request names it, so all files belong together. */
    async resolveCommit(revision: string): Promise<string> {
      const infoOf = kind === 'model' ? modelInfo<'sha'> : datasetInfo<'sha'>;
      const { sha } = await infoOf({ ...hub, name: id, revision, fetch: ask, additionalFields: ['sha'] });
      if (isCommit(sha)) return sha;
      throw new LinnetError('FORMAT', `the server named ${quoteName(String(sha))} as commit of ${id}`);
    },

    /** All files by name. */
    async listFiles(revision: string): Promise<ReadonlyMap<string, RemoteFile>> {
      const files = new Map<string, RemoteFile>();
      const listing = listFiles({ ...hub, repo, revision, recursive: true, fetch: ask });
      for await (const { type, path, size, oid, lfs } of listing) {
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
    },

    /** Receives a file into a folder; returns its SHA-256. */
    receive: (file: RemoteFile, commit: string, folder: string, onBytes?: (received: number) => void) =>
      receiveFile(folder, file, { ...patience, connect: (start) => open(file, commit, start), onBytes, signal }),
  };
}

/** Large files carry a SHA-256, files stored in git their blob's hash. Mirrors may give neither. */
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
