/** Drawing at the pace of the screen, however fast the model writes. */

/** Calls `draw` once in the next frame, however often it is asked to. */
export class FramePacer {
  readonly #draw: () => void;
  #due = false;

  constructor(draw: () => void) {
    this.#draw = draw;
  }

  ask(): void {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      this.#draw();
    });
  }
}
