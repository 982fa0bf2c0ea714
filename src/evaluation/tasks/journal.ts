/** A run's answers so far, one line per question, so that a stopped run continues where it was. */
import { basename, dirname } from 'node:path';
import { z } from 'zod';
import { RunFolder } from '../../files/run-folder.ts';
import type { Response } from './judging.ts';
import { pythonJson } from './text/python-json.ts';
import type { Question, TaskRequest } from './requests.ts';
import { sha256 } from '../../files/digest.ts';

export const journalLineSchema = z.object({
  key: z.string(),
  responses: z.array(z.union([z.string(), z.object({ logLikelihood: z.number(), isGreedy: z.boolean() })])).readonly(),
});

/** Identity of a question's answers: the model with its settings, and the whole question. */
export function journalKey(model: string, task: string, question: Question): string {
  const requests: TaskRequest[] = [...question.requests];
  return sha256([model, task, pythonJson(question.doc), JSON.stringify(requests)].join('\u0000'));
}

type Answers = z.output<typeof journalLineSchema>;

/** A file of answers. */
export type Journal = Awaited<ReturnType<typeof openJournal>>;

/** Opens a file of answers. Skips a line cut off when the machine stopped, and lines of another kind. */
export async function openJournal(path: string) {
  const kind = { file: basename(path), schema: journalLineSchema, what: 'a journal of answers', isForgiving: true };
  const file = await new RunFolder(dirname(path)).journal({ ...kind, mostBytes: 512 << 20 });
  const known = new Map(file.kept.map(({ key, responses }) => [key, responses]));
  return {
    get(key: string, count: number): readonly Response[] | undefined {
      const responses = known.get(key);
      return responses?.length === count ? responses : undefined;
    },
    add(entries: readonly Answers[]): void {
      for (const { key, responses } of entries) known.set(key, responses);
      file.append(...entries);
    },
    entries: (): Answers[] => Array.from(known, ([key, responses]) => ({ key, responses })),
    remove: () => file.remove(),
  };
}
