/** Sessions of opened models in a browser: the files are those of Node. */
import { encodeSafetensors } from '../checkpoint/safetensors/encoding.ts';
import { type ContentHash, decodeSessionWith, sessionParts } from '../decoding/state/session-format.ts';
import type { SessionFiles } from '../engine/session.ts';
import { sha256Of } from './remote-folder.ts';
import { keepSession, savedSession } from './session-folder.ts';

/** Session files of a model that `fingerprint` identifies. */
export function webSessionFiles(fingerprint: string): SessionFiles {
  return {
    async save(name, content) {
      // The session may go on meanwhile.
      const session = { ...content, state: content.state.fork(), fingerprint };
      const hash = new GatheredHash();
      const { entries, strings } = sessionParts(session, hash);
      const header = strings(await hash.digest());
      const bytes = encodeSafetensors(entries, header, 'the session');
      await keepSession(name, bytes);
    },
    async load(name, engine) {
      const bytes = await savedSession(name);
      const source = `the session ${JSON.stringify(name)}`;
      const { tokens, ...restored } = await decodeSessionWith(new GatheredHash(), bytes, engine, fingerprint, source);
      return { ...restored, tokens: Array.from(tokens) };
    },
  };
}

/** Browsers hash in one go alone: all that is hashed, in memory. */
class GatheredHash implements ContentHash {
  readonly #pieces: Uint8Array<ArrayBuffer>[] = [];

  update(content: string | Uint8Array): void {
    this.#pieces.push(typeof content === 'string' ? new TextEncoder().encode(content) : content.slice());
  }

  async digest(): Promise<string> {
    return sha256Of(new Uint8Array(await new Blob(this.#pieces).arrayBuffer()));
  }
}
