/** Readers of growing texts, which take what has become certain step by step. */

export abstract class PendingReader<Part> {
  /** Text that no step has taken yet. */
  protected pending = '';
  /** Where the reader is: changes with every step that takes no text, unless nothing can be read for now. */
  protected abstract readonly place: string;

  /** Takes more text; returns the parts that have become certain. */
  push(text: string): Part[] {
    this.pending += text;
    return this.#read(false);
  }

  /** Ends the text: returns the parts held back. */
  end(): Part[] {
    return this.#read(true);
  }

  protected abstract step(atEnd: boolean, parts: Part[]): void;

  /** Takes the next characters. */
  protected take(length: number): string {
    const taken = this.pending.slice(0, length);
    this.pending = this.pending.slice(length);
    return taken;
  }

  #read(atEnd: boolean): Part[] {
    const parts: Part[] = [];
    for (let before = ''; before !== `${this.place} ${this.pending.length}`; ) {
      before = `${this.place} ${this.pending.length}`;
      this.step(atEnd, parts);
    }
    return parts;
  }
}
