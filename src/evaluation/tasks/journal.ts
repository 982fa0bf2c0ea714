/** Answers that a run has had already, one line per question, so that a run that was stopped goes on where it was. */
import { appendFile, mkdir, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';
import { readLines } from '../../data/files/text-file.ts';
import { LinnetError } from '../../errors.ts';
import { fileError } from '../../files/regular-file.ts';
import type { Response } from './judging.ts';
import { pythonJson, sha256 } from './text/python-json.ts';
import type { Question, TaskRequest } from './requests.ts';

/** An answer as JSON. */
export const journalLineSchema = z.object({
  key: z.string(),
  responses: z.array(z.union([z.string(), z.object({ logLikelihood: z.number(), isGreedy: z.boolean() })])),
});

/** Longest line, in bytes: answers of many tokens to one question. */
const maximumLineBytes = 4 << 20;

/** What identifies the answers to a question: the model with its settings, and everything that is asked. */
export function journalKey(model: string, task: string, question: Question): string {
  const requests: TaskRequest[] = [...question.requests];
  return sha256([model, task, pythonJson(question.doc), JSON.stringify(requests)].join('\u0000'));
}

/** A file of answers. */
export class Journal {
  readonly path: string;
  readonly #known: Map<string, readonly Response[]>;

  private constructor(path: string, known: Map<string, readonly Response[]>) {
    this.path = path;
    this.#known = known;
  }

  /** Reads what there is. A line that was cut off when the machine stopped, and whatever is none of ours, is left out. */
  static async open(path: string): Promise<Journal> {
    const known = new Map<string, readonly Response[]>();
    try {
      for await (const { text } of readLines(path, maximumLineBytes)) {
        const line = parsedLine(text);
        if (line !== undefined) known.set(line.key, line.responses);
      }
    } catch (error) {
      if (!(error instanceof LinnetError && error.code === 'NOT_FOUND')) throw error;
      await mkdir(dirname(path), { recursive: true });
    }
    return new Journal(path, known);
  }

  /** The answers to a question, if there are as many as it asks for. */
  get(key: string, count: number): readonly Response[] | undefined {
    const responses = this.#known.get(key);
    return responses?.length === count ? responses : undefined;
  }

  /** Adds the answers to some questions. The line break comes first: what was cut off before then spoils nothing. */
  async add(entries: readonly { readonly key: string; readonly responses: readonly Response[] }[]): Promise<void> {
    for (const { key, responses } of entries) this.#known.set(key, responses);
    try {
      await appendFile(this.path, entries.map((entry) => `\n${JSON.stringify(entry)}`).join(''));
    } catch (error) {
      throw fileError('write', this.path, error);
    }
  }

  /** All answers there are. */
  entries(): { readonly key: string; readonly responses: readonly Response[] }[] {
    return Array.from(this.#known, ([key, responses]) => ({ key, responses }));
  }

  /** Deletes the file, when the results are written. */
  async remove(): Promise<void> {
    await rm(this.path, { force: true });
  }
}

function parsedLine(text: string): z.output<typeof journalLineSchema> | undefined {
  try {
    return journalLineSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
