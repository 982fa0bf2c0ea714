/** Draws at most once a frame, however fast the model writes. */

/** Calls `draw` once in the next frame, however often it is requested. */
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
