/** Session files that a browser keeps for this origin, by name, in Node's format. Loading checks their content. */
import { encodeSafetensors } from '../checkpoint/safetensors/encoding.ts';
import { type ContentHash, decodeSessionWith, sessionParts } from '../decoding/state/session-format.ts';
import type { SessionFiles } from '../engine/session-store.ts';
import { LinnetError } from '../errors.ts';
import { type PrivateFile, PrivateFolder } from './private-folder.ts';
import { sha256Of } from './remote-folder.ts';

const ending = '.session';
/** Longest escaped name: file systems allow 255 bytes, ending included. */
const longestName = 240;

/** @throws LinnetError `CONFIG` if the browser has no private file system */
async function sessionFolder(): Promise<PrivateFolder> {
  const folder = await PrivateFolder.open('linnet-sessions');
  if (folder !== undefined) return folder;
  throw new LinnetError('CONFIG', 'saved sessions need a file system, which this browser does not offer');
}

/** A session's file. Any text is a name. @throws LinnetError `PATH` for an overlong name */
function fileOf(name: string): string {
  const escaped = encodeURIComponent(name.replace(/\p{Surrogate}/gu, '\ufffd'));
  if (escaped.length <= longestName) return escaped + ending;
  throw new LinnetError(
    'PATH',
    `the session name has ${escaped.length} characters when escaped as in a URL, expected at most ${longestName}; give a shorter one`,
  );
}

/**
 * Sessions saved by this origin's pages, for all models, newest first.
 * @throws LinnetError `CONFIG` where the browser has no private file system
 */
export async function savedSessions(): Promise<PrivateFile[]> {
  const files = (await (await sessionFolder()).list()).filter(({ name }) => name.endsWith(ending));
  return files
    .map((file) => ({ ...file, name: nameOf(file.name.slice(0, -ending.length)) }))
    .sort((a, b) => b.changed - a.changed);
}

function nameOf(escaped: string): string {
  try {
    return decodeURIComponent(escaped);
  } catch {
    return escaped; // not written by Linnet
  }
}

/**
 * The bytes of a saved session, as a file that Node and servers take.
 * @throws LinnetError `NOT_FOUND`, `CONFIG` as `savedSessions`
 */
export async function savedSession(name: string): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = await (await sessionFolder()).read(fileOf(name));
  if (bytes !== undefined) return bytes;
  throw new LinnetError('NOT_FOUND', `there is no saved session ${JSON.stringify(name)}; savedSessions() lists them`);
}

/** Keeps a session file, such as a server's; loading checks it. @throws LinnetError as `save` of a session */
export async function keepSession(name: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
  if (await (await sessionFolder()).write(fileOf(name), bytes)) return;
  throw new LinnetError('RUNTIME', `the browser has no room for a session of ${bytes.length} bytes; delete others`);
}

/** Deletes a saved session, if it exists. @throws LinnetError `CONFIG` as `savedSessions` */
export async function deleteSession(name: string): Promise<void> {
  await (await sessionFolder()).delete(fileOf(name));
}

/** Session files of a model that `fingerprint` identifies. */
export function webSessionFiles(fingerprint: string): SessionFiles {
  return {
    async write(name, content) {
      // The session may go on meanwhile.
      const session = { ...content, state: content.state.fork(), fingerprint };
      const hash = new GatheredHash();
      const { entries, strings } = sessionParts(session, hash);
      const header = strings(await hash.digest());
      const bytes = encodeSafetensors(entries, header, 'the session');
      await keepSession(name, bytes);
    },
    async read(name, engine) {
      const bytes = await savedSession(name);
      const source = `the session ${JSON.stringify(name)}`;
      return decodeSessionWith(new GatheredHash(), bytes, engine, fingerprint, source);
    },
  };
}

/** Collects all input in memory, since browsers only hash in one go. */
class GatheredHash implements ContentHash {
  readonly #pieces: Uint8Array<ArrayBuffer>[] = [];

  update(content: string | Uint8Array): void {
    this.#pieces.push(typeof content === 'string' ? new TextEncoder().encode(content) : content.slice());
  }

  async digest(): Promise<string> {
    return sha256Of(new Uint8Array(await new Blob(this.#pieces).arrayBuffer()));
  }
}
