/** Which rows are put in front of a question as examples. */
import { isDeepStrictEqual } from 'node:util';
import { LinnetError } from '../../errors.ts';
import type { Row } from './preparations.ts';
import { PythonRandom } from './random/python-random.ts';
import type { Task } from './schema.ts';

/** The seed of published results. */
export const defaultFewShotSeed = 1234;

/** Chooses examples for one question after the other, with random numbers that run on. */
export class ShotSampler {
  readonly #pool: readonly Row[];
  readonly #shots: number;
  readonly #random: PythonRandom;
  readonly #first: boolean;
  readonly #excludesQuestion: boolean;

  /**
   * @param pool rows to choose from
   * @throws LinnetError `INPUT` if there are too few
   */
  constructor(task: Task, pool: readonly Row[], shots: number, seed: number) {
    this.#pool = pool;
    this.#shots = shots;
    this.#random = new PythonRandom(seed);
    this.#first = task.fewshot_config.sampler === 'first_n';
    // The published rule, which also holds where both are left out: the question itself is then drawn around even though
    // the examples come from another split, and one more is drawn than needed.
    this.#excludesQuestion = task.fewshot_split === task.test_split;
    if (shots > 0 && pool.length < this.#drawn) {
      throw new LinnetError(
        'INPUT',
        `task ${task.task} has ${pool.length} rows to take examples from; ${shots} shots need ${this.#drawn}`,
      );
    }
  }

  get #drawn(): number {
    return this.#shots + (this.#excludesQuestion ? 1 : 0);
  }

  /** Indices of the examples of a question, in the order of the prompt. To be called for every question in turn. */
  choose(question: Row): number[] {
    if (this.#shots === 0) return [];
    const drawn = this.#first
      ? Array.from({ length: this.#drawn }, (_, index) => index)
      : this.#random.sampleIndices(this.#pool.length, this.#drawn);
    return drawn
      .filter((index) => !this.#excludesQuestion || !isDeepStrictEqual(this.#pool[index], question))
      .slice(0, this.#shots);
  }
}
