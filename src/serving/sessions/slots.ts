/**
 * Slots as llama.cpp's server has them: numbered places for texts. A request that names its slot goes on from the text of
 * that slot, which can be saved, restored and erased. The texts of each API key are its own.
 */
import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { restoreSession, type SavedSession, saveSession } from '../../decoding/state/session-file.ts';
import { LinnetError } from '../../errors.ts';
import { checkPlainFileName } from '../../files/plain-file-name.ts';
import type { ServedModel } from '../served-model.ts';

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
  readonly #model: ServedModel;
  readonly #folder: string | undefined;
  readonly #contents = new Map<string, SlotContent>();
  /** How many requests work on each. */
  readonly #busy: number[];

  /** @param folder for saved slots; without one they cannot be saved */
  constructor(model: ServedModel, count: number, folder?: string) {
    this.#model = model;
    this.count = count;
    this.#folder = folder;
    this.#busy = Array.from({ length: count }, () => 0);
  }

  /** Whether a request works on a slot. */
  isBusy(id: number): boolean {
    return this.#busy[id] > 0;
  }

  /** Whether slots can be saved. */
  get saves(): boolean {
    return this.#folder !== undefined;
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
    const content = this.#contents.get(`${owner} ${id}`);
    if (content === undefined)
      throw new LinnetError('INPUT', `slot ${id} is empty; send a prompt with "id_slot": ${id}`);
    const started = performance.now();
    const path = this.#path(owner, filename);
    await mkdir(this.#folder ?? '', { recursive: true });
    await saveSession(path, { ...content, fingerprint: this.#model.fingerprint });
    return slotFile(content, (await stat(path)).size, started);
  }

  /** @throws LinnetError as `restoreSession`, `PATH` for a name that is a path; the slot is as it was then */
  async restore(owner: string, id: number, filename: string): Promise<SlotFile> {
    const started = performance.now();
    const path = this.#path(owner, filename);
    const restored = await restoreSession(path, this.#model.engine, this.#model.fingerprint);
    const content = { ...restored, tokens: [...restored.tokens] };
    this.#contents.set(`${owner} ${id}`, content);
    return slotFile(content, (await stat(path)).size, started);
  }

  /** How many tokens are forgotten. */
  erase(owner: string, id: number): number {
    const name = `${owner} ${id}`;
    const tokens = this.#contents.get(name)?.tokens.length ?? 0;
    this.#contents.delete(name);
    return tokens;
  }

  #path(owner: string, filename: string): string {
    const name = checkPlainFileName(filename, 'filename');
    return join(this.#folder ?? '', `${owner === '' ? 'anyone' : owner}.${name}`);
  }
}

function slotFile({ tokens }: SlotContent, bytes: number, started: number): SlotFile {
  return { tokens: tokens.length, bytes, milliseconds: performance.now() - started };
}
