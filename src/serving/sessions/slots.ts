/**
 * Slots as llama.cpp's server has them: numbered places for texts. A request that names its slot goes on from the text of
 * that slot, which can be saved, restored and erased. The texts of each API key are its own.
 */
import type { SavedSession } from '../../decoding/state/session-file.ts';
import { LinnetError } from '../../errors.ts';
import { checkPlainFileName } from '../../files/plain-file-name.ts';
import type { SlotFiles } from './slot-files.ts';

/** What a slot holds. */
export interface SlotContent extends SavedSession {
  readonly tokens: readonly number[];
}

/** A slot while a request works on it. */
export interface SlotTurn {
  readonly id: number;
  /** The text of a slot that was named. */
  readonly content: SlotContent | undefined;
  /** Keeps a text in a slot that was named; another forgets it. */
  commit(content: SlotContent): void;
  /** Called once more it does nothing. */
  release(): void;
}

/** What saving or restoring came to. */
interface SlotFile {
  readonly tokens: number;
  readonly bytes: number;
  readonly milliseconds: number;
}

export class Slots {
  readonly count: number;
  readonly #files: SlotFiles | undefined;
  readonly #contents = new Map<string, SlotContent>();
  /** How many requests work on each. */
  readonly #busy: number[];

  /** @param files where slots are saved; without them they cannot be */
  constructor(count: number, files?: SlotFiles) {
    this.count = count;
    this.#files = files;
    this.#busy = Array.from({ length: count }, () => 0);
  }

  /** Whether a request works on a slot. */
  isBusy(id: number): boolean {
    return this.#busy[id] > 0;
  }

  /** Whether slots can be saved. */
  get saves(): boolean {
    return this.#files !== undefined;
  }

  /** @param asked −1 takes the first slot that is idle */
  take(owner: string, asked: number): SlotTurn {
    const id = asked >= 0 ? asked : Math.max(0, this.#busy.indexOf(0));
    this.#busy[id]++;
    let held = true;
    const name = `${owner} ${id}`;
    return {
      id,
      content: asked >= 0 ? this.#contents.get(name) : undefined,
      commit: (content) => {
        if (asked >= 0) this.#contents.set(name, content);
      },
      release: () => {
        if (held) this.#busy[id]--;
        held = false;
      },
    };
  }

  /** @throws LinnetError `INPUT` for an empty slot, `PATH` for a name that is a path */
  async save(owner: string, id: number, filename: string): Promise<SlotFile> {
    const content = this.#content(owner, id);
    const started = performance.now();
    const bytes = await this.#saved.write(nameOf(owner, filename), content);
    return { tokens: content.tokens.length, bytes, milliseconds: performance.now() - started };
  }

  /** @throws LinnetError as `SlotFiles.read`, `PATH` for a name that is a path; the slot is as it was then */
  async restore(owner: string, id: number, filename: string): Promise<SlotFile> {
    const started = performance.now();
    const { session, bytes } = await this.#saved.read(nameOf(owner, filename));
    const tokens = Array.from(session.tokens);
    this.#contents.set(`${owner} ${id}`, { ...session, tokens });
    return { tokens: tokens.length, bytes, milliseconds: performance.now() - started };
  }

  /** Copies the text of a slot, with its state, to another. @throws LinnetError `INPUT` for an empty slot */
  clone(owner: string, from: number, to: number): Omit<SlotFile, 'bytes'> {
    const started = performance.now();
    const content = this.#content(owner, from);
    if (from !== to) this.#contents.set(`${owner} ${to}`, { ...content, state: content.state.fork() });
    return { tokens: content.tokens.length, milliseconds: performance.now() - started };
  }

  /** How many tokens are forgotten. */
  erase(owner: string, id: number): number {
    const name = `${owner} ${id}`;
    const tokens = this.#contents.get(name)?.tokens.length ?? 0;
    this.#contents.delete(name);
    return tokens;
  }

  #content(owner: string, id: number): SlotContent {
    const content = this.#contents.get(`${owner} ${id}`);
    if (content !== undefined) return content;
    throw new LinnetError('INPUT', `slot ${id} is empty; send a prompt with "id_slot": ${id}`);
  }

  get #saved(): SlotFiles {
    if (this.#files !== undefined) return this.#files;
    throw new LinnetError('INPUT', 'slots cannot be saved here');
  }
}

/** @throws LinnetError `PATH` for a name that is a path */
function nameOf(owner: string, filename: string): string {
  return `${owner === '' ? 'anyone' : owner}.${checkPlainFileName(filename, 'filename')}`;
}
